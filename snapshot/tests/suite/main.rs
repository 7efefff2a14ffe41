// SPDX-License-Identifier: Apache-2.0
//! Checkpoints as a whole: those of a real server, damaged ones, odd ones, and random ones held against a model.
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod damage;
mod golden;
mod harness;
mod layout;
mod model;
mod odd;
mod writer;
