// SPDX-License-Identifier: Apache-2.0
//! The moved keys are deleted at the node that they have left, which serves nobody from them any more.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use replication::{Slot, SlotCount, SlotSet, is_internal_key, slot_of_index};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::endpoint::Client;
use crate::flow::{Control, JobLimits, Kindness};
use crate::job::journal::Entry;
use crate::job::{Cleanup, Job, Phase};
use crate::routing::{Owner, RoutingControl};
use crate::{Error, Result, Side};

impl Job {
    /// Deletes them all, if that is wanted: page by page, none of a slot that the target does not own, and slowly enough
    /// for the source's clients.
    ///
    /// Gives the number of users' keys that it has deleted, if it has and no other process had begun to before.
    pub(super) async fn clean_up(&self) -> Result<Option<u64>> {
        let is_first = !self.journal.read(|state| state.cleaning);
        self.journal.note(Entry::Cleaning).await?;
        if self.options.cleanup == Cleanup::Keep {
            return Ok(None);
        }
        let side = self.source.side;
        if self.journal.read(|state| state.is_late) {
            warn!("writes came to the {side} too late, so nothing is deleted there: they are nowhere else");
            return Ok(None);
        }
        // Who was told to send clients back may be one that always sends them the same way.
        let must_ask = self.journal.is_resumed() || self.journal.is_way_back();
        if must_ask && !self.routing.knows_earlier_switches() {
            warn!("nobody can be asked who serves the slots by now, so nothing is deleted at the {side}");
            return Ok(None);
        }
        self.enter(Phase::Cleanup).await?;
        let mut sweep = Sweep {
            client: self.source.connect().await?,
            slots: &self.options.slots,
            slot_count: self.options.slot_count,
            owners: Owners { routing: &*self.routing, side, asked: HashMap::new() },
            control: &self.control,
            deleted: 0,
        };
        // A cursor may pass keys by while others are deleted around it.
        while sweep.pass(|deleted| self.progress.cleaned(deleted)).await? {}
        info!(deleted = sweep.deleted, "deleted the moved keys at the {side}");
        Ok(is_first.then_some(sweep.deleted))
    }
}

/// A walk through the node's keys.
struct Sweep<'a> {
    client: Client,
    slots: &'a SlotSet,
    slot_count: SlotCount,
    owners: Owners<'a>,
    control: &'a Control,
    /// Keys of users that it has deleted.
    deleted: u64,
}

impl Sweep<'_> {
    /// Deletes what it meets of the slots, and gives whether there was anything.
    async fn pass(&mut self, mut tell: impl FnMut(u64)) -> Result<bool> {
        let (mut has_deleted, mut cursor, mut gate) = (false, Some("0".to_owned()), self.control.gate());
        while let Some(at) = cursor {
            gate.admit().await?;
            let begin = Instant::now();
            let (keys, next) = self.client.scan(&at).await?;
            let ours: Vec<Vec<u8>> = keys.into_iter().filter(|key| self.slots.contains(self.slot_of(key))).collect();
            for key in &ours {
                self.owners.check(self.slot_of(key)).await?;
            }
            // A Pika deletes a collection in one step, however big it is: its rows go with a later compaction.
            let were_there = self.client.delete("DEL", &ours).await?;
            for (key, _) in ours.iter().zip(were_there).filter(|(_, was_there)| *was_there) {
                has_deleted = true;
                self.deleted += u64::from(!is_internal_key(key));
            }
            tell(self.deleted);
            sleep(pause(begin.elapsed(), ours.len(), self.control.limits())).await;
            cursor = next;
        }
        Ok(has_deleted)
    }

    /// The slot that a key stands for: the server's own index of a slot goes with it.
    fn slot_of(&self, key: &[u8]) -> Slot {
        slot_of_index(key, self.slot_count).unwrap_or_else(|| self.slot_count.slot_of(key))
    }
}

/// Who owns the slots, asked again now and then.
struct Owners<'a> {
    routing: &'a dyn RoutingControl,
    side: Side,
    asked: HashMap<Slot, Instant>,
}

impl Owners<'_> {
    /// That nobody is served from the node.
    async fn check(&mut self, slot: Slot) -> Result<()> {
        if self.asked.get(&slot).is_some_and(|at| at.elapsed() < ASK_AGAIN) {
            return Ok(());
        }
        match self.routing.owner(slot).await? {
            Owner::Target => {
                self.asked.insert(slot, Instant::now());
                Ok(())
            }
            owner => {
                let owner = match owner {
                    Owner::Other(name) => name,
                    Owner::Source | Owner::Target => format!("the {}", self.side),
                };
                let what =
                    format!("slot {slot} belongs to {owner} by now, so its keys at the {} are not deleted", self.side);
                Err(Error::Routing { what })
            }
        }
    }
}

/// How long the node is left in peace after a page.
fn pause(took: Duration, deleted: usize, limits: JobLimits) -> Duration {
    let kind = match limits.kind {
        Kindness::Gentle => took * 4,
        Kindness::Normal => took,
        Kindness::Full => Duration::ZERO,
    };
    let rate = limits.speed.command_rate.map_or(Duration::ZERO, |rate| {
        Duration::from_secs_f64(deleted as f64 / rate.commands() as f64).saturating_sub(took)
    });
    kind.max(rate)
}

/// For so long an answer of the routing layer is taken to hold.
const ASK_AGAIN: Duration = Duration::from_secs(1);
