// SPDX-License-Identifier: Apache-2.0
//! The switch: fence, then read the end of the log, then drain to it, look once more, then switch.
//!
//! In this order: an end that is read before the fence stands misses the writes between the two. Until a switch has been
//! sent only back: the fence is lowered and the clients go on at the source. From then on only forward.

mod approach;
mod fence;
mod held;

use std::sync::Arc;
use std::time::Duration;

use replication::{BinlogOffset, Slot, SlotSet};
use tracing::debug;

use self::approach::Approach;
use self::fence::{Fence, Setback};
use crate::flow::{Gate, Throttle};
use crate::job::follow::Follower;
use crate::job::journal::{Entry, Journal, Switched};
use crate::job::verify::Reverify;
use crate::job::{CutoverOptions, FenceReport, Progress};
use crate::record::{Offset, Slots};
use crate::routing::RoutingControl;
use crate::{Error, Result};

/// Switches all slots, group by group, while the others keep being followed.
pub(super) struct Cutover<'a> {
    pub(super) routing: &'a Arc<dyn RoutingControl>,
    pub(super) options: &'a CutoverOptions,
    pub(super) progress: &'a Progress,
    pub(super) gate: Gate,
    pub(super) throttle: &'a Arc<Throttle>,
    pub(super) journal: &'a Arc<Journal>,
}

/// How a cutover ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Every slot is at the target.
    Switched,
    /// The source was flushed: what was verified is void. No fence stands.
    VerifyAgain,
}

/// How long the fences stood.
#[derive(Default, Debug)]
pub(super) struct Fences {
    stood: Vec<Duration>,
    retried: usize,
}

/// A switch that was done.
#[derive(Clone, Copy, Debug)]
struct Crossing {
    /// The end of the source's log behind the fence.
    end: BinlogOffset,
    /// How long clients were held.
    stood: Duration,
}

impl Cutover<'_> {
    /// While nobody lets it go on, `again` compares what changes.
    pub(super) async fn run(
        mut self,
        follower: &mut Follower,
        fences: &mut Fences,
        again: &mut Option<Reverify<'_>>,
    ) -> Result<Outcome> {
        let slots: Vec<Slot> = follower.slots().iter().collect();
        for group in slots.chunks(self.options.group.get()) {
            let group: SlotSet = group.iter().copied().collect();
            if let Some(again) = again {
                // Many groups take long, and what was compared at their beginning has changed.
                Box::pin(again.turn(follower)).await?;
            }
            // On the disk before anything is locked: whoever comes after us asks who owns these.
            self.journal.note(Entry::Approach { slots: Slots(group.clone()) }).await?;
            let Some(Crossing { end, stood }) = self.switch(&group, follower, fences, again).await? else {
                return Ok(Outcome::VerifyAgain);
            };
            fences.stood.push(stood);
            follower.hand_over(&group, (!self.options.skip_drain).then_some(end));
            let micros = u64::try_from(stood.as_micros()).unwrap_or(u64::MAX);
            self.journal.note(Entry::Switched { slots: Slots(group), end: Offset(end), micros }).await?;
            self.progress.have_switched(self.journal.at_target());
        }
        Ok(Outcome::Switched)
    }

    /// Tries until these slots are switched, or have been tried as often as they may be; `None` when the source was
    /// flushed.
    async fn switch(
        &mut self,
        group: &SlotSet,
        follower: &mut Follower,
        fences: &mut Fences,
        again: &mut Option<Reverify<'_>>,
    ) -> Result<Option<Crossing>> {
        let mut failures = 0;
        loop {
            self.gate.admit().await?;
            let why = match self.attempt(group, follower, failures, again).await {
                Ok(crossing) => return Ok(Some(crossing)),
                Err(Setback::Flushed) => return Ok(None),
                Err(Setback::Final(error)) => return Err(error),
                Err(Setback::NotRaised(why)) => why,
                Err(Setback::Lowered(why)) => {
                    fences.retried += 1;
                    why
                }
            };
            failures += 1;
            debug!(slots = %group, failures, why, "not switched");
            if self.options.retries.is_some_and(|retries| failures > retries) {
                return Err(Error::Cutover { slots: group.to_string(), attempts: failures, last: why });
            }
            self.progress.waits(Some(format!("slots {group} were not switched: {why}")));
        }
    }

    async fn attempt(
        &self,
        group: &SlotSet,
        follower: &mut Follower,
        failures: u32,
        again: &mut Option<Reverify<'_>>,
    ) -> Result<Crossing, Setback> {
        let (options, progress, gate) = (self.options, self.progress, &self.gate);
        let approach = Approach { routing: &**self.routing, options, progress, gate, throttle: self.throttle };
        // Until this attempt is over, whatever its end: clients wait for it.
        let _urgent = approach.run(group, failures, follower, again).await?;
        let raised = Fence::raise(self.routing, group, self.options.max_lock, follower).await?;
        let drained = match self.options.skip_drain {
            true => raised.skip_drain(follower).await?,
            false => raised.drain(follower, self.options.ignore_replicas).await?,
        };
        drained.switch(follower, self.journal).await
    }
}

impl Fences {
    /// With those of the attempts before.
    pub(super) fn after(switched: &[Switched]) -> Self {
        Self { stood: switched.iter().map(|switched| switched.stood).collect(), retried: 0 }
    }

    /// In milliseconds.
    pub(super) fn report(&self) -> FenceReport {
        let mut stood: Vec<f64> = self.stood.iter().map(|stood| stood.as_secs_f64() * 1000.0).collect();
        stood.sort_by(f64::total_cmp);
        let quantile = |of_hundred: usize| stood.get(stood.len() * of_hundred / 100).copied().unwrap_or_default();
        FenceReport {
            p50: quantile(50),
            p99: quantile(99),
            max: stood.last().copied().unwrap_or_default(),
            count: stood.len(),
            retried: self.retried,
        }
    }
}
