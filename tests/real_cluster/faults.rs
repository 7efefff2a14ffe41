// SPDX-License-Identifier: Apache-2.0
//! Parts of Codis that die or stand still at random times while slots move: never a lost or stale value, and clients of
//! healthy proxies do not wait longer than a lock's cap and two seconds.

use std::sync::Arc;
use std::time::Duration;

use mover::routing::{Codis, Owner, Readiness, RoutingControl, Standing};
use mover::sandbox::load::{Load, LoadConfig, Tag};
use mover::{BoxFuture, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use replication::{Slot, SlotSet};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::seed;
use crate::harness::{Counting, HANG, RealCluster};

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_killed_at_random_times() {
    suffers(&[Fault::ProxyKilled]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_stands_still_at_random_times() {
    suffers(&[Fault::ProxyStopped]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_is_killed_at_random_times() {
    suffers(&[Fault::DashboardKilled]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_stands_still_at_random_times() {
    suffers(&[Fault::DashboardStopped]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_happens_at_random_times() {
    use Fault::{DashboardKilled, DashboardStopped, ProxyKilled, ProxyStopped};
    suffers(&[ProxyKilled, DashboardStopped, ProxyStopped, DashboardKilled]).await;
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    ProxyKilled,
    ProxyStopped,
    DashboardKilled,
    DashboardStopped,
}

/// Moves slots while these faults happen in turn, the proxy being the second one.
async fn suffers(faults: &[Fault]) {
    let Some(mut cluster) = RealCluster::start().await else { return };
    let mut rng = StdRng::seed_from_u64(seed());

    let slots: SlotSet = (0..SLOTS).map(|number| Slot::new(number * 7)).collect();
    let load = cluster.load(&slots);
    let [healthy, ill] = [0, 1].map(|proxy| cluster.codis.proxy_addrs()[proxy]);
    let of = |proxy: usize, addr| {
        let start = |tag: &Tag| Counting::start(addr, &format!("{{{}}}:counted-by-{proxy}", tag.name));
        load.tags[..2].iter().map(start).collect::<Vec<_>>()
    };
    let (counting, ill_counting) = (of(0, healthy), of(1, ill));
    let load = LoadConfig { addrs: vec![healthy], keys_per_tag: 3, big_elements: 50, pace: Some(1000), ..load };
    let load = Load::start(load).await.unwrap();
    sleep(Duration::from_millis(200)).await;

    let announced = Arc::new(Announced { control: cluster.control().await, raised: Notify::new() });
    let running = tokio::spawn(cluster.job_with(Arc::clone(&announced) as _, slots.clone()).run());
    for fault in faults.iter().cycle().take(FAULTS) {
        if timeout(HANG, announced.raised.notified()).await.is_err() || running.is_finished() {
            break;
        }
        // Some fences are up for so long, others are switched by then.
        sleep(Duration::from_millis(rng.random_range(0..FENCE_MS))).await;
        let (away, switched) = (Duration::from_millis(rng.random_range(50..2500)), cluster.switched().len());
        println!("{fault:?} for {away:?} when {switched} of {SLOTS} are switched");
        fault.happens(&mut cluster, away).await;
    }
    let report = running.await.unwrap().unwrap();

    sleep(Duration::from_millis(500)).await;
    for counting in counting {
        counting.assert_nothing_lost(cluster.target.addr(), WAIT_MAX);
    }
    for counting in ill_counting {
        counting.assert_nothing_lost(cluster.target.addr(), WAIT_MAX + AWAY_MAX);
    }
    let seen = load.stop().await;
    println!("{report:?}\n{seen}");
    assert!(seen.is_clean() && seen.latency.max <= WAIT_MAX, "{seen}");
    assert_eq!((report.verify.mismatches, report.verify.extra), (0, 0));
    assert_eq!(cluster.switched(), slots);
    cluster.codis.assert_no_fence();
}

/// A Codis that says when a fence is about to be raised.
struct Announced {
    control: Codis,
    raised: Notify,
}

impl RoutingControl for Announced {
    fn prepare<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        self.control.prepare(slots)
    }

    fn finish(&self) -> BoxFuture<'_, Result<()>> {
        self.control.finish()
    }

    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>> {
        self.control.owner(slot)
    }

    fn preconditions<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Readiness>> {
        self.control.preconditions(slots)
    }

    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        self.raised.notify_waiters();
        self.control.raise(slots)
    }

    fn holds<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Standing>> {
        self.control.holds(slots)
    }

    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        self.control.switch(slots)
    }

    fn lower<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        self.control.lower(slots)
    }
}

impl Fault {
    /// It lasts so long.
    async fn happens(self, cluster: &mut RealCluster, away: Duration) {
        let codis = &mut cluster.codis;
        match self {
            Self::ProxyKilled => {
                codis.kill_proxy(1);
                sleep(away).await;
                codis.start_proxy(1).await;
            }
            Self::ProxyStopped => {
                codis.signal_proxy(1, "-STOP");
                sleep(away).await;
                codis.signal_proxy(1, "-CONT");
            }
            Self::DashboardKilled => {
                codis.kill_dashboard();
                sleep(away).await;
                codis.start_dashboard().await;
            }
            Self::DashboardStopped => {
                codis.signal_dashboard("-STOP");
                sleep(away).await;
                codis.signal_dashboard("-CONT");
            }
        }
    }
}

const SLOTS: u16 = 60;
const FAULTS: usize = 8;

/// As long as most fences stand.
const FENCE_MS: u64 = 40;
const AWAY_MAX: Duration = Duration::from_millis(2500);

/// A lock's cap and two seconds, and what a busy machine adds.
const WAIT_MAX: Duration = Duration::from_millis(2700);
