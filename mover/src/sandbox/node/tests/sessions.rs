// SPDX-License-Identifier: Apache-2.0
//! Connections: pipelines, passwords, transactions, waiting, and clients that break the protocol.

use std::time::Instant;

use bytes::BytesMut;
use replication::Command;

use super::super::reply::Reply;
use super::super::{Node, NodeConfig};
use super::client::{Client, text};

async fn node() -> (tempfile::TempDir, Node) {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(NodeConfig::new(dir.path())).await.unwrap();
    (dir, node)
}

fn error(reply: &Reply) -> &str {
    match reply {
        Reply::Error(line) => std::str::from_utf8(line).unwrap(),
        other => panic!("no error: {other:?}"),
    }
}

#[tokio::test]
async fn a_pipeline_is_answered_in_order_however_it_is_cut() {
    let (_dir, node) = node().await;
    let mut client = Client::of(&node).await;
    let mut pipeline = BytesMut::new();
    for number in 0..1000 {
        Command::new(["SET".to_owned(), format!("k{number}"), "v".repeat(number)]).encode(&mut pipeline);
        Command::new(["STRLEN".to_owned(), format!("k{number}")]).encode(&mut pipeline);
    }
    for part in pipeline.chunks(9973) {
        client.send(part).await;
        tokio::task::yield_now().await;
    }
    for number in 0..1000 {
        assert_eq!(client.receive().await, Some(Reply::Status("OK")));
        assert_eq!(client.receive().await, Some(Reply::Integer(number)));
    }
    node.stop().await.unwrap();
}

#[tokio::test]
async fn who_breaks_the_protocol_is_told_and_closed() {
    let (_dir, node) = node().await;
    for garbage in ["GET k\r\n", "*1\r\n+OK\r\n", "*99999999999\r\n", "*1048577\r\n$3"] {
        let mut client = Client::of(&node).await;
        client.send(garbage.as_bytes()).await;
        assert!(error(&client.receive().await.unwrap()).starts_with("ERR Protocol error"), "{garbage}");
        assert_eq!(client.receive().await, None);
    }
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_password_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = NodeConfig::new(dir.path());
    config.password = Some("secret".to_owned());
    let node = Node::start(config).await.unwrap();
    let mut client = Client::of(&node).await;
    for command in ["PING", "GET k", "INFO", "MULTI"] {
        assert_eq!(error(&client.call(command).await), "ERR NOAUTH Authentication required.");
    }
    let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
    assert_eq!(error(&client.call("AUTH default other").await), wrong);
    assert_eq!(client.call("AUTH secret").await, Reply::Status("OK"));
    assert_eq!(text(&client.call("ACL WHOAMI").await), "default");
    // The user `limit` has no password, and any other text is taken for it.
    assert_eq!(client.call("AUTH other").await, Reply::Status("OK"));
    assert_eq!(text(&client.call("ACL WHOAMI").await), "limit");
    let mut other = Client::of(&node).await;
    assert!(matches!(other.call("HELLO 2 AUTH default secret").await, Reply::Array(_)));
    assert_eq!(other.call("CONFIG SET requirepass new").await, Reply::Status("OK"));
    assert_eq!(other.call("PING").await, Reply::Status("PONG"));
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_transaction_ends_when_a_watched_key_is_written() {
    let (_dir, node) = node().await;
    let (mut client, mut other) = (Client::of(&node).await, Client::of(&node).await);
    for (writes, expected) in [(true, Reply::Null), (false, Reply::Array(vec![Reply::Status("OK")]))] {
        client.call("WATCH k").await;
        client.call("MULTI").await;
        assert_eq!(client.call("SET k mine").await, Reply::Status("QUEUED"));
        if writes {
            other.call("SET k theirs").await;
        }
        assert_eq!(client.call("EXEC").await, expected);
    }
    assert_eq!(error(&client.call("EXEC").await), "ERR EXEC without MULTI");
    assert_eq!(error(&client.call("DISCARD").await), "ERR DISCARD without MULTI");
    client.call("MULTI").await;
    assert_eq!(error(&client.call("MULTI").await), "ERR MULTI calls can not be nested");
    client.call("SET k v").await;
    client.call("FLUSHDB").await;
    assert_eq!(client.call("EXEC").await, Reply::Array(vec![Reply::Status("OK"), Reply::Status("OK")]));
    assert_eq!(client.call("GET k").await, Reply::Null);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_pop_waits_for_an_element_or_its_time() {
    let (_dir, node) = node().await;
    let (mut waiting, mut client) = (Client::of(&node).await, Client::of(&node).await);
    let started = Instant::now();
    assert_eq!(waiting.call("BRPOP none 1").await, Reply::NullArray);
    assert!(started.elapsed().as_millis() >= 1000);
    let popped = tokio::spawn(async move { waiting.call("BLPOP a b 0").await });
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    client.call("RPUSH b one two").await;
    assert_eq!(popped.await.unwrap(), Reply::bulks(["b", "one"].map(bytes::Bytes::from)));
    assert_eq!(client.call("LLEN b").await, Reply::Integer(1));
    // Who goes while waiting takes nothing.
    let mut gone = Client::of(&node).await;
    gone.call("PING").await;
    gone.send(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nc\r\n$1\r\n0\r\n").await;
    drop(gone);
    while node.core().stats.clients.load(std::sync::atomic::Ordering::Relaxed) > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    client.call("RPUSH c x").await;
    assert_eq!(client.call("LLEN c").await, Reply::Integer(1));
    node.stop().await.unwrap();
}

#[tokio::test]
async fn tells_about_itself_like_the_server() {
    let (dir, node) = node().await;
    let mut client = Client::of(&node).await;
    let info = text(&client.call("INFO").await);
    for line in ["pika_version:4.0.0\r\n", "is_bgsaving:No\r\n", "role:master\r\n", "connected_slaves:0\r\n"] {
        assert!(info.contains(line), "{line}");
    }
    let offset = |info: &str| info.contains("db0:binlog_offset=0 0,safety_purge=none\r\n");
    assert!(offset(&text(&client.call("INFO replication").await)));
    client.call("SET k v").await;
    assert!(!offset(&text(&client.call("INFO replication").await)));
    let path = Reply::text(format!("{}/", dir.path().join("dump").display()));
    assert_eq!(client.call("CONFIG GET dump-path").await, Reply::Array(vec![Reply::text("dump-path"), path]));
    assert_eq!(client.call("CONFIG GET db-instance-num").await, Reply::Array(Vec::new()));
    let Reply::Array(all) = client.call("CONFIG GET expire-logs-*").await else { panic!("no array") };
    assert_eq!(all.len(), 4);
    assert_eq!(client.call("CONFIG SET expire-logs-nums 5").await, Reply::Status("OK"));
    let refused = "ERR Invalid argument '0' for CONFIG SET 'expire-logs-nums'";
    assert_eq!(error(&client.call("CONFIG SET expire-logs-nums 0").await), refused);
    client.call("INFO keyspace 1").await;
    while text(&client.call("INFO keyspace 0").await).contains("In Processing") {
        tokio::task::yield_now().await;
    }
    let counted = text(&client.call("INFO keyspace").await);
    assert!(counted.contains("db0 Strings_keys=1, expires=0, invalid_keys=0\r\n"), "{counted}");
    assert_eq!(error(&client.call("NoSuch x").await), "ERR unknown command \"nosuch\"");
    assert_eq!(error(&client.call("SREM k").await), "ERR wrong number of arguments for 'smembers' command");
    assert_eq!(client.call("SLOTSHASHKEY foo {tag}x").await, Reply::Array([289, 899].map(Reply::Integer).to_vec()));
    assert_eq!(error(&client.call("DBSIZE").await), "ERR Get dbsize error");
    node.stop().await.unwrap();
}

/// A measure: `cargo test --release -p mover --lib simple_commands_a_second -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measure, not a test"]
async fn simple_commands_a_second() {
    let (_dir, node) = node().await;
    let mut client = Client::of(&node).await;
    for verb in ["SET", "INCR", "HMSET"] {
        eprintln!("{verb}: {:.0} commands a second", rate(&node, verb).await);
    }
    for (cache_model, cache) in [("1", "filling the cache"), ("1", "from the cache"), ("0", "past the cache")] {
        client.call(&format!("CONFIG SET cache-model {cache_model}")).await;
        for verb in ["GET", "GETRANGE", "HGETALL"] {
            eprintln!("{verb} {cache}: {:.0} commands a second", rate(&node, verb).await);
        }
    }
    node.stop().await.unwrap();
}

async fn rate(node: &Node, verb: &'static str) -> f64 {
    let started = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..4 {
        clients.spawn(send_batches(Client::of(node).await, verb, client));
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    200_000.0 / started.elapsed().as_secs_f64()
}

async fn send_batches(mut connection: Client, verb: &str, client: usize) {
    let (kind, rest): (_, &[&str]) = match verb {
        "SET" => ("s", &["value"]),
        "GETRANGE" => ("s", &["0", "-1"]),
        "HMSET" => ("h", &["a", "1", "b", "2", "c", "3", "d", "4", "e", "5"]),
        "HGETALL" => ("h", &[]),
        "INCR" => ("n", &[]),
        _ => ("s", &[]),
    };
    for round in 0..500 {
        let mut pipeline = BytesMut::new();
        for number in 0..100 {
            let key = format!("{kind}:{client}:{}", (round * 100 + number) % 10_000);
            let args = [verb, &key].into_iter().chain(rest.iter().copied());
            Command::new(args.map(str::to_owned)).encode(&mut pipeline);
        }
        connection.send(&pipeline).await;
        for _ in 0..100 {
            assert!(!connection.receive().await.unwrap().is_error());
        }
    }
}
