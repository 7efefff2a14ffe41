// SPDX-License-Identifier: Apache-2.0
//! What is never deleted, and what never comes late.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mover::dialect::HyperLogLogPolicy;
use mover::job::journal::{Course, Journal, Moment};
use mover::job::{Cleanup, Report};
use mover::sink::Target;
use mover::{Error, Job, JobOptions, Side};
use redis::Value as Reply;
use replication::{SlotCount, SlotSet};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{
    Call, CommandLine, Hooked, RedisServer, Source, Switchboard, assert_same, contents, endpoint, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_came_too_late_is_kept_by_whoever_goes_on() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = Source::start(dir.path()).await;
    let (target, routing) = (RedisServer::start(), Arc::new(Switchboard::default()));
    let journal = Journal::create(state.path(), course()).unwrap();
    let path = journal.path().unwrap();
    let running = tokio::spawn(job(&source, &target, &routing, journal).run());
    until("the slots are switched", || !routing.switched().is_empty()).await;
    source.client().run("SET string:0 late");
    let outcome: Result<Report, Error> = running.await.unwrap();
    assert!(matches!(outcome, Err(Error::Late { count: 1, .. })), "{outcome:?}");
    // It begins behind that write, and does not see it.
    let report = job(&source, &target, &routing, Journal::open(&path).unwrap()).run().await.unwrap();
    assert!(report.findings.iter().any(|finding| finding.contains("too late")), "{report:?}");
    assert_eq!(source.client().run("GET string:0"), Reply::BulkString(b"late".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_one_the_source_is_emptied() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = Source::start(dir.path()).await;
    let (target, routing) = (RedisServer::start(), Arc::new(Switchboard::default()));
    let journal = Journal::create(state.path(), course()).unwrap();
    job(&source, &target, &routing, journal).run().await.unwrap();
    assert_eq!(contents(&mut source.client()).len(), 0);
    assert_same(source.contents(), &contents(&mut target.client()));
    source.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_of_which_only_the_journal_knows_is_on_the_disk_before_it_is_sent() {
    use Moment::{After, Before, Synced};
    for (board, last) in [
        (Switchboard::forgetful(), vec![Before, Synced, After]),
        // Clients wait, and after a crash of the machine this layer says who the owner is.
        (Switchboard::default(), vec![After, Before, After]),
    ] {
        let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let source = Source::start(dir.path()).await;
        let (target, routing) = (RedisServer::start(), Arc::new(board));
        let mut journal = Journal::create(state.path(), course()).unwrap();
        let (moments, at_switch) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (told, seen, kept) = (Arc::clone(&moments), Arc::clone(&moments), Arc::clone(&at_switch));
        journal.on_entry(move |moment| told.lock().unwrap().push(moment));
        routing.on(Call::Switch, move |_| kept.lock().unwrap().clone_from(&seen.lock().unwrap()));
        job(&source, &target, &routing, journal).run().await.unwrap();
        let at_switch = at_switch.lock().unwrap();
        assert!(at_switch.ends_with(&last), "{at_switch:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_from_the_target_is_neither_replaced_nor_cancelled_away() {
    let scene = Hooked::start().await;
    scene.set("owner", "target");
    let mut target = scene.target.client();
    target.run("SET string:0 live");
    let live = || Reply::BulkString(b"live".to_vec());
    scene.command().args(&["--replace"]).run().assert_failed(&["is served by the target", "nothing of it is deleted"]);
    assert_eq!(target.run("GET string:0"), live());
    let state = scene.path("state");
    let run = |words: &[&str]| CommandLine::new(words).args(&["--state-dir", &state]).run();
    let jobs = run(&["jobs", "--json"]).json();
    let job = jobs[0]["job"].as_str().unwrap();
    run(&["cancel", job]).assert_failed(&["is served by the target", "--leave-target"]);
    assert_eq!(target.run("GET string:0"), live());
    run(&["cancel", job, "--leave-target"]).assert_done();
    assert_eq!(target.run("GET string:0"), live());
    scene.source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_done_does_not_replace_itself() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let (from, to) = (source.addr().to_string(), target.addr().to_string());
    let line = ["move", "--source", &from, "--target", &to, "--slots", "0-1023", "--yes"];
    let outcome = CommandLine::new(&line).run();
    outcome.assert_done();
    // By hand nobody can be asked who serves the slots, so that the source keeps its keys.
    source.assert_untouched();
    target.client().run("SET string:0 newer");
    let again = outcome.then(&line).args(&["--replace"]).run();
    again.assert_failed(&["--replace would delete what job", &outcome.job()]);
    assert_eq!(target.client().run("GET string:0"), Reply::BulkString(b"newer".to_vec()));
}

/// A later attempt writes only once the target is done with the connections of the one before, and ends nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_attempt_has_sent_is_done_before_a_later_one_writes() {
    let server = RedisServer::start();
    let endpoint = endpoint(Side::Target, server.addr());
    let mut target = Target::connect(&endpoint, SlotCount::CODIS, HyperLogLogPolicy::Refuse).await.unwrap();
    let mut earlier = TcpStream::connect(server.addr()).await.unwrap();
    let connection = earlier.local_addr().unwrap().to_string();
    target.outlive(&["127.0.0.1:1".to_owned()]).await.unwrap();
    let waiting = tokio::spawn(async move { target.outlive(&[connection]).await });
    for number in 0..20 {
        earlier.write_all(format!("SET sent {number}\r\n").as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!waiting.is_finished());
    earlier.write_all(b"SET sent last\r\n").await.unwrap();
    drop(earlier);
    waiting.await.unwrap().unwrap();
    assert_eq!(server.client().run("GET sent"), Reply::BulkString(b"last".to_vec()));
}

fn course() -> Course {
    Course { slots: SlotSet::all(SlotCount::CODIS), directory: Path::new(".").to_owned(), ..Course::default() }
}

fn job(source: &Source, target: &RedisServer, routing: &Arc<Switchboard>, journal: Journal) -> Job {
    let mut options = JobOptions::new(SlotSet::all(SlotCount::CODIS));
    options.cutover.group = std::num::NonZeroUsize::MAX;
    options.cleanup = Cleanup::Delete;
    let ends = (endpoint(Side::Source, source.addr()), endpoint(Side::Target, target.addr()));
    Job::new(ends.0, ends.1, options, Arc::clone(routing) as _).with_journal(journal)
}
