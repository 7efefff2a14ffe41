// SPDX-License-Identifier: Apache-2.0
//! Slots that move and come back while clients of both proxies write all types of keys in them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mover::job::{Cleanup, ReverseWindow, Undo};
use mover::sandbox::load::{Load, LoadConfig, Tag};
use mover::{Job, JobOptions, Phase, Side};
use replication::{Slot, SlotCount, SlotSet};

use crate::harness::{Client, Counting, Far, RealCluster, Receiving, contents, endpoint, left_behind, until};

#[tokio::test(flavor = "multi_thread")]
async fn busy_slots_come_back_and_nobody_notices() {
    let Some(cluster) = RealCluster::start().await else { return };
    let target = cluster.target.addr();
    assert_nobody_notices(&cluster, target, |_| ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_slots_come_back_from_another_machine() {
    let Some(cluster) = RealCluster::start().await else { return };
    let (target, dir) = (cluster.target.addr(), cluster.target.dir());
    // Another node's files are where the target says that its own are.
    let far = Far::before(target, dir, cluster.source.dir()).await;
    let receiving = Receiving::start(target, |_| ()).await;
    assert_nobody_notices(&cluster, far.addr(), |options| options.receiver = Some(receiving.options())).await;
}

/// Moves slots to the target at this address and back.
async fn assert_nobody_notices(cluster: &RealCluster, target: SocketAddr, change: impl FnOnce(&mut JobOptions)) {
    let slots: SlotSet = (0..12).map(|number| Slot::new(number * 85)).collect();
    let load = LoadConfig { hyperloglogs: true, pace: Some(1500), ..cluster.load(&slots) };
    let proxies = cluster.codis.proxy_addrs();
    let count = |(proxy, tag): (&SocketAddr, &Tag)| Counting::start(*proxy, &format!("{{{}}}:counted", tag.name));
    let counting: Vec<Counting> = proxies.iter().zip(&load.tags).map(count).collect();
    let settings = settings(cluster);
    let load = Load::start(load).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;

    let mut options = JobOptions::new(slots.clone());
    options.cleanup = Cleanup::Delete;
    change(&mut options);
    let ends = (endpoint(Side::Source, cluster.source.addr()), endpoint(Side::Target, target));
    let window = ReverseWindow { length: HOUR, routing: Arc::new(cluster.control_back().await) };
    let job = Job::new(ends.0, ends.1, options, Arc::new(cluster.control().await)).with_reverse_window(window);
    let (control, progress) = (job.control(), job.progress());
    let running = tokio::spawn(job.run());
    until("the window is open", || {
        assert!(!running.is_finished(), "it ended: {:?}", progress.status());
        let status = progress.status();
        status.phase == Phase::Watch && matches!(status.undo, Some(Undo::Possible { .. }))
    })
    .await;
    assert_eq!(cluster.switched(), slots);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    control.roll_back();
    let report = running.await.unwrap().unwrap();

    tokio::time::sleep(Duration::from_millis(300)).await;
    for counting in counting {
        counting.assert_nothing_lost(cluster.source.addr(), WAIT_MAX);
    }
    let seen = load.stop().await;
    println!("{report:?}\n{seen}");
    assert!(seen.is_clean() && seen.latency.max <= WAIT_MAX, "{seen}");
    let rollback = report.rollback.expect("it was rolled back");
    assert_eq!((rollback.verify.mismatches, rollback.verify.extra), (0, 0), "{rollback:?}");
    assert_eq!(rollback.fence_ms.count, slots.len());
    assert!(cluster.switched().is_empty());
    cluster.codis.assert_no_fence();
    let left = contents(&mut cluster.target.client());
    let of_slots = left.keys().filter(|key| slots.contains(SlotCount::CODIS.slot_of(key))).count();
    assert_eq!(of_slots, 0, "keys are left at the target");
    for node in [&cluster.source, &cluster.target] {
        assert_eq!(left_behind(node.dir()), Vec::<std::path::PathBuf>::new());
    }
    assert_eq!(self::settings(cluster), settings);
}

/// What a move changes at both nodes for its time.
fn settings(cluster: &RealCluster) -> Vec<String> {
    let nodes = [&cluster.source, &cluster.target].into_iter();
    let of = |mut client: Client| ["expire-logs-nums", "dump-prefix"].map(|name| client.setting(name));
    nodes.flat_map(|node| of(node.client())).collect()
}

const HOUR: Duration = Duration::from_secs(3600);

/// A lock's cap and two seconds.
const WAIT_MAX: Duration = Duration::from_millis(2200);
