// SPDX-License-Identifier: Apache-2.0
//! What a comparison asks by a checkpoint, whoever wants to know.

use std::sync::Arc;

use bytes::Bytes;
use replication::SlotSet;
use snapshot::Checkpoint;

use super::bulk::{Bulk, Judged};
use super::census::{Census, KeyHash};
use super::extra::{Extra, OnlyAtTarget};
use super::live::SourceKeys;
use super::sides::Sides;
use super::{CHUNK_KEYS, bulk, census_of, sample};
use crate::Result;
use crate::flow::{Control, Throttle};
use crate::job::plan::Plan;
use crate::job::{JobOptions, Progress};

/// Both sides, and how much of them is compared.
pub(super) struct Comparison<'a> {
    plan: &'a Plan,
    pub(super) sides: Sides,
    checkpoint: Option<Arc<Checkpoint>>,
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

impl<'a> Comparison<'a> {
    /// A comparison of these slots by a checkpoint, or by asking both sides where there is none.
    pub(super) async fn new(
        plan: &'a Plan,
        checkpoint: Option<&Arc<Checkpoint>>,
        slots: &SlotSet,
        options: &'a JobOptions,
        control: &'a Control,
        progress: &'a Progress,
        throttle: &Arc<Throttle>,
    ) -> Result<Self> {
        let known = progress.status().keys;
        // A checkpoint knows nothing of the keys that stand in its logs yet, the copy has met them.
        let expected = checkpoint.map_or(known, |checkpoint| checkpoint.estimated_keys(slots.len()).max(known));
        Ok(Self {
            plan,
            sides: Sides::of(plan).await?,
            checkpoint: checkpoint.map(Arc::clone),
            slots: slots.clone(),
            options,
            control,
            progress,
            throttle: Arc::clone(throttle),
            census: Arc::new(census_of(expected, options)),
            sample: sample(options.verify, expected),
            keys: 0,
            bytes: 0,
        })
    }

    /// The slots that are compared.
    pub(super) fn slots(&self) -> &SlotSet {
        &self.slots
    }

    /// How many keys of how many are compared.
    pub(super) fn sample(&self) -> Option<(u64, u64)> {
        self.sample
    }

    /// Whether a key is among those that are compared.
    pub(super) fn is_wanted(&self, key: &[u8]) -> bool {
        self.is_ours(key) && is_chosen(self.sample, key)
    }

    /// The comparison of the checkpoint's keys with the target, where there is a checkpoint.
    pub(super) fn bulk(&self) -> Option<Bulk> {
        let Self { plan, checkpoint, options, throttle, control, census, .. } = self;
        Some(Bulk {
            // Some may have been switched already.
            slots: self.slots.clone(),
            sample: self.sample,
            ..bulk(checkpoint.as_ref()?, options, &plan.target, throttle, control, census)
        })
    }

    /// All keys that the source has now.
    pub(super) fn source_keys(&self) -> SourceKeys {
        SourceKeys::new(self.plan.source.client(), self.control.gate())
    }

    /// Counts a key as one that the source has; whether it is among those that are compared.
    pub(super) fn source_has(&self, key: &[u8]) -> bool {
        let is_ours = self.is_ours(key);
        if is_ours {
            self.census.source_has(KeyHash::of(key));
        }
        is_ours && is_chosen(self.sample, key)
    }

    fn is_ours(&self, key: &[u8]) -> bool {
        self.slots.contains(self.options.slot_count.slot_of(key)) && !replication::is_internal_key(key)
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

    /// What looks for keys that only the target has; none for a sample.
    pub(super) fn extra(&self) -> Option<Extra> {
        self.sample.is_none().then(|| Extra {
            target: self.plan.target.clone(),
            slots: self.slots.clone(),
            slot_count: self.options.slot_count,
            census: Arc::clone(&self.census),
            gate: self.control.gate(),
        })
    }

    /// Keys that only the target has, once those of both sides were counted; `None` when there are none.
    pub(super) async fn only_at_target(&self, counted: Option<Extra>) -> Result<Option<OnlyAtTarget>> {
        match counted {
            Some(extra) => extra.absent_from(&self.plan.source).await,
            None => Ok(None),
        }
    }

    /// Counts keys as compared that the checkpoint does not tell of.
    pub(super) fn compared(&mut self, keys: usize) {
        self.keys += keys as u64;
        self.progress.verified(self.keys);
    }
}

/// Whether a key is in a sample.
pub(super) fn is_chosen(sample: Option<(u64, u64)>, key: &[u8]) -> bool {
    sample.is_none_or(|(part, whole)| KeyHash::of(key).is_within(part, whole))
}
