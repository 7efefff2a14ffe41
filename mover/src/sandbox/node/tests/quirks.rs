// SPDX-License-Identifier: Apache-2.0
//! The server's faults that the golden data does not show.

use bytes::Bytes;
use replication::binlog::{Content, Tail};
use replication::{BinlogOffset, Command};

use super::super::reply::Reply;
use super::super::{Node, NodeConfig};
use super::client::Client;

/// An answer in short.
fn shown(reply: &Reply) -> String {
    match reply {
        Reply::Status(line) => format!("+{line}"),
        Reply::Error(line) => format!("-{}", String::from_utf8_lossy(line)),
        Reply::Integer(number) => number.to_string(),
        Reply::Bulk(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        Reply::Null => "nil".to_owned(),
        Reply::NullArray => "nil array".to_owned(),
        Reply::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
    }
}

/// Runs a script of `command => answer` lines on a new node, past the cache and its own faults, and gives what it logged.
async fn run(script: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(NodeConfig { cache: false, ..NodeConfig::new(dir.path()) }).await.unwrap();
    let mut client = Client::of(&node).await;
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (command, expected) = line.split_once(" => ").unwrap_or((line, ""));
        let reply = client.call(command).await;
        assert!(!expected.is_empty() || !reply.is_error(), "{command}: {reply:?}");
        if !expected.is_empty() {
            assert_eq!(shown(&reply), expected, "{command}");
        }
    }
    node.stop().await.unwrap();
    let mut tail = Tail::open(dir.path().join("log/log_db0"), BinlogOffset::default()).unwrap();
    let mut logged = Vec::new();
    while let Some(item) = tail.next().unwrap() {
        let Content::Command(command) = item.content else { panic!("nobody sent PADDING") };
        logged.push(line(&command));
    }
    logged
}

fn line(command: &Command) -> String {
    command.args().iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn keys_that_are_gone_have_types_and_odd_expiries() {
    run(r#"
        TTL never => 0
        PTTL never => 0
        TYPE never => +none
        HSET h f v
        TTL h => -1
        DEL h => 1
        DEL h => 0
        TYPE h => +hash
        TTL h => -2
        EXISTS h => 0
        SET s v
        EXPIREAT s 1 => 1
        TYPE s => +string
        PTTL s => -2
        GET s => nil
        SET p v
        PEXPIREAT p 4000000000000 => 1
        GET p => nil
        XADD x 1-1 f v => "1-1"
        TTL x => 0
        EXPIRE x 100 => 0
        DEL x => 1
        EXISTS x => 1
        TYPE x => +streams
        XLEN x => 0
        SCAN 0 => ["0" []]
        XADD x 1-1 f again => "1-1"
        SET live v EX 0 => -WRONGTYPE Operation against a key holding the wrong kind of value
        SETEX live -1 v => -WRONGTYPE Operation against a key holding the wrong kind of value
        PKSETEXAT live 0 v => +OK
        GET live => "v"
        PKSETEXAT live 1900000000 v => +OK
        GET live => nil
    "#)
    .await;
}

#[tokio::test]
async fn a_write_of_another_type_replaces_a_stream_and_set_replaces_all() {
    run(r#"
        XADD x 1-1 f v
        HSET x f v => 1
        TYPE x => +hash
        XADD x * f v => -ERR Corruption: error from XADD, get stream meta failed: Invalid argument: WRONGTYPE, key: x, expected type: streams, got type: hash
        SET x v => +OK
        HGET x f => -WRONGTYPE Operation against a key holding the wrong kind of value
        HGETALL x => -ERR Invalid argument: WRONGTYPE, key: x, expect type: hash, get type: string
        ZSCAN x 0 => -ERR Invalid argument: WRONGTYPE, key: x, expected type: zset, got type: string
        XLEN x => -ERR Invalid argument: WRONGTYPE, key: x, expected type: streams, got type: string
        MGET x missing => ["v" nil]
        XADD y 1-1 f v
        SETNX y v => 1
        GET y => "v"
    "#)
    .await;
}

#[tokio::test]
async fn ranks_begin_at_the_lowest_finite_score() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    // Two keys of the same instance, so that the rows of one follow those of the other.
    let slots = replication::SlotCount::CODIS;
    let beside = |first: &str, second: &str| {
        slots.slot_of(first.as_bytes()).instance(3) == slots.slot_of(second.as_bytes()).instance(3)
    };
    let (first, second) = names
        .iter()
        .flat_map(|first| names.iter().map(move |second| (first, second)))
        .find(|(first, second)| first < second && beside(first, second))
        .unwrap();
    let script = r#"
        ZADD FIRST -inf low 1 mid inf top => 3
        ZADD SECOND 5 x 6 y => 2
        ZRANGE FIRST 0 -1 => ["mid" "top" "x"]
        ZRANK FIRST low => nil
        ZREVRANGE FIRST 0 -1 => ["mid" "low"]
        ZRANGEBYSCORE FIRST -inf +inf => ["mid"]
        ZCOUNT FIRST inf +inf => []
        ZSCORE FIRST low => "-inf"
        ZCARD FIRST => 3
        ZSCAN FIRST 0 => ["0" ["low" "-inf" "mid" "1" "top" "inf"]]
    "#;
    run(&script.replace("FIRST", first).replace("SECOND", second)).await;
}

#[tokio::test]
async fn the_log_tells_what_never_happened() {
    let logged = run(r#"
        SET s v
        SADD set a
        SUNIONSTORE set s => -WRONGTYPE Operation against a key holding the wrong kind of value
        SCARD set => 1
        ZADD z 1 m
        ZUNIONSTORE z 2 z s => -WRONGTYPE Operation against a key holding the wrong kind of value
        BITOP AND s z => -WRONGTYPE Operation against a key holding the wrong kind of value
        PFADD hll a
        PFMERGE hll s => -ERR Invalid argument: WRONGTYPE, key: s,expect type: hyperloglog get type: string
        GEOADD g 13 38 here
        GEORADIUS g 13 38 1 km STORE near => 1
        ZCARD near => 1
        SUNION set => ["a"]
        FLUSHALL
        CONFIG SET write-binlog no
        SET unseen v
        CONFIG SET write-binlog yes
        SADD _internal:slotkey:4migrate:5 kx
        SETRANGE nothing -1 x => -WRONGTYPE Operation against a key holding the wrong kind of value
        flushdb
    "#)
    .await;
    let expected = [
        "SET s v",
        "SADD set a",
        "del set",
        "ZADD z 1 m",
        "del z",
        "zadd z 1 m",
        "set s ",
        "PFADD hll a",
        "set hll ",
        "GEOADD g 13 38 here",
        "SUNION set",
        "flushdb",
        "flushdb",
    ];
    assert_eq!(logged, expected);
}

#[tokio::test]
async fn names_with_a_nul_inside_are_kept_whole() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(NodeConfig::new(dir.path())).await.unwrap();
    let mut client = Client::of(&node).await;
    let name = Bytes::from_static(b"a\0b");
    client.call_args([Bytes::from("RPUSH"), name.clone(), Bytes::from("v")]).await;
    assert_eq!(client.call("KEYS *").await, Reply::bulks([name]));
    node.stop().await.unwrap();
}

#[tokio::test]
async fn lists_keep_their_order_when_elements_move() {
    run(r#"
        RPUSH l a b c d e f g => 7
        LINSERT l BEFORE b x => 8
        LINSERT l AFTER f y => 9
        LRANGE l 0 -1 => ["a" "x" "b" "c" "d" "e" "f" "y" "g"]
        LREM l 1 x => 1
        LREM l -1 y => 1
        LRANGE l 0 -1 => ["a" "b" "c" "d" "e" "f" "g"]
        RPUSH l a c => 9
        LREM l 0 a => 2
        LREM l -1 c => 1
        LRANGE l 0 -1 => ["b" "c" "d" "e" "f" "g"]
        LTRIM l 1 -2 => +OK
        LRANGE l -100 100 => ["c" "d" "e" "f"]
        LSET l -1 z => +OK
        LINDEX l 3 => "z"
        LINDEX l 4 => nil
        RPOPLPUSH l l => "z"
        LPUSH l 0 => 5
        LRANGE l 0 -1 => ["0" "z" "c" "d" "e"]
        LPOP l 9 => ["0" "z" "c" "d" "e"]
        LPOP l => nil
        TYPE l => +list
        LPUSHX l a => 0
        RPUSH one x
        RPOPLPUSH one one => "x"
        LRANGE one 0 -1 => ["x"]
    "#)
    .await;
}
