// SPDX-License-Identifier: Apache-2.0
use replication::{BinlogOffset, SlotCount, SlotSet};

use crate::job::journal::{Reached, Switched};
use crate::job::reach::Reach;

/// Where a follower begins.
pub(super) struct Start {
    /// The slots to follow.
    pub(super) slots: SlotSet,
    /// The place in the log.
    pub(super) offset: BinlogOffset,
    /// From there on nothing that the log names is in what was copied.
    pub(super) exact_from: BinlogOffset,
    /// What those before us have brought to the target of what comes behind it.
    pub(super) reached: Option<Reached>,
    /// Slots that are at the target already, and are watched.
    pub(super) switched: Vec<Switched>,
    /// Whether the copy is over.
    pub(super) is_copied: bool,
    /// Whether the keys that come and go are counted, from the checkpoint on.
    pub(super) is_counted: bool,
}

/// What was brought to the target already: changes before an offset, of keys that are behind some places of the copy.
pub(super) struct Done {
    reach: Reach,
    offset: BinlogOffset,
}

impl Done {
    pub(super) fn of(reached: Reached, slot_count: SlotCount) -> Self {
        Self { reach: Reach::at(reached.places, slot_count), offset: reached.offset }
    }

    /// Whether it has a change of this key whose entry ends here.
    pub(super) fn has(&self, key: &[u8], end: BinlogOffset) -> bool {
        end <= self.offset && self.reach.has_passed(key)
    }
}
