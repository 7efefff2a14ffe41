// SPDX-License-Identifier: Apache-2.0
//! Pika in motion: the vocabulary of slots, commands and log positions, and Pika 4.0's binlog.
//!
//! It is pure Rust and knows neither RocksDB nor a network. It reads and writes binlog files, follows a log that is
//! being written, and tells of each entry *where to look again*. It is not a replayer: Pika's binlog is no faithful
//! script of what happened, so an entry becomes a [`Change`], and whoever wants the data reads it from the source. The one
//! exception are lists, whose commands are logged as they were executed: they become [`ListStep`]s.
//!
//! [`SlotCount`] maps a key to its [`Slot`], a [`SlotSet`] is a choice of slots. A [`Command`] is one RESP array, a
//! [`BinlogOffset`] a position in the log. A [`Tail`](binlog::Tail) follows a log and gives its
//! [`Item`](binlog::Item)s, a [`Spool`](binlog::Spool) keeps the files from being purged, and [`Effect::of_item`] says
//! what an item touched. Every [`Error`] names the file, and the place in it.
//!
//! ```
//! use replication::binlog::{Tail, UnixSeconds, Writer, first_file};
//! use replication::{BinlogOffset, Change, Command, Effect, Renames, SlotCount, SlotSet};
//!
//! # let dir = tempfile::tempdir()?;
//! # let log = dir.path().join("log_db0");
//! // What the server does.
//! let mut writer = Writer::open(&log, 100 << 20)?;
//! writer.append(&Command::new(["HSET", "foo", "field", "value"]), UnixSeconds::now())?;
//! writer.append(&Command::new(["SET", "bar", "value"]), UnixSeconds::now())?;
//!
//! // What the mover does: which keys of these slots must be read again?
//! let wanted: SlotSet = "289,800-899".parse()?;
//! let mut tail = Tail::open(&log, BinlogOffset::new(first_file(&log)?, 0))?;
//! let mut dirty = Vec::new();
//! while let Some(item) = tail.next()? {
//!     let changes = match Effect::of_item(&item, &Renames::default()) {
//!         Effect::Ignored => continue,
//!         Effect::Changes(changes) | Effect::Unknown(changes) => changes,
//!     };
//!     for change in changes {
//!         match change {
//!             Change::All => panic!("the database was emptied"),
//!             Change::Anything => panic!("only a new checkpoint tells what changed"),
//!             Change::Key { key, .. } if wanted.contains(SlotCount::CODIS.slot_of(&key)) => dirty.push(key),
//!             Change::Key { .. } => {}
//!         }
//!     }
//! }
//! assert_eq!(dirty, ["foo"]);
//! assert_eq!(tail.position(), tail.end()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod binlog;
mod change;
mod command;
mod error;
mod list;
mod offset;
mod rename;
pub mod slot;
mod table;

pub use change::{Change, Cut, Effect, Extent, is_internal_key, slot_of_index};
pub use command::{Command, CommandError};
pub use error::{Error, Fault, Result};
pub use list::{ListEnd, ListStep};
pub use offset::BinlogOffset;
pub use rename::{Rename, RenameError, Renames};
pub use slot::{Slot, SlotCount, SlotSet};
