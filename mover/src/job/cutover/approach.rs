// SPDX-License-Identifier: Apache-2.0
//! When to raise a fence: not before the operator lets us, the routing layer is quiet and the drain is likely to fit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use replication::SlotSet;
use tokio::time::sleep;

use super::fence::Setback;
use crate::flow::{Gate, Throttle, Urgent};
use crate::job::follow::Follower;
use crate::job::verify::Reverify;
use crate::job::{CutoverOptions, Progress};
use crate::routing::{Readiness, RoutingControl};
use crate::{Error, Result};

/// What comes before a fence. The log is followed all the time.
pub(super) struct Approach<'a> {
    pub(super) routing: &'a dyn RoutingControl,
    pub(super) options: &'a CutoverOptions,
    pub(super) progress: &'a Progress,
    pub(super) gate: &'a Gate,
    pub(super) throttle: &'a Arc<Throttle>,
}

impl Approach<'_> {
    /// Returns when a fence may be raised at once. From its last step on no throttle holds what is left to be followed:
    /// for as long as the guard that it gives lives.
    pub(super) async fn run(
        &self,
        group: &SlotSet,
        failures: u32,
        follower: &mut Follower,
        again: &mut Option<Reverify<'_>>,
    ) -> Result<Urgent, Setback> {
        self.back_off(failures, follower).await?;
        self.wait_for_the_operator(follower, again).await?;
        follower.check_servers().await?;
        match follower.alongside(self.routing.preconditions(group)).await? {
            Readiness::Ready => {}
            Readiness::NotYet(why) => return Err(Setback::NotRaised(why)),
        }
        self.look_at_the_replicas(follower).await?;
        // What stops the line would make the drain fail, or be broken by it.
        if let Some((_, why)) = self.throttle.stopped() {
            return Err(Setback::NotRaised(why));
        }
        let urgent = self.throttle.urgent();
        self.wait_for_a_short_drain(group, follower).await?;
        self.progress.waits(None);
        match follower.take_flushed() {
            true => Err(Setback::Flushed),
            false => Ok(urgent),
        }
    }

    /// Waits after a failure, longer each time; with jitter, for what got in the way may come at regular times.
    async fn back_off(&self, failures: u32, follower: &mut Follower) -> Result<()> {
        if failures == 0 {
            return Ok(());
        }
        let longest = BACK_OFF_FIRST.saturating_mul(1 << (failures - 1).min(6));
        let until = Instant::now() + longest.mul_f64(rand::rng().random_range(0.5..1.0));
        while Instant::now() < until {
            follower.round().await?;
            sleep(STEP).await;
        }
        Ok(())
    }

    /// Compares again, now and then, what changes meanwhile: there may be days of it.
    async fn wait_for_the_operator(&self, follower: &mut Follower, again: &mut Option<Reverify<'_>>) -> Result<()> {
        while let Some(why) = self.postponed()? {
            self.progress.waits(Some(why));
            let until = Instant::now() + POSTPONE_STEP;
            while Instant::now() < until {
                follower.round().await?;
                sleep(STEP).await;
            }
            if let Some(again) = again {
                Box::pin(again.turn(follower)).await?;
            }
        }
        Ok(())
    }

    /// Who holds the cutover back, if someone does.
    fn postponed(&self) -> Result<Option<String>> {
        if self.gate.cutover_postponed() {
            return Ok(Some("the cutover is postponed".to_owned()));
        }
        let Some(flag) = &self.options.postpone_file else { return Ok(None) };
        match flag.try_exists() {
            Ok(true) => Ok(Some(format!("the cutover is postponed as long as {} exists", flag.display()))),
            Ok(false) => Ok(None),
            Err(fault) => Err(Error::file("look for", flag, fault)),
        }
    }

    /// A replica that lags would not be in step when the drain is over.
    async fn look_at_the_replicas(&self, follower: &mut Follower) -> Result<(), Setback> {
        if self.options.ignore_replicas {
            return Ok(());
        }
        match follower.replica_behind().await? {
            Some(behind) if behind.bytes.is_none_or(|bytes| bytes > REPLICA_LAG_MAX) => {
                Err(Setback::NotRaised(behind.to_string()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Drains without a fence until the last times were short and no other slot is in arrears: the drain behind the fence
    /// will take about as long.
    async fn wait_for_a_short_drain(&self, group: &SlotSet, follower: &mut Follower) -> Result<(), Setback> {
        let Some(max_lock) = self.options.max_lock else { return Ok(()) };
        let (short, begin) = (max_lock / 2, Instant::now());
        let mut last = VecDeque::from([Duration::MAX; REHEARSALS]);
        loop {
            let in_step = follower.round().await?;
            let rehearsal = Instant::now();
            let end = follower.end().await?;
            follower.drain(group, end).await?;
            last.pop_front();
            last.push_back(rehearsal.elapsed());
            let longest = last.iter().max().copied().unwrap_or_default();
            if in_step && longest <= short {
                return Ok(());
            }
            if begin.elapsed() > APPROACH_MAX {
                let seen = match in_step {
                    true => format!(
                        "a drain would take about {longest:.0?}, more than half of the {max_lock:?} a lock may take"
                    ),
                    false => "the target did not come in step with the log".to_owned(),
                };
                return Err(Setback::NotRaised(seen));
            }
            if begin.elapsed() > STEP * 20 {
                self.progress.waits(Some(match in_step {
                    true => format!("a drain must fit into {short:?}, the last ones took up to {longest:.0?}"),
                    false => "the target must be in step with the log".to_owned(),
                }));
            }
            sleep(STEP / 5).await;
        }
    }
}

const BACK_OFF_FIRST: Duration = Duration::from_millis(50);

/// Between two rounds while there is time: each costs the source a reading of every key that changed.
const STEP: Duration = Duration::from_millis(5);

/// Between two looks for the flag file.
const POSTPONE_STEP: Duration = Duration::from_millis(100);

/// What a replica may lack before the drain, in bytes: it is there some milliseconds later.
const REPLICA_LAG_MAX: u64 = 256 << 10;

/// A drain is taken to be as long as the longest of so many that were tried.
const REHEARSALS: usize = 3;

/// After so long it counts as an attempt, so that counted retries come to an end.
const APPROACH_MAX: Duration = Duration::from_secs(30);
