// SPDX-License-Identifier: Apache-2.0
//! A whole small cluster in one process: the embedded default of the demo and the tests.

pub mod demo;
pub mod load;
pub mod node;
pub mod proxy;
#[cfg(test)]
mod redis_server;
mod reply;
pub mod rig;
