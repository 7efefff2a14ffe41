// SPDX-License-Identifier: Apache-2.0
//! What all tests speak in.

mod admin;
mod allocation;
mod client;
mod command_line;
mod contents;
mod counting;
mod far;
mod golden;
mod hooked;
mod mutation;
mod node_process;
mod pika_server;
mod process;
mod real_cluster;
mod real_codis;
mod receiver_process;
mod receiving;
mod redis_server;
mod rust_source;
mod slow_move;
mod small_disk;
mod source;
mod stub;
mod switchboard;
mod trial;
mod valve;
mod way;

pub(crate) use admin::{call, order};
pub(crate) use allocation::allocated_by;
pub(crate) use client::Client;
pub(crate) use command_line::{CommandLine, Outcome};
pub(crate) use contents::{Contents, Score, Value, assert_same, contents, differences};
pub(crate) use counting::Counting;
pub(crate) use far::Far;
pub(crate) use golden::{Expected, Sent, fixtures, unbase64};
pub(crate) use hooked::{Agent, Hooked, fence_journals, guards, signal};
pub(crate) use mutation::mutated;
pub(crate) use node_process::NodeProcess;
pub(crate) use pika_server::PikaServer;
pub(crate) use process::Process;
pub(crate) use real_cluster::RealCluster;
pub(crate) use real_codis::RealCodis;
pub(crate) use receiver_process::ReceiverProcess;
pub(crate) use receiving::{Bender, Receiving, TOKEN, receiver_options, sender_options, token};
pub(crate) use redis_server::{RedisServer, free_addr};
pub(crate) use rust_source::{RustSource, workspace};
pub(crate) use slow_move::SlowMove;
pub(crate) use small_disk::SmallDisk;
pub(crate) use source::{Source, copy_tree, left_behind, restart};
pub(crate) use stub::Stub;
pub(crate) use switchboard::{Call, Fault, Switchboard};
pub(crate) use trial::{Step, Trial};
pub(crate) use valve::Valve;
pub(crate) use way::{Way, Weather};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mover::Side;
use mover::endpoint::Endpoint;

/// A side of a move without a password.
pub(crate) fn endpoint(side: Side, addr: SocketAddr) -> Endpoint {
    Endpoint {
        side,
        host: addr.ip().to_string(),
        port: addr.port(),
        password: None,
        database: 0,
        names: mover::endpoint::Names::default(),
    }
}

/// The program of an example. Cargo builds the examples with the tests, in a directory beside theirs, and has no variable
/// for it.
pub(crate) fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name);
    assert!(
        path.exists(),
        "{} is missing: `cargo test` without `--test` builds it, and so does `cargo build --examples`",
        path.display()
    );
    path
}

/// Waits until `is_so`, and fails with `what` when it never is.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < HANG, "{what}: not within {HANG:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Nothing here takes a minute, so whatever does has hung.
pub(crate) const HANG: Duration = Duration::from_secs(90);
