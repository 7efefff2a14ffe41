// SPDX-License-Identifier: Apache-2.0
//! Taking a fence down, whoever has died or hangs meanwhile.
//!
//! The dashboard pushes the slots where they belong; that is the safest, for it alone knows the master of the moment. When
//! it cannot, each lock that bears our mark is taken off by hand. A lock that is still on its way to a proxy may arrive
//! after that, so a fence is down only when every lock has ended and the slots were seen unlocked after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use replication::{Slot, SlotSet};
use tracing::{debug, warn};

use crate::routing::codis::calls::{Purpose, overlap};
use crate::routing::codis::check;
use crate::routing::codis::core::{Core, View};
use crate::routing::codis::http::Fault;
use crate::routing::codis::model::{GroupId, Mapping, Overview, Proxy, Record};
use crate::routing::codis::nonce::Nonce;
use crate::routing::codis::topology::Side;
use crate::{Error, Result};

impl Core {
    /// Lets the clients go to whoever owns the slots.
    pub(super) async fn lower(self: &Arc<Self>, slots: &SlotSet) -> Result<()> {
        self.memory().survey = None;
        if self.sent(slots).is_some() && !self.is_back(slots).await {
            return self.switch(slots).await;
        }
        let mark = self.fence(slots).map(|fence| fence.nonce);
        let until = Instant::now() + LATE_PATIENCE;
        loop {
            let late = self.cluster.calls().unanswered(Purpose::Lock, slots);
            let unlocked = self.unlock(slots, mark).await;
            if late.is_empty() && unlocked.is_ok() {
                self.forget(slots);
                return Ok(());
            }
            if late.is_empty() || Instant::now() >= until {
                self.unlock_later(slots, mark);
                return Err(left(slots, &late, unlocked));
            }
            self.cluster.calls().change(LATE_STEP).await;
        }
    }

    /// Whether a switch that was sent has not happened and will not any more.
    pub(super) async fn is_back(&self, slots: &SlotSet) -> bool {
        let forwarded = self.sent(slots).is_some_and(|sent| sent.forwarded);
        if forwarded || !self.cluster.calls().unanswered(Purpose::Switch, slots).is_empty() {
            return false;
        }
        // A store that failed may have been done all the same, and the dashboard would not know.
        if let Err(fault) = self.cluster.reload(PATIENCE).wait().await {
            debug!("the dashboard {fault}, so the switch of slots {slots} is sent again");
            return false;
        }
        let view = self.look(slots, &[], PATIENCE).await;
        let Ok(overview) = &view.overview else { return false };
        let source = &self.sides.source;
        let mapped = slots.iter().all(|slot| {
            let mapping = overview.stats.mapping(slot);
            mapping.is_some_and(|mapping| mapping.group_id == source.group && !check::is_active(mapping))
        });
        let at_source = |records: &Vec<Record>| records.iter().all(|record| record.backend_addr == source.master);
        let routed = view.proxies.iter().all(|(_, records)| match records {
            Ok(records) => at_source(records),
            Err(Fault::Gone) => true,
            Err(_) => false,
        });
        if mapped && routed {
            self.memory().switches.retain(|sent| !overlap(&sent.slots, slots));
        }
        mapped && routed
    }

    /// Takes every lock of ours off and sees that it is off. A proxy that has not answered a lock yet is not asked.
    async fn unlock(&self, slots: &SlotSet, mark: Option<Nonce>) -> Result<(), String> {
        let silent = self.cluster.calls().under_way(Purpose::Lock, slots);
        let mut view = self.look(slots, &silent, PATIENCE).await;
        for by_hand in [false, true] {
            if holding(&view.proxies, mark).next().is_none() {
                break;
            }
            match to_push(&view, slots).filter(|_| !by_hand) {
                Some(mappings) if self.push(&mappings).await => {}
                _ => self.unlock_by_hand(&view, mark).await,
            }
            let proxies = view.proxies.into_iter().map(|(proxy, _)| proxy).collect();
            view.proxies = self.ask(proxies, slots, &silent, PATIENCE).await;
        }
        match holding(&view.proxies, mark).next() {
            Some((proxy, record)) => Err(format!("{proxy} still holds slot {} locked", record.id)),
            None => all_told(&view.proxies),
        }
    }

    async fn push(&self, mappings: &[Mapping]) -> bool {
        match self.cluster.assign(mappings, Purpose::Push, PATIENCE).wait().await {
            // A proxy that is dead comes back unlocked; the others are read back.
            Ok(()) => true,
            Err(fault @ Fault::Refused { .. }) => {
                debug!("the dashboard {fault}");
                true
            }
            Err(fault) => {
                warn!("the dashboard at {} {fault}, so locks are taken off by hand", self.cluster.dashboard());
                false
            }
        }
    }

    async fn unlock_by_hand(&self, view: &View, mark: Option<Nonce>) {
        let mut fills = Vec::new();
        for (proxy, records) in &view.proxies {
            let Ok(records) = records else { continue };
            let unlock = |record| unlocked(record, mark, owner_of(record, view, &self.sides.target));
            let unlocked: Vec<_> = records.iter().filter_map(unlock).collect();
            if !unlocked.is_empty() {
                fills.push((proxy, self.cluster.fill(proxy, &unlocked, Purpose::Unlock, PATIENCE)));
            }
        }
        for (proxy, fill) in fills {
            if let Err(fault) = fill.wait().await {
                warn!("{proxy} {fault}");
            }
        }
    }

    /// Unlocks the slots as soon as every lock has ended, for as long as that takes.
    fn unlock_later(self: &Arc<Self>, slots: &SlotSet, mark: Option<Nonce>) {
        {
            let owed = &mut self.memory().owed;
            if owed.contains(slots) {
                return;
            }
            owed.push(slots.clone());
        }
        let (core, slots) = (Arc::clone(self), slots.clone());
        tokio::spawn(async move {
            while core.sent(&slots).is_none() {
                let late = core.cluster.calls().unanswered(Purpose::Lock, &slots);
                match core.unlock(&slots, mark).await {
                    Ok(()) if late.is_empty() => break,
                    Ok(()) => {}
                    Err(what) => debug!("slots {slots} are not unlocked yet: {what}"),
                }
                core.cluster.calls().change(LATER_STEP).await;
            }
            core.memory().owed.retain(|owed| *owed != slots);
        });
    }
}

/// The records that a fence of ours still locks. When the mark is not known, each mark is taken for ours.
fn holding(
    told: &[(Proxy, Result<Vec<Record>, Fault>)],
    mark: Option<Nonce>,
) -> impl Iterator<Item = (&Proxy, &Record)> {
    let held = told.iter().filter_map(|(proxy, records)| Some((proxy, records.as_ref().ok()?)));
    let held = held.flat_map(|(proxy, records)| records.iter().map(move |record| (proxy, record)));
    held.filter(move |(_, record)| Nonce::of_lock(record, mark).is_some())
}

/// What the dashboard is to push, if it can and should. It would hang at a proxy that hangs, and it would forget what its
/// own mover does with a slot.
fn to_push(view: &View, slots: &SlotSet) -> Option<Vec<Mapping>> {
    let overview = view.overview.as_ref().ok()?;
    if view.proxies.iter().any(|(_, records)| !matches!(records, Ok(_) | Err(Fault::Gone))) {
        return None;
    }
    let mappings = slots.iter().map(|slot| {
        let mapping = overview.stats.mapping(slot)?;
        let is_idle = mapping.group_id != GroupId::default() && !check::is_active(mapping);
        is_idle.then(|| Mapping { id: mapping.id, group_id: mapping.group_id, ..Mapping::default() })
    });
    mappings.collect()
}

/// Which server the clients of a locked record belong to: the dashboard knows. Without it, a proxy that has the target
/// shows that the slot was switched, by whomever.
fn owner_of(record: &Record, view: &View, target: &Side) -> Option<Side> {
    let slot = Slot::new(record.id);
    if let Ok(Overview { stats, .. }) = &view.overview {
        let group = stats.group(stats.mapping(slot)?.group_id)?;
        return Some(Side { group: group.id, master: group.master()?.to_owned() });
    }
    let mut others = view.proxies.iter().filter_map(|(_, records)| records.as_ref().ok()).flatten();
    if others.any(|other| other.id == record.id && other.backend_addr == target.master) {
        return Some(target.clone());
    }
    let nonce = Nonce::of_lock(record, None)?;
    Some(Side { group: nonce.group(), master: record.backend_addr.clone() })
}

/// A record that is ours, with its lock off; nothing for others.
fn unlocked(record: &Record, mark: Option<Nonce>, owner: Option<Side>) -> Option<Record> {
    let (_, owner) = (Nonce::of_lock(record, mark)?, owner?);
    let backend_addr_group_id = i64::from(owner.group.0);
    if owner.master == record.backend_addr {
        return Some(Record { locked: false, backend_addr_group_id, ..record.clone() });
    }
    // The replicas are those of another master; without any, reads go to this one.
    let (backend_addr, replica_groups) = (owner.master, Vec::new());
    Some(Record { locked: false, backend_addr, backend_addr_group_id, replica_groups, ..record.clone() })
}

/// That every proxy has answered or is dead.
fn all_told(told: &[(Proxy, Result<Vec<Record>, Fault>)]) -> Result<(), String> {
    let silent = told.iter().find_map(|(proxy, records)| match records {
        Ok(_) | Err(Fault::Gone) => None,
        Err(fault) => Some(format!("{proxy} {fault}")),
    });
    silent.map_or(Ok(()), Err)
}

fn left(slots: &SlotSet, late: &[String], unlocked: Result<(), String>) -> Error {
    let what = match late {
        [] => unlocked.err().unwrap_or_default(),
        _ => format!("the lock sent to {} has not been answered", late.join(", ")),
    };
    let what = format!(
        "clients of slots {slots} may still wait: {what}. They are unlocked as soon as it answers; a proxy that hangs \
         for good must be started anew"
    );
    Error::Routing { what }
}

/// Clients wait while somebody is waited for.
const PATIENCE: Duration = Duration::from_millis(300);

/// How long a lock that is under way is waited for.
const LATE_PATIENCE: Duration = Duration::from_millis(300);
const LATE_STEP: Duration = Duration::from_millis(20);
const LATER_STEP: Duration = Duration::from_millis(300);
