// SPDX-License-Identifier: Apache-2.0
use std::io;
use std::time::Duration;

use super::message::Refusal;

/// Why what the other end sent was not taken. Nothing of the batch it belongs to was applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It does not speak our protocol at all.
    #[error("the other end is no slotmover: a frame begins with {found:02x?}")]
    Magic {
        /// The first bytes.
        found: [u8; 4],
    },
    /// It speaks another version of it.
    #[error("the other end speaks version {found} of the protocol, not version {expected}")]
    Version {
        /// Its version.
        found: u8,
        /// Ours.
        expected: u8,
    },
    /// Bytes changed on their way.
    #[error("a frame was damaged on its way: the checksum of its {part} is wrong")]
    Checksum {
        /// `header` or `payload`.
        part: &'static str,
    },
    /// It is larger than this end takes.
    #[error("{size} bytes were announced where {limit} are the most")]
    TooLarge {
        /// How large it says it is.
        size: u64,
        /// What is taken.
        limit: u64,
    },
    /// A frame is missing, or came twice.
    #[error("frame {found} came where {expected} was due")]
    Order {
        /// The number of the frame.
        found: u64,
        /// The number that was due.
        expected: u64,
    },
    /// It belongs to another job.
    #[error("a frame of job {found:016x} came on a connection of job {expected:016x}")]
    Job {
        /// The job it names.
        found: u64,
        /// The job of the connection.
        expected: u64,
    },
    /// A frame of the wrong kind, or with something that must not be in it.
    #[error("a frame that does not belong here: {what}")]
    Unexpected {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The payload is not what its header or its own lengths say.
    #[error("a payload makes no sense: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The stream ended within a frame.
    #[error("the stream ended within a frame")]
    Truncated,
    /// Nothing came for too long.
    #[error("nothing came for {0:?}")]
    Silent(Duration),
    /// The receiver does not take this sender.
    #[error("{0}")]
    Refused(Refusal),
    /// The receiver does not know the token.
    #[error("it does not know our token")]
    Stranger,
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a decoder makes of what it was given.
pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

pub(super) const fn malformed(what: &'static str) -> Error {
    Error::Malformed { what }
}
