// SPDX-License-Identifier: Apache-2.0
//! Pika's binlog: what one database logs of its writes.
//!
//! ```text
//!   log/log_db0/   manifest     which file, how far, which logic id      (manifest)
//!                  write2file7  closed: exactly as long as its data      (directory)
//!                  write2file8  being written: zeros behind the data
//!
//!   write2file8    | block 64 KiB        | block               | block               | zeros ...
//!                  [full][full][ first   ][ middle             ][last ][full]^ the manifest's end
//!                         |    \____________ one item ________________/
//!                         v                                               (block: fragments)
//!   item           | 34 bytes: type, time, term, logic id, file, offset, length | *3\r\n$3\r\nset ... |
//!                                                                         (record)
//! ```
//!
//! An item is named by the position just behind it. [`Reader`] takes one file apart, [`Tail`] follows the whole log
//! while the server writes it, [`Spool`] keeps its files from being purged, [`Mirror`] has them where the server is not, and
//! [`Writer`] writes what a server would.
//! Nothing here blocks on anything but the file system, and nothing waits.
//!
//! # What can be detected, and what cannot
//!
//! The format has no checksum. But an item is told twice how long it is, that it follows the item before (by logic id
//! and by position), that it fills its blocks, and that its content is one command. Whatever breaks one of these is an
//! [`Error::Corrupt`](crate::Error). Damage that keeps them all passes unseen: other bytes inside an argument, the time
//! of a fragment or of an item, the term, the logic id of the first item read and, in the first item of a file, the
//! offset at which the file before ended when that one was not read. A power failure can leave zeros below the
//! manifest's end, which is detected.

mod block;
mod directory;
mod manifest;
mod mirror;
mod reader;
mod record;
mod spool;
mod tail;
mod writer;

pub use directory::{file_path, files, first_file};
pub use manifest::Manifest;
pub use mirror::{Extract, Mirror};
pub use reader::Reader;
pub use record::{Content, Item, UnixSeconds};
pub use spool::Spool;
pub use tail::Tail;
pub use writer::Writer;
