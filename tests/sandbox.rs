// SPDX-License-Identifier: Apache-2.0
//! The sandbox is honest before anything is moved in it.

use std::time::Duration;

use mover::routing::Standing;
use mover::sandbox::load::{CommandSet, Load, LoadConfig, Tag};
use mover::sandbox::node::{Node, NodeConfig};
use mover::sandbox::proxy::{Proxy, ProxyConfig};
use replication::binlog::Manifest;
use replication::{Slot, SlotCount, SlotSet};

use crate::harness::{Client, Source, assert_same, contents, restart};

#[tokio::test(flavor = "multi_thread")]
async fn a_load_on_a_node_alone_sees_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(NodeConfig::new(dir.path())).await.unwrap();
    let tags = Tag::of_slots([1, 5, 300].map(Slot::new), SlotCount::CODIS);
    let config = LoadConfig {
        hyperloglogs: true,
        nodes: vec![node.addr()],
        commands: CommandSet::Pika,
        ..LoadConfig::new(node.addr(), tags)
    };
    let report = Load::run_for(config, Duration::from_secs(3)).await.unwrap();
    assert!(report.is_clean(), "{report}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_killed_has_its_data_and_goes_on_with_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let (before, log) = (source.contents().clone(), source.log_dir());
    let end = Manifest::read(&log).unwrap();
    drop(source);

    let node = restart(dir.path()).await;
    let mut client = Client::connect(node.addr());
    assert_same(&before, &contents(&mut client));
    assert_eq!(Manifest::read(&log).unwrap(), end, "nothing was logged twice or lost");
    client.run("SET after restart");
    let grown = Manifest::read(&log).unwrap();
    assert_eq!(grown.logic_id, end.logic_id + 1);
    assert!(grown.end > end.end);
    let mut tail = replication::binlog::Tail::open(&log, end.end).unwrap();
    assert!(tail.next().unwrap().is_some() && tail.next().unwrap().is_none());
    node.stop().await.unwrap();
}

/// Slots change hands under load with a fence, but empty: what a move does beyond that is its own affair.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_through_the_proxy_sees_no_fence() {
    let dir = tempfile::tempdir().unwrap();
    let source = Node::start(NodeConfig::new(dir.path().join("source"))).await.unwrap();
    let target = Node::start(NodeConfig::new(dir.path().join("target"))).await.unwrap();
    let proxy = Proxy::start(ProxyConfig::new(source.addr(), target.addr())).await.unwrap();
    let (used, unused) = ([Slot::new(1), Slot::new(5)], SlotSet::from_iter([Slot::new(700)]));
    let nodes = vec![source.addr(), target.addr()];
    let config = LoadConfig { nodes, ..LoadConfig::new(proxy.addr(), Tag::of_slots(used, SlotCount::CODIS)) };
    let load = Load::start(config).await.unwrap();
    let (control, held) = (proxy.control(), SlotSet::from_iter(used));
    for _ in 0..10 {
        control.raise(&held).await.unwrap();
        assert_eq!(control.holds(&held).await.unwrap(), Standing::Holds);
        tokio::time::sleep(Duration::from_millis(20)).await;
        control.lower(&held).await.unwrap();
        control.raise(&unused).await.unwrap();
        control.switch(&unused).await.unwrap();
    }
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    let stats = proxy.stats();
    assert!(stats.waits > 0 && stats.to_source > 0, "{stats:?}");
    assert_eq!(stats.to_target, 0, "the load is in slots that stayed");
    proxy.stop().await;
    source.stop().await.unwrap();
    target.stop().await.unwrap();
}
