// SPDX-License-Identifier: Apache-2.0
//! The target end of the line.

pub mod answer;
mod compare;
mod count;
mod expected;
mod former;
mod hyperloglog;
mod log;
mod pipe;
mod receiver;
mod redis;
mod render;
mod replicas;
pub mod reply;
mod rope;
mod witness;

pub use compare::{Judge, KeyScan, Portion, Questions};
pub use log::RemoteLog;
pub use receiver::{Receiver, ReceiverOptions, RemoteSink};
pub use redis::{RedisSink, Target};
pub use replicas::Behind;

use crate::BoxFuture;
use crate::Result;
use crate::batch::{Batch, KeyCounts};

/// A connection to the target, cut in two: batches go in at one half, their answers come out of the other, in the same
/// order. So a batch need not wait for the answer to the one before it; how much may be without an answer is the line's
/// to say.
pub trait Sink: Send {
    /// The two halves. They are used at the same time, and dropped together when either fails.
    fn split(self: Box<Self>) -> (Box<dyn Outlet>, Box<dyn Answers>);

    /// Bytes that may be on their way without an answer: as much as a round trip to the other end carries.
    fn window(&self) -> usize;
}

/// The half of a [`Sink`] that batches go into.
pub trait Outlet: Send {
    /// How many commands the target will be sent for the batch.
    fn commands(&self, batch: &Batch) -> usize;

    /// Sends the batch on its way. It may return long before the target has answered.
    ///
    /// # Errors
    /// When a write has no form that the target understands, or the connection broke: an unknown part of all that has no
    /// answer was done.
    fn send<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Result<()>>;
}

/// The half of a [`Sink`] that answers come out of.
pub trait Answers: Send {
    /// Waits until the target has done all of the oldest batch that has no answer yet, and says what that has done to the
    /// number of its keys if the batch is counted. Asked only while there is one.
    ///
    /// # Errors
    /// When the target refused anything or the connection broke: an unknown part of all that has no answer was done.
    fn next(&mut self) -> BoxFuture<'_, Result<KeyCounts>>;
}

impl std::fmt::Debug for dyn Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
    }
}
