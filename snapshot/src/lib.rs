// SPDX-License-Identifier: Apache-2.0
//! Pika at rest: the data of a Pika 4.0 node as RocksDB holds it.
//!
//! It is synchronous and the only user of RocksDB. It reads the dumps of Pika 4.0 and refuses those of other versions. It
//! knows no network, and it does not judge: what the rows disagree about is reported, and the caller decides.
//!
//! A [`Checkpoint`] is a dump that BGSAVE has made. Its [`scan`](Checkpoint::scan) hands out the keys of some slots as
//! [`Piece`]s of bounded size and sums up in a [`Summary`] with its [`Findings`]. A [`Store`] is the other side: it holds
//! the same rows for reading and writing, and [`mod@format`] says what they look like. The downside of one ordered pass is
//! that it reads the meta rows of all slots, however few are wanted.
//!
//! ```
//! use std::ops::ControlFlow;
//! # use std::time::Duration;
//! use replication::{BinlogOffset, SlotCount};
//! use snapshot::format::{Column, StringValue, meta_key};
//! use snapshot::{Checkpoint, Info, ScanRequest, Store};
//!
//! # let dir = tempfile::tempdir()?;
//! # let (live, dump) = (dir.path().join("live"), dir.path().join("db0"));
//! let store = Store::open(live, 1)?;
//! let mut batch = store.batch(0);
//! let value = StringValue { value: b"bar", hyperloglog: false, created: None, expire_at: None };
//! batch.put(Column::Default, meta_key(b"foo"), value.encode());
//! batch.commit()?;
//! store.checkpoint(&dump)?;
//! # let offset = BinlogOffset::new(0, 0);
//! # Info { duration: Duration::ZERO, host: "localhost".to_owned(), port: 9221, offset }.write(&dump)?;
//!
//! let checkpoint = Checkpoint::open(dump, SlotCount::CODIS, None)?;
//! let summary = checkpoint.scan(0, &ScanRequest::new("289".parse()?), |piece| {
//!     assert_eq!(piece.key, "foo");
//!     ControlFlow::Continue(())
//! })?;
//! assert!(summary.complete && summary.keys == 1 && summary.findings.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checkpoint;
mod error;
pub mod format;
mod info;
mod instance;
mod piece;
mod scan;
mod store;
mod wal;

pub use checkpoint::Checkpoint;
pub use error::{Error, Result};
pub use info::Info;
pub use piece::{Body, Kind, Part, Piece, StreamEntry, StreamId, UnixMillis, score_text};
pub use scan::{Fault, FaultKind, Finding, Findings, RowError, ScanRequest, Summary};
pub use store::{Batch, Store};
