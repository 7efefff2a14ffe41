// SPDX-License-Identifier: Apache-2.0
//! Keys that differed while a follower brings what changes to the target: the log explains them, or they are repaired.

use std::collections::HashMap;

use bytes::Bytes;
use replication::SlotSet;
use tracing::{info, warn};

use super::difference::{Difference, Differing, EXAMPLES, examples};
use super::sides::{Looked, Sides};
use super::{CHUNK_KEYS, SETTLE_ATTEMPTS, SETTLE_PAUSE, SUSPECTS_MAX, differs};
use crate::Result;
use crate::job::VerifyReport;
use crate::job::follow::Follower;

/// Keys that differed when they were last looked at.
#[derive(Default)]
pub(super) struct Settling {
    suspects: HashMap<Bytes, Difference>,
}

impl Settling {
    pub(super) fn len(&self) -> usize {
        self.suspects.len()
    }

    /// Adds one.
    ///
    /// # Errors
    /// [`Error::Differs`](crate::Error::Differs) when there are so many that it cannot be an accident.
    pub(super) fn suspect(&mut self, Differing { key, how }: Differing) -> Result<()> {
        self.suspects.insert(key, how);
        match self.suspects.len() > SUSPECTS_MAX {
            true => {
                Err(differs(&std::mem::take(&mut self.suspects).into_iter().map(Differing::from).collect::<Vec<_>>()))
            }
            false => Ok(()),
        }
    }

    /// Waits until they are equal or the log explains them. What it does not explain is read again at the source, noted in
    /// the report, and compared once more; of a source that was `restarted` it need not tell all.
    ///
    /// # Errors
    /// [`Error::Differs`](crate::Error::Differs) for what still differs then.
    pub(super) async fn resolve(
        mut self,
        sides: &mut Sides,
        follower: &mut Follower,
        restarted: bool,
        report: &mut VerifyReport,
    ) -> Result<()> {
        let left = self.settle(sides, follower).await?;
        if restarted {
            // What a source has done that crashed before it could log it is explained by no later change of the same key,
            // which may be one of other elements.
            self.suspects.keys().for_each(|key| follower.repair(key));
        }
        if left.is_empty() {
            return Ok(());
        }
        let first = examples(&left);
        info!(keys = left.len(), ?first, "differ without a change in the log, reading them again");
        report.repaired += left.len() as u64;
        report.differences.extend(first);
        report.differences.truncate(EXAMPLES);
        left.iter().for_each(|differing| follower.repair(&differing.key));
        self.suspects = left.into_iter().map(Differing::into).collect();
        let left = self.settle(sides, follower).await?;
        if left.is_empty() {
            return Ok(());
        }
        warn!(keys = left.len(), "still differ after a repair");
        Err(differs(&left))
    }

    /// Compares the suspects again, each time after catching up, until they are equal or nothing but a difference is
    /// left that no time will end. A key that changes all the time is as good as equal: the log explains it, and the drain
    /// will settle it.
    async fn settle(&mut self, sides: &mut Sides, follower: &mut Follower) -> Result<Vec<Differing>> {
        let slots: SlotSet = follower.slots().clone();
        let mut unexplained: Vec<Differing> = Vec::new();
        for attempt in 0..SETTLE_ATTEMPTS {
            if self.suspects.is_empty() {
                return Ok(Vec::new());
            }
            if attempt > 0 {
                // A target that keeps whole seconds may hold an expired key for up to one more.
                tokio::time::sleep(SETTLE_PAUSE).await;
            }
            follower.noted().watch();
            let end = follower.end().await?;
            follower.drain(&slots, end).await?;
            let (mut differing, mut may_pass) = (Vec::new(), false);
            let suspects: Vec<Bytes> = self.suspects.keys().cloned().collect();
            for chunk in suspects.chunks(CHUNK_KEYS) {
                let (looked, _) = sides.look(chunk).await?;
                may_pass |= looked.iter().any(Looked::may_pass);
                differing.extend(looked.into_iter().filter_map(Looked::differing));
            }
            let end = follower.end().await?;
            follower.drain(&slots, end).await?;
            let touched = follower.noted().touched();
            unexplained = differing.iter().filter(|differing| !touched.contains(&differing.key)).cloned().collect();
            self.suspects = differing.into_iter().map(Differing::into).collect();
            if attempt > 0 && (unexplained.is_empty() || !may_pass) {
                break;
            }
        }
        Ok(unexplained)
    }
}
