// SPDX-License-Identifier: Apache-2.0
//! The cache answers what that of a real Pika 4.0.1 answered, stale where that was stale.

use std::path::Path;

use bytes::Bytes;
use replication::BinlogOffset;
use replication::binlog::{Content, Tail};
use serde::Deserialize;
use serde_json::Value;
use snapshot::UnixMillis;

use super::super::random::Minimal;
use super::super::reply::Reply;
use super::super::{Node, NodeConfig};
use super::client::{Client, text};

/// When the cases were recorded.
const RECORDED_AT: u64 = 1_796_011_379;

#[derive(Deserialize)]
struct Case {
    #[serde(rename = "type")]
    kind: String,
    ttl: bool,
    write: Vec<Value>,
    reply: Value,
    reads: Vec<Read>,
}

#[derive(Deserialize)]
struct Read {
    command: Vec<Value>,
    plain: Value,
    in_transaction: Value,
    stale: bool,
}

#[tokio::test]
async fn every_recorded_case_reads_as_on_the_real_server() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/cache-4.0.1/reads.jsonl");
    let lines = std::fs::read_to_string(path).unwrap();
    let cases: Vec<Case> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(cases.len(), 164);
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(NodeConfig::new(dir.path())).await.unwrap();
    let mut client = Client::of(&node).await;
    let mut wrong = Vec::new();
    let mut stale = 0;
    for (number, case) in cases.iter().enumerate() {
        let differences = replay(&node, &mut client, number, case).await;
        wrong.extend(differences.into_iter().map(|what| format!("case {number} {:?}: {what}", case.write)));
        stale += usize::from(case.reads.iter().any(|read| read.stale));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(stale, 34);
    node.stop().await.unwrap();
}

/// Plays a case and gives what is not as recorded.
async fn replay(node: &Node, client: &mut Client, number: usize, case: &Case) -> Vec<String> {
    let key = format!("{{cg}}{RECORDED_AT}:{number}");
    let second = (RECORDED_AT..).find(|&second| pops_as_recorded(case, second)).unwrap();
    node.core().clock.stop_at(UnixMillis(second * 1000));
    make(client, &key, case).await;
    for _ in 0..3 {
        for read in &case.reads {
            client.call_args(arguments(&read.command, &key)).await;
        }
    }
    let mut wrong = Vec::new();
    let mut check = |what: &str, command: &[Value], expected: &Value, reply: &Reply| {
        let found = shown(command[0].as_str().unwrap(), reply);
        let expected = normal(command[0].as_str().unwrap(), expected.clone());
        if found != expected {
            wrong.push(format!("{what} {command:?} is {found}, not {expected}"));
        }
    };
    let reply = client.call_args(arguments(&case.write, &key)).await;
    check("the answer of", &case.write, &case.reply, &reply);
    for read in &case.reads {
        let plain = client.call_args(arguments(&read.command, &key)).await;
        check("plain", &read.command, &read.plain, &plain);
        let inside = in_transaction(client, arguments(&read.command, &key)).await;
        check("in a transaction", &read.command, &read.in_transaction, &inside);
    }
    wrong
}

async fn make(client: &mut Client, key: &str, case: &Case) {
    let text = match case.kind.as_str() {
        "string" => format!("SET {key} v1"),
        "hash" => format!("HMSET {key} f1 v1 f2 v2"),
        "list" => format!("RPUSH {key} a b c d"),
        "set" => format!("SADD {key} a b c"),
        "zset" => format!("ZADD {key} 1 a 2 b 3 c"),
        other => panic!("no type: {other}"),
    };
    client.call(&text).await;
    if case.ttl {
        client.call(&format!("EXPIRE {key} 400")).await;
    }
}

async fn in_transaction(client: &mut Client, args: Vec<Bytes>) -> Reply {
    client.call("MULTI").await;
    client.call_args(args).await;
    match client.call("EXEC").await {
        Reply::Array(mut replies) => replies.pop().unwrap(),
        other => panic!("no array: {other:?}"),
    }
}

/// Whether SPOP, which chooses by the second of the clock, then takes what it took in the recording.
fn pops_as_recorded(case: &Case, second: u64) -> bool {
    if case.write[0] != "SPOP" {
        return true;
    }
    let mut engine = Minimal::seeded(second);
    let wanted = case.reply.as_array().unwrap().len();
    let mut places = std::collections::BTreeSet::new();
    while places.len() < wanted {
        places.insert(engine.next() as usize % 3);
    }
    places.into_iter().eq(0..wanted)
}

fn arguments(command: &[Value], key: &str) -> Vec<Bytes> {
    let argument = |value: &Value| match value {
        Value::String(text) if text == "K" => Bytes::from(key.to_owned()),
        Value::String(text) => Bytes::from(text.clone()),
        other => Bytes::from(other.to_string()),
    };
    command.iter().map(argument).collect()
}

/// An answer in the form of the recording.
fn shown(command: &str, reply: &Reply) -> Value {
    fn value(reply: &Reply) -> Value {
        match reply {
            Reply::Status(line) => (*line).into(),
            Reply::Error(line) => serde_json::json!({ "error": String::from_utf8_lossy(line) }),
            Reply::Integer(number) => (*number).into(),
            // The recording took bytes for characters.
            Reply::Bulk(bytes) => bytes.iter().map(|&byte| char::from(byte)).collect::<String>().into(),
            Reply::Null | Reply::NullArray => Value::Null,
            Reply::Array(items) => items.iter().map(value).collect(),
        }
    }
    match (command, reply) {
        ("PTTL", Reply::Integer(1..)) => Value::Null,
        _ => normal(command, value(reply)),
    }
}

/// Puts the elements of hashes and sets in order.
fn normal(command: &str, value: Value) -> Value {
    let width = match command {
        "HGETALL" => 2,
        "HKEYS" | "HVALS" | "SMEMBERS" => 1,
        _ => return value,
    };
    let Value::Array(items) = value else {
        return value;
    };
    let mut elements: Vec<Vec<Value>> = items.chunks(width).map(<[Value]>::to_vec).collect();
    elements.sort_by_key(|element| element[0].to_string());
    elements.concat().into()
}

async fn node() -> (tempfile::TempDir, Node) {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(NodeConfig::new(dir.path())).await.unwrap();
    (dir, node)
}

#[tokio::test]
async fn the_cache_is_switched_at_run_time_and_off_it_is_empty() {
    let (_dir, node) = node().await;
    let mut client = Client::of(&node).await;
    client.call("HSET h f v").await;
    client.call("HGETALL h").await;
    client.call("UNLINK h").await;
    assert_eq!(client.call("HGET h f").await, Reply::bulk("v"));
    assert!(text(&client.call("INFO cache").await).contains("cache_status:Ok\r\n"));
    assert!(text(&client.call("INFO all").await).contains("# Cache\r\n"));
    assert!(!text(&client.call("INFO").await).contains("# Cache\r\n"));
    let model = |value| Reply::bulks(["cache-model", value].map(Bytes::from));
    assert_eq!(client.call("CONFIG GET cache-model").await, model("1"));
    assert_eq!(client.call("CONFIG SET cache-model 0").await, Reply::OK);
    assert_eq!(client.call("CONFIG GET cache-model").await, model("0"));
    assert_eq!(client.call("HGET h f").await, Reply::Null);
    assert_eq!(text(&client.call("INFO cache").await), "# Cache\r\ncache_status:Disable\r\n");
    assert_eq!(client.call("CONFIG SET cache-model 1").await, Reply::OK);
    assert_eq!(client.call("HGET h f").await, Reply::Null);
    assert_eq!(client.call("CONFIG SET cache-model 2").await, Reply::err("Invalid cache model"));
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_hash_made_again_shows_its_old_fields_and_a_read_in_a_transaction_does_not() {
    let (_dir, node) = node().await;
    let mut client = Client::of(&node).await;
    for command in ["HSET h old 1", "HGETALL h", "UNLINK h", "HSET h new 2"] {
        client.call(command).await;
    }
    assert_eq!(client.call("HGETALL h").await, Reply::bulks(["new", "2", "old", "1"].map(Bytes::from)));
    let inside = in_transaction(&mut client, vec![Bytes::from("HGETALL"), Bytes::from("h")]).await;
    assert_eq!(inside, Reply::bulks(["new", "2"].map(Bytes::from)));
    // A transaction fills nothing: what it read and an UNLINK removed is gone for everyone.
    client.call("RPUSH l a").await;
    in_transaction(&mut client, ["LRANGE", "l", "0", "-1"].map(Bytes::from).to_vec()).await;
    client.call("UNLINK l").await;
    assert_eq!(client.call("LRANGE l 0 -1").await, Reply::Array(Vec::new()));
    node.stop().await.unwrap();
}

#[tokio::test]
async fn flushes_empty_the_cache_except_a_flushdb_in_a_transaction() {
    let (_dir, node) = node().await;
    let mut client = Client::of(&node).await;
    for (flush, is_inside, left) in [("FLUSHDB", false, 0), ("FLUSHALL", true, 0), ("FLUSHDB", true, 1)] {
        client.call("SADD s a").await;
        client.call("SMEMBERS s").await;
        match is_inside {
            true => drop(in_transaction(&mut client, vec![Bytes::from(flush)]).await),
            false => drop(client.call(flush).await),
        }
        assert_eq!(client.call("SCARD s").await, Reply::Integer(left), "{flush}");
    }
    node.stop().await.unwrap();
}

#[tokio::test]
async fn lifetimes_in_milliseconds_count_as_seconds_in_the_cache() {
    let (_dir, node) = node().await;
    let start = 1_800_000_000_000;
    node.core().clock.stop_at(UnixMillis(start));
    let mut client = Client::of(&node).await;
    for command in ["HSET h f v", "SADD s a", "SET k v", "EXPIRE h 5", "EXPIRE s 5", "EXPIRE k 5"] {
        client.call(command).await;
    }
    for read in ["HGETALL h", "SMEMBERS s", "GET k"] {
        client.call(read).await;
    }
    node.core().clock.stop_at(UnixMillis(start + 6000));
    assert_eq!(client.call("HGET h f").await, Reply::bulk("v"));
    assert_eq!(client.call("TTL h").await, Reply::Integer(4994));
    assert_eq!(client.call("SCARD s").await, Reply::Integer(0));
    assert_eq!(client.call("GET k").await, Reply::Null);
    // PEXPIRE up to a second: the store loses the key, the cache keeps it for minutes.
    client.call("SET p v EX 100").await;
    client.call("GET p").await;
    client.call("PEXPIRE p 500").await;
    node.core().clock.stop_at(UnixMillis(start + 7000));
    assert_eq!(client.call("GET p").await, Reply::bulk("v"));
    node.stop().await.unwrap();
}

#[tokio::test]
async fn mget_mixes_cached_and_stored_values() {
    let (_dir, node) = node().await;
    let mut client = Client::of(&node).await;
    for command in ["SET {t}a one EX 100", "GET {t}a", "UNLINK {t}a", "SETNX {t}a two", "SET {t}b three"] {
        client.call(command).await;
    }
    let values = Reply::bulks(["one", "three"].map(Bytes::from));
    assert_eq!(client.call("MGET {t}a {t}b").await, values);
    assert_eq!(client.call("MSETNX {t}c 1 {t}d 2").await, Reply::Integer(1));
    assert_eq!(client.call("MGET {t}a {t}b").await, values);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn pkpatternmatchdel_leaves_the_cache_and_logs_each_key() {
    let (dir, node) = node().await;
    let mut client = Client::of(&node).await;
    for command in ["SET pk:1 v EX 100", "RPUSH pk:2 v", "SET other v", "GET pk:1"] {
        client.call(command).await;
    }
    assert_eq!(client.call("PKPATTERNMATCHDEL pk:*").await, Reply::Integer(2));
    assert_eq!(client.call("PKPATTERNMATCHDEL pk:*").await, Reply::Integer(0));
    assert_eq!(client.call("GET pk:1").await, Reply::bulk("v"));
    assert_eq!(in_transaction(&mut client, vec![Bytes::from("GET"), Bytes::from("pk:1")]).await, Reply::Null);
    node.stop().await.unwrap();
    let mut tail = Tail::open(dir.path().join("log/log_db0"), BinlogOffset::default()).unwrap();
    let mut deleted = Vec::new();
    while let Some(item) = tail.next().unwrap() {
        match item.content {
            Content::Command(command) if command.name() == b"del" => deleted.push(command.args()[1].clone()),
            _ => {}
        }
    }
    deleted.sort();
    assert_eq!(deleted, ["pk:1", "pk:2"]);
}

/// Not in the recording, but tried on the same server.
#[tokio::test]
async fn repeated_changes_differ_from_those_of_the_store() {
    let (_dir, node) = node().await;
    let mut client = Client::of(&node).await;
    for (command, reply) in [
        ("SET n 10.5 EX 400", Reply::OK),
        ("GET n", Reply::bulk("10.5")),
        ("INCRBYFLOAT n 0.1", Reply::bulk("10.6")),
        ("GET n", Reply::bulk("10.60000000000000001")),
        ("HSET h n 10.5", Reply::Integer(1)),
        ("HLEN h", Reply::Integer(1)),
        ("HINCRBYFLOAT h n 0.1", Reply::bulk("10.6")),
        ("HGET h n", Reply::bulk("10.60000000000000001")),
        ("SET p v EX 400", Reply::OK),
        ("GET p", Reply::bulk("v")),
        ("PSETEX p 500 w", Reply::OK),
        ("GET p", Reply::bulk("v")),
        ("SET b v1 EX 400", Reply::OK),
        ("GET b", Reply::bulk("v1")),
        ("SETBIT b 100 0", Reply::Integer(0)),
        ("STRLEN b", Reply::Integer(13)),
        // A member at the highest cached score empties the copy.
        ("ZADD z 1 a 2 b 3 c", Reply::Integer(3)),
        ("ZRANGE z 0 -1", Reply::bulks(["a", "b", "c"].map(Bytes::from))),
        ("ZADD z 3 c", Reply::Integer(0)),
        ("UNLINK z", Reply::Integer(1)),
        ("ZSCORE z a", Reply::Null),
        ("EXISTS z", Reply::Integer(0)),
    ] {
        assert_eq!(client.call(command).await, reply, "{command}");
    }
    node.stop().await.unwrap();
}
