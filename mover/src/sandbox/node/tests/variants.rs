// SPDX-License-Identifier: Apache-2.0
//! What differs by configuration or build: renamed commands, inexact dumps, a log that runs ahead; and raw names in errors.

use std::time::Duration;

use bytes::Bytes;
use replication::binlog::{Content, Tail};
use replication::{BinlogOffset, Command};
use snapshot::Info;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::reply::Reply;
use super::super::{Error, Node, NodeConfig};
use super::client::Client;
use super::files::{logged, push_for_ever, save_now};

#[tokio::test]
async fn a_wrong_type_is_told_with_the_raw_name_of_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(NodeConfig::new(dir.path())).await.unwrap();
    let key = Bytes::from_static(b"a\r\n+OK\r\n\xff");
    let mut client = Client::of(&node).await;
    client.call_args([Bytes::from("SET"), key.clone(), Bytes::from("v")]).await;
    let status = |types: &str| [b"Invalid argument: WRONGTYPE, key: ", &key[..], types.as_bytes()].concat();
    let hash = status(", expect type: hash, get type: string");
    let cases: [(&[&str], Vec<u8>); 6] = [
        (&["HGETALL", "K"], hash.clone()),
        (&["HSCAN", "K", "0"], hash),
        (&["SSCAN", "K", "0"], status(", expect type: set, get type: string")),
        (&["ZPOPMIN", "K"], status(", expected type: zset, got type: string")),
        (&["XLEN", "K"], status(", expected type: streams, got type: string")),
        (&["PFCOUNT", "K"], status(",expect type: hyperloglog get type: string")),
    ];
    for (command, status) in cases {
        let expected = [b"-ERR ", &status[..], b"\r\n"].concat();
        assert_eq!(raw(&node, command, &key, expected.len()).await, expected, "{command:?}");
    }
    // These reads of strings give it as well, but only where the cache was asked before.
    client.call_args([Bytes::from("DEL"), key.clone()]).await;
    client.call_args([Bytes::from("SADD"), key.clone(), Bytes::from("m")]).await;
    for (command, types) in [
        (&["STRLEN", "K"][..], ", expect type: string get type: set"),
        (&["GETRANGE", "K", "0", "-1"], ", expect type: string, get type: set"),
    ] {
        let expected = [b"-ERR ", &status(types)[..], b"\r\n"].concat();
        assert_eq!(raw(&node, command, &key, expected.len()).await, expected);
    }
    client.call("CONFIG SET cache-model 0").await;
    let short = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    assert_eq!(raw(&node, &["STRLEN", "K"], &key, short.len()).await, short);
    node.stop().await.unwrap();
}

/// The first bytes of an answer as they are; `K` stands for the key.
async fn raw(node: &Node, command: &[&str], key: &Bytes, length: usize) -> Vec<u8> {
    let mut output = bytes::BytesMut::new();
    let args = command.iter().map(|arg| if *arg == "K" { key.clone() } else { Bytes::from((*arg).to_owned()) });
    Command::new(args).encode(&mut output);
    let mut stream = TcpStream::connect(node.addr()).await.unwrap();
    stream.write_all(&output).await.unwrap();
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_renamed_command_is_logged_as_the_client_sent_it() {
    let dir = tempfile::tempdir().unwrap();
    let rename = [("FLUSHDB", "360flushdb"), ("SET", "put")];
    let rename = rename.map(|(old, new)| (old.to_owned(), new.to_owned())).to_vec();
    let node = Node::start(NodeConfig { rename, ..NodeConfig::new(dir.path()) }).await.unwrap();
    let mut client = Client::of(&node).await;
    assert_eq!(client.call("SET k v").await, Reply::err("unknown command \"set\""));
    assert_eq!(client.call("Put k v").await, Reply::OK);
    assert_eq!(client.call("FLUSHDB").await, Reply::err("unknown command \"flushdb\""));
    assert_eq!(client.call("360FlushDB").await, Reply::OK);
    assert_eq!(client.call("GET k").await, Reply::Null);
    node.stop().await.unwrap();
    let logged: Vec<Command> =
        logged(dir.path(), BinlogOffset::default()).into_iter().map(|(_, entry)| entry).collect();
    assert_eq!(logged, [Command::new(["Put", "k", "v"]), Command::new(["360FlushDB"])]);

    let rename = vec![("nosuch".to_owned(), "other".to_owned())];
    let refused = Node::start(NodeConfig { rename, ..NodeConfig::new(dir.path()) }).await;
    assert!(matches!(refused, Err(Error::NoCommand { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inexact_dump_holds_later_writes_than_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(NodeConfig { inexact_dumps: true, ..NodeConfig::new(dir.path()) }).await.unwrap();
    let mut client = Client::of(&node).await;
    let pushing = tokio::spawn(push_for_ever(Client::of(&node).await));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let dump = save_now(&mut client, dir.path()).await;
    pushing.abort();
    node.stop().await.unwrap();

    let info = Info::read(&dump).unwrap();
    let entries = logged(dir.path(), BinlogOffset::default());
    let before = entries.iter().filter(|(end, _)| *end <= info.offset).count();
    let copy = tempfile::tempdir().unwrap();
    let adopted = Node::adopt(&dump, NodeConfig::new(copy.path())).await.unwrap();
    let mut client = Client::of(&adopted).await;
    let mut found = 0;
    for list in 0..10 {
        let Reply::Integer(length) = client.call(&format!("LLEN list{list}")).await else { panic!("no length") };
        found += usize::try_from(length).unwrap();
    }
    assert!(before > 0 && found > before && found <= entries.len(), "{found} of {} entries, {before}", entries.len());
    adopted.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_ahead_shows_entries_whose_changes_are_still_to_come() {
    let dir = tempfile::tempdir().unwrap();
    let config = NodeConfig { strong_replication: true, cache: false, ..NodeConfig::new(dir.path()) };
    let node = Node::start(config).await.unwrap();
    let (mut writer, mut client) = (Client::of(&node).await, Client::of(&node).await);
    let writing = tokio::spawn(async move {
        for number in 0..200 {
            assert_eq!(writer.call(&format!("RPUSH list {number}")).await, Reply::Integer(number + 1));
        }
    });
    let mut tail = Tail::open(dir.path().join("log/log_db0"), BinlogOffset::default()).unwrap();
    let (mut seen, mut missing) = (0, 0);
    while seen < 200 {
        let Some(item) = tail.next().unwrap() else {
            tokio::task::yield_now().await;
            continue;
        };
        assert_eq!(item.term, 1);
        assert!(matches!(item.content, Content::Command(_)));
        seen += 1;
        missing += usize::from(client.call("LLEN list").await != Reply::Integer(seen));
    }
    writing.await.unwrap();
    assert!(missing > 0, "every entry was seen after its change");
    assert_eq!(client.call("LLEN list").await, Reply::Integer(200));

    // Commands that log something else than they were sent, and several changes at once, log and do the same as ever.
    for (command, reply) in [
        ("SADD s a b c", Reply::Integer(3)),
        ("SUNIONSTORE t s", Reply::Integer(3)),
        ("SMOVE s t a", Reply::Integer(1)),
        ("RPOPLPUSH list list", Reply::bulk("199")),
        ("INCR n", Reply::Integer(1)),
        ("DEL n none", Reply::Integer(1)),
        ("SETNX t x", Reply::Integer(0)),
        ("LPUSH s x", Reply::Error("WRONGTYPE Operation against a key holding the wrong kind of value".into())),
        ("BLPOP none list 1", Reply::bulks(["list", "199"].map(Bytes::from))),
        ("FLUSHALL", Reply::OK),
        ("EXISTS list", Reply::Integer(0)),
    ] {
        assert_eq!(client.call(command).await, reply, "{command}");
    }
    let dump = save_now(&mut client, dir.path()).await;
    node.stop().await.unwrap();
    let info = std::fs::read_to_string(dump.join("info")).unwrap();
    assert_eq!(info.lines().skip(5).collect::<Vec<_>>(), ["1", "213"]);
    assert!(Info::read(&dump).is_err(), "a dump of such a node is refused");
    let rest: Vec<String> =
        logged(dir.path(), BinlogOffset::default())[200..].iter().map(|(_, entry)| line(entry)).collect();
    let expected = [
        "SADD s a b c",
        "del t",
        "sadd t a b c",
        "srem s a",
        "sadd t a",
        "RPOP list",
        "LPUSH list 199",
        "pksetexat n 0 1",
        "DEL n",
        "DEL none",
        "setnx t x",
        "lpop list",
        "flushdb",
    ];
    assert_eq!(rest, expected);
}

fn line(command: &Command) -> String {
    command.args().iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect::<Vec<_>>().join(" ")
}
