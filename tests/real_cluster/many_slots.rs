// SPDX-License-Identifier: Apache-2.0
//! Slots that move one by one while clients of both proxies write all types of keys in them.

use std::net::SocketAddr;
use std::time::Duration;

use mover::sandbox::load::{Load, LoadConfig, Tag};
use replication::{Slot, SlotSet};

use crate::harness::{Counting, RealCluster};

#[tokio::test(flavor = "multi_thread")]
async fn busy_slots_move_and_nobody_notices() {
    let Some(cluster) = RealCluster::start().await else { return };
    let slots = (0..12).map(|number| Slot::new(number * 85)).collect();
    let load = LoadConfig { hyperloglogs: true, pace: Some(1500), ..cluster.load(&slots) };
    assert_nobody_notices(&cluster, slots, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_slots_move_one_by_one() {
    let Some(cluster) = RealCluster::start().await else { return };
    let slots = (100..300).map(Slot::new).collect();
    let load = LoadConfig { keys_per_tag: 3, big_elements: 0, pace: Some(400), ..cluster.load(&slots) };
    assert_nobody_notices(&cluster, slots, load).await;
}

/// Moves these slots under this load.
async fn assert_nobody_notices(cluster: &RealCluster, slots: SlotSet, load: LoadConfig) {
    let proxies = cluster.codis.proxy_addrs();
    let count = |(proxy, tag): (&SocketAddr, &Tag)| Counting::start(*proxy, &format!("{{{}}}:counted", tag.name));
    let counting: Vec<Counting> = proxies.iter().zip(&load.tags).map(count).collect();
    let load = Load::start(load).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;

    let report = cluster.job(slots.clone()).await.run().await.unwrap();

    tokio::time::sleep(Duration::from_millis(300)).await;
    for counting in counting {
        counting.assert_nothing_lost(cluster.target.addr(), WAIT_MAX);
    }
    let seen = load.stop().await;
    println!("{report:?}\n{seen}");
    assert!(seen.is_clean() && seen.latency.max <= WAIT_MAX, "{seen}");
    assert_eq!((report.verify.mismatches, report.verify.extra), (0, 0));
    assert_eq!(report.fence_ms.count, slots.len());
    assert_eq!(cluster.switched(), slots);
    cluster.codis.assert_no_fence();
}

/// A lock's cap and two seconds.
const WAIT_MAX: Duration = Duration::from_millis(2200);
