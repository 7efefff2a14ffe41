// SPDX-License-Identifier: Apache-2.0
//! Pika at rest: the data of a Pika 4.0 node as RocksDB holds it.

mod piece;

pub use piece::{Body, Kind, Part, Piece, StreamEntry, StreamId, UnixMillis, score_text};
