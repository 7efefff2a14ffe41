// SPDX-License-Identifier: Apache-2.0
use std::collections::HashMap;

use bytes::Bytes;
use replication::{BinlogOffset, Slot};
use tracing::error;

use crate::{Error, Result, Side};

/// Writes that reached the source after their slot had been switched, as when a proxy forgets a fence between the last
/// look and the switch. The target may have been written since, so they are reported, not repaired: which of two
/// acknowledged values is right only the owner of the data can say.
#[derive(Default, Debug)]
pub(super) struct LateWrites {
    /// Slots that belong to the target, and the end that the log had behind their fence.
    watched: HashMap<Slot, BinlogOffset>,
    count: u64,
    first: Vec<(Bytes, BinlogOffset)>,
}

impl LateWrites {
    /// From this end of the log on, no write of the slot may come.
    pub(super) fn watch(&mut self, slot: Slot, end: BinlogOffset) {
        self.watched.insert(slot, end);
    }

    /// Looks at a write of a key in this slot, which stands at `offset` in the log.
    pub(super) fn look(&mut self, key: &Bytes, slot: Slot, offset: BinlogOffset) {
        if self.watched.get(&slot).is_some_and(|end| offset >= *end) {
            self.note(key, offset);
        }
    }

    /// Whether there are any that were not taken out.
    pub(super) fn is_some(&self) -> bool {
        self.count > 0
    }

    /// What was noted so far.
    pub(super) fn take(&mut self) -> Self {
        Self { watched: HashMap::new(), count: std::mem::take(&mut self.count), first: std::mem::take(&mut self.first) }
    }

    /// Notes a write of `key` that stands at `offset` in the source's log.
    pub(super) fn note(&mut self, key: &Bytes, offset: BinlogOffset) {
        error!(key = %key.escape_ascii(), %offset, "a write came after its slot was switched, to the node that the slot left");
        self.count += 1;
        if self.first.len() < EXAMPLES {
            self.first.push((Bytes::copy_from_slice(key), offset));
        }
    }

    /// # Errors
    /// [`Error::Late`] when there are any; they came to this side.
    pub(super) fn check(self, side: Side) -> Result<()> {
        match self.count {
            0 => Ok(()),
            count => {
                let example = |(key, offset): &(Bytes, BinlogOffset)| format!("`{}` at {offset}", key.escape_ascii());
                let examples: Vec<String> = self.first.iter().map(example).collect();
                Err(Error::Late { side, count, examples: examples.join(", ") })
            }
        }
    }
}

const EXAMPLES: usize = 10;
