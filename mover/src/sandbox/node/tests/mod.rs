// SPDX-License-Identifier: Apache-2.0
//! The node against what a real server did, and on its own.

mod cache;
mod client;
mod files;
mod golden;
mod models;
mod quirks;
mod sessions;
mod variants;
