// SPDX-License-Identifier: Apache-2.0
//! The switch. Once it was sent there is only forward, whatever the answer.
//!
//! The dashboard stores the new owner and then pushes it to all proxies, unlocked. When it does not answer, the clients
//! need not wait for it: their data is at the target, so they are sent there by hand, and the dashboard is told again
//! until it says the same.

use std::time::{Duration, Instant};

use replication::{Slot, SlotSet};
use tracing::warn;

use crate::routing::codis::calls::{Purpose, overlap};
use crate::routing::codis::check;
use crate::routing::codis::core::{Core, Fence, Sent, View};
use crate::routing::codis::http::Fault;
use crate::routing::codis::model::{Mapping, Proxy, Record, Stats};
use crate::routing::codis::nonce::Nonce;
use crate::routing::codis::topology::Side;
use crate::{Error, Result};

impl Core {
    /// Gives the slots to the target group and sees that every proxy sends clients there.
    pub(super) async fn switch(&self, slots: &SlotSet) -> Result<()> {
        let since = self.note_sent(slots);
        let until = (since + FORWARD_PATIENCE).max(Instant::now() + PATIENCE);
        let mut wanted = true;
        loop {
            let sent = match wanted {
                true => self.send(slots, until).await,
                false => Ok(()),
            };
            let view = self.look(slots, &[], PATIENCE).await;
            let arrival = Arrival::of(&view, slots, &self.sides.target, self.fence(slots).as_deref());
            let patient = Instant::now() < until;
            match arrival.judge(&view) {
                Ok(()) if arrival.silent.is_empty() || !patient => {
                    arrival.report(&view, slots);
                    self.forget(slots);
                    return Ok(());
                }
                Ok(()) => wanted = false,
                Err(what) if patient => {
                    tracing::debug!("slots {slots} are not switched yet: {what}");
                    wanted = true;
                }
                Err(what) => return Err(self.not_switched(slots, &view, &what, sent.err()).await),
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// Remembers that the switch was sent, and when for the first time.
    fn note_sent(&self, slots: &SlotSet) -> Instant {
        let mut memory = self.memory();
        if let Some(sent) = memory.switches.iter().find(|sent| sent.slots == *slots) {
            return sent.at;
        }
        let at = Instant::now();
        memory.switches.push(Sent { slots: slots.clone(), at, forwarded: false });
        at
    }

    /// Sends the switch, or waits for the one that is under way: a second one would only wait behind it. One whose
    /// connection broke is sent again.
    async fn send(&self, slots: &SlotSet, until: Instant) -> Result<(), Fault> {
        if !self.cluster.calls().under_way(Purpose::Switch, slots).is_empty() {
            let patience = until.saturating_duration_since(Instant::now());
            self.cluster.calls().change(patience.min(PATIENCE)).await;
            return Err(Fault::Silent(patience.min(PATIENCE)));
        }
        let group_id = self.sides.target.group;
        let mappings = slots.iter().map(|slot| Mapping { id: slot.number(), group_id, ..Mapping::default() });
        let mappings: Vec<_> = mappings.collect();
        self.cluster.assign(&mappings, Purpose::Switch, PATIENCE).wait().await
    }

    /// What to say of a switch that is not complete. When the dashboard will not have it, that is the end of it; when it is
    /// the dashboard that fails, clients are sent on to the target without it.
    async fn not_switched(&self, slots: &SlotSet, view: &View, what: &str, sent: Option<Fault>) -> Error {
        if let Some(refused @ Fault::Refused { .. }) = &sent
            && self.is_back(slots).await
        {
            let dashboard = self.cluster.dashboard();
            let what = format!("the dashboard at {dashboard} will not switch slots {slots}, it {refused}");
            return Error::NotSwitched { what };
        }
        let sent = sent.map(|fault| format!(" (the dashboard {fault})")).unwrap_or_default();
        if let Ok(overview) = &view.overview {
            // A proxy that was taken from the list is not told by the dashboard.
            let stats = &overview.stats;
            if self.is_mapped(stats, slots) {
                self.forward(slots, view, |proxy| !stats.proxy.models.contains(proxy)).await;
            }
            return Error::Routing { what: format!("the switch of slots {slots} is not complete: {what}{sent}") };
        }
        for sent in self.memory().switches.iter_mut().filter(|sent| overlap(&sent.slots, slots)) {
            sent.forwarded = true;
        }
        self.forward(slots, view, |_| true).await;
        let dashboard = self.cluster.dashboard();
        let what = format!(
            "the dashboard at {dashboard} does not say that it has switched slots {slots}{sent}. Clients were sent to \
             the target at the proxies themselves; start the dashboard again soon, for until it knows of the switch a \
             push of it or a restart of a proxy would take them back to the source"
        );
        warn!("{what}");
        Error::Routing { what }
    }

    /// Whether the dashboard says that the target has all of the slots.
    fn is_mapped(&self, stats: &Stats, slots: &SlotSet) -> bool {
        slots.iter().all(|slot| stats.mapping(slot).is_some_and(|mapping| is_there(mapping, &self.sides.target)))
    }

    /// Fills the target in at each `wanted` proxy that we hold, or that sends clients to the source.
    async fn forward(&self, slots: &SlotSet, view: &View, wanted: impl Fn(&Proxy) -> bool) {
        let (source, target) = (&self.sides.source, &self.sides.target);
        let mark = self.fence(slots).map(|fence| fence.nonce);
        let mut fills = Vec::new();
        for (proxy, records) in view.proxies.iter().filter(|(proxy, _)| wanted(proxy)) {
            let Ok(records) = records else { continue };
            let records: Vec<_> = records.iter().filter_map(|record| forwarded(record, source, target, mark)).collect();
            if !records.is_empty() {
                fills.push((proxy, self.cluster.fill(proxy, &records, Purpose::Unlock, PATIENCE)));
            }
        }
        for (proxy, fill) in fills {
            if let Err(fault) = fill.wait().await {
                warn!("{proxy} {fault}");
            }
        }
    }
}

/// How far a switch has come.
#[derive(Default, Debug)]
struct Arrival {
    /// Whether some proxy has the target from the dashboard: then the dashboard has stored it.
    pushed: bool,
    /// Proxies that are dead: they come back with what the dashboard says.
    dead: Vec<String>,
    /// Proxies that do not answer and hold our lock: they cannot send clients to the source.
    silent: Vec<String>,
    faults: Vec<String>,
}

impl Arrival {
    fn of(view: &View, slots: &SlotSet, target: &Side, fence: Option<&Fence>) -> Self {
        let mut arrival = Self::default();
        if let Ok(overview) = &view.overview {
            let stats = &overview.stats;
            let is_there = |slot: &Slot| stats.mapping(*slot).is_some_and(|mapping| is_there(mapping, target));
            if let Some(slot) = slots.iter().find(|slot| !is_there(slot)) {
                let group = stats.mapping(slot).map(|mapping| mapping.group_id).unwrap_or_default();
                arrival.faults.push(format!("the dashboard says that slot {slot} is in {group}"));
            }
        }
        for (proxy, records) in &view.proxies {
            arrival.add(proxy, records, target, fence);
        }
        arrival
    }

    fn add(&mut self, proxy: &Proxy, records: &Result<Vec<Record>, Fault>, target: &Side, fence: Option<&Fence>) {
        match records {
            Ok(records) => match records.iter().find_map(|record| elsewhere(record, target)) {
                Some(what) => self.faults.push(format!("{proxy} {what}")),
                None => self.pushed |= records.iter().all(|record| Nonce::read(record.backend_addr_group_id).is_none()),
            },
            Err(Fault::Gone) => self.dead.push(proxy.to_string()),
            Err(fault @ (Fault::Refused { .. } | Fault::Unreadable(_))) => self.faults.push(format!("{proxy} {fault}")),
            Err(fault) => match fence.is_some_and(|fence| fence.posts.iter().any(|post| post.proxy == *proxy)) {
                true => self.silent.push(proxy.to_string()),
                false => self.faults.push(format!("{proxy} {fault}")),
            },
        }
    }

    /// Whether the switch is done.
    fn judge(&self, view: &View) -> Result<(), String> {
        if let [_, ..] = self.faults.as_slice() {
            return Err(self.faults.join("; "));
        }
        match &view.overview {
            Ok(_) => Ok(()),
            // It may wait for a minute for a proxy that hangs, long after it has switched the others.
            Err(_) if self.pushed => Ok(()),
            Err(fault) => Err(format!("the dashboard {fault}")),
        }
    }

    fn report(&self, view: &View, slots: &SlotSet) {
        if let Err(fault) = &view.overview {
            warn!("slots {slots} are switched, but the dashboard {fault}: it waits for a proxy, as a rule");
        }
        for proxy in &self.dead {
            warn!("slots {slots} are switched; {proxy} is not running and gets the new mapping when it comes back");
        }
        for proxy in &self.silent {
            warn!(
                "slots {slots} are switched, but {proxy} does not answer: its clients wait until it does, or until it is \
                 started anew"
            );
        }
    }
}

fn is_there(mapping: &Mapping, target: &Side) -> bool {
    mapping.group_id == target.group && !check::is_active(mapping)
}

fn elsewhere(record: &Record, target: &Side) -> Option<String> {
    let locked = || record.locked.then(|| format!("still holds slot {} locked", record.id));
    check::misrouted(record, target).or_else(locked)
}

/// The record with the target in it. It keeps a mark: what the dashboard pushes has none.
fn forwarded(record: &Record, source: &Side, target: &Side, mark: Option<Nonce>) -> Option<Record> {
    let is_held = Nonce::of_lock(record, mark).is_some();
    let is_source = !record.locked && record.backend_addr == source.master && record.migrate_from.is_empty();
    (is_held || is_source).then(|| Record {
        id: record.id,
        locked: false,
        backend_addr: target.master.clone(),
        backend_addr_group_id: Nonce::new(target.group).get(),
        migrate_from: String::new(),
        // Those of the source; without any, reads go to the master.
        replica_groups: Vec::new(),
        rest: record.rest.clone(),
    })
}

/// How long the dashboard may keep clients waiting after the switch was sent.
const FORWARD_PATIENCE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_millis(300);
const STEP: Duration = Duration::from_millis(20);
