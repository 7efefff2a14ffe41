// SPDX-License-Identifier: Apache-2.0
//! The data of a real Pika moves while the commands that it was sent are sent again: nothing is lost, element by element.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use mover::dialect::HyperLogLogPolicy;
use mover::job::{Phase, Report};
use mover::sandbox::node::{Node, NodeConfig};
use mover::{Job, JobOptions, Side};
use redis::Value as Reply;
use replication::{SlotCount, SlotSet};

use crate::harness::{
    Client, Contents, Expected, PikaServer, RedisServer, Sent, Switchboard, Value, assert_same, contents, copy_tree,
    endpoint, fixtures, left_behind, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_at_a_redis() {
    let dir = tempfile::tempdir().unwrap();
    let source = golden_node(dir.path()).await;
    assert_arrives_at_a_redis(source.addr()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_at_another_pika() {
    let dir = tempfile::tempdir().unwrap();
    let source = golden_node(&dir.path().join("source")).await;
    let target = Node::start(NodeConfig::new(dir.path().join("target"))).await.unwrap();
    assert_arrives_at_a_pika(source.addr(), target.addr()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_of_a_real_pika_arrives_at_a_redis() {
    let Some(program) = PikaServer::program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = golden_pika(&program, dir.path()).await;
    assert_arrives_at_a_redis(source.addr()).await;
    assert_eq!(left_behind(source.dir()), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_of_a_real_pika_arrives_at_another_one() {
    let Some(program) = PikaServer::program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = golden_pika(&program, &dir.path().join("source")).await;
    let target = PikaServer::start(&program, &dir.path().join("target")).await;
    assert_arrives_at_a_pika(source.addr(), target.addr()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_at_a_real_pika() {
    let Some(program) = PikaServer::program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = golden_node(&dir.path().join("source")).await;
    let target = PikaServer::start(&program, &dir.path().join("target")).await;
    assert_arrives_at_a_pika(source.addr(), target.addr()).await;
}

async fn assert_arrives_at_a_redis(source: SocketAddr) {
    let target = RedisServer::start();
    let report = move_under_commands(source, target.addr()).await;

    let mut source_client = Client::connect(source);
    let (left, arrived) = (contents(&mut source_client), contents(&mut target.client()));
    assert_same(&left, &arrived);
    assert_expected(&arrived);
    // The server says of deleted streams, too, that they exist, and shows them as empty.
    for (name, kind) in [("x:emptied", "stream"), ("w:xnew", "stream"), ("g35:{grp}", "none")] {
        assert_eq!(target.client().run(&format!("TYPE {name}")), Reply::SimpleString(kind.to_owned()), "{name}");
    }
    assert!(target.client().run("KEYS _internal:*") == Reply::Array(Vec::new()), "what is internal stays");
    assert_eq!((report.verify.mismatches, report.verify.extra), (0, 0));
    for name in ["p:hll", "w:hll", "w:hllm"] {
        let raw = Value::String(registers(&mut source_client, name));
        assert_eq!(arrived[name.as_bytes()].value, raw, "{name}: raw bytes, as the policy says");
    }
}

async fn assert_arrives_at_a_pika(source: SocketAddr, target: SocketAddr) {
    let report = move_under_commands(source, target).await;

    let (mut one, mut other) = (Client::connect(source), Client::connect(target));
    let (left, arrived) = (contents(&mut one), contents(&mut other));
    assert_same(&left, &arrived);
    assert_expected(&arrived);
    assert_eq!((report.verify.mismatches, report.verify.extra), (0, 0));
    let counted: Vec<_> = Expected::after().keys.into_iter().filter(|key| key.hll_count.is_some()).collect();
    assert_eq!(counted.len(), 3);
    for key in counted {
        let (name, count) = (String::from_utf8(key.name()).unwrap(), key.hll_count.unwrap());
        assert_eq!(other.number(&format!("PFCOUNT {name}")), count, "{name}");
        assert_eq!(registers(&mut one, &name), registers(&mut other, &name), "{name}");
    }
}

async fn golden_node(dir: &Path) -> Node {
    let config = NodeConfig { slotmigrate: true, binlog_file_size: 64 << 10, ..NodeConfig::new(dir) };
    Node::adopt(fixtures().join("dump/20261122"), config).await.unwrap()
}

/// A real one that takes the dump for its own data.
async fn golden_pika(program: &Path, dir: &Path) -> PikaServer {
    copy_tree(&fixtures().join("dump/20261122"), &dir.join("db"));
    PikaServer::with(program, dir, &[("slotmigrate", "yes"), ("binlog-file-size", "65536")]).await
}

/// Moves all slots. Most of the commands run in the middle of the copy, those of the end behind it; all of them before
/// any slot is switched.
async fn move_under_commands(source: SocketAddr, target: SocketAddr) -> Report {
    let mut options = JobOptions::new(SlotSet::all(SlotCount::CODIS));
    options.hyperloglog = HyperLogLogPolicy::Raw;
    // Slow enough that the copy cannot end before it is paused.
    options.rate = Some("2MiB".parse().unwrap());
    // One fence for all: 1,024 of them would prove no more here.
    options.cutover.group = std::num::NonZeroUsize::MAX;
    options.cutover.max_lock = None;
    let routing = Arc::new(Switchboard::default());
    let (source_end, target_end) = (endpoint(Side::Source, source), endpoint(Side::Target, target));
    let job = Job::new(source_end, target_end, options, Arc::clone(&routing) as _);
    let (control, progress) = (job.control(), job.progress());
    let running = tokio::spawn(job.run());

    let commands = Sent::all();
    let middle = commands.iter().position(|sent| sent.show == "MULTI").unwrap();
    assert!(commands[..middle].iter().any(|sent| sent.show.contains(UNLOGGED)));
    until("the copy begins", || progress.status().phase == Phase::Copy).await;
    control.pause();
    let mut client = Client::connect(source);
    commands[..middle].iter().for_each(|sent| send(&mut client, sent));
    assert_eq!(progress.status().phase, Phase::Copy, "the commands ran during the copy");
    control.resume();
    until("the copy ends", || progress.status().phase > Phase::Copy).await;
    control.pause();
    commands[middle..].iter().for_each(|sent| send(&mut client, sent));
    assert!(progress.status().phase < Phase::Done && routing.raises() == 0, "the commands ran before the cutover");
    control.resume();

    let report = running.await.unwrap().unwrap();
    assert_eq!(routing.switched(), SlotSet::all(SlotCount::CODIS));
    assert!(report.changes > 0 && report.keys > 500, "{report:?}");
    assert_eq!(report.unknown_commands, 0);
    // The one write that no log knows of.
    assert!(report.verify.repaired >= 1, "{report:?}");
    report
}

/// Sends a command as it was sent then; it fails if it failed then.
fn send(client: &mut Client, sent: &Sent) {
    let answer = client.call(sent.args());
    assert_eq!(answer.is_err(), is_error(&sent.reply), "{}: {answer:?}", sent.show);
    // Then a client was waiting for this push with BLPOP.
    if sent.show == "RPUSH w:blocked one two" {
        client.run("LPOP w:blocked");
    }
}

/// Whether an answer is an error, or one of those that EXEC gives.
fn is_error(reply: &serde_json::Value) -> bool {
    reply.get("error").is_some() || reply.as_array().is_some_and(|replies| replies.iter().any(is_error))
}

/// What arrived is what the real server held after the same commands.
fn assert_expected(arrived: &Contents) {
    let expected = Expected::after();
    let mut names = BTreeSet::new();
    for key in &expected.keys {
        let name = key.name();
        let text = name.escape_ascii().to_string();
        let Some(value) = key.value() else {
            continue;
        };
        names.insert(name.clone());
        if OF_THE_MOMENT.contains(&&*text) {
            continue;
        }
        let found = arrived.get(&name).unwrap_or_else(|| panic!("{text} is missing"));
        assert_eq!(found.value, value, "{text}");
        let is_mortal = key.pttl > 0 && !matches!(value, Value::Stream(_));
        assert_eq!(found.expiry.is_some(), is_mortal, "{text} expires at {:?}", found.expiry);
        if let (Some(expiry), Some(exact)) = (&found.expiry, key.expire_at_ms_exact) {
            assert!(expiry.start().abs_diff(exact) <= 1000, "{text} expires at {expiry:?}, not at {exact}");
        }
    }
    for absent in &expected.absent {
        assert!(!arrived.contains_key(&absent.name()), "{} is back", absent.name().escape_ascii());
    }
    let more: Vec<_> = arrived.keys().filter(|name| !names.contains(*name)).collect();
    assert!(more.is_empty(), "nobody made {more:?}");
}

fn registers(client: &mut Client, name: &str) -> Vec<u8> {
    match client.run(&format!("GET {name}")) {
        Reply::BulkString(bytes) => bytes,
        other => panic!("{name}: {other:?}"),
    }
}

/// A command that the server does not log.
const UNLOGGED: &str = "GEORADIUS g:cities 15 37 200 km STORE";

/// Keys that depend on the second in which they were written: SPOP chooses by the clock, and so does XADD of `*`. They
/// are compared with the source only.
const OF_THE_MOMENT: [&str; 7] = ["w:S", "w:sunion", "w:sinter", "w:sdiff", "w:sbig", "S:bin", "x:main"];
