// SPDX-License-Identifier: Apache-2.0
//! Pika at rest: the data of a Pika 4.0 node as RocksDB holds it.

mod checkpoint;
mod error;
pub mod format;
mod info;
mod instance;
mod piece;
mod scan;
mod store;

pub use checkpoint::Checkpoint;
pub use error::{Error, Result};
pub use info::Info;
pub use piece::{Body, Kind, Part, Piece, StreamEntry, StreamId, UnixMillis, score_text};
pub use scan::{Fault, FaultKind, Finding, Findings, RowError, ScanRequest, Summary};
pub use store::{Batch, Store};
