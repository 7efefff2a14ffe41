// SPDX-License-Identifier: Apache-2.0
//! `slotmover verify`: what both sides hold is compared without a move, while they are in use, and nothing is changed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mover::job::Phase;
use mover::sandbox::node::{Node, NodeConfig};
use mover::{Error, JobOptions, Side, Verification};
use replication::binlog::Manifest;
use replication::{SlotCount, SlotSet};

use crate::harness::{
    Agent, Client, CommandLine, RedisServer, Source, assert_same, contents, endpoint, free_addr, left_behind, until,
};
use crate::verify::{DAMAGES, fill_more, job, moved, source};

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_a_redis_is_reported_and_left() {
    let dir = tempfile::tempdir().unwrap();
    let target = RedisServer::start();
    assert_reported(dir.path(), target.addr()).await;
    // Not even the expiry of a key was set anew.
    let info = |client: &mut Client| client.run("INFO persistence");
    let before = changes(&format!("{:?}", info(&mut target.client())));
    let source = Source::start(&dir.path().join("other")).await;
    verify(source.addr(), target.addr()).args(&["--recheck-for", "0s"]).run();
    assert_eq!(changes(&format!("{:?}", info(&mut target.client()))), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_a_pika_is_reported_and_left() {
    let dir = tempfile::tempdir().unwrap();
    let target = Node::start(NodeConfig::new(dir.path().join("target"))).await.unwrap();
    let log = dir.path().join("target/log/log_db0");
    assert_reported(&dir.path().join("source"), target.addr()).await;
    let before = Manifest::read(&log).unwrap().end;
    let source = Source::start(&dir.path().join("other")).await;
    verify(source.addr(), target.addr()).args(&["--recheck-for", "0s"]).run();
    assert_eq!(Manifest::read(&log).unwrap().end, before, "it has written");
}

/// A follower that brings what is written to the target is no reason to call keys different, and none to miss damage.
#[tokio::test(flavor = "multi_thread")]
async fn a_postponed_move_under_load_is_equal() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let job = job(source.addr(), target.addr(), |_| ());
    let (control, progress) = (job.control(), job.progress());
    control.postpone_cutover(true);
    let running = tokio::spawn(job.run());
    until("it waits for its switch", || progress.status().phase == Phase::Cutover).await;
    let load = Writers::start(source.addr(), |number| {
        let key = number % 60;
        vec![
            format!("SET string:{key} {number}"),
            format!("HMSET hash:{key} a {number}"),
            format!("RPUSH list:{key} {number}"),
            format!("SET new:{} {number}", number % 500),
            format!("DEL new:{}", (number + 250) % 500),
        ]
    });
    let prefix = source.client().setting("dump-prefix");
    let during = || verify(source.addr(), target.addr()).args(&["--json", "--show", "100000"]);
    let outcome = during().run();
    outcome.assert_done();
    let report = outcome.json();
    assert_eq!((&report["equal"], &report["differences"]), (&true.into(), &serde_json::json!([])), "{report}");
    assert_eq!(source.client().setting("dump-prefix"), prefix, "it is as before");
    target.client().run("HSET hash:61 a evil");
    target.client().run("DEL zset:7");
    let outcome = during().args(&["--recheck-for", "3s"]).run();
    let report = outcome.json();
    assert_eq!((outcome.code, names(&report)), (1, set(["hash:61", "zset:7"])), "{report}");
    load.stop();
    control.cancel();
    assert!(matches!(running.await.unwrap(), Err(Error::Cancelled)));
    source.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_on_both_sides_is_not_called_different() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    moved(source.addr(), target.addr()).await;
    // Never the same, but of both sides somebody takes care.
    let here = Writers::start(source.addr(), |number| vec![format!("SET string:1 source-{number}")]);
    let there = Writers::start(target.addr(), |number| {
        vec![format!("SET string:1 target-{number}"), format!("SET string:2 target-{number}")]
    });
    let outcome = verify(source.addr(), target.addr()).args(&["--json", "--recheck-for", "1s"]).run();
    here.stop();
    there.stop();
    let report = outcome.json();
    assert_eq!(
        (&report["changing"], &report["changing_keys"]),
        (&1.into(), &serde_json::json!(["string:1"])),
        "{report}"
    );
    // Of this one only the target's clients do: the source never has what they write.
    assert_eq!((outcome.code, names(&report)), (1, set(["string:2"])), "{report}");
    source.client().run("DEL string:2");
    target.client().run("DEL string:2");
    target.client().run("SET string:1 the_same");
    source.client().run("SET string:1 the_same");
    let outcome = verify(source.addr(), target.addr()).run();
    outcome.assert_done();
    assert!(outcome.stdout.ends_with("\nEQUAL: source and target hold the same\n"), "{}", outcome.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn less_is_compared_where_that_is_asked_for_alone() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    moved(source.addr(), target.addr()).await;
    let report = verify(source.addr(), target.addr()).args(&["--json", "--mode", "sample=100"]).run().json();
    let keys = report["keys"].as_u64().unwrap();
    assert!(report["mode"] == "sample=100" && (20..250).contains(&keys), "{report}");
    // Only the slots that are named.
    let slot = SlotCount::CODIS.slot_of(b"string:1");
    target.client().run("SET string:1 evil");
    let of = |slots: &str| compare(source.addr(), target.addr(), slots).args(&["--recheck-for", "0s"]).run();
    assert_eq!(of(&slot.to_string()).code, 1);
    let others: SlotSet = SlotSet::all(SlotCount::CODIS).iter().filter(|other| *other != slot).collect();
    of(&others.to_string()).assert_done();
    // A limit holds, and is told.
    let limited = verify(source.addr(), target.addr()).args(&["--rate", "50KB", "--recheck-for", "0s"]).run();
    assert!(limited.stdout.contains("\nheld back"), "{}", limited.stdout);
    source.assert_untouched();
}

/// With as many differences as this a few must be enough to know them by, and the rest is counted.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_target_lacks_every_key() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let outcome = verify(source.addr(), target.addr()).args(&["--recheck-for", "100ms", "--show", "3"]).run();
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let keys = source.contents().len();
    let parts = [
        format!("\nkeys compared      {keys}, "),
        format!("\nkeys that differ   {keys}: 0 mismatches, {keys} missing at the target, 0 extra there\n"),
        "\ndiffers            `hash:0` (slot ".to_owned(),
        ") is missing at the target\n".to_owned(),
        format!("\n                   and {} more\n", keys - 3),
        "\nDIFFERENT: source and target do not hold the same\n".to_owned(),
    ];
    for part in parts {
        assert!(outcome.stdout.contains(&part), "no `{part}` in {}", outcome.stdout);
    }
    assert_eq!(outcome.stdout.matches("\ndiffers ").count(), 3, "{}", outcome.stdout);
    assert_eq!(target.client().number("DBSIZE"), 0);
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_by_a_comparison_that_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    moved(source.addr(), target.addr()).await;
    for name in ["INT", "TERM"] {
        let words = words(source.addr(), target.addr());
        let slow = words.into_iter().chain(["--rate", "10KB"].map(str::to_owned)).collect::<Vec<_>>();
        let mut agent = Agent::start(&slow, dir.path().join("stderr"));
        until("it compares", || agent.errors().contains("\nverify: ")).await;
        assert_ne!(left_behind(dir.path()), Vec::<std::path::PathBuf>::new(), "its checkpoint is there");
        agent.signal(name);
        assert_eq!(agent.end().await, Some(3), "{}", agent.errors());
        assert!(agent.errors().contains("stopping at the next safe point"), "{}", agent.errors());
        source.assert_untouched();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_by_a_comparison_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let mut target = RedisServer::start();
    moved(source.addr(), target.addr()).await;
    let prefix = source.client().setting("dump-prefix");
    let running = verify(source.addr(), target.addr()).args(&["--rate", "10KB"]).start();
    until("it takes its checkpoint", || !left_behind(dir.path()).is_empty()).await;
    until("it has its checkpoint", || source.client().setting("dump-prefix") == prefix).await;
    target.kill();
    let outcome = running.join().unwrap();
    outcome.assert_failed(&["the target", &target.addr().to_string()]);
    assert!(outcome.stdout.is_empty(), "{outcome:?}");
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_fit_is_refused_as_by_a_move() {
    let dir = tempfile::tempdir().unwrap();
    let config = NodeConfig { password: Some("s1".to_owned()), ..NodeConfig::new(dir.path().join("node")) };
    let source = Source::with(config).await;
    let target = RedisServer::with(&["--requirepass", "t2"]);
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &free_addr().port().to_string()]);
    let nowhere = free_addr();
    let with = |to: SocketAddr, slots: &str| compare(source.addr(), to, slots).env("SLOTMOVER_SOURCE_PASSWORD", "s1");
    let (from, to) = (source.addr().to_string(), target.addr().to_string());
    with(nowhere, "1").run().assert_failed(&["no connection to the target", &nowhere.to_string()]);
    with(target.addr(), "1").run().assert_failed(&["the target", &to, "check the password"]);
    verify(source.addr(), target.addr()).run().assert_failed(&["the source", &from, "check the password"]);
    with(replica.addr(), "1").run().assert_failed(&["the target", "its role is slave, not master"]);
    with(source.addr(), "1").run().assert_failed(&["the target", &from, "it is the source"]);
    let with = |slots: &str| with(target.addr(), slots).env("SLOTMOVER_TARGET_PASSWORD", "t2");
    with("1024").run().assert_failed(&["the source", &from, "it has 1024 slots"]);
    with("1").args(&["--slot-count", "512"]).run().assert_failed(&["the source", &from, "it has 1024 slots, not 512"]);
    with("1").args(&["--database", "7"]).run().assert_failed(&["the source", &from, "DB index"]);
    verify(target.addr(), source.addr()).env("SLOTMOVER_SOURCE_PASSWORD", "t2").run().assert_failed(&["it is no Pika"]);
    let password = dir.path().join("password");
    std::fs::write(&password, "s1\n").unwrap();
    let by_file = compare(source.addr(), target.addr(), "0-1023")
        .args(&["--source-password-file", password.to_str().unwrap(), "--recheck-for", "0s"])
        .env("SLOTMOVER_TARGET_PASSWORD", "t2");
    let outcome = by_file.run();
    assert!(outcome.stdout.ends_with("\nDIFFERENT: source and target do not hold the same\n"), "{outcome:?}");
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedder_compares_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    moved(source.addr(), target.addr()).await;
    let verification = || {
        let (source, target) = (endpoint(Side::Source, source.addr()), endpoint(Side::Target, target.addr()));
        let options = JobOptions::new(SlotSet::all(SlotCount::CODIS));
        Verification::new(source, target, options).recheck_for(Duration::from_millis(100))
    };
    let report = tokio::spawn(verification().run()).await.unwrap().unwrap();
    assert!(report.is_equal() && report.keys == source.contents().len() as u64, "{report:?}");
    target.client().run("DEL set:3");
    let report = verification().naming(0).run().await.unwrap();
    assert!(!report.is_equal() && report.missing == 1 && report.differences.is_empty(), "{report:?}");
    let stopped = verification();
    stopped.control().stop();
    assert!(matches!(stopped.run().await, Err(Error::Stopped)));
    source.assert_untouched();
}

/// A comparison of everything.
fn verify(source: SocketAddr, target: SocketAddr) -> CommandLine {
    compare(source, target, "0-1023")
}

fn compare(source: SocketAddr, target: SocketAddr, slots: &str) -> CommandLine {
    let (source, target) = (source.to_string(), target.to_string());
    CommandLine::new(&["verify", "--source", &source, "--target", &target, "--slots", slots])
}

fn words(source: SocketAddr, target: SocketAddr) -> Vec<String> {
    let (source, target) = (source.to_string(), target.to_string());
    ["verify", "--source", &source, "--target", &target, "--slots", "0-1023"].map(str::to_owned).to_vec()
}

/// The keys that a report names.
fn names(report: &serde_json::Value) -> BTreeSet<String> {
    let differences = report["differences"].as_array().unwrap();
    differences.iter().map(|difference| difference["key"].as_str().unwrap().to_owned()).collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// What a Redis counts as changed, of an answer of INFO.
fn changes(info: &str) -> String {
    let (_, rest) = info.split_once("rdb_changes_since_last_save:").unwrap();
    rest.split(|end: char| !end.is_ascii_digit()).next().unwrap().to_owned()
}

/// Writes all the time, until it is told to stop.
struct Writers {
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Writers {
    fn start(addr: SocketAddr, commands: impl Fn(u64) -> Vec<String> + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (mut client, ended) = (Client::connect(addr), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            for number in 0.. {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                commands(number).iter().for_each(|command| drop(client.run(command)));
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { over, thread }
    }

    fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

async fn assert_reported(dir: &Path, target: SocketAddr) {
    let source = source(dir).await;
    fill_more(&mut source.client());
    moved(source.addr(), target).await;
    let (mut client, log) = (Client::connect(target), source.log_dir());
    let run = |more: &[&str]| {
        let (before, position) = (contents(&mut Client::connect(target)), Manifest::read(&log).unwrap().end);
        let command = verify(source.addr(), target).args(&["--hyperloglog", "raw", "--recheck-for", "200ms"]);
        let outcome = command.args(more).run();
        assert_same(&before, &contents(&mut Client::connect(target)));
        assert_eq!(Manifest::read(&log).unwrap().end, position, "it has written at the source");
        source.assert_tidy();
        outcome
    };
    let equal = run(&[]);
    equal.assert_done();
    // A stream without entries is compared too, and the harness does not see it.
    let keys = contents(&mut source.client()).len() + 1;
    let all = format!("slots compared     1024\nkeys compared      {keys}, ");
    assert!(equal.stdout.starts_with(&all), "{keys}: {}", equal.stdout);
    assert!(equal.stdout.ends_with("\nEQUAL: source and target hold the same\n"), "{}", equal.stdout);
    assert!(equal.stderr.starts_with("plan: "), "{}", equal.stderr);
    for damage in &DAMAGES {
        damage.harm.iter().for_each(|command| drop(client.run(command)));
    }
    let outcome = run(&["--json"]);
    assert_eq!((outcome.code, outcome.stdout.lines().count()), (1, 1), "{outcome:?}");
    let report = outcome.json();
    let told: BTreeSet<String> = report["differences"].as_array().unwrap().iter().map(in_words).collect();
    assert_eq!(told.len(), DAMAGES.len(), "{report}");
    for damage in &DAMAGES {
        assert!(told.iter().any(|told| told.starts_with(damage.told)), "{}: {report}", damage.told);
    }
    let counts = ["mismatches", "missing", "extra", "changing"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(counts, [9, 1, 1, 0], "{report}");
    assert_eq!((&report["equal"], &report["complete"], &report["slots"]), (&false.into(), &true.into(), &1024.into()));
    let shown = run(&["--show", "4"]);
    assert_eq!(shown.stdout.matches("\ndiffers ").count(), 4, "{}", shown.stdout);
    assert!(shown.stdout.contains("and 7 more"), "{}", shown.stdout);
}

fn in_words(difference: &serde_json::Value) -> String {
    format!("`{}` {}", difference["key"].as_str().unwrap(), difference["how"].as_str().unwrap())
}
