// SPDX-License-Identifier: Apache-2.0
//! Which side failed, and what helps.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use bytesize::ByteSize;
use replication::{BinlogOffset, SlotCount};
use snapshot::Kind;

/// The result of everything that can fail in a move.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a move, or a part of it, failed. Messages read after "failed to move: ".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A job was asked for that cannot be.
    #[error("there cannot be such a job: {what}")]
    Options {
        /// All that is wrong with it.
        what: String,
    },
    /// A server could not be reached, or it would not let us in.
    #[error("no connection to the {side} at {address}: {fault}")]
    Connect {
        /// The side the server is on.
        side: Side,
        /// Where it was sought.
        address: String,
        /// What the attempt ended with.
        fault: String,
    },
    /// A server is there but does not let us in.
    #[error("the {side} at {address} does not let us in: {fault}")]
    Login {
        /// The side the server is on.
        side: Side,
        /// Its address.
        address: String,
        /// What it answered.
        fault: String,
    },
    /// The source's log has become too long to be kept.
    #[error(
        "{} of the source's log had to be kept, which is more than the {} that are allowed; {} of it were not followed yet",
        ByteSize(*size), ByteSize(*max), ByteSize(*lag)
    )]
    SpoolFull {
        /// Bytes of the log from the checkpoint on.
        size: u64,
        /// Bytes that may be kept.
        max: u64,
        /// Bytes that had not been followed.
        lag: u64,
    },
    /// The log names a command after which any key may have another value.
    #[error(
        "the {side}'s log holds `{command}` at {offset}, which names none of the keys that it may have changed{}",
        if *is_known { "" } else { "; if it is a command under another name, say `--rename NAME=NEWNAME` in a new job" }
    )]
    Unnamed {
        /// The side the log is of.
        side: Side,
        /// The name as it was logged.
        command: String,
        /// Where its entry starts.
        offset: BinlogOffset,
        /// Whether it is a command that is known.
        is_known: bool,
    },
    /// A connection broke while it was in use.
    #[error("lost the connection to the {side} at {address}: {fault}")]
    Lost {
        /// The side the server is on.
        side: Side,
        /// Its address.
        address: String,
        /// What the connection ended with.
        fault: String,
    },
    /// A server answered a command with an error.
    #[error("the {side} at {address} answered {command} with `{reply}`")]
    Reply {
        /// The side the server is on.
        side: Side,
        /// Its address.
        address: String,
        /// The name of the command.
        command: String,
        /// The error it answered, or what it answered instead of what was asked for.
        reply: String,
    },
    /// Something that must be so before a move is not so.
    #[error("the {side} at {address} is not fit for a move: {what}; {help}")]
    Unfit {
        /// The side it is about.
        side: Side,
        /// Its address.
        address: String,
        /// What is not as it must be.
        what: String,
        /// What the operator can do.
        help: String,
    },
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] snapshot::Error),
    /// The binlog cannot be followed.
    #[error("failed to {0}")]
    Binlog(#[from] replication::Error),
    /// A file or directory of ours or of the source cannot be used.
    #[error("cannot {action} {}: {fault}{}", path.display(), help(fault))]
    File {
        /// What was tried, as in `create` or `link`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system answered.
        fault: io::Error,
    },
    /// A node does not log what it does any more, so what was written since is nowhere to be found.
    #[error("the {side} at {address} does not log what it does any more: its write-binlog is off")]
    Unlogged {
        /// Which side.
        side: Side,
        /// Its address.
        address: String,
    },
    /// A key cannot be moved faithfully.
    #[error(transparent)]
    Unmovable(#[from] Unmovable),
    /// The checkpoint holds keys that must not be moved as they are.
    #[error("the checkpoint holds keys that cannot be moved: {what}; {help}")]
    Findings {
        /// How many of what kind, and the first ones.
        what: String,
        /// What the operator can do.
        help: &'static str,
    },
    /// Source and target differ and nothing explains it.
    #[error("source and target differ in {count} keys after a repair, the first are {examples}")]
    Differs {
        /// How many keys.
        count: u64,
        /// The first of them.
        examples: String,
    },
    /// Writes reached the source after their slots had been switched.
    #[error(
        "every slot has been switched, but {count} writes reached the {side} after the switch of their slots and are \
         nowhere else, the first to the keys {examples}; the {side} still holds their values: compare these keys on both \
         sides"
    )]
    Late {
        /// The side that the slots have left.
        side: Side,
        /// How many writes.
        count: u64,
        /// The first keys, and where the writes stand in the source's log.
        examples: String,
    },
    /// The follower does not come close enough to the end of the log for a fence.
    #[error("the cutover of slots {slots} did not fit its cap in {attempts} attempts: {last}")]
    Cutover {
        /// The slots that stay at the source.
        slots: String,
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt ended with.
        last: String,
    },
    /// The routing layer refused or failed.
    #[error("routing: {what}")]
    Routing {
        /// What it refused or failed to do.
        what: String,
    },
    /// The routing layer refused a switch, and it is certain that nothing was switched.
    #[error("routing: {what}")]
    NotSwitched {
        /// Why not.
        what: String,
    },
    /// A journal is not what was written into it, or another version wrote it.
    #[error("the journal {} cannot be trusted: line {line}: {what}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// Another process works on the job.
    #[error("another process works on this job: it holds {}", journal.display())]
    AtWork {
        /// The journal of the job.
        journal: PathBuf,
    },
    /// A job that was to be rolled back cannot be.
    #[error("the job cannot be rolled back: {why}")]
    Undo {
        /// Why not.
        why: String,
    },
    /// A server is another process than the one that was prepared: it was restarted.
    #[error("the {side} at {address} was restarted")]
    Restarted {
        /// The side the server is on.
        side: Side,
        /// Its address.
        address: String,
    },
    /// The operator asked for it: everything is taken back.
    #[error("cancelled")]
    Cancelled,
    /// The operator asked for it: somebody goes on later.
    #[error("stopped")]
    Stopped,
    /// A lane has ended; its own error says why.
    #[error("the line to the target has stopped")]
    LineStopped,
}

impl Error {
    /// An error about the file or directory `path`.
    pub fn file(action: &'static str, path: impl AsRef<Path>, fault: io::Error) -> Self {
        Self::File { action, path: path.as_ref().to_owned(), fault }
    }

    /// Which side failed.
    pub fn side(&self) -> Side {
        match self {
            Self::Connect { side, .. } | Self::Login { side, .. } | Self::Lost { side, .. } => *side,
            Self::Unlogged { side, .. } => *side,
            Self::Unnamed { side, .. } => *side,
            Self::Reply { side, .. } | Self::Unfit { side, .. } | Self::Restarted { side, .. } => *side,
            Self::Checkpoint(_) | Self::Binlog(_) | Self::Findings { .. } => Side::Source,
            Self::Unmovable(_) | Self::SpoolFull { .. } => Side::Source,
            Self::Differs { .. } | Self::LineStopped => Side::Target,
            Self::Routing { .. } | Self::NotSwitched { .. } => Side::Routing,
            Self::Cutover { .. } | Self::Late { .. } => Side::Routing,
            Self::File { .. } | Self::Options { .. } | Self::Cancelled | Self::Stopped => Side::Agent,
            Self::Journal { .. } | Self::AtWork { .. } | Self::Undo { .. } => Side::Agent,
        }
    }

    /// What helps.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Connect { .. } | Self::Lost { .. } | Self::LineStopped | Self::Restarted { .. } => Remedy::Resume,
            Self::Routing { .. } | Self::NotSwitched { .. } | Self::Cutover { .. } => Remedy::Resume,
            Self::Binlog(error) if !error.is_permanent() => Remedy::Operator,
            Self::Checkpoint(error) if error.is_damage() || error.is_foreign() => Remedy::Operator,
            // The next attempt finds out whether it logs again.
            Self::Checkpoint(_) | Self::Binlog(_) | Self::Unlogged { .. } | Self::Unnamed { .. } => Remedy::Restart,
            Self::Differs { .. } => Remedy::Operator,
            Self::Reply { .. } | Self::Unfit { .. } | Self::File { .. } => Remedy::Operator,
            Self::Login { .. } | Self::SpoolFull { .. } | Self::Late { .. } => Remedy::Operator,
            Self::Options { .. } => Remedy::Operator,
            Self::Unmovable(_) | Self::Findings { .. } | Self::Cancelled | Self::Stopped => Remedy::Operator,
            Self::Journal { .. } | Self::AtWork { .. } | Self::Undo { .. } => Remedy::Operator,
        }
    }
}

/// What helps against a fault of a file system, as far as that is always the same.
fn help(fault: &io::Error) -> &'static str {
    match fault.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free space or inodes on its file system",
        io::ErrorKind::FileTooLarge => "; raise the limit of file sizes (`ulimit -f`)",
        io::ErrorKind::ReadOnlyFilesystem => "; make its file system writable",
        _ => "",
    }
}

/// A key that the target cannot hold as it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the {kind} `{}` (slot {}) cannot be moved faithfully: {why}", key.escape_ascii(), SlotCount::CODIS.slot_of(key))]
pub struct Unmovable {
    /// The user's key.
    pub key: Bytes,
    /// Its type.
    pub kind: Kind,
    /// Why not, and what can be done.
    pub why: Cow<'static, str>,
}

/// A side of a move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The node the slots leave.
    Source,
    /// The node the slots go to.
    Target,
    /// What takes batches for the target, on the target's machine.
    Receiver,
    /// Whatever sends clients to nodes.
    Routing,
    /// slotmover itself and the machine it runs on.
    Agent,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::Receiver => "receiver",
            Self::Routing => "routing",
            Self::Agent => "agent",
        })
    }
}

/// What helps against an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// The phase again from where it was.
    Resume,
    /// The job again from a new checkpoint.
    Restart,
    /// A person who changes something.
    Operator,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resume => "run it again once the connection is back",
            Self::Restart => "run it again: it takes a new checkpoint",
            Self::Operator => "change what the message names, then run it again",
        })
    }
}
