// SPDX-License-Identifier: Apache-2.0
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::job::Phase;
use crate::record::{Key, Offset, Slots};

/// The first line: which job it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    pub(super) version: u32,
    /// Its name, which is also part of the names of its directories.
    pub job: String,
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
    /// `HOST:PORT` of the source.
    pub source: String,
    /// `HOST:PORT` of the target.
    pub target: String,
    pub(super) slots: Slots,
    /// The database.
    pub database: u32,
    /// The arguments that it was started with; for whoever starts it again. They name files of passwords, never a
    /// password.
    pub arguments: Vec<String>,
    /// The directory that file names in the arguments are relative to.
    pub directory: PathBuf,
}

/// A further line: what is about to be done, or what has been.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub(in crate::job) enum Entry {
    /// A phase begins.
    Enter { phase: Phase },

    /// The source is this process.
    Source { run: String },
    /// A setting of a server is about to be changed.
    Setting { node: Node, name: String, before: String },
    /// It is as it was before, or another job sees to that.
    Restored { node: Node, name: String },
    /// A directory is about to be made.
    Directory { path: PathBuf },
    /// The source is about to write dumps into `path`, under names that begin with `prefix`.
    Dumps { path: PathBuf, prefix: String },
    /// No directory and no dump of ours is left.
    Removed,

    /// A checkpoint is in place, and the log from its offset on is kept. It may hold some of what stands in the log from
    /// there until a second place.
    Checkpoint {
        checkpoint: PathBuf,
        spool: PathBuf,
        offset: Offset,
        #[serde(default)]
        until: Option<Offset>,
    },
    /// The log from this offset on is kept; there is no checkpoint, for everything before it is on the other side already.
    Retained {
        spool: PathBuf,
        offset: Offset,
        /// It is the place for a mirror of the log, which is on another machine.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_mirror: bool,
    },
    /// It is no longer of use. What was copied of it stays at the target.
    Outdated { why: String },

    /// The target is about to be emptied. From here on what it holds of these slots is ours.
    Emptying,
    /// It is empty, and its process is this one.
    Emptied { run: String },

    /// These connections to the target are about to be written to.
    Connected { connections: Vec<String> },
    /// All keys up to these places are at the target, as new as the log at this offset.
    Copied { places: Vec<Place>, offset: Offset },
    /// What was not as it should be in what was scanned: lines that only tell, and lines that stop the move.
    Found { noted: Vec<String>, unmovable: Vec<String> },
    /// The copy has landed.
    CopyEnded { keys: u64, bytes: u64, millis: u64 },
    /// All changes before this offset have landed.
    Followed { offset: Offset },
    /// Both sides were compared.
    Verified { keys: u64, repaired: u64 },

    /// These slots may be switched from here on.
    Approach { slots: Slots },
    /// The switch is about to be sent; the source's log ended here when the fence stood.
    Switching { slots: Slots, end: Offset },
    /// It was not sent, and their fence is down.
    Lowered,
    /// They are at the target. How long clients were held.
    Switched { slots: Slots, end: Offset, micros: u64 },

    /// Writes came to the source behind a switch, so that it holds what is nowhere else.
    Late,
    /// Everything is to be taken back, but for what the target holds where that is to be left.
    Cancelling { leave_target: bool },
    /// Every slot is at the target, and no write came too late. From here on the target's changes are brought back to the
    /// source, and the job can be rolled back, until this time in milliseconds since 1970.
    Window { until: u64 },
    /// It is about to be rolled back.
    RollingBack,
    /// It cannot be rolled back, or not any more.
    NoWayBack { why: String },
    /// What the way back is about to do or has done, with both sides changed over.
    Back { step: Box<Self> },
    /// Every slot is at the target, and no write came too late. The moved keys are about to be deleted at the source.
    Cleaning,
    /// Nothing is left to do.
    Ended { outcome: Outcome },
}

/// A server that a job changes something at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::job) enum Node {
    Source,
    Target,
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// How far the copy of an instance has come.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(in crate::job) struct Place {
    pub(in crate::job) at: At,
    /// Keys up to there.
    pub(in crate::job) keys: u64,
    /// Bytes of user data in them.
    pub(in crate::job) bytes: u64,
}

/// A place in the order of the keys.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::job) enum At {
    #[default]
    Start,
    /// This key is behind.
    Key(Key),
    End,
}

/// How a job has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// Every slot is at the target.
    Done,
    /// What was not switched is at the source alone.
    Cancelled,
    /// Every slot is back at the source.
    RolledBack,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::RolledBack => "rolled back",
        })
    }
}
