// SPDX-License-Identifier: Apache-2.0
//! slotmover moves slots of a live Pika node to a Redis-protocol target while the slots' clients go on.
//!
//! It is an agent beside the source: it takes a RocksDB checkpoint, streams the wanted slots to the target, follows the
//! source's binlog, compares both sides key by key, and holds the clients for a few milliseconds while the last changes
//! arrive. It is no replayer of commands: the binlog says where to look, the source says what is there. It is no proxy
//! either: whoever routes the clients implements [`RoutingControl`](routing::RoutingControl).
//!
//! A [`Job`] is one move, from an [`Endpoint`](endpoint::Endpoint) to another, with [`JobOptions`]. It is watched through
//! its [`Progress`](job::Progress), steered through its [`Control`](flow::Control), and ends with a
//! [`Report`](job::Report) or an [`Error`] that says which [`Side`] failed and what [`Remedy`] helps. The [`sandbox`] is a
//! whole small cluster in one process.
//!
//! ```no_run
//! use std::sync::Arc;
//! use mover::endpoint::Endpoint;
//! use mover::routing::RoutingControl;
//! use mover::{Job, JobOptions, Side};
//!
//! async fn example(routing: Arc<dyn RoutingControl>) -> Result<(), Box<dyn std::error::Error>> {
//!     let source = Endpoint::parse(Side::Source, "10.0.0.1:9221", None)?;
//!     let target = Endpoint::parse(Side::Target, "10.0.0.2:9221", None)?;
//!     let job = Job::new(source, target, JobOptions::new("1,5-9".parse()?), routing);
//!     let report = job.run().await?;
//!     println!("{} keys moved, clients held for {:.1} ms", report.keys, report.fence_ms.max);
//!     Ok(())
//! }
//! ```

pub mod batch;
pub mod cli;
pub mod dialect;
pub mod endpoint;
mod error;
pub mod flow;
pub mod inspect;
pub mod job;
pub mod routing;
pub mod sandbox;
pub mod sink;
pub mod source;

pub use error::{Error, Remedy, Result, Side, Unmovable};
pub use job::{Job, JobOptions};

/// A future behind a pointer: the traits at the edges are used as trait objects.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
