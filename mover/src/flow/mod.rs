// SPDX-License-Identifier: Apache-2.0
//! The line: everything that goes to the target goes through here, in one direction.
//!
//! ```text
//!  Feed ─▶ Batch ══bounded channel══▶ Lane ─▶ Outlet ─▶ target
//!                                        ◀─ Answers ◀───┘
//!                                        └─▶ Watermark ─▶ whoever waits for it
//! ```
//!
//! What is on the line is bounded in bytes twice: a [`Budget`] of memory for all batches that are not sent yet, and a window
//! for each connection of what was sent and has no answer. A key always takes the same lane, so its writes stay in order. The end of the line is a dropped [`Feed`], never a
//! message.

mod budget;
mod control;
mod feed;
mod lane;
mod ledger;
mod limit;
mod meter;
mod pace;
mod rate;
mod throttle;
mod watermark;

pub use budget::{Budget, Share};
pub use control::{Control, Gate, WindowWish};
pub use feed::Feed;
pub use lane::Line;
pub use ledger::{Cause, Held, HeldReport};
pub use limit::{JobLimits, Kindness, Limit, Limits, Scope, Speed};
pub use pace::{Memory, Observation, Pace, Replicas};
pub use rate::{CommandRate, Rate};
pub use throttle::{Throttle, Unit, Urgent};
pub use watermark::{Landed, Mark, Watermark};
