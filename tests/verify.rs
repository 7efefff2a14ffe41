// SPDX-License-Identifier: Apache-2.0
//! The comparison of both sides finds whatever is not at the target as it should be, says how it differs, and repairs it.
//!
//! `SLOTMOVER_KEYS=1000000` has it find that among so many keys.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mover::dialect::HyperLogLogPolicy;
use mover::job::{Phase, Report, VerifyReport, verify};
use mover::sandbox::node::{Node, NodeConfig};
use mover::sink::Target;
use mover::{Control, Error, Job, JobLimits, JobOptions, Side, VerifyMode};
use replication::{SlotCount, SlotSet};
use serde_json::json;
use snapshot::Checkpoint;

use crate::harness::{
    Client, CommandLine, RedisServer, Source, Switchboard, assert_same, contents, endpoint, fixtures, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_a_redis_is_found_by_the_checkpoint_alone() {
    let dir = tempfile::tempdir().unwrap();
    let target = RedisServer::start();
    assert_found_by_the_checkpoint(dir.path(), target.addr()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_a_pika_is_found_by_the_checkpoint_alone() {
    let dir = tempfile::tempdir().unwrap();
    let target = Node::start(NodeConfig::new(dir.path().join("target"))).await.unwrap();
    assert_found_by_the_checkpoint(&dir.path().join("source"), target.addr()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_a_redis_is_named_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let target = RedisServer::start();
    assert_repaired(dir.path(), target.addr()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_a_pika_is_named_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let target = Node::start(NodeConfig::new(dir.path().join("target"))).await.unwrap();
    assert_repaired(&dir.path().join("source"), target.addr()).await;
}

/// The data of a real Pika has every oddity that is known.
#[tokio::test(flavor = "multi_thread")]
async fn no_oddity_is_taken_for_damage() {
    let dir = tempfile::tempdir().unwrap();
    let dump = fixtures().join("dump/20261122");
    let checkpoint = Arc::new(Checkpoint::open(dump.join("db0"), SlotCount::CODIS, None).unwrap());
    let redis = RedisServer::start();
    let pika = Node::start(NodeConfig::new(dir.path().join("pika"))).await.unwrap();
    let config = NodeConfig { slotmigrate: true, ..NodeConfig::new(dir.path().join("source")) };
    let source = Node::adopt(&dump, config).await.unwrap();
    for (target, is_redis) in [(redis.addr(), true), (pika.addr(), false)] {
        let report = moved(source.addr(), target).await;
        let mut found = compared(&checkpoint, target, VerifyMode::Full).await;
        // A Pika cannot be asked about these without a risk: they are left for a closer look.
        found.differences.retain(|key| is_redis || !key.contains("\\r") && !key.contains("\\n"));
        assert_eq!((&found.differences[..], found.extra), (&[][..] as &[String], 0), "{target}: {found:?}");
        assert_eq!(found.keys, report.keys);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_that_stays_stops_the_move() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    // On a busy machine who does the damage may be held up for just the moment between a repair and the look at it.
    for _ in 0..TRIES {
        match damaged_all_the_time(&source).await {
            Err(Error::Differs { count: 1, examples }) => {
                assert_eq!(examples, "`hash:7` has another field or value of one");
                return source.assert_untouched();
            }
            Ok(report) => assert_eq!(report.verify.repaired, 1, "{report:?}"),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("{TRIES} moves have switched over a difference");
}

/// What changes after the comparison is compared again while nobody lets the switch go on.
#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_a_switch_is_postponed_is_compared_again() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let postponed = Postponed::start(&source, &target).await;
    let (mut here, mut there) = (source.client(), target.client());
    // What was looked at just before it was damaged is not looked at again.
    for number in 0..TRIES {
        for command in ["SET string:2 new", "HMSET hash:2 a new", "DEL set:2"] {
            here.run(command);
        }
        here.run(&format!("SET fresh:{number} new"));
        until("it is followed", || there.number(&format!("EXISTS fresh:{number}")) == 1).await;
        for command in ["SET string:2 evil", "HDEL hash:2 b", "SADD set:2 evil"] {
            there.run(command);
        }
        let begin = Instant::now();
        let mut is_damaged = || there.number("EXISTS set:2") == 1 || there.number("HLEN hash:2") == 1;
        while is_damaged() && begin.elapsed() < LOOKED_AT {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if !is_damaged() {
            break;
        }
    }
    let report = postponed.go_on().await.unwrap();
    assert!(report.verify.repaired >= 3, "{report:?}");
    let told = report.verify.differences;
    for key in ["`string:2` has another value", "`hash:2` has 2 elements", "`set:2` is only at the target"] {
        assert!(told.iter().any(|difference| difference.starts_with(key)), "{key}: {told:?}");
    }
    assert_same(&contents(&mut here), &contents(&mut there));
    source.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_that_stays_ends_a_postponed_move() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let postponed = Postponed::start(&source, &target).await;
    let vandal = Vandal::start(&target);
    let mut here = source.client();
    // Whoever does the damage may be held up for just the moment between a repair and the look at it.
    for number in 0..TRIES {
        here.run(&format!("HMSET hash:7 a new-{number}"));
        let begin = Instant::now();
        while !postponed.running.is_finished() && begin.elapsed() < LOOKED_AT {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    vandal.end();
    assert!(postponed.running.is_finished(), "it goes on over a difference");
    match postponed.running.await.unwrap() {
        Err(Error::Differs { count: 1, examples }) => {
            assert_eq!(examples, "`hash:7` has another field or value of one");
        }
        other => panic!("{other:?}"),
    }
    source.assert_tidy();
}

/// By then what has changed was compared again, and settled.
const LOOKED_AT: Duration = Duration::from_secs(15);

/// A move that waits for its switch.
struct Postponed {
    control: Control,
    running: tokio::task::JoinHandle<Result<Report, Error>>,
}

impl Postponed {
    async fn start(source: &Source, target: &RedisServer) -> Self {
        let job = job(source.addr(), target.addr(), |_| ());
        let (control, progress) = (job.control(), job.progress());
        control.postpone_cutover(true);
        let running = tokio::spawn(job.run());
        until("it waits for its switch", || progress.status().phase == Phase::Cutover).await;
        Self { control, running }
    }

    async fn go_on(self) -> Result<Report, Error> {
        self.control.postpone_cutover(false);
        self.running.await.unwrap()
    }
}

/// Somebody who damages a key of a target again and again.
struct Vandal {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Vandal {
    fn start(target: &RedisServer) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (mut client, ended) = (target.client(), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                client.run("HMSET hash:7 a other");
            }
        });
        Self { over, thread }
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// A move to a target that somebody damages again and again.
async fn damaged_all_the_time(source: &Source) -> Result<Report, Error> {
    let target = RedisServer::start();
    let vandal = Vandal::start(&target);
    let outcome = job(source.addr(), target.addr(), |options| options.replace = true).run().await;
    vandal.end();
    outcome
}

const TRIES: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn less_is_compared_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let run = |mode: &str| {
        let target = RedisServer::start();
        let outcome = CommandLine::of_move(source.addr(), target.addr(), "0-1023")
            .args(&["--cutover-group", "1024", "--verify", mode])
            .args(&["--json"])
            .run();
        outcome.assert_done();
        assert_same(source.contents(), &contents(&mut target.client()));
        (outcome.json()["verify"].clone(), outcome.stderr)
    };
    let (verify, progress) = run("off");
    assert_eq!(verify, json!({ "mode": "off" }));
    assert!(!progress.contains("verify: "), "{progress}");
    let (verify, _) = run("sample=100");
    let keys = verify["keys"].as_u64().unwrap();
    assert!(verify["mode"] == "sample=100" && (20..250).contains(&keys), "{verify}");
    let (verify, _) = run("full");
    assert_eq!((&verify["mode"], &verify["keys"]), (&json!("full"), &json!(source.contents().len())));
}

/// What is done to a key at the target, and how that is told.
pub(crate) struct Damage {
    pub(crate) harm: &'static [&'static str],
    /// Nothing where it cannot be undone.
    cure: &'static [&'static str],
    pub(crate) told: &'static str,
}

const fn damage(harm: &'static [&'static str], cure: &'static [&'static str], told: &'static str) -> Damage {
    Damage { harm, cure, told }
}

/// Keys that are the first of the copy.
const KEYS: [&str; 10] = [
    "SET 0:value good",
    "SET 0:missing good",
    "SETEX 0:expiry 100000 good",
    "SET 0:immortal good",
    "SET 0:kind good",
    "RPUSH 0:list a b c",
    "HMSET 0:hash a 1 b 2",
    "ZADD 0:zset 1 a 2 b",
    "SADD 0:set a b",
    "XADD 0:stream 1-1 f v",
];

pub(crate) const DAMAGES: [Damage; 11] = [
    damage(&["SET 0:value evil"], &["SET 0:value good"], "`0:value` has another value"),
    damage(&["DEL 0:missing"], &["SET 0:missing good"], "`0:missing` is missing at the target"),
    damage(&["SET 0:extra evil"], &["DEL 0:extra"], "`0:extra` is only at the target"),
    damage(&["EXPIRE 0:expiry 5000"], &[], "`0:expiry` expires in 99"),
    damage(&["EXPIRE 0:immortal 5000"], &["PERSIST 0:immortal"], "`0:immortal` expires never at the source, in"),
    damage(
        &["DEL 0:kind", "SADD 0:kind good"],
        &["DEL 0:kind", "SET 0:kind good"],
        "`0:kind` is a string at the source, a set at the target",
    ),
    damage(&["LSET 0:list 0 b", "LSET 0:list 1 a"], &["LSET 0:list 0 a", "LSET 0:list 1 b"], "`0:list` has another"),
    damage(&["HMSET 0:hash b 3"], &["HMSET 0:hash b 2"], "`0:hash` has another field or value of one"),
    damage(&["ZADD 0:zset 1.5 a"], &["ZADD 0:zset 1 a"], "`0:zset` has another member or score of one"),
    damage(&["SREM 0:set b", "SADD 0:set c"], &["SREM 0:set c", "SADD 0:set b"], "`0:set` has another member"),
    damage(&["XDEL 0:stream 2-1"], &[], "`0:stream` has 3 elements at the source, 2 at the target"),
];

/// A source with the usual keys and those that are damaged.
pub(crate) async fn source(dir: &Path) -> Source {
    let source = Source::start(dir).await;
    let mut client = source.client();
    KEYS.iter().for_each(|command| drop(client.run(command)));
    client.run("XADD 0:stream 2-1 f v");
    client.run("XADD 0:stream 3-1 f v");
    source
}

/// Keys that take several questions or pieces, or are odd.
pub(crate) fn fill_more(client: &mut Client) {
    client.run("XADD big:emptied 5-1 f v");
    client.run("XDEL big:emptied 5-1");
    client.call(["SET", "big:empty", ""]).unwrap();
    client.run("PFADD big:hll a b c");
    let long = "x".repeat(3000);
    client.run(&format!("SET big:registers {}", "r".repeat(1 << 17)));
    client.run(&format!("SET big:string {}", "s".repeat(3 << 20)));
    for number in 0..700 {
        client.run(&format!("RPUSH big:list {number} {long}"));
        client.run(&format!("HSET big:hash {number} {long}"));
        client.run(&format!("ZADD big:zset {number}.25 {number}:{long}"));
        client.run(&format!("SADD big:set {number}:{long}"));
        client.run(&format!("XADD big:stream {number}-1 f {long}"));
    }
    client.run("ZADD big:zset -inf least");
}

async fn assert_found_by_the_checkpoint(dir: &Path, target: SocketAddr) {
    let source = source(dir).await;
    fill_more(&mut source.client());
    let report = moved(source.addr(), target).await;
    let checkpoint = Arc::new(Checkpoint::open(source.save(), SlotCount::CODIS, None).unwrap());
    let found = compared(&checkpoint, target, VerifyMode::Full).await;
    assert_eq!((found.keys, found.mismatches, found.extra), (report.keys, 0, 0), "{found:?}");

    let (mut client, mut standing) = (Client::connect(target), 0);
    for Damage { harm, cure, told } in &DAMAGES {
        harm.iter().for_each(|command| drop(client.run(command)));
        let found = compared(&checkpoint, target, VerifyMode::Full).await;
        match told.contains("only at the target") {
            true => assert!(found.mismatches == standing && found.extra > 0, "{told}: {found:?}"),
            false => assert_eq!(found.mismatches, standing + 1, "{told}: {found:?}"),
        }
        standing += u64::from(cure.is_empty());
        cure.iter().for_each(|command| drop(client.run(command)));
    }
    // In the middle of a key of several pieces, and behind all that is asked for.
    for harm in ["LSET big:list 1001 evil", "HSET big:hash 350 evil", "ZADD big:zset 1 more", "SADD big:set more"] {
        let before = compared(&checkpoint, target, VerifyMode::Full).await.mismatches;
        client.run(harm);
        assert!(compared(&checkpoint, target, VerifyMode::Full).await.mismatches > before, "{harm}");
    }
}

async fn assert_repaired(dir: &Path, target: SocketAddr) {
    let source = source(dir).await;
    source.client().fill(many());
    // Slow, so that the keys that come first are there long before the copy ends.
    let rate = Some("40KiB".parse().unwrap());
    let job = job(source.addr(), target, |options| options.rate = rate);
    let (control, progress) = (job.control(), job.progress());
    let running = tokio::spawn(job.run());
    let mut client = Client::connect(target);
    until("the first keys are there", || {
        KEYS.iter().all(|command| client.number(&format!("EXISTS {}", command.split(' ').nth(1).unwrap())) == 1)
            && client.number("XLEN 0:stream") == 3
            && client.number("TTL 0:expiry") > 0
    })
    .await;
    for damage in &DAMAGES {
        damage.harm.iter().for_each(|command| drop(client.run(command)));
    }
    assert_eq!(progress.status().phase, Phase::Copy, "the damage was done before the comparison");
    control.set_limits(JobLimits::default());
    let report = running.await.unwrap().unwrap();
    let VerifyReport { keys, seconds, .. } = report.verify;
    println!("{} keys copied in {:.1} s, {keys} compared in {seconds:.1} s", report.keys, report.copy_seconds);
    assert_eq!(report.verify.repaired, DAMAGES.len() as u64, "{report:?}");
    let told = &report.verify.differences;
    assert_eq!(told.len(), 10, "{told:?}");
    for difference in told {
        let is_told = DAMAGES.iter().any(|damage| difference.starts_with(damage.told));
        assert!(is_told, "{difference}");
    }
    assert_same(&contents(&mut source.client()), &contents(&mut client));
}

/// Keys around those that are damaged.
fn many() -> usize {
    match std::env::var("SLOTMOVER_KEYS") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("SLOTMOVER_KEYS is `{text}`")),
        Err(_) => 20_000,
    }
}

/// Moves everything, and compares nothing.
pub(crate) async fn moved(source: SocketAddr, target: SocketAddr) -> Report {
    let report = job(source, target, |options| options.verify = VerifyMode::Off).run().await.unwrap();
    assert_eq!(report.verify, VerifyReport { mode: VerifyMode::Off, ..VerifyReport::default() });
    report
}

pub(crate) fn job(source: SocketAddr, target: SocketAddr, change: impl FnOnce(&mut JobOptions)) -> Job {
    let mut options = JobOptions::new(SlotSet::all(SlotCount::CODIS));
    options.hyperloglog = HyperLogLogPolicy::Raw;
    options.cutover.group = std::num::NonZeroUsize::MAX;
    options.cutover.max_lock = None;
    change(&mut options);
    let (source, target) = (endpoint(Side::Source, source), endpoint(Side::Target, target));
    Job::new(source, target, options, Arc::new(Switchboard::default()))
}

/// What the checkpoint says of the target.
async fn compared(checkpoint: &Arc<Checkpoint>, target: SocketAddr, mode: VerifyMode) -> VerifyReport {
    let target = endpoint(Side::Target, target);
    let target = Target::connect(&target, SlotCount::CODIS, HyperLogLogPolicy::Raw).await.unwrap();
    let mut options = JobOptions::new(SlotSet::all(SlotCount::CODIS));
    options.verify = mode;
    verify(checkpoint, &options, &target).await.unwrap()
}
