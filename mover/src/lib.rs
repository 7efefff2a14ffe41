// SPDX-License-Identifier: Apache-2.0
//! slotmover moves slots of a live Pika node to a Redis-protocol target without an error at any client.

mod error;
pub mod inspect;
pub mod routing;
pub mod sandbox;

pub use error::{Error, Remedy, Result, Side};
