// SPDX-License-Identifier: Apache-2.0
//! The switch: fence, then read the end of the log, then drain to it, then switch.
//!
//! In this order: an end that is read before the fence stands misses the writes between the two.

use std::time::{Duration, Instant};

use rand::RngExt;
use replication::{Slot, SlotSet};
use tracing::{debug, info, warn};

use crate::flow::Gate;
use crate::job::follow::Follower;
use crate::job::{CutoverOptions, FenceReport, Progress};
use crate::routing::{Owner, RoutingControl, Standing};
use crate::{Error, Result};

/// Switches all slots, group by group, while the others keep being followed.
pub(super) struct Cutover<'a> {
    pub(super) routing: &'a dyn RoutingControl,
    pub(super) options: &'a CutoverOptions,
    pub(super) progress: &'a Progress,
    pub(super) gate: Gate,
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

enum Attempt {
    Switched(Duration),
    Lowered(String),
    Flushed,
}

impl Cutover<'_> {
    pub(super) async fn run(mut self, follower: &mut Follower, fences: &mut Fences) -> Result<Outcome> {
        let slots: Vec<Slot> = follower.slots().iter().collect();
        for group in slots.chunks(self.options.group.get()) {
            let group: SlotSet = group.iter().copied().collect();
            if self.switch(&group, follower, fences).await? == Outcome::VerifyAgain {
                return Ok(Outcome::VerifyAgain);
            }
            follower.release(&group);
            self.progress.switched(group.len());
        }
        Ok(Outcome::Switched)
    }

    async fn switch(&mut self, group: &SlotSet, follower: &mut Follower, fences: &mut Fences) -> Result<Outcome> {
        let mut last = String::new();
        for attempt in 0..=self.options.retries.unwrap_or(u32::MAX - 1) {
            self.gate.admit().await?;
            self.back_off(attempt, follower).await?;
            self.approach(follower).await?;
            if follower.take_flushed() {
                return Ok(Outcome::VerifyAgain);
            }
            match self.attempt(group, follower).await? {
                Attempt::Switched(stood) => {
                    info!(slots = %group, ?stood, "switched");
                    fences.stood.push(stood);
                    return Ok(Outcome::Switched);
                }
                Attempt::Flushed => return Ok(Outcome::VerifyAgain),
                Attempt::Lowered(why) => {
                    debug!(slots = %group, why, "lowered the fence without a switch");
                    fences.retried += 1;
                    last = why;
                }
            }
        }
        Err(Error::Cutover {
            slots: group.to_string(),
            attempts: self.options.retries.unwrap_or(u32::MAX - 1) + 1,
            last,
        })
    }

    /// Waits before another attempt, longer each time, and keeps following.
    async fn back_off(&self, attempt: u32, follower: &mut Follower) -> Result<()> {
        if attempt == 0 {
            return Ok(());
        }
        let longest = BACK_OFF_FIRST.saturating_mul(1 << attempt.min(6));
        let until = Instant::now() + longest.mul_f64(rand::rng().random_range(0.5..1.0));
        while Instant::now() < until {
            follower.round().await?;
            tokio::time::sleep(BACK_OFF_STEP).await;
        }
        Ok(())
    }

    /// Follows until a drain is likely to fit: the last round was short and left nothing.
    async fn approach(&self, follower: &mut Follower) -> Result<()> {
        let short = self.options.max_lock.map_or(Duration::MAX, |cap| cap / 4);
        for _ in 0..APPROACH_ROUNDS {
            let round = follower.round().await?;
            if round.complete && round.took <= short {
                break;
            }
        }
        Ok(())
    }

    async fn attempt(&self, group: &SlotSet, follower: &mut Follower) -> Result<Attempt> {
        let begin = Instant::now();
        let cap = self.options.max_lock.unwrap_or(Duration::MAX);
        let lower_by = begin.checked_add(cap);
        if let Err(error) = self.raise(group, follower, lower_by).await {
            self.routing.lower(group).await?;
            return match self.options.max_lock {
                Some(_) => Ok(Attempt::Lowered(error.to_string())),
                None => Err(error),
            };
        }
        let drained = match self.options.skip_drain {
            true => Ok(true),
            false => self.drain(group, follower, lower_by).await,
        };
        // A failure leaves no fence behind: clients go on at the source.
        let in_time = match drained {
            Ok(in_time) => in_time,
            Err(error) => {
                self.routing.lower(group).await?;
                return Err(error);
            }
        };
        if !in_time {
            return Ok(Attempt::Lowered(format!("the drain did not fit into {cap:?}")));
        }
        if follower.take_flushed() {
            self.routing.lower(group).await?;
            return Ok(Attempt::Flushed);
        }
        match self.routing.holds(group).await {
            Ok(Standing::Holds) => {}
            Ok(Standing::Broken(why)) => {
                self.routing.lower(group).await?;
                return Ok(Attempt::Lowered(why));
            }
            Err(error) => {
                self.routing.lower(group).await?;
                return Ok(Attempt::Lowered(error.to_string()));
            }
        }
        self.send_switch(group).await?;
        Ok(Attempt::Switched(begin.elapsed()))
    }

    /// Raises the fence. A person takes minutes to do so, and the drain must be short after them as well, so the log is
    /// followed meanwhile.
    async fn raise(&self, group: &SlotSet, follower: &mut Follower, lower_by: Option<Instant>) -> Result<()> {
        let Some(deadline) = lower_by else {
            return follower.alongside(self.routing.raise(group)).await;
        };
        match tokio::time::timeout_at(deadline.into(), self.routing.raise(group)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Routing { what: "the fence was not up before its cap ran out".to_owned() }),
        }
    }

    /// Drains to the end of the log as it is now, with the fence up. When the cap runs out the fence is lowered at
    /// once, and the round that is under way is finished behind it.
    async fn drain(&self, group: &SlotSet, follower: &mut Follower, lower_by: Option<Instant>) -> Result<bool> {
        let end = follower.end()?;
        let mut drain = std::pin::pin!(follower.drain_to(end));
        let Some(lower_by) = lower_by else { return drain.await.map(|()| true) };
        tokio::select! {
            biased;
            drained = &mut drain => drained.map(|()| Instant::now() < lower_by),
            () = tokio::time::sleep_until(lower_by.into()) => {
                self.routing.lower(group).await?;
                drain.await.map(|()| false)
            }
        }
    }

    /// From here on only forward: a switch that failed may have happened, so the routing layer is asked who owns the
    /// slots, and the switch is sent again until it is the target.
    async fn send_switch(&self, group: &SlotSet) -> Result<()> {
        let mut fault = None;
        for attempt in 0..SWITCH_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(BACK_OFF_FIRST).await;
            }
            match self.routing.switch(group).await {
                Ok(()) => return Ok(()),
                // A person's word is final, and a person who did not switch is not asked twenty times.
                Err(error) if self.options.max_lock.is_none() => {
                    self.routing.lower(group).await?;
                    return Err(error);
                }
                Err(error) => {
                    warn!(slots = %group, %error, "the switch failed or its answer was lost, sending it again");
                }
            }
            match self.owned_by_target(group).await {
                Ok(true) => return Ok(()),
                Ok(false) => fault = Some("the routing layer does not say the target owns them".to_owned()),
                Err(error) => fault = Some(error.to_string()),
            }
        }
        let fault = fault.unwrap_or_default();
        Err(Error::Routing { what: format!("the switch of slots {group} was sent {SWITCH_ATTEMPTS} times: {fault}") })
    }

    async fn owned_by_target(&self, group: &SlotSet) -> Result<bool> {
        for slot in group.iter() {
            if self.routing.owner(slot).await? != Owner::Target {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Fences {
    /// In milliseconds.
    pub(super) fn report(&self) -> FenceReport {
        let mut stood: Vec<f64> = self.stood.iter().map(|stood| stood.as_secs_f64() * 1000.0).collect();
        stood.sort_by(f64::total_cmp);
        FenceReport {
            p50: stood.get(stood.len() / 2).copied().unwrap_or_default(),
            max: stood.last().copied().unwrap_or_default(),
            count: stood.len(),
            retried: self.retried,
        }
    }
}

const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
const BACK_OFF_STEP: Duration = Duration::from_millis(5);

/// Rounds before an attempt is made all the same: under a load that never pauses no round may be complete.
const APPROACH_ROUNDS: u32 = 200;

const SWITCH_ATTEMPTS: u32 = 20;
