// SPDX-License-Identifier: Apache-2.0
//! Pika in motion: the vocabulary of slots, commands and log positions, and Pika 4.0's binlog.
//!
//! It is pure Rust and knows neither RocksDB nor a network. It reads and writes binlog files, follows a log that is
//! being written, and tells of each entry *where to look again*. It is not a replayer: Pika's binlog is no faithful
//! script of what happened, so an entry becomes a [`Change`], and whoever wants the data reads it from the source.
//!
//! [`SlotCount`] maps a key to its [`Slot`], a [`SlotSet`] is a choice of slots. A [`Command`] is one RESP array, a
//! [`BinlogOffset`] a position in the log.
//!
//! ```
//! use replication::{SlotCount, SlotSet};
//!
//! let slots: SlotSet = "289,800-899".parse()?;
//! assert!(slots.contains(SlotCount::CODIS.slot_of(b"foo")));
//! assert!(slots.contains(SlotCount::CODIS.slot_of(b"{tag}x")));
//! # Ok::<(), replication::slot::ParseError>(())
//! ```

pub mod binlog;
mod change;
mod command;
mod error;
mod offset;
pub mod slot;

pub use change::{Change, Effect, Extent};
pub use command::{Command, CommandError};
pub use error::{Error, Fault, Result};
pub use offset::BinlogOffset;
pub use slot::{Slot, SlotCount, SlotSet};
