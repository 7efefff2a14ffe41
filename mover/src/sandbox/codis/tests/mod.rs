// SPDX-License-Identifier: Apache-2.0
//! Held to what a real Codis did.

mod api;
mod harness;
