// SPDX-License-Identifier: Apache-2.0
//! slotmover moves slots of a live Pika node to a Redis-protocol target while the slots' clients go on.
//!
//! It is an agent beside the source: it takes a RocksDB checkpoint, streams the wanted slots to the target, follows the
//! source's binlog, compares both sides key by key, and holds the clients for a few milliseconds while the last changes
//! arrive. It is no replayer of commands (lists apart): the binlog says where to look, the source says what is there. It is no proxy
//! either: whoever routes the clients implements [`RoutingControl`](routing::RoutingControl).
//!
//! A [`Job`] is one move. Its [`builder`](Job::builder) takes the addresses, the slots and the routing, its
//! [`Updates`] are a stream of its [`Status`], its [`Control`] pauses, resumes and cancels it, changes its limits and keeps
//! its switch back, and it ends with a [`Report`] or an [`Error`] that says which [`Side`] failed and what [`Remedy`] helps.
//!
//! Whoever embeds it writes one thing: a [`RoutingControl`](routing::RoutingControl) over its own table of slots, held to
//! the trait's rules by [`routing::conformance`]. A job may be spawned and moved between threads; it needs a tokio
//! runtime with time and network, and logs with `tracing`. It reads the source's files, so it runs where the source does.
//!
//! ```
//! use std::error::Error;
//! use std::net::SocketAddr;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use mover::routing::RoutingControl;
//! use mover::{Job, Report, SlotSet};
//!
//! /// Moves slots from one node to the other while the proxy that `routing` belongs to serves their clients. Ctrl-C ends it
//! /// at the next safe point.
//! async fn move_slots(
//!     slots: SlotSet,
//!     source: SocketAddr,
//!     target: SocketAddr,
//!     routing: Arc<dyn RoutingControl>,
//! ) -> Result<Report, Box<dyn Error>> {
//!     let job = Job::builder(slots)
//!         .source(source)
//!         .target(target)
//!         .routing(routing)
//!         .rate("8MiB/s".parse()?)
//!         .max_lock(Duration::from_millis(200))
//!         .build()?;
//!     let (control, mut updates) = (job.control(), job.updates(Duration::from_secs(1)));
//!     let running = tokio::spawn(job.run());
//!     loop {
//!         tokio::select! {
//!             status = updates.next() => match status {
//!                 Some(status) => println!("{status}"),
//!                 None => break,
//!             },
//!             _ = tokio::signal::ctrl_c() => control.cancel(),
//!         }
//!     }
//!     Ok(running.await??)
//! }
//! ```
//!
//! A [`Verification`] compares both sides without a move.
//!
//! Where the target is far away, a [`receiver`] beside it takes batches compressed and checked.
//!
//! `mover/examples/embedding_proxy` is a whole proxy that does this under load. The [`sandbox`] is a whole small cluster in
//! one process, to try it in.

pub mod batch;
pub mod cli;
pub mod dialect;
pub mod endpoint;
mod error;
pub mod flow;
pub mod inspect;
pub mod job;
pub mod receiver;
mod record;
pub mod routing;
pub mod sandbox;
pub mod sink;
pub mod source;
pub mod wire;

pub use bytesize::ByteSize;
pub use error::{Error, Remedy, Result, Side, Unmovable};
pub use flow::{CommandRate, Control, JobLimits, Kindness, Limits, Rate};
pub use job::{Job, JobBuilder, JobOptions, Phase, Report, Status, Updates};
pub use job::{KeyDifference, Verification, VerificationReport, VerifyMode};
pub use replication::{Rename, Renames, Slot, SlotCount, SlotSet};

/// A future behind a pointer: the traits at the edges are used as trait objects.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
