// SPDX-License-Identifier: Apache-2.0
//! The complaint that this project began with: one slot of 200,000 strings and 2,000 hashes with clients on it all the time.
//! Pika's own migration behind Codis holds them for seven to nine seconds, and without a proxy it loses increments.

use std::net::SocketAddr;
use std::time::Duration;

use mover::routing::{Codis as Control, CodisOptions};
use mover::sandbox::codis::{Codis, CodisConfig};
use mover::sandbox::load::{Load, LoadConfig, Tag};
use mover::sandbox::node::{Node, NodeConfig};
use mover::{Job, JobOptions, Side};
use replication::{Slot, SlotCount};

use crate::harness::{Client, Counting, endpoint};

#[tokio::test(flavor = "multi_thread")]
async fn one_busy_slot_moves_and_nobody_notices() {
    let dir = tempfile::tempdir().unwrap();
    let source = Node::start(NodeConfig::new(dir.path().join("source"))).await.unwrap();
    let target = Node::start(NodeConfig::new(dir.path().join("target"))).await.unwrap();
    let codis = Codis::start(CodisConfig::pair(source.addr(), target.addr())).await.unwrap();
    let load = LoadConfig::new(codis.proxy_addrs(), vec![Tag::of_slot(SLOT, SlotCount::CODIS)]);
    assert_nobody_notices(source.addr(), target.addr(), codis.dashboard_url(), load).await;
    assert_eq!(codis.mapping(SLOT).unwrap().group_id, 2);
}

/// Fills the slot at the source, and moves it under this load and more.
pub(crate) async fn assert_nobody_notices(source: SocketAddr, target: SocketAddr, dashboard: String, load: LoadConfig) {
    let (proxies, tag) = (load.addrs.clone(), load.tags[0].name.clone());
    fill(&mut Client::connect(source), &tag);
    let nodes = vec![source, target];
    let load = Load::start(LoadConfig { writers: 8, pace: Some(PACE), nodes, ..load }).await.unwrap();
    // As fast as each can, on keys that the move must carry while they change.
    let hot = |number: usize| Counting::start(proxies[number % 2], &format!("{{{tag}}}:hot:{number}"));
    let counting: Vec<Counting> = (0..4).map(hot).collect();
    tokio::time::sleep(Duration::from_millis(500)).await;

    let control = Control::connect(CodisOptions::new(dashboard, source.to_string(), target.to_string())).await.unwrap();
    let (from, to) = (endpoint(Side::Source, source), endpoint(Side::Target, target));
    let options = JobOptions::new([SLOT].into_iter().collect());
    let report = Job::new(from, to, options, std::sync::Arc::new(control)).run().await.unwrap();

    tokio::time::sleep(Duration::from_millis(500)).await;
    // No figure of speed, but far from what the complaint was about.
    for counting in counting {
        counting.assert_nothing_lost(target, WAIT_MAX);
    }
    let seen = load.stop().await;
    println!("{report:?}\n{seen}");
    assert!(seen.is_clean() && seen.latency.max <= WAIT_MAX, "{seen}");
    assert!(report.keys >= u64::from(STRINGS + HASHES), "{report:?}");
    assert_eq!((report.verify.mismatches, report.verify.extra, report.fence_ms.count), (0, 0, 1));
}

/// Keys of 16 bytes with values of 100 in the slot, hashes of 50 fields in the slot, and other keys.
fn fill(client: &mut Client, tag: &str) {
    let value = "v".repeat(100);
    let width = 16 - tag.len() - 2;
    for first in (0..STRINGS).step_by(500) {
        let pairs = (first..first + 500).flat_map(|number| [format!("{{{tag}}}{number:0width$}"), value.clone()]);
        client.call([String::from("MSET")].into_iter().chain(pairs)).unwrap();
    }
    for number in 0..HASHES {
        let fields = (0..50).flat_map(|field| [format!("field:{field}"), value.clone()]);
        let head = [String::from("HMSET"), format!("{{{tag}}}hash:{number}")];
        client.call(head.into_iter().chain(fields)).unwrap();
    }
    for first in (0..OTHERS).step_by(500) {
        let pairs = (first..first + 500).flat_map(|number| [format!("other:{number}"), value.clone()]);
        client.call([String::from("MSET")].into_iter().chain(pairs)).unwrap();
    }
}

pub(crate) const SLOT: Slot = Slot::new(500);
const STRINGS: u32 = 200_000;
const HASHES: u32 = 2_000;
const OTHERS: u32 = 100_000;

/// Commands per second of all clients with a model.
const PACE: u32 = 500;

const WAIT_MAX: Duration = Duration::from_secs(4);
