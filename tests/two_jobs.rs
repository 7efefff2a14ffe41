// SPDX-License-Identifier: Apache-2.0
//! Several jobs at one source: it keeps its log as long as one of them needs it, and is as before once all are over.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use mover::{Job, JobOptions, Phase, Side};

use crate::harness::{Agent, CommandLine, RedisServer, Source, Switchboard, assert_same, contents, endpoint, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_two_in_one_process_restores_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    // One of them keeps all of its own elsewhere.
    let jobs = [("0-511", None), ("512-1023", Some(dir.path().join("elsewhere")))];
    let jobs = jobs.map(|(slots, work_dir)| job(&source, &target, slots, work_dir));
    let progress = jobs.each_ref().map(Job::progress);
    let controls = jobs.each_ref().map(Job::control);
    controls.iter().for_each(|control| control.postpone_cutover(true));
    // Both take their checkpoints at the same time.
    let [first, second] = jobs.map(|job| tokio::spawn(job.run()));
    until("both are ready", || progress.iter().all(|progress| progress.status().phase == Phase::Cutover)).await;
    assert_eq!(kept(&source), RAISED);
    controls[0].postpone_cutover(false);
    first.await.unwrap().unwrap();
    assert_eq!(kept(&source), RAISED, "the other one needs it still");
    // Somebody who does not know of that, and means it for later.
    source.client().run("CONFIG SET expire-logs-nums 12");
    until("it is raised again", || kept(&source) == "1000000012").await;
    controls[1].postpone_cutover(false);
    second.await.unwrap().unwrap();
    assert_eq!(kept(&source), "12");
    source.client().run("CONFIG SET expire-logs-nums 10");
    assert_same(source.contents(), &contents(&mut target.client()));
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_begin_and_end_at_once_leave_nothing_to_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let jobs = ["0-300", "301-700", "701-1023"].map(|slots| job(&source, &target, slots, None));
    for running in jobs.map(|job| tokio::spawn(job.run())) {
        running.await.unwrap().unwrap();
    }
    assert_same(source.contents(), &contents(&mut target.client()));
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_killed_keeps_the_log_when_another_ends() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(&dir.path().join("source")).await;
    let target = RedisServer::start();
    let state = dir.path().join("state").into_os_string().into_string().unwrap();
    let line = format!(
        "move --source {} --target {} --slots 0-511 --yes --cleanup keep --rate 8KiB --state-dir {state}",
        source.addr(),
        target.addr()
    );
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let mut agent = Agent::start(&words, dir.path().join("stderr"));
    let mut client = target.client();
    until("the copy begins", || client.number("DBSIZE") > 0).await;
    agent.kill();
    // It knows nothing of that one's state directory.
    CommandLine::of_move(source.addr(), target.addr(), "512-1023").run().assert_done();
    assert_eq!(kept(&source), RAISED);
    let run = |words: &[&str]| CommandLine::new(words).args(&["--state-dir", &state]).run();
    let jobs = run(&["jobs", "--json"]).json();
    run(&["cancel", jobs[0]["job"].as_str().unwrap()]).assert_done();
    source.assert_untouched();
}

/// As after one that was killed over its BGSAVE, and whose directories and journal somebody has removed.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_forgotten_one_has_set_is_undone_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let mut client = source.client();
    client.run("CONFIG SET expire-logs-nums 1000000033");
    client.run("CONFIG SET dump-prefix slotmover-1795747970-0af3-+mine-");
    CommandLine::of_move(source.addr(), target.addr(), "1").run().assert_done();
    assert_eq!((kept(&source), client.setting("dump-prefix")), ("33".to_owned(), "mine-".to_owned()));
}

fn job(source: &Source, target: &RedisServer, slots: &str, work_dir: Option<PathBuf>) -> Job {
    let mut options = JobOptions { work_dir, ..JobOptions::new(slots.parse().unwrap()) };
    options.cutover.group = NonZeroUsize::MAX;
    let ends = (endpoint(Side::Source, source.addr()), endpoint(Side::Target, target.addr()));
    Job::new(ends.0, ends.1, options, Arc::new(Switchboard::default()))
}

/// How many files of its log the source keeps.
fn kept(source: &Source) -> String {
    source.client().setting("expire-logs-nums")
}

/// While a job needs all of them: what was there before can be read in it.
const RAISED: &str = "1000000010";
