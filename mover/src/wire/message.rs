// SPDX-License-Identifier: Apache-2.0
//! What is said beside batches, as JSON: what one end does not know it leaves alone.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::Failure;
use super::error::{Result, malformed};
use super::frame::{Header, Kind};

/// The receiver's first word.
#[derive(Serialize, Deserialize, Debug)]
pub(super) struct Challenge {
    /// Never used again.
    pub(super) nonce: String,
    /// The versions that it speaks: first and last.
    pub(super) versions: (u8, u8),
    /// Whether it has a token.
    pub(super) has_token: bool,
}

/// What a sender is and wants.
#[derive(Serialize, Deserialize, PartialEq, Clone, Debug)]
pub(crate) struct Hello {
    /// Never used again.
    pub(crate) nonce: String,
    /// The versions that it speaks: first and last.
    pub(crate) versions: (u8, u8),
    /// How it can compress.
    pub(crate) compressions: Vec<String>,
    /// Its job.
    pub(crate) job: u64,
    /// The database that it writes to.
    pub(crate) database: u32,
    /// Whether a HyperLogLog may become a plain string, where the target has another kind of them.
    pub(crate) raw_hyperloglogs: bool,
    /// That it sends no batches and wants the target's log, from a target of so many slots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) log_of_slots: Option<u16>,
}

/// What a receiver agrees to, and what its target is.
#[derive(Serialize, Deserialize, PartialEq, Clone, Debug)]
pub(crate) struct Welcome {
    /// The version that is spoken.
    pub(crate) version: u8,
    /// How batches may be compressed; not at all when it is not there.
    pub(crate) compression: Option<String>,
    /// What the target understands: `Redis` or `Pika`.
    pub(crate) dialect: String,
    /// The target's address, as the receiver knows it.
    pub(crate) target: String,
    /// What the target calls this run of itself.
    pub(crate) run_id: Option<String>,
    /// The largest batch that it takes, in bytes as encoded.
    pub(crate) batch_max: u64,
    /// Where the target's log ends, file and position, for who wants that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) log_end: Option<(u32, u64)>,
}

/// Why a receiver does not take a sender.
#[derive(Serialize, Deserialize, PartialEq, Clone, Debug)]
pub enum Refusal {
    /// The proof of the token is wrong.
    Token {
        /// Whether the receiver has a token at all.
        is_wanted: bool,
    },
    /// There is no version that both speak.
    Version {
        /// The receiver's, first and last.
        versions: (u8, u8),
    },
    /// What was said makes no sense.
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// The receiver's target cannot be written to.
    Target(Failure),
    /// It is about to end.
    Stopping,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { is_wanted: true } => {
                f.write_str("the proof of the token is wrong; check that both ends have the same")
            }
            Self::Token { is_wanted: false } => f.write_str("the receiver has no token, and the sender has one"),
            Self::Version { versions: (first, last) } if first == last => {
                write!(f, "the receiver speaks version {first} of the protocol only")
            }
            Self::Version { versions: (first, last) } => {
                write!(f, "the receiver speaks versions {first} to {last} of the protocol")
            }
            Self::Malformed { what } => write!(f, "the greeting makes no sense: {what}"),
            Self::Target(failure) => failure.fmt(f),
            Self::Stopping => f.write_str("the receiver is about to end"),
        }
    }
}

/// Writes a message as one frame: bytes of `before`, and the JSON.
pub(super) async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    (job, sequence): (u64, u64),
    before: &[u8],
    message: &impl Serialize,
) -> Result<()> {
    write_text(writer, kind, (job, sequence), before, &text(message)).await
}

/// The JSON of a message.
pub(super) fn text(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("a message has nothing that JSON has not")
}

/// [`write`] for JSON that is there already.
pub(super) async fn write_text(
    writer: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    (job, sequence): (u64, u64),
    before: &[u8],
    text: &[u8],
) -> Result<()> {
    let payload = [before, text].concat();
    let frame = [&Header::plain(kind, job, sequence, &payload).encode()[..], &payload].concat();
    writer.write_all(&frame).await?;
    writer.flush().await?;
    Ok(())
}

/// The message of a payload.
pub(super) fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T> {
    serde_json::from_slice(payload).map_err(|_| malformed("a message that is none"))
}
