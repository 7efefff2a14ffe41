// SPDX-License-Identifier: Apache-2.0
//! Slots that move one by one while clients of both proxies write all types of keys in them.

use std::time::Duration;

use mover::sandbox::load::{Load, LoadConfig, Tag};
use replication::{Slot, SlotCount, SlotSet};

use crate::harness::{Counting, RealCluster};

#[tokio::test(flavor = "multi_thread")]
async fn busy_slots_move_and_nobody_notices() {
    let Some(cluster) = RealCluster::start().await else { return };
    let hyperloglogs = LoadConfig { hyperloglogs: true, pace: Some(1500), ..LoadConfig::new(vec![], Vec::new()) };
    assert_nobody_notices(&cluster, (0..12).map(|number| number * 85).collect(), hyperloglogs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_slots_move_one_by_one() {
    let Some(cluster) = RealCluster::start().await else { return };
    let quiet = LoadConfig { keys_per_tag: 3, big_elements: 0, pace: Some(400), ..LoadConfig::new(vec![], Vec::new()) };
    assert_nobody_notices(&cluster, (100..300).collect(), quiet).await;
}

/// Moves these slots under this load through both proxies.
async fn assert_nobody_notices(cluster: &RealCluster, slots: Vec<u16>, load: LoadConfig) {
    let slots: Vec<Slot> = slots.into_iter().map(Slot::new).collect();
    let proxies = cluster.codis.proxy_addrs();
    let tags = Tag::of_slots(slots.clone(), SlotCount::CODIS);
    let counting: Vec<Counting> = proxies
        .iter()
        .zip(&tags)
        .map(|(proxy, tag)| Counting::start(*proxy, &format!("{{{}}}:counted-at-{proxy}", tag.name)))
        .collect();
    let load = Load::start(LoadConfig { addrs: proxies.to_vec(), tags, ..load }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;

    let slots: SlotSet = slots.into_iter().collect();
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
