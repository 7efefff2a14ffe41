// SPDX-License-Identifier: Apache-2.0
//! Pika at rest: the data of a Pika 4.0 node as RocksDB holds it.

mod error;
pub mod format;
mod info;
mod instance;
mod piece;
mod store;

pub use error::{Error, Result};
pub use info::Info;
pub use piece::{Body, Kind, Part, Piece, StreamEntry, StreamId, UnixMillis, score_text};
pub use store::{Batch, Store};
