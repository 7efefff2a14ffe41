// SPDX-License-Identifier: Apache-2.0
//! Keys that only the target has.

use std::sync::Arc;

use bytes::Bytes;
use replication::{SlotCount, SlotSet};

use crate::Result;
use crate::dialect::Dialect;
use crate::flow::Gate;
use crate::job::verify::census::{Census, KeyHash};
use crate::sink::{KeyScan, Target};
use crate::source::{Known, Node, Reread};

/// A search for keys of some slots that the target has and the checkpoint had not.
pub(super) struct Extra {
    pub(super) target: Target,
    pub(super) slots: SlotSet,
    pub(super) slot_count: SlotCount,
    pub(super) census: Arc<Census>,
    pub(super) gate: Gate,
}

/// Keys that the target has and the source has not, some at a time.
pub(super) struct OnlyAtTarget {
    extra: Extra,
    source: Reread,
    scan: KeyScan,
    more: bool,
}

impl OnlyAtTarget {
    /// The next ones, perhaps none; `None` after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Bytes>>> {
        if !self.more {
            return Ok(None);
        }
        let mut keys = Vec::new();
        self.more = self.extra.uneven(&mut self.scan, &mut keys).await?;
        Ok(Some(self.source.absent(keys).await?.into_iter().map(Bytes::from).collect()))
    }
}

impl Extra {
    /// Those of them that this source has not by now either; `None` when there are none, as a rule. The keys of both sides
    /// must have been counted.
    pub(super) async fn absent_from(self, source: &Node) -> Result<Option<OnlyAtTarget>> {
        if self.census.is_even() {
            return Ok(None);
        }
        let scan = self.target.key_scan().await?;
        let source = Reread::new(source.another().await?, Dialect::Pika, Arc::new(Known::new()));
        Ok(Some(OnlyAtTarget { extra: self, source, scan, more: true }))
    }

    /// Counts the target's keys, in any order with those of the source.
    pub(super) async fn count(&mut self) -> Result<()> {
        let mut scan = self.target.key_scan().await?;
        let census = Arc::clone(&self.census);
        while self.page(&mut scan, |_, hash| census.target_has(hash)).await? {}
        Ok(())
    }

    /// Walks over the target's keys once more, and adds those of some pages that lie where the count is not even: what only
    /// the target has, and a few others. Whether there are more.
    pub(super) async fn uneven(&mut self, scan: &mut KeyScan, keys: &mut Vec<Vec<u8>>) -> Result<bool> {
        let census = Arc::clone(&self.census);
        while keys.len() < KEYS_ASKED {
            let add = |key: &[u8], hash| {
                if !census.is_even_at(hash) {
                    keys.push(key.to_vec());
                }
            };
            if !self.page(scan, add).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn page(&mut self, scan: &mut KeyScan, mut take: impl FnMut(&[u8], KeyHash)) -> Result<bool> {
        self.gate.admit().await?;
        let (slots, slot_count) = (&self.slots, self.slot_count);
        scan.page(|key| {
            if slots.contains(slot_count.slot_of(key)) && !replication::is_internal_key(key) {
                take(key, KeyHash::of(key));
            }
        })
        .await
    }
}

/// Counts the target's keys, where that is wanted.
pub(super) async fn counted(extra: Option<Extra>) -> Result<Option<Extra>> {
    let Some(mut extra) = extra else { return Ok(None) };
    extra.count().await?;
    Ok(Some(extra))
}

/// Keys that the source is asked about at once.
const KEYS_ASKED: usize = 1024;
