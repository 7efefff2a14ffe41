// SPDX-License-Identifier: Apache-2.0
//! Keys that differed while a follower brings what changes to the target: the log explains them, or they are repaired.
//!
//! A key that the log does not name while it is looked at must be equal then. One that it names at every look is compared
//! element by element ([`elements`](super::elements)): only what it names is excused, for only that is read again. Where nobody can tell, as
//! of a list that never holds still, the key is read whole once and looked at again; what still cannot be told is counted.

use std::collections::HashMap;

use bytes::Bytes;
use tracing::{info, warn};

use super::difference::{Difference, Differing, EXAMPLES, examples};
use super::elements::{self, Verdict};
use super::sides::{Looked, Sides};
use super::{CHUNK_KEYS, SETTLE_ATTEMPTS, SETTLE_PAUSE, SUSPECTS_MAX, differs};
use crate::Result;
use crate::job::VerifyReport;
use crate::job::follow::Follower;
use crate::job::noted::Touched;

/// Keys that differed when they were last looked at.
#[derive(Default)]
pub(super) struct Settling {
    suspects: HashMap<Bytes, Difference>,
}

/// What is left of the suspects after some looks.
#[derive(Default)]
struct Left {
    /// They differ in what the log does not name.
    differing: Vec<Differing>,
    /// Nobody can tell: they never hold still.
    unclear: Vec<Bytes>,
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
        if self.suspects.len() <= SUSPECTS_MAX {
            return Ok(());
        }
        Err(differs(&std::mem::take(&mut self.suspects).into_iter().map(Differing::from).collect::<Vec<_>>()))
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
        let Left { differing, unclear } = self.settle(sides, follower).await?;
        if restarted {
            // What a source has done that crashed before it could log it is explained by no later change of the same key,
            // which may be one of other elements.
            self.suspects.keys().for_each(|key| follower.repair(key));
        }
        if differing.is_empty() && unclear.is_empty() {
            return Ok(());
        }
        if !differing.is_empty() {
            let first = examples(&differing);
            info!(keys = differing.len(), ?first, "differ without a change in the log, reading them again");
            report.repaired += differing.len() as u64;
            report.differences.extend(first);
            report.differences.truncate(EXAMPLES);
        }
        let again = unclear.into_iter().map(|key| (key, Difference::Unsettled));
        self.suspects = differing.into_iter().map(Differing::into).chain(again).collect();
        self.suspects.keys().for_each(|key| follower.repair(key));
        let Left { differing, unclear } = self.settle(sides, follower).await?;
        if !differing.is_empty() {
            warn!(keys = differing.len(), "still differ after a repair");
            return Err(differs(&differing));
        }
        if !unclear.is_empty() {
            info!(keys = unclear.len(), "never hold still, so they were read whole and could not be compared");
            report.uncompared += unclear.len() as u64;
            let names = unclear.iter().map(|key| key.escape_ascii().to_string());
            report.uncompared_keys.extend(names);
            report.uncompared_keys.truncate(EXAMPLES);
        }
        Ok(())
    }

    /// Compares the suspects again, each time after catching up, until they are equal or nothing but a difference is
    /// left that no time will end.
    async fn settle(&mut self, sides: &mut Sides, follower: &mut Follower) -> Result<Left> {
        let mut left = Left::default();
        let mut touched = HashMap::new();
        for attempt in 0..SETTLE_ATTEMPTS {
            if self.suspects.is_empty() {
                return Ok(Left::default());
            }
            if attempt > 0 {
                // A target that keeps whole seconds may hold an expired key for up to one more.
                tokio::time::sleep(SETTLE_PAUSE).await;
            }
            let (mut differing, mut may_pass) = (Vec::new(), false);
            let suspects: Vec<Bytes> = self.suspects.keys().cloned().collect();
            catch_up(follower, &suspects).await?;
            for chunk in suspects.chunks(CHUNK_KEYS) {
                let (looked, _) = sides.look(chunk).await?;
                may_pass |= looked.iter().any(Looked::may_pass);
                differing.extend(looked.into_iter().filter_map(Looked::differing));
            }
            touched = what_came(follower).await?;
            let is_named = |key: &Bytes| touched.get(key).is_some_and(Touched::is_any);
            left.differing = differing.iter().filter(|differing| !is_named(&differing.key)).cloned().collect();
            self.suspects = differing.into_iter().map(Differing::into).collect();
            if attempt > 0 && (left.differing.is_empty() || !may_pass) {
                break;
            }
        }
        let restless = self.suspects.iter().filter(|(key, _)| {
            touched.get(*key).is_some_and(|touched| {
                // All of it is read again anyway.
                touched.is_any() && !touched.is_whole()
            })
        });
        let restless: Vec<Differing> = restless.map(|(key, how)| Differing { key: key.clone(), how: *how }).collect();
        for differing in restless {
            match closer(sides, follower, &differing.key).await? {
                Verdict::Explained => {}
                Verdict::Unexplained => left.differing.push(differing),
                Verdict::Unclear => left.unclear.push(differing.key),
            }
        }
        Ok(left)
    }
}

/// Compares a key that never holds still element by element, until it can be told whether the log explains how it differs.
async fn closer(sides: &mut Sides, follower: &mut Follower, key: &Bytes) -> Result<Verdict> {
    let keys = [key.clone()];
    for _ in 0..CLOSER_LOOKS {
        catch_up(follower, &keys).await?;
        let was_exact = follower.replays(key);
        // In this order: see there.
        let target = sides.target_elements(key).await?;
        let source = sides.source_elements(key).await?;
        let touched = what_came(follower).await?.remove(key).unwrap_or_default();
        if !(touched.steps().is_empty() || was_exact && follower.replays(key)) {
            // What was done to it is not replayed, so all of it was read again.
            return Ok(Verdict::Explained);
        }
        match elements::judge(&target, &source, &touched) {
            Verdict::Unclear => {}
            verdict => return Ok(verdict),
        }
    }
    Ok(Verdict::Unclear)
}

/// Brings the target up to the end of the log, and has what comes behind it about these keys remembered.
async fn catch_up(follower: &mut Follower, keys: &[Bytes]) -> Result<()> {
    let (slots, end) = (follower.slots().clone(), follower.end().await?);
    follower.noted().watch(end, keys.iter().cloned());
    follower.drain(&slots, end).await
}

/// What has come about these keys since.
async fn what_came(follower: &mut Follower) -> Result<HashMap<Bytes, Touched>> {
    let (slots, end) = (follower.slots().clone(), follower.end().await?);
    follower.drain(&slots, end).await?;
    Ok(follower.noted().touched())
}

/// How often a key is looked at closer: a list that changes ten times a second holds still for one of these.
const CLOSER_LOOKS: u32 = 8;
