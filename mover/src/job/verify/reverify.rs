// SPDX-License-Identifier: Apache-2.0
//! What changes after a comparison is compared again now and then while the switch is held back: that may take days.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info};

use super::CHUNK_KEYS;
use super::comparison::is_chosen;
use super::settling::Settling;
use super::sides::{Looked, Sides};
use crate::Result;
use crate::flow::Throttle;
use crate::job::follow::Follower;
use crate::job::{Job, VerifyReport};

/// Compares keys again that have changed.
pub(in crate::job) struct Reverify<'a> {
    job: &'a Job,
    sides: Sides,
    sample: Option<(u64, u64)>,
    throttle: Arc<Throttle>,
    last: Instant,
    report: VerifyReport,
}

impl<'a> Reverify<'a> {
    pub(super) fn new(job: &'a Job, sides: Sides, sample: Option<(u64, u64)>, throttle: &Arc<Throttle>) -> Self {
        let report = VerifyReport::new(job.options.verify);
        Self { job, sides, sample, throttle: Arc::clone(throttle), last: Instant::now(), report }
    }

    /// What was repaired.
    pub(in crate::job) fn report(self) -> VerifyReport {
        self.report
    }

    /// Compares what has changed, and repairs what the log does not explain, when it was not done for a while. So that
    /// the log is followed meanwhile it takes no more keys at a time than are compared in some seconds.
    ///
    /// # Errors
    /// [`Error::Differs`](crate::Error::Differs) for what differs after a repair, or what the follower ends with.
    pub(in crate::job) async fn turn(&mut self, follower: &mut Follower) -> Result<()> {
        if self.last.elapsed() < EVERY {
            return Ok(());
        }
        let (mut keys, passed_over) = follower.noted().take(KEYS_AT_ONCE);
        if passed_over > 0 {
            info!(passed_over, "changes were too many to compare all of them again");
        }
        let (slots, slot_count) = (follower.slots(), self.job.options.slot_count);
        keys.retain(|key| slots.contains(slot_count.slot_of(key)) && is_chosen(self.sample, key));
        let mut suspects = Settling::default();
        for keys in keys.chunks(CHUNK_KEYS) {
            let look = async {
                let (looked, bytes) = self.sides.look(keys).await?;
                self.throttle.admit(bytes, keys.len()).await;
                Ok(looked)
            };
            let looked = follower.alongside(Box::pin(look)).await?;
            looked.into_iter().filter_map(Looked::differing).try_for_each(|differing| suspects.suspect(differing))?;
        }
        debug!(keys = keys.len(), suspects = suspects.len(), "compared again what has changed");
        let restarted = self.job.journal.read(|state| state.source_restarted);
        suspects.resolve(&mut self.sides, follower, restarted, &mut self.report).await?;
        self.last = Instant::now();
        Ok(())
    }
}

/// Between two comparisons: each costs both sides a reading of what has changed.
const EVERY: Duration = Duration::from_secs(5);

/// Keys that are compared at a time. Where more than that change in that time, some are compared later, or never.
const KEYS_AT_ONCE: usize = 10_000;
