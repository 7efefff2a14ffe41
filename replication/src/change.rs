// SPDX-License-Identifier: Apache-2.0
//! From a logged command to where one must look again.

use bytes::Bytes;

use crate::Command;
use crate::binlog::{Content, Item, UnixSeconds};
use crate::table;

/// What must be looked at again after an entry of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Everything: the database was flushed.
    All,
    /// One key, or some elements of it.
    Key {
        /// The user's key.
        key: Bytes,
        /// How much of it.
        extent: Extent,
    },
}

/// How much of a key must be looked at again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Extent {
    /// All of it, its type and its expiry included.
    Whole,
    /// Only these fields, members or stream ids. That is all the command touched; but if the key had expired, nothing
    /// in the log says so, and it began a new life with them. So look again at all of a key that had an expiry.
    Elements(Vec<Bytes>),
}

/// What an entry of the log means for a reader of the source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing: a read that is logged, an internal key, a no-op.
    Ignored,
    /// These places must be looked at again. Pika 4.0 logs one key per entry; other versions may log more.
    Changes(Vec<Change>),
    /// The command is not in the table, or lacks its key: its first argument is taken as a changed key, if it has one,
    /// and the caller should count it.
    Unknown(Vec<Change>),
}

impl Effect {
    /// What `command` means.
    ///
    /// It says where a change *may* be, not that there is one: Pika logs commands that changed nothing, and some that
    /// failed. Arguments that do not have the command's form give the whole key.
    pub fn of(command: &Command) -> Self {
        let (changes, known) = match table::changes(command) {
            Some(changes) => (changes, true),
            None => (command.key().cloned().map(Change::whole).into_iter().collect(), false),
        };
        let logged = changes.len();
        let changes: Vec<Change> = changes.into_iter().filter(|change| !change.is_internal()).collect();
        match (known, changes.is_empty()) {
            (true, true) => Self::Ignored,
            (true, false) => Self::Changes(changes),
            (false, true) if logged > 0 => Self::Ignored,
            (false, _) => Self::Unknown(changes),
        }
    }

    /// What an item of the log means. Padding means nothing, and neither does an item without a time, which Pika itself
    /// does not execute.
    pub fn of_item(item: &Item) -> Self {
        match &item.content {
            Content::Command(command) if item.time != UnixSeconds(0) => Self::of(command),
            Content::Command(_) | Content::Padding => Self::Ignored,
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
            Self::All => false,
            Self::Key { key, .. } => INTERNAL.iter().any(|prefix| key.starts_with(prefix)),
        }
    }
}

const INTERNAL: [&[u8]; 2] = [b"_internal:slotkey:4migrate:", b"_internal:slottag:4migrate:"];
