// SPDX-License-Identifier: Apache-2.0
//! A whole small cluster in one process: the embedded default of the demo and the tests.

pub mod codis;
pub mod demo;
pub mod load;
pub mod node;
pub mod proxy;
mod pulse;
#[cfg(test)]
mod redis_server;
mod reply;
pub mod rig;
