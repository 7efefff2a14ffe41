// SPDX-License-Identifier: Apache-2.0
//! A node that takes over the dump of a real Pika 4.0.1 and is sent what that server was sent next must answer the same,
//! log the same and hold the same.
//!
//! Its clock stands at the millisecond at which the real server was sent each command. So even the random choice of SPOP
//! is the same, and every difference is one of these:
//!
//! - a time in milliseconds is some milliseconds off, because the server's clock had moved on when it came to look;
//! - the order of members in a stored union, intersection or difference is that of a C++ hash table there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use replication::binlog::{Content, Tail};
use replication::{BinlogOffset, Command};
use serde::Deserialize;
use serde_json::Value;
use snapshot::UnixMillis;

use super::super::number;
use super::super::reply::Reply;
use super::super::{Node, NodeConfig};
use super::client::{Client, text};

#[tokio::test(flavor = "multi_thread")]
async fn answers_logs_and_keeps_what_the_real_server_did() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = NodeConfig::new(dir.path());
    config.slotmigrate = true;
    // The recorded server had none.
    config.cache = false;
    config.binlog_file_size = 64 << 10;
    let node = Node::adopt(fixtures().join("dump/20261122"), config).await.unwrap();
    let before: Expected = load("expected-at-bgsave.json");
    let sent: Vec<Sent> = load("commands.json");
    node.core().clock.stop_at(UnixMillis(sent[0].sent_at_ms));
    let mut client = Client::of(&node).await;
    assert_holds(&node, &mut client, &before, sent[0].sent_at_ms).await;

    for sent in &sent {
        node.core().clock.stop_at(UnixMillis(sent.sent_at_ms));
        let args: Vec<Bytes> = sent.args.iter().map(|arg| unbase64(arg)).collect();
        if sent.show == "RPUSH w:blocked one two" {
            serve_a_waiting_client(&node, &mut client, args).await;
            continue;
        }
        let reply = client.call_args(args).await;
        assert!(is_same_reply(&sent.reply, &reply), "{}: {reply:?} instead of {}", sent.show, sent.reply);
    }
    let after: Expected = load("expected-after.json");
    assert_holds(&node, &mut client, &after, after.taken_at_ms).await;

    let cut = sent[0].binlog_before;
    let real = commands(&fixtures().join("log/log_db0"), BinlogOffset::new(cut.0, cut.1));
    let ours = commands(&dir.path().join("log/log_db0"), BinlogOffset::new(0, 0));
    for (real, ours) in real.iter().zip(&ours) {
        assert_same_entry(real, ours);
    }
    assert_eq!(ours.len(), real.len());
    node.stop().await.unwrap();
}

#[derive(Deserialize)]
struct Sent {
    args: Vec<String>,
    show: String,
    reply: Value,
    sent_at_ms: u64,
    /// File, offset, logic id.
    binlog_before: (u32, u64, u64),
}

#[derive(Deserialize)]
struct Expected {
    taken_at_ms: u64,
    keys: Vec<Key>,
    absent: Vec<Absent>,
}

#[derive(Deserialize)]
struct Key {
    key: String,
    #[serde(rename = "type")]
    kind: String,
    pttl: i64,
    expire_at_ms_approx: Option<u64>,
    expire_at_ms_exact: Option<u64>,
    hll_count: Option<i64>,
    value: Value,
    show: String,
}

#[derive(Deserialize)]
struct Absent {
    key: String,
    type_command_still_says: Option<String>,
    show: String,
}

/// In the real run a client was waiting with BLPOP, and the second entry is its pop.
async fn serve_a_waiting_client(node: &Node, client: &mut Client, args: Vec<Bytes>) {
    let mut waiting = Client::of(node).await;
    let popped = tokio::spawn(async move { waiting.call("BLPOP w:blocked 0").await });
    while node.core().stats.clients.load(std::sync::atomic::Ordering::Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
    // Whether it is already waiting or comes only now, it gets the first element, and the log is the same.
    assert_eq!(client.call_args(args).await, Reply::Integer(2));
    assert_eq!(popped.await.unwrap(), Reply::bulks(["w:blocked", "one"].map(Bytes::from)));
}

async fn assert_holds(node: &Node, client: &mut Client, expected: &Expected, now: u64) {
    node.core().clock.stop_at(UnixMillis(now));
    for key in &expected.keys {
        let name = unbase64(&key.key);
        let read = read(client, &key.kind, &name).await;
        assert!(read == key.value, "{}: {read:.500} instead of {:.500}", key.show, key.value);
        if let Some(count) = key.hll_count {
            let args = [Bytes::from("PFCOUNT"), name.clone()];
            assert_eq!(client.call_args(args).await, Reply::Integer(count), "{}", key.show);
        }
        let pttl = client.call_args([Bytes::from("PTTL"), name.clone()]).await;
        let is_mortal = key.pttl > 0;
        match pttl {
            Reply::Integer(left) if is_mortal && left > 0 => {
                let at = now.saturating_add_signed(left);
                if let Some(exact) = key.expire_at_ms_exact {
                    assert_eq!(at, exact, "{}", key.show);
                }
                let about = key.expire_at_ms_approx.expect("one that expires");
                assert!(at.abs_diff(about) < 500, "{}: expires at {at}, not at {about}", key.show);
            }
            other => assert_eq!(other, Reply::Integer(key.pttl), "{}", key.show),
        }
        assert_eq!(client.call_args([Bytes::from("EXISTS"), name]).await, Reply::Integer(1), "{}", key.show);
    }
    for absent in &expected.absent {
        let name = unbase64(&absent.key);
        let kind = client.call_args([Bytes::from("TYPE"), name.clone()]).await;
        let Reply::Status(kind) = kind else {
            panic!("{}: {kind:?}", absent.show);
        };
        if let Some(still) = &absent.type_command_still_says {
            assert_eq!(kind, still, "{}", absent.show);
        }
        let nothing = read(client, kind, &name).await;
        assert!(nothing.is_null() || nothing == Value::Array(Vec::new()), "{}: {nothing}", absent.show);
    }
    let listed = list(client).await;
    for key in &expected.keys {
        // An emptied stream exists, but is not listed.
        let is_listed = key.value != Value::Array(Vec::new());
        assert_eq!(listed.contains_key(&unbase64(&key.key)), is_listed, "{}", key.show);
    }
    for absent in &expected.absent {
        assert!(!listed.contains_key(&unbase64(&absent.key)), "{} is listed", absent.show);
    }
}

/// All keys, by SCAN, with how often each was given.
async fn list(client: &mut Client) -> BTreeMap<Bytes, usize> {
    let mut keys = BTreeMap::new();
    let mut cursor = "0".to_owned();
    loop {
        let Reply::Array(page) = client.call(&format!("SCAN {cursor} COUNT 7")).await else {
            panic!("no page");
        };
        let (Reply::Bulk(next), Reply::Array(found)) = (&page[0], &page[1]) else {
            panic!("no page: {page:?}");
        };
        for key in found {
            let Reply::Bulk(key) = key else { panic!("no key: {key:?}") };
            *keys.entry(key.clone()).or_default() += 1;
        }
        cursor = String::from_utf8(next.to_vec()).unwrap();
        if cursor == "0" {
            break;
        }
    }
    assert!(keys.values().all(|&times| times == 1));
    keys
}

/// The value of a key in the form of the fixtures.
async fn read(client: &mut Client, kind: &str, key: &Bytes) -> Value {
    let args: &[&str] = match kind {
        "hash" => &["HGETALL"],
        "list" => &["LRANGE", "0", "-1"],
        "set" => &["SMEMBERS"],
        "zset" => &["ZSCAN", "0", "COUNT", "100000"],
        "streams" => &["XRANGE", "-", "+"],
        _ => &["GET"],
    };
    let mut command = vec![Bytes::from(args[0].to_owned()), key.clone()];
    command.extend(args[1..].iter().map(|arg| Bytes::from((*arg).to_owned())));
    let reply = client.call_args(command).await;
    let items = |reply: &Reply| match reply {
        Reply::Array(items) => items.clone(),
        other => panic!("no array: {other:?}"),
    };
    match kind {
        "hash" => sorted(pairs(&items(&reply), encoded)),
        "list" => items(&reply).iter().map(encoded).collect(),
        "set" => sorted(items(&reply).iter().map(encoded).collect()),
        "zset" => by_score(&items(&items(&reply)[1])),
        "streams" => {
            let entry = |entry: &Reply| {
                let parts = items(entry);
                Value::Array(vec![text(&parts[0]).into(), items(&parts[1]).iter().map(encoded).collect()])
            };
            items(&reply).iter().map(entry).collect()
        }
        _ => match reply {
            Reply::Null => Value::Null,
            value => encoded(&value),
        },
    }
}

fn pairs(items: &[Reply], second: impl Fn(&Reply) -> Value) -> Vec<Value> {
    items.chunks(2).map(|pair| Value::Array(vec![encoded(&pair[0]), second(&pair[1])])).collect()
}

/// In the order of the encoded texts, as the fixtures have it.
fn sorted(mut values: Vec<Value>) -> Value {
    values.sort_by_key(|value| value.as_str().or_else(|| value[0].as_str()).map(str::to_owned));
    Value::Array(values)
}

fn by_score(items: &[Reply]) -> Value {
    let mut members = pairs(items, |score| text(score).into());
    let key = |member: &Value| (number::float(member[1].as_str().unwrap().as_bytes()).unwrap(), member[0].clone());
    members.sort_by(|left, right| {
        let (left, right) = (key(left), key(right));
        left.0
            .total_cmp(&right.0)
            .then_with(|| unbase64(left.1.as_str().unwrap()).cmp(&unbase64(right.1.as_str().unwrap())))
    });
    Value::Array(members)
}

fn encoded(reply: &Reply) -> Value {
    match reply {
        Reply::Bulk(bytes) => STANDARD.encode(bytes).into(),
        other => panic!("no string: {other:?}"),
    }
}

fn unbase64(text: &str) -> Bytes {
    STANDARD.decode(text).unwrap().into()
}

/// Whether an answer is the recorded one; one of a status line looks like one of a string there.
fn is_same_reply(expected: &Value, reply: &Reply) -> bool {
    match (expected, reply) {
        (Value::Null, Reply::Null | Reply::NullArray) => true,
        (Value::Number(number), Reply::Integer(integer)) => number.as_i64() == Some(*integer),
        (Value::Array(expected), Reply::Array(items)) => {
            expected.len() == items.len() && expected.iter().zip(items).all(|(value, item)| is_same_reply(value, item))
        }
        (Value::Object(object), reply) => match reply {
            Reply::Error(line) => object.get("error").and_then(Value::as_str).map(str::as_bytes) == Some(line),
            Reply::Status(line) => object.get("b64").and_then(Value::as_str) == Some(&STANDARD.encode(line)),
            Reply::Bulk(bytes) => {
                let expected = object.get("b64").and_then(Value::as_str).map(unbase64).unwrap_or_default();
                expected == bytes || are_near_times(&expected, bytes)
            }
            _ => false,
        },
        _ => false,
    }
}

/// Whether these are times in milliseconds, or ids of streams, of about the same moment.
fn are_near_times(left: &[u8], right: &[u8]) -> bool {
    let millis = |text: &[u8]| {
        let digits = text.split(|&byte| byte == b'-').next().unwrap_or_default();
        number::integer(digits).filter(|_| digits.len() == 13)
    };
    let rest = |text: &[u8]| text.get(13..).map(<[u8]>::to_vec);
    match (millis(left), millis(right)) {
        (Some(first), Some(second)) => first.abs_diff(second) < 100 && rest(left) == rest(right),
        _ => false,
    }
}

fn assert_same_entry(real: &Command, ours: &Command) {
    let is_unordered = real.name() == b"sadd";
    let args = |command: &Command| {
        let mut args = command.args().to_vec();
        if is_unordered {
            args[2..].sort();
        }
        args
    };
    let (real_args, our_args) = (args(real), args(ours));
    let same = real_args.len() == our_args.len()
        && real_args.iter().zip(&our_args).all(|(real, ours)| real == ours || are_near_times(real, ours));
    assert!(same, "logged {our_args:?} instead of {real_args:?}");
}

fn commands(log_dir: &Path, from: BinlogOffset) -> Vec<Command> {
    let mut tail = Tail::open(log_dir, from).unwrap();
    let mut commands = Vec::new();
    while let Some(item) = tail.next().unwrap() {
        match item.content {
            Content::Command(command) => commands.push(command),
            Content::Padding => panic!("nobody sent PADDING"),
        }
    }
    commands
}

fn load<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    let path = fixtures().join(name);
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
}

pub(super) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pika-4.0.1")
}
