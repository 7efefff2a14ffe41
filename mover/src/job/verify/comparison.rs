// SPDX-License-Identifier: Apache-2.0
//! What a comparison asks, whoever wants to know: the target by a checkpoint, and both sides about some keys.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use replication::SlotSet;
use snapshot::Checkpoint;

use super::bulk::{Bulk, Judged};
use super::census::{Census, KeyHash};
use super::difference::{Difference, Differing};
use super::digest::{self, Digest};
use super::extra::{Extra, OnlyAtTarget};
use super::{CHUNK_KEYS, bulk, census_of, sample};
use crate::Result;
use crate::dialect::Dialect;
use crate::flow::{Control, Throttle};
use crate::job::plan::Plan;
use crate::job::{JobOptions, Progress};
use crate::source::{Known, Reread, Strings};

/// Both sides, and how much of them is compared.
pub(super) struct Comparison<'a> {
    plan: &'a Plan,
    source: Reread,
    target: Reread,
    checkpoint: Arc<Checkpoint>,
    slots: SlotSet,
    options: &'a JobOptions,
    control: &'a Control,
    progress: &'a Progress,
    throttle: Arc<Throttle>,
    census: Arc<Census>,
    /// How many keys of how many are compared.
    sample: Option<(u64, u64)>,
    /// Keys that were compared so far.
    pub(super) keys: u64,
    /// Bytes of user data in those that were compared by the checkpoint.
    pub(super) bytes: u64,
}

/// A key as both sides had it at one moment, or at two close to each other.
pub(super) struct Looked {
    pub(super) key: Bytes,
    pub(super) source: Option<Digest>,
    pub(super) target: Option<Digest>,
    /// It did not change while it was read.
    pub(super) is_settled: bool,
}

impl Looked {
    /// How it differs, if it does.
    pub(super) fn difference(&self) -> Option<Difference> {
        let how = match (&self.source, &self.target) {
            (Some(source), Some(target)) => source.difference(target),
            (Some(_), None) => Some(Difference::Missing),
            (None, Some(_)) => Some(Difference::Extra),
            (None, None) => None,
        };
        how.or_else(|| (!self.is_settled).then_some(Difference::Unsettled))
    }
}

impl<'a> Comparison<'a> {
    /// A comparison of these slots by a checkpoint.
    pub(super) fn new(
        plan: &'a Plan,
        checkpoint: &Arc<Checkpoint>,
        slots: &SlotSet,
        options: &'a JobOptions,
        control: &'a Control,
        progress: &'a Progress,
        throttle: &Arc<Throttle>,
    ) -> Self {
        // What is learnt here must not reach the follower: a read of the target is no read of the source.
        let unused = || Arc::new(Known::new());
        let expected = expected_keys(checkpoint, slots, progress);
        Self {
            plan,
            source: Reread::new(plan.source.client(), Dialect::Pika, unused()).with_strings(Strings::Parts),
            target: Reread::new(plan.target.client(), plan.target.dialect(), unused()).with_strings(Strings::Parts),
            checkpoint: Arc::clone(checkpoint),
            slots: slots.clone(),
            options,
            control,
            progress,
            throttle: Arc::clone(throttle),
            census: Arc::new(census_of(expected, options)),
            sample: sample(options.verify, expected),
            keys: 0,
            bytes: 0,
        }
    }

    /// The slots that are compared.
    pub(super) fn slots(&self) -> &SlotSet {
        &self.slots
    }

    /// Whether a key is among those that are compared.
    pub(super) fn is_wanted(&self, key: &[u8]) -> bool {
        let is_ours = self.slots.contains(self.checkpoint.slots().slot_of(key)) && !replication::is_internal_key(key);
        is_ours && self.sample.is_none_or(|(part, whole)| KeyHash::of(key).is_within(part, whole))
    }

    /// The comparison of the checkpoint's keys with the target.
    pub(super) fn bulk(&self) -> Bulk {
        let Self { plan, checkpoint, options, throttle, control, census, .. } = self;
        Bulk {
            // Some may have been switched already.
            slots: self.slots.clone(),
            sample: self.sample,
            ..bulk(checkpoint, options, &plan.target, throttle, control, census)
        }
    }

    /// The next keys that are not at the target as they are in the checkpoint, perhaps none; `None` at the end.
    pub(super) async fn doubtful(&mut self, judged: &flume::Receiver<Judged>) -> Option<Vec<Bytes>> {
        let mut doubtful: Vec<Bytes> = Vec::new();
        let mut next = Some(judged.recv_async().await.ok()?);
        while let Some(Judged { keys, bytes, differing }) = next {
            self.keys += keys;
            self.bytes += bytes;
            doubtful.extend(differing);
            next = if doubtful.len() < CHUNK_KEYS { judged.try_recv().ok() } else { None };
        }
        self.progress.verified(self.keys);
        // One key may have come in several pieces.
        doubtful.sort_unstable();
        doubtful.dedup();
        Some(doubtful)
    }

    /// Keys that only the target has; `None` when there are none, and for a sample, which does not look for them.
    pub(super) async fn only_at_target(&self) -> Result<Option<OnlyAtTarget>> {
        if self.sample.is_some() {
            return Ok(None);
        }
        let extra = Extra {
            target: self.plan.target.clone(),
            slots: self.slots.clone(),
            slot_count: self.checkpoint.slots(),
            census: Arc::clone(&self.census),
            gate: self.control.gate(),
        };
        extra.absent_from(self.plan.source.client()).await
    }

    /// Counts keys as compared that the checkpoint does not tell of.
    pub(super) fn compared(&mut self, keys: usize) {
        self.keys += keys as u64;
        self.progress.verified(self.keys);
    }

    /// Reads keys as both sides have them now, and the bytes that this took.
    pub(super) async fn look(&mut self, keys: &[Bytes]) -> Result<(Vec<Looked>, usize)> {
        let dialect = self.plan.target.dialect();
        let (mut source, mut target) = tokio::try_join!(
            digest::read(&mut self.source, dialect, keys),
            digest::read(&mut self.target, dialect, keys),
        )?;
        let unsettled: HashSet<Bytes> = source.again.into_iter().chain(target.again).collect();
        let looked = keys.iter().map(|key| Looked {
            key: key.clone(),
            source: source.of.remove(key),
            target: target.of.remove(key),
            is_settled: !unsettled.contains(key),
        });
        Ok((looked.collect(), source.bytes + target.bytes))
    }

    /// Those of `keys` that are not the same on both sides now.
    pub(super) async fn compare(&mut self, keys: &[Bytes]) -> Result<Vec<Differing>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let (looked, _) = self.look(keys).await?;
        let differing = |looked: Looked| Some(Differing { how: looked.difference()?, key: looked.key });
        Ok(looked.into_iter().filter_map(differing).collect())
    }
}

/// About how many keys there are. A checkpoint knows nothing of those that stand in its logs yet, the copy has met them.
fn expected_keys(checkpoint: &Checkpoint, slots: &SlotSet, progress: &Progress) -> u64 {
    checkpoint.estimated_keys(slots.len()).max(progress.status().keys)
}
