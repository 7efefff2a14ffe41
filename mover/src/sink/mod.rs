// SPDX-License-Identifier: Apache-2.0
//! The target end of the line.

mod hyperloglog;
mod pipe;
mod redis;
mod render;
mod replicas;

pub use redis::{RedisSink, Target};
pub use replicas::Behind;

use crate::BoxFuture;
use crate::Result;
use crate::batch::Batch;

/// Where batches go.
pub trait Sink: Send {
    /// Does everything in the batch, in order, and returns when the target has answered all of it.
    ///
    /// # Errors
    /// When the target refused anything or the connection broke: an unknown part of the batch was done.
    fn apply<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Result<()>>;
}

impl std::fmt::Debug for dyn Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
    }
}
