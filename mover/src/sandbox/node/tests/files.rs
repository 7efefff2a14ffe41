// SPDX-License-Identifier: Apache-2.0
//! What a node leaves on the disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use replication::binlog::{Content, Tail, files};
use replication::{BinlogOffset, Command};
use snapshot::Info;

use super::super::reply::Reply;
use super::super::{Error, Node, NodeConfig};
use super::client::{Client, text};

#[tokio::test]
async fn goes_on_where_it_was_stopped_or_killed() {
    let dir = tempfile::tempdir().unwrap();
    for (round, stops) in [(1, true), (2, false), (3, true)] {
        let node = Node::start(NodeConfig::new(dir.path())).await.unwrap();
        let mut client = Client::of(&node).await;
        assert_eq!(client.call("INCR rounds").await, Reply::Integer(round));
        assert_eq!(client.call("RPUSH list x").await, Reply::Integer(round));
        if stops {
            node.stop().await.unwrap();
        } else {
            node.kill().await;
        }
    }
    let logged = logged(dir.path(), BinlogOffset::default());
    assert_eq!(logged.len(), 6);
    assert_eq!(logged[5].1, Command::new(["RPUSH", "list", "x"]));
}

/// Four writers push without pause through several saves: each dump must hold exactly what was logged before its cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_an_exact_cut_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = NodeConfig::new(dir.path());
    config.binlog_file_size = 256 << 10;
    config.expire_logs_nums = 1000;
    let node = Node::start(config.clone()).await.unwrap();
    let mut dumps = Vec::new();
    {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            tasks.spawn(push_for_ever(Client::of(&node).await));
        }
        let mut client = Client::of(&node).await;
        for save in 0..3 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            client.call(&format!("CONFIG SET dump-prefix save{save}-")).await;
            dumps.push(save_now(&mut client, dir.path()).await);
        }
        tasks.shutdown().await;
    }
    node.stop().await.unwrap();

    let mut lengths = Vec::new();
    for dump in dumps {
        let info = Info::read(&dump).unwrap();
        let pushed = logged(dir.path(), BinlogOffset::default());
        let before = pushed.iter().filter(|(end, _)| *end <= info.offset).count();
        let copy = tempfile::tempdir().unwrap();
        let adopted = Node::adopt(&dump, NodeConfig::new(copy.path())).await.unwrap();
        let mut client = Client::of(&adopted).await;
        let mut found = 0;
        for list in 0..10 {
            let Reply::Integer(length) = client.call(&format!("LLEN list{list}")).await else { panic!("no length") };
            found += usize::try_from(length).unwrap();
        }
        assert_eq!(found, before);
        lengths.push(found);
        let again = Node::adopt(&dump, NodeConfig::new(copy.path())).await;
        assert!(matches!(again, Err(Error::Occupied { .. })));
        adopted.stop().await.unwrap();
    }
    assert!(lengths[0] > 0 && lengths.is_sorted() && lengths[0] < lengths[2], "{lengths:?}");
}

#[tokio::test]
async fn a_second_dump_of_the_day_replaces_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(NodeConfig::new(dir.path())).await.unwrap();
    let mut client = Client::of(&node).await;
    let first = save_now(&mut client, dir.path()).await;
    let cut = Info::read(&first).unwrap().offset;
    client.call("SET k v").await;
    let second = save_now(&mut client, dir.path()).await;
    assert_eq!(first, second);
    assert!(Info::read(&second).unwrap().offset > cut);
    let Reply::Integer(saved_at) = client.call("LASTSAVE").await else { panic!("no time") };
    assert!(saved_at > 0);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn old_files_of_the_log_go_but_the_ten_newest_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = NodeConfig::new(dir.path());
    config.binlog_file_size = 1024;
    config.expire_logs_nums = 1000;
    let node = Node::start(config).await.unwrap();
    let mut client = Client::of(&node).await;
    let value = "v".repeat(2000);
    for number in 0..30 {
        client.call(&format!("SET k{number} {value}")).await;
    }
    let log = dir.path().join("log/log_db0");
    assert_eq!(node.purge_log().unwrap(), 0);
    client.call("CONFIG SET expire-logs-nums 12").await;
    node.purge_log().unwrap();
    assert_eq!(files(&log).unwrap().len(), 12);
    client.call("CONFIG SET expire-logs-nums 5").await;
    node.purge_log().unwrap();
    assert_eq!(files(&log).unwrap(), (20..30).collect::<Vec<_>>());
    node.stop().await.unwrap();
}

/// Has the database saved and gives the folder.
pub(super) async fn save_now(client: &mut Client, dir: &Path) -> PathBuf {
    assert_eq!(client.call("BGSAVE").await, Reply::Status("Background saving started"));
    while text(&client.call("INFO stats").await).contains("is_bgsaving:Yes") {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let Reply::Array(prefix) = client.call("CONFIG GET dump-prefix").await else { panic!("no setting") };
    let prefix = text(&prefix[1]);
    let is_wanted = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&prefix);
    let days = std::fs::read_dir(dir.join("dump")).unwrap().map(|entry| entry.unwrap().path());
    days.filter(is_wanted).max().unwrap().join("db0")
}

pub(super) async fn push_for_ever(mut client: Client) {
    let mut number = 0u64;
    loop {
        number += 1;
        client.call(&format!("RPUSH list{} element-{number}", number % 10)).await;
    }
}

/// The log's commands with the positions behind them.
pub(super) fn logged(dir: &Path, from: BinlogOffset) -> Vec<(BinlogOffset, Command)> {
    let mut tail = Tail::open(dir.join("log/log_db0"), from).unwrap();
    let mut commands = Vec::new();
    while let Some(item) = tail.next().unwrap() {
        let Content::Command(command) = item.content else { panic!("nobody sent PADDING") };
        commands.push((tail.position(), command));
    }
    commands
}
