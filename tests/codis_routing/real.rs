// SPDX-License-Identifier: Apache-2.0
//! The same against real ones: a `codis-dashboard` and two `codis-proxy` in the directory that CODIS_BIN_DIR names.
//! Without it there is nothing to test, and these tests say so and pass.

use std::time::{Duration, Instant};

use mover::Error;
use mover::routing::{Codis, CodisOptions, Owner, Readiness, RoutingControl, Standing};
use replication::{Slot, SlotSet};

use super::steps::{self, STEP};
use super::world::{SlowNode, Waiting, key_of};
use crate::harness::{HANG, RealCodis, order};

#[tokio::test(flavor = "multi_thread")]
async fn a_real_codis_is_fenced_switched_and_lowered() {
    let Some(real) = Real::start().await else { return };
    let (slots, routing) = (slots(), &real.routing);
    routing.prepare(&slots).await.unwrap();
    for _ in 0..5 {
        steps::raise(&real.routing, &slots).await;
        let client = real.client(0);
        assert_eq!(real.owner().await, Owner::Source);
        steps::lower(&real.routing, &slots).await;
        assert_eq!(client.answer(), "+OK");
    }
    steps::raise(&real.routing, &slots).await;
    let client = real.client(1);
    steps::switch(&real.routing, &slots).await;
    assert_eq!(client.answer(), "+OK");
    assert_eq!(real.owner().await, Owner::Target);
    steps::lower(&real.routing, &slots).await;
    assert_eq!(real.owner().await, Owner::Target);
    routing.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_proxy_may_hang_at_each_step() {
    let Some(real) = Real::start().await else { return };
    let (slots, routing) = (slots(), &real.routing);
    steps::raise(&real.routing, &slots).await;
    real.codis.signal_proxy(PROXY, "-STOP");
    assert!(matches!(routing.holds(&slots).await, Ok(Standing::Broken(_))));
    routing.lower(&slots).await.unwrap_err();
    real.codis.signal_proxy(PROXY, "-CONT");
    steps::lower(&real.routing, &slots).await;

    steps::ready(&real.routing, &slots).await;
    real.codis.signal_proxy(PROXY, "-STOP");
    routing.raise(&slots).await.unwrap_err();
    routing.lower(&slots).await.unwrap_err();
    assert!(matches!(routing.preconditions(&slots).await, Ok(Readiness::NotYet(_))));
    real.codis.signal_proxy(PROXY, "-CONT");
    steps::lower(&real.routing, &slots).await;
    let client = real.client(1);
    assert_eq!(client.answer(), "+OK", "a lock has landed late and was not taken off");

    steps::raise(&real.routing, &slots).await;
    real.codis.signal_proxy(PROXY, "-STOP");
    let begin = Instant::now();
    steps::switch(&real.routing, &slots).await;
    assert!(begin.elapsed() < Duration::from_secs(30), "the dashboard stands still for a minute");
    real.codis.signal_proxy(PROXY, "-CONT");
    real.until_owner(Owner::Target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_dashboard_may_hang_or_die_at_each_step() {
    let Some(mut real) = Real::start().await else { return };
    let slots = slots();
    steps::raise(&real.routing, &slots).await;
    real.codis.signal_dashboard("-STOP");
    steps::lower(&real.routing, &slots).await;
    let client = real.client(0);
    assert_eq!(client.answer(), "+OK", "it was lowered by hand");
    real.codis.signal_dashboard("-CONT");

    steps::raise(&real.routing, &slots).await;
    steps::holds(&real.routing, &slots).await;
    real.codis.kill_dashboard();
    real.routing.switch(&slots).await.unwrap_err();
    let client = real.client(0);
    assert_eq!(client.answer(), "+OK", "clients were sent on to the target by hand");
    real.codis.start_dashboard().await;
    steps::switch(&real.routing, &slots).await;
    assert_eq!(real.owner().await, Owner::Target);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_proxy_that_restarts_breaks_the_fence() {
    let Some(mut real) = Real::start().await else { return };
    let slots = slots();
    steps::raise(&real.routing, &slots).await;
    real.codis.kill_proxy(PROXY);
    real.codis.start_proxy(PROXY).await;
    let begin = Instant::now();
    while matches!(real.routing.holds(&slots).await, Ok(Standing::Holds)) {
        assert!(begin.elapsed() < HANG, "a fence cannot survive its proxy");
    }
    steps::lower(&real.routing, &slots).await;
    steps::raise(&real.routing, &slots).await;
    steps::switch(&real.routing, &slots).await;
    assert_eq!(real.owner().await, Owner::Target);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_whose_switch_a_real_dashboard_refuses_go_on_at_the_source() {
    let Some(real) = Real::start().await else { return };
    let slots = slots();
    steps::raise(&real.routing, &slots).await;
    order(real.codis.dashboard_addr(), "group/del", &format!("/2/{}", real.target), "");
    order(real.codis.dashboard_addr(), "group/remove", "/2", "");
    let fault = real.routing.switch(&slots).await.unwrap_err();
    assert!(matches!(&fault, Error::NotSwitched { what } if what.contains("group-[2] doesn't exist")), "{fault:?}");
    steps::lower(&real.routing, &slots).await;
    let client = real.client(1);
    assert_eq!(client.answer(), "+OK");
    assert_eq!(real.owner().await, Owner::Source);
}

/// A real Codis before two nodes that answer everything with `OK`.
struct Real {
    codis: RealCodis,
    target: String,
    routing: Codis,
}

/// The second one.
const PROXY: usize = 1;

impl Real {
    async fn start() -> Option<Self> {
        let programs = RealCodis::programs()?;
        let nodes = [SlowNode::start(), SlowNode::start()];
        nodes.iter().for_each(SlowNode::answer);
        let codis = RealCodis::start(programs, &nodes.each_ref().map(SlowNode::addr), "").await;
        let [source, target] = nodes.map(|node| node.addr().to_string());
        let options = CodisOptions::new(codis.dashboard_addr().to_string(), source, target.clone());
        let routing = Codis::connect(options).await.unwrap();
        Some(Self { codis, target, routing })
    }

    /// A client that waits for a key of the first slot through this proxy.
    fn client(&self, proxy: usize) -> Waiting {
        Waiting::get(self.codis.proxy_addrs()[proxy], &key_of(Slot::new(500)))
    }

    async fn owner(&self) -> Owner {
        self.routing.owner(Slot::new(500)).await.unwrap()
    }

    async fn until_owner(&self, wanted: Owner) {
        let begin = Instant::now();
        while !self.routing.owner(Slot::new(500)).await.is_ok_and(|owner| owner == wanted) {
            assert!(begin.elapsed() < HANG, "the owner never becomes {wanted:?}");
            tokio::time::sleep(STEP).await;
        }
    }
}

fn slots() -> SlotSet {
    "500,510-512".parse().unwrap()
}
