// SPDX-License-Identifier: Apache-2.0
//! Held to what a real Codis did.

mod action;
mod api;
mod barrier;
mod death;
mod harness;
mod health;
mod intercept;
mod load;
mod lock;
