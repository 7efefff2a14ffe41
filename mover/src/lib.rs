// SPDX-License-Identifier: Apache-2.0
//! slotmover moves slots of a live Pika node to a Redis-protocol target without an error at any client.

pub mod batch;
pub mod cli;
pub mod endpoint;
mod error;
pub mod flow;
pub mod inspect;
pub mod job;
pub mod routing;
pub mod sandbox;
pub mod sink;
pub mod source;

pub use error::{Error, Remedy, Result, Side};
pub use job::{Job, JobOptions};
