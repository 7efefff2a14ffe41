// SPDX-License-Identifier: Apache-2.0
//! The line: everything that goes to the target goes through here, in one direction.
//!
//! ```text
//!  Feed ─▶ Batch ══bounded channel══▶ Lane ─▶ Sink ─▶ target
//!                                      └────▶ Watermark ─▶ whoever waits for it
//! ```
//!
//! A key always takes the same lane, so its writes stay in order. The end of the line is a dropped [`Feed`], never a
//! message.

mod control;
mod feed;
mod lane;
mod throttle;
mod watermark;

pub use control::{Control, Gate};
pub use feed::Feed;
pub use lane::Line;
pub use throttle::{Rate, Throttle};
pub use watermark::{Landed, Mark, Watermark};
