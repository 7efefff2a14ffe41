// SPDX-License-Identifier: Apache-2.0
//! What all steps of a cutover share: the cluster, the two groups, and what we remember.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use replication::SlotSet;

use crate::Error;
use crate::routing::codis::calls::overlap;
use crate::routing::codis::cluster::Cluster;
use crate::routing::codis::http::Fault;
use crate::routing::codis::model::{Overview, Proxy, Record};
use crate::routing::codis::nonce::Nonce;
use crate::routing::codis::topology::Sides;

/// One move through one dashboard.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) cluster: Cluster,
    pub(super) sides: Sides,
    memory: Mutex<Memory>,
}

/// What we remember. All of it can be lost: then the cluster itself is asked.
#[derive(Default, Debug)]
pub(super) struct Memory {
    /// The proxies that the dashboard named last.
    pub(super) proxies: Vec<Proxy>,
    /// What the last survey has found.
    pub(super) survey: Option<Survey>,
    pub(super) fences: Vec<Arc<Fence>>,
    pub(super) switches: Vec<Sent>,
    /// Slots that a task of ours unlocks as soon as it can.
    pub(super) owed: Vec<SlotSet>,
    pub(super) native: Native,
}

/// The dashboard's own mover.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Native {
    /// We have not looked.
    #[default]
    Unknown,
    /// It was stopped before, by somebody else.
    WasStopped,
    /// It must be let go on at the end.
    StoppedByUs,
}

/// A cluster that is ready for a fence.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    pub(super) slots: SlotSet,
    pub(super) at: Instant,
    /// The life of the dashboard.
    pub(super) start_time: String,
    pub(super) posts: Vec<Post>,
}

/// A proxy and what it held for the slots before they were locked.
#[derive(Clone, Debug)]
pub(super) struct Post {
    pub(super) proxy: Proxy,
    pub(super) records: Vec<Record>,
}

/// A fence that was raised, or begun to be.
#[derive(Debug)]
pub(super) struct Fence {
    pub(super) slots: SlotSet,
    pub(super) nonce: Nonce,
    /// The life of the dashboard that it was raised in.
    pub(super) start_time: String,
    pub(super) posts: Vec<Post>,
}

impl Fence {
    /// The proxies it holds clients at.
    pub(super) fn proxies(&self) -> Vec<Proxy> {
        self.posts.iter().map(|post| post.proxy.clone()).collect()
    }
}

/// A switch that was sent: from then on there is only forward.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) slots: SlotSet,
    pub(super) at: Instant,
    /// Whether clients were sent to the target without the dashboard.
    pub(super) forwarded: bool,
}

/// What everybody says about some slots.
#[derive(Debug)]
pub(super) struct View {
    pub(super) overview: Result<Overview, Fault>,
    pub(super) proxies: Vec<(Proxy, Result<Vec<Record>, Fault>)>,
}

impl Core {
    pub(super) fn new(cluster: Cluster, sides: Sides, proxies: Vec<Proxy>) -> Self {
        let memory = Memory { proxies, ..Memory::default() };
        Self { cluster, sides, memory: Mutex::new(memory) }
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fence that stands at some of `slots`, as far as we know.
    pub(super) fn fence(&self, slots: &SlotSet) -> Option<Arc<Fence>> {
        self.memory().fences.iter().find(|fence| overlap(&fence.slots, slots)).cloned()
    }

    /// The switch of some of `slots` that was sent and of which we do not know that it is done.
    pub(super) fn sent(&self, slots: &SlotSet) -> Option<Sent> {
        self.memory().switches.iter().find(|sent| overlap(&sent.slots, slots)).cloned()
    }

    /// The fence is down everywhere, by a switch or without one.
    pub(super) fn forget(&self, slots: &SlotSet) {
        let mut memory = self.memory();
        memory.fences.retain(|fence| !overlap(&fence.slots, slots));
        memory.switches.retain(|sent| !overlap(&sent.slots, slots));
        memory.survey = None;
    }

    /// Asks the dashboard, and every proxy that it or a fence of ours names. Those at `silent` are not asked: it is known
    /// that they would not answer.
    pub(super) async fn look(&self, slots: &SlotSet, silent: &[String], patience: Duration) -> View {
        let mut known = self.memory().proxies.clone();
        for fenced in self.fence(slots).iter().flat_map(|fence| &fence.posts) {
            if !known.iter().any(|proxy| proxy.admin_addr == fenced.proxy.admin_addr) {
                known.push(fenced.proxy.clone());
            }
        }
        let overview = self.cluster.overview(patience);
        let mut proxies = self.ask(known, slots, silent, patience).await;
        let overview = overview.wait().await;
        if let Ok(overview) = &overview {
            let listed = &overview.stats.proxy.models;
            let is_new = |proxy: &&Proxy| !proxies.iter().any(|(known, _)| known.admin_addr == proxy.admin_addr);
            let new: Vec<_> = listed.iter().filter(is_new).cloned().collect();
            self.memory().proxies.clone_from(listed);
            // Those asked before the list came keep their address but may live anew.
            for (proxy, _) in &mut proxies {
                if let Some(now) = listed.iter().find(|listed| listed.admin_addr == proxy.admin_addr) {
                    proxy.clone_from(now);
                }
            }
            proxies.extend(self.ask(new, slots, silent, patience).await);
        }
        View { overview, proxies }
    }

    /// What proxies hold for `slots`, asked side by side.
    pub(super) async fn ask(
        &self,
        proxies: Vec<Proxy>,
        slots: &SlotSet,
        silent: &[String],
        patience: Duration,
    ) -> Vec<(Proxy, Result<Vec<Record>, Fault>)> {
        let ask = |proxy: Proxy| {
            let answer = (!silent.contains(&proxy.admin_addr)).then(|| self.cluster.records(&proxy, slots, patience));
            (proxy, answer)
        };
        let asked: Vec<_> = proxies.into_iter().map(ask).collect();
        let mut told = Vec::with_capacity(asked.len());
        for (proxy, answer) in asked {
            let records = match answer {
                Some(answer) => answer.wait().await,
                None => Err(Fault::Busy),
            };
            told.push((proxy, records));
        }
        told
    }

    /// An error of the dashboard.
    pub(super) fn dashboard_fault(&self, fault: &Fault) -> Error {
        Error::Routing { what: format!("the dashboard at {} {fault}", self.cluster.dashboard()) }
    }
}
