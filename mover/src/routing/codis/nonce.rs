// SPDX-License-Identifier: Apache-2.0
//! The mark by which a lock is recognised as one of ours.
//!
//! A proxy stores the group id of a slot verbatim and never looks at it, and every push of the dashboard overwrites it.
//! So while we hold a slot a number stands there that no group can have. It still tells the group, so that whoever finds
//! the lock can take it off without asking anybody:
//!
//! ```text
//! nonce = a random number, not 0 · 10000 + group id        10000 <= nonce <= 2147483647
//! ```

use std::fmt;

use rand::RngExt;

use crate::routing::codis::model::{GroupId, Record};

/// The mark of one fence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Nonce(i64);

impl Nonce {
    /// A new one for slots of `group`.
    pub(super) fn new(group: GroupId) -> Self {
        let random = rand::rng().random_range(1..i64::from(i32::MAX) / GROUPS);
        Self(random * GROUPS + i64::from(group.0) % GROUPS)
    }

    /// The one that stands in the place of a group id.
    pub(super) fn read(group_id: i64) -> Option<Self> {
        (group_id >= GROUPS).then_some(Self(group_id))
    }

    /// The one that a record is locked with: `mark`, or any when it is not known which is ours.
    pub(super) fn of_lock(record: &Record, mark: Option<Self>) -> Option<Self> {
        let found = Self::read(record.backend_addr_group_id).filter(|_| record.locked)?;
        mark.is_none_or(|mark| mark == found).then_some(found)
    }

    /// The group of the slots it was made for.
    pub(super) fn group(self) -> GroupId {
        GroupId(u32::try_from(self.0 % GROUPS).expect("a remainder of 10000 fits a u32"))
    }

    /// What stands in the place of the group id.
    pub(super) fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Codis numbers its groups from 1 to 9999.
const GROUPS: i64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_group_and_is_no_group() {
        for group in [1, 2, 517, 9999] {
            let nonce = Nonce::new(GroupId(group));
            assert_eq!(nonce.group(), GroupId(group));
            assert_eq!(Nonce::read(nonce.get()), Some(nonce));
            assert!(i32::try_from(nonce.get()).is_ok(), "{nonce}");
        }
        for group_id in [-1, 0, 1, 9999] {
            assert_eq!(Nonce::read(group_id), None);
        }
    }
}
