// SPDX-License-Identifier: Apache-2.0
//! What a sender and a receiver say to each other.
//!
//! ```text
//!  sender                                receiver
//!    │ ◀──────────────── Challenge(nonce) │
//!    │ Hello(proof, versions, job, …) ──▶ │      a frame of this phase has 4 KiB at most
//!    │ ◀─ Welcome(proof, version, …)      │      or Refusal(why)
//!    │ Batch 1, Batch 2, Batch 3, … ────▶ │
//!    │ ◀─────────── Ack(2) … Ack(3)       │      the target has answered everything up to here, and what that did
//!    │                                    │      to the number of its keys, as far as batches ask for that
//!    │ ◀─────────────── Failure(batch 4)  │      and nothing more comes
//! ```
//!
//! A sender that wants the target's log says so in its Hello; what follows is in `log.rs`.
//!
//! Everything travels in frames (`frame.rs` draws their bytes), each with a checksum over all of it. A batch is the
//! encoding of its writes (`encode.rs`), in as many frames as it takes, each a zstd frame of its own or plain. Whatever
//! is not exactly as it must be is an [`Error`], and nothing of its batch is applied.
//!
//! The token never travels: both ends prove that they know it by an HMAC over the other one's nonce. Without TLS that keeps
//! strangers out and does not keep the data secret.

mod compress;
mod decode;
mod encode;
mod error;
mod failure;
mod frame;
mod handshake;
mod incoming;
mod judge;
mod log;
mod message;
mod outgoing;
pub mod recorded;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod traffic;

pub use compress::Compression;
pub use error::Error;
pub use failure::Failure;
pub use message::Refusal;
pub use tls::{ClientTls, ServerTls};
pub use token::Token;
pub use traffic::Traffic;

pub(crate) use handshake::{Terms, accept, agreed_compression, challenge, introduce, refuse};
pub(crate) use incoming::{Answer, Arrived, Incoming, answer};
pub(crate) use log::{LogReader, LogWriter, PART_MAX, Told};
pub(crate) use message::{Hello, Welcome};
pub(crate) use outgoing::{Outgoing, acknowledge, fail};
pub(crate) use stream::{Reader, Writer, accepted, connected};
