// SPDX-License-Identifier: Apache-2.0
use std::io;
use std::path::{Path, PathBuf};

use crate::{BinlogOffset, CommandError};

/// The result of everything that touches a log.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a log could not be read or written. Each message reads on after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder it was tried on.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The bytes cannot be what Pika wrote. Nothing behind them can be trusted: a new snapshot is needed.
    #[error("decode {} at byte {offset}: {fault}", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where in it the damaged part starts.
        offset: u64,
        /// What is wrong there.
        fault: Fault,
    },
    /// The server has deleted a file that was still needed: a new snapshot is needed.
    #[error("read {}: the server has purged it; raise expire-logs-nums and take a new snapshot", path.display())]
    Purged {
        /// The file that is gone.
        path: PathBuf,
    },
    /// The position lies behind the end of the log. The log belongs to another node, or this one was restored.
    #[error("read {} from {position}: the log ends at {end}", dir.display())]
    Beyond {
        /// The folder of the log.
        dir: PathBuf,
        /// The position asked for, or the end of the log as it was seen before.
        position: BinlogOffset,
        /// Where the log ends.
        end: BinlogOffset,
    },
    /// A file of the log could not be kept.
    #[error("hard-link {} to {} ({})", original.display(), link.display(), remedy(source))]
    Link {
        /// The server's file.
        original: PathBuf,
        /// The name it should have got.
        link: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The server's file is no longer the one that was kept under the same number.
    #[error("follow {}: {} is a different file, so the log was begun anew", original.display(), link.display())]
    Replaced {
        /// The server's file.
        original: PathBuf,
        /// The kept one.
        link: PathBuf,
    },
    /// An item too large for the format's 32-bit length.
    #[error("append to {}: a command of {length} bytes exceeds the format's 4 GiB", dir.display())]
    Oversized {
        /// The folder of the log.
        dir: PathBuf,
        /// The command's bytes.
        length: usize,
    },
}

/// What is wrong with the bytes of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// A fragment of a type that Pika never writes.
    #[error("no fragment has type {kind}")]
    Kind {
        /// The type found.
        kind: u8,
    },
    /// Zeros where a fragment must be, or something else where zeros must be.
    #[error("zeros and data are mixed up")]
    Zeros,
    /// A fragment that crosses a block boundary, or that ends early although its item goes on.
    #[error("a fragment of {length} bytes does not fit the {room} left in its block")]
    Length {
        /// Bytes of the fragment's payload.
        length: usize,
        /// Bytes left in the block behind the fragment's header.
        room: usize,
    },
    /// The item reaches behind the end of the log or of the file.
    #[error("the item is cut short")]
    Torn,
    /// A middle or last fragment without a first one.
    #[error("an item's later fragment has no first one")]
    Orphan,
    /// A new item starts before the last fragment of the one before.
    #[error("the item's last fragment is missing")]
    Interrupted,
    /// Filler of something other than asterisks.
    #[error("filler with foreign bytes in it")]
    Filler,
    /// An item of an unknown type.
    #[error("no item has type {found}")]
    ItemType {
        /// The type found.
        found: u16,
    },
    /// An item whose length disagrees with its fragments.
    #[error("the item claims {claimed} bytes of content and has {found}")]
    ItemLength {
        /// Bytes by its header.
        claimed: u64,
        /// Bytes by its fragments.
        found: u64,
    },
    /// A logic id that does not follow the one before.
    #[error("logic id {found} follows {previous}")]
    LogicId {
        /// The id of the item before.
        previous: u64,
        /// The id found.
        found: u64,
    },
    /// An item that says it was written somewhere else. Also what an offset gives that is no item boundary.
    #[error("the item there was written at {found}")]
    Misplaced {
        /// The position the item carries.
        found: BinlogOffset,
    },
    /// The content is no command.
    #[error("the content is no command: {0}")]
    Command(CommandError),
    /// A manifest of fewer than 24 bytes.
    #[error("the manifest is cut short")]
    ManifestShort,
    /// A manifest that never stood still, or whose end lies outside of its file.
    #[error("the manifest names {end}, which its file does not reach")]
    ManifestAhead {
        /// The end it names.
        end: BinlogOffset,
    },
}

impl Error {
    /// Whether the log can never be read on from that position, so that only a new snapshot helps. The others may go
    /// away by themselves or by an operator's help.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Corrupt { fault, .. } => !matches!(fault, Fault::ManifestShort | Fault::ManifestAhead { .. }),
            Self::Purged { .. } | Self::Beyond { .. } | Self::Replaced { .. } => true,
            Self::Io { .. } | Self::Link { .. } | Self::Oversized { .. } => false,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::CrossesDevices => "put the spool on the file system of the log",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free space or inodes on the file system of the log"
        }
        io::ErrorKind::PermissionDenied => "run as the server's user, or let this user own or write its log files",
        io::ErrorKind::TooManyLinks => "remove spools of earlier jobs",
        _ => "the spool needs a file system with hard links",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_place_and_the_help() {
        let corrupt = Error::Corrupt { path: "log/write2file3".into(), offset: 77, fault: Fault::Kind { kind: 9 } };
        assert_eq!(corrupt.to_string(), "decode log/write2file3 at byte 77: no fragment has type 9");
        let link = Error::Link {
            original: "log/write2file3".into(),
            link: "spool/write2file3".into(),
            source: io::ErrorKind::CrossesDevices.into(),
        };
        assert_eq!(
            link.to_string(),
            "hard-link log/write2file3 to spool/write2file3 (put the spool on the file system of the log)"
        );
    }
}
