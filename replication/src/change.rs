// SPDX-License-Identifier: Apache-2.0
//! From a logged command to where one must look again.

use bytes::Bytes;

use crate::Command;

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
    /// Only these fields, members or stream ids.
    Elements(Vec<Bytes>),
}

/// What an entry of the log means for a reader of the source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing: a read that is logged, an internal key, a no-op.
    Ignored,
    /// These places must be looked at again. Pika 4.0 logs one key per entry; other versions may log more.
    Changes(Vec<Change>),
    /// The command is not in the table: its first key is taken as changed, and the caller should count it.
    Unknown(Vec<Change>),
}

impl Effect {
    /// What `command` means.
    pub fn of(command: &Command) -> Self {
        let _ = command;
        Self::Ignored
    }
}
