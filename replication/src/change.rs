// SPDX-License-Identifier: Apache-2.0
//! From a logged command to where one must look again.

use bytes::Bytes;

use crate::binlog::{Content, Item, UnixSeconds};
use crate::slot::{Slot, SlotCount};
use crate::table;
use crate::{Command, ListStep, Renames};

/// What must be looked at again after an entry of the log.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// Everything: the database was emptied.
    All,
    /// Any key may have another value now, and the log does not say which: nothing less than a new checkpoint tells.
    Anything,
    /// One key, or some elements of it.
    Key {
        /// The user's key.
        key: Bytes,
        /// How much of it.
        extent: Extent,
    },
}

/// How much of a key must be looked at again.
#[derive(Clone, PartialEq, Debug)]
pub enum Extent {
    /// All of it, its type and its expiry included.
    Whole,
    /// All of a string, its expiry included.
    Value {
        /// How long it may be, in bytes; whoever finds a longer one has been told of another state of it.
        length: usize,
    },
    /// Only these fields, members or stream ids. That is all the command touched; but if the key had expired, nothing
    /// in the log says so, and it began a new life with them. So look again at all of a key that had an expiry.
    Elements(Vec<Bytes>),
    /// These members or stream ids, and perhaps others that the log does not name, as `cut` says. What is said of an expiry
    /// above holds here too.
    Cut {
        /// Those that the log names.
        elements: Vec<Bytes>,
        /// Where the others lay, if there are any.
        cut: Cut,
    },
    /// What was done to a list, in order. Whoever does not have exactly the list of this place in the log, and no expiry
    /// of it, must look at all of it.
    Steps(Vec<ListStep>),
}

/// Where elements of a sorted set or stream may be gone that the log does not name. Each removal took all members between
/// two scores that there were at its time. Streams lose their first entries (`low`).
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Cut {
    /// Where removals looked at from the low end begin: the greatest of their lower bounds. A member that is still there
    /// and was not touched has nothing gone behind it, if its score is not below this one.
    pub low: Option<f64>,
    /// The same from the high end: the least of their upper bounds.
    pub high: Option<f64>,
    /// Whether entries of a stream were deleted by their ids. Once it has lost its newest entry so, Pika 4.0 takes another
    /// one for the first (`SetFirstOrLastID` in `redis_streams.cc`), and a later threshold takes entries from there on
    /// instead of the first ones.
    pub is_deleted_by_id: bool,
}

impl Cut {
    /// At the low end.
    pub const LOW: Self = Self { low: Some(f64::NEG_INFINITY), high: None, is_deleted_by_id: false };

    /// At the high end.
    pub const HIGH: Self = Self { low: None, high: Some(f64::INFINITY), is_deleted_by_id: false };

    /// Nothing but what is named, entries of a stream.
    pub const BY_ID: Self = Self { low: None, high: None, is_deleted_by_id: true };

    /// Whether elements may be gone that the log does not name.
    pub fn is_open(self) -> bool {
        self.low.is_some() || self.high.is_some()
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let either = |one: Option<f64>, two: Option<f64>, pick: fn(f64, f64) -> f64| match (one, two) {
            (Some(one), Some(two)) => Some(pick(one, two)),
            (one, two) => one.or(two),
        };
        Self {
            low: either(self.low, other.low, f64::max),
            high: either(self.high, other.high, f64::min),
            is_deleted_by_id: self.is_deleted_by_id || other.is_deleted_by_id,
        }
    }
}

/// What an entry of the log means for a reader of the source.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Nothing: a read that is logged, an internal key, a no-op.
    Ignored,
    /// These places must be looked at again. Pika 4.0 logs one key per entry; other versions may log more.
    Changes(Vec<Change>),
    /// The command is not in the table, or lacks its key. Each of its arguments is taken as a changed key; without any it
    /// is [`Change::Anything`]. The caller should say so.
    Unknown(Vec<Change>),
}

impl Effect {
    /// What `command` means, under its usual name.
    ///
    /// It says where a change *may* be, not that there is one: Pika logs commands that changed nothing, and some that
    /// failed. Arguments that do not have the command's form give the whole key.
    pub fn of(command: &Command) -> Self {
        Self::named(command.name(), command)
    }

    /// What an item of the log means, where clients had to use these other names. Padding means nothing, and neither does
    /// an item without a time, which Pika itself does not execute.
    pub fn of_item(item: &Item, renames: &Renames) -> Self {
        match &item.content {
            Content::Command(command) if item.time != UnixSeconds(0) => {
                Self::named(renames.usual_name(command.name()), command)
            }
            Content::Command(_) | Content::Padding => Self::Ignored,
        }
    }

    fn named(name: &[u8], command: &Command) -> Self {
        let known = table::changes(name, command.args());
        let is_known = known.is_some();
        let mut changes = known.unwrap_or_else(|| table::guess(command.args()));
        let logged = changes.len();
        changes.retain(|change| !change.is_internal());
        if changes.is_empty() && (is_known || logged > 0) {
            Self::Ignored
        } else if is_known {
            Self::Changes(changes)
        } else {
            Self::Unknown(changes)
        }
    }
}

impl Change {
    /// All of `key`.
    pub(crate) fn whole(key: Bytes) -> Self {
        Self::Key { key, extent: Extent::Whole }
    }

    /// Whether this is one of the sets in which Pika keeps the keys of a slot, which no user sees.
    fn is_internal(&self) -> bool {
        match self {
            Self::All | Self::Anything => false,
            Self::Key { key, .. } => is_internal_key(key),
        }
    }
}

/// Whether `key` is one of the sets in which Pika keeps the keys of a slot. They are never moved.
pub fn is_internal_key(key: &[u8]) -> bool {
    INTERNAL.iter().any(|prefix| key.starts_with(prefix))
}

/// The slot whose keys such a set lists: one is named by the number of the slot, the other by the checksum of a hash tag.
pub fn slot_of_index(key: &[u8], slots: SlotCount) -> Option<Slot> {
    let [by_slot, by_tag] = INTERNAL.map(|prefix| key.strip_prefix(prefix));
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u32>().ok();
    match (by_slot, by_tag) {
        (Some(digits), _) => number(digits).and_then(|slot| u16::try_from(slot).ok()).map(Slot::new),
        (_, Some(digits)) => {
            number(digits).and_then(|sum| u16::try_from(sum % u32::from(slots.get())).ok()).map(Slot::new)
        }
        (None, None) => None,
    }
}

const INTERNAL: [&[u8]; 2] = [b"_internal:slotkey:4migrate:", b"_internal:slottag:4migrate:"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BinlogOffset;

    #[test]
    fn other_names_mean_the_same() {
        let renames = ["FLUSHDB=360flushdb", "LPOP=take", "HSET=put"].map(|rename| rename.parse().unwrap());
        let renames = Renames::new(renames).unwrap();
        let of = |words: &str, renames: &Renames| {
            let item = Item {
                start: BinlogOffset::new(1, 0),
                end: BinlogOffset::new(1, 9),
                time: UnixSeconds(1),
                term: 0,
                logic_id: 1,
                header: BinlogOffset::new(1, 0),
                content: Content::Command(Command::new(words.split(' ').map(str::to_owned))),
            };
            Effect::of_item(&item, renames)
        };
        assert_eq!(of("360FLUSHDB", &renames), Effect::Changes(vec![Change::All]));
        assert_eq!(of("flushdb", &renames), Effect::Changes(vec![Change::All]));
        assert_eq!(of("360flushdb", &Renames::default()), Effect::Unknown(vec![Change::Anything]));
        assert_eq!(of("put h f v", &renames), of("hset h f v", &Renames::default()));
        assert_eq!(of("take l", &renames), of("LPOP l", &Renames::default()));
        assert_ne!(of("take l", &renames), of("lpop l", &Renames::default()), "the server itself writes `lpop`");
    }

    #[test]
    fn an_index_belongs_to_the_slot_whose_keys_it_lists() {
        let slot = |name: &str| slot_of_index(name.as_bytes(), SlotCount::CODIS).map(Slot::number);
        assert_eq!(slot("_internal:slotkey:4migrate:7"), Some(7));
        assert_eq!(slot("_internal:slottag:4migrate:2058"), Some(10));
        for name in [
            "7",
            "_internal:slotkey:4migrate:",
            "_internal:slotkey:4migrate:x",
            "_internal:slottag:4migrate:99999999999",
        ] {
            assert_eq!(slot(name), None, "{name}");
        }
    }
}
