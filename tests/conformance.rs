// SPDX-License-Identifier: Apache-2.0
//! Everyone who routes clients here keeps the rules of `RoutingControl`.

use std::sync::Arc;
use std::time::Duration;

use mover::routing::conformance::{Rig, check};
use mover::routing::guard::{GuardOptions, Guarded};
use mover::routing::{Codis, CodisOptions, Instruction, Manual, Operator, RoutingControl, Step};
use mover::sandbox::codis::{self, CodisConfig, Intervals};
use mover::sandbox::proxy::{Proxy, ProxyConfig};
use mover::sandbox::rig::Nodes;
use mover::{BoxFuture, Result};
use replication::{Slot, SlotSet};

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_sandbox_keeps_the_rules() {
    let (nodes, proxy) = start().await;
    let rig = nodes.rig(proxy.control(), [proxy.addr()]).with_unknown_slot(Slot::new(1024));
    let other = proxy.control();
    // The fence is up again, but it has not stood all the time.
    let accident = move |slots| {
        let other = Arc::clone(&other);
        async move {
            lower(&*other, &slots).await?;
            other.raise(&slots).await.map_err(|error| error.to_string())
        }
    };
    check(&rig.with_accident(accident)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_them_on_the_way_back() {
    let (nodes, proxy) = start().await;
    let (there, back) = (proxy.control(), proxy.control_back());
    let rig = nodes.swapped().rig(back, [proxy.addr()]).with_unknown_slot(Slot::new(1024));
    there.switch(&rig.slots()).await.unwrap();
    check(&rig).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_does_as_told_keeps_the_rules() {
    let (nodes, proxy) = start().await;
    let person = Box::new(Person(proxy.control()));
    let manual = Manual::new(nodes.source().to_string(), nodes.target().to_string(), person);
    check(&nodes.rig(Arc::new(manual), [proxy.addr()])).await.unwrap();
}

/// Through two proxies; any push of the dashboard takes a lock off.
#[tokio::test(flavor = "multi_thread")]
async fn codis_keeps_the_rules() {
    let nodes = Nodes::start().await.unwrap();
    let config = CodisConfig { intervals: Intervals::brisk(), ..CodisConfig::pair(nodes.source(), nodes.target()) };
    let codis = codis::Codis::start(config).await.unwrap();
    let options = CodisOptions::new(codis.dashboard_url(), nodes.source().to_string(), nodes.target().to_string());
    let control = Codis::connect(options.clone()).await.unwrap();
    // Another agent, that knows nothing of the first.
    let other = Codis::connect(options).await.unwrap();
    let rig = nodes.rig(Arc::new(control), codis.proxy_addrs()).with_unknown_slot(Slot::new(1024));
    let accident = move |slots| {
        let other = other.clone();
        async move { lower(&other, &slots).await }
    };
    check(&rig.with_accident(accident)).await.unwrap();
    assert_eq!(codis.locks(), []);
}

/// The guard is a process of its own, with a control of its own.
#[tokio::test(flavor = "multi_thread")]
async fn codis_under_guard_keeps_the_rules() {
    let nodes = Nodes::start().await.unwrap();
    let config = CodisConfig { intervals: Intervals::brisk(), ..CodisConfig::pair(nodes.source(), nodes.target()) };
    let codis = codis::Codis::start(config).await.unwrap();
    let (source, target) = (nodes.source().to_string(), nodes.target().to_string());
    let control = Codis::connect(CodisOptions::new(codis.dashboard_url(), &*source, &*target)).await.unwrap();
    let line = format!(
        "--routing codis --source {source} --target {target} --slot-count 1024 --job test --dashboard {}",
        codis.dashboard_url()
    );
    let dir = tempfile::tempdir().unwrap();
    let options = GuardOptions {
        program: env!("CARGO_BIN_EXE_slotmover").into(),
        state_dir: dir.path().to_owned(),
        routing: line.split_whitespace().map(str::to_owned).collect(),
        // No deadline comes in between.
        max_lock: Duration::from_secs(60),
    };
    let guarded = Arc::new(Guarded::new(Arc::new(control), options).unwrap());
    let rig = nodes.rig(Arc::clone(&guarded) as _, codis.proxy_addrs()).with_unknown_slot(Slot::new(1024));
    check(&rig).await.unwrap();
    guarded.finish().await.unwrap();
    assert_eq!(codis.locks(), []);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

async fn start() -> (Nodes, Proxy) {
    let nodes = Nodes::start().await.unwrap();
    let proxy = Proxy::start(ProxyConfig::new(nodes.source(), nodes.target())).await.unwrap();
    (nodes, proxy)
}

async fn lower(control: &dyn RoutingControl, slots: &SlotSet) -> Result<(), String> {
    control.lower(slots).await.map_err(|error| error.to_string())
}

/// Does with the proxy what is asked.
struct Person(Arc<dyn RoutingControl>);

impl Operator for Person {
    fn ask<'a>(&'a self, instruction: &'a Instruction) -> BoxFuture<'a, Result<()>> {
        match instruction.step {
            Step::Stop => self.0.raise(&instruction.slots),
            Step::Send => self.0.switch(&instruction.slots),
            Step::LetGo => self.0.lower(&instruction.slots),
        }
    }

    fn tell<'a>(&'a self, instruction: &'a Instruction) -> BoxFuture<'a, Result<()>> {
        self.ask(instruction)
    }
}
