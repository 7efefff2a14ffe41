// SPDX-License-Identifier: Apache-2.0
//! The sandbox is honest before anything is moved in it.

use std::time::Duration;

use mover::sandbox::load::{Load, LoadConfig, Tag};
use mover::sandbox::node::{Node, NodeConfig};
use replication::{Slot, SlotCount};

#[tokio::test(flavor = "multi_thread")]
async fn a_load_on_a_node_alone_sees_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(NodeConfig::new(dir.path())).await.unwrap();
    let tags = Tag::of_slots([1, 5, 300].map(Slot::new), SlotCount::CODIS);
    let config = LoadConfig { hyperloglogs: true, ..LoadConfig::new(node.addr(), tags) };
    let report = Load::run_for(config, Duration::from_secs(3)).await.unwrap();
    assert!(report.is_clean(), "{report}");
    node.stop().await.unwrap();
}
