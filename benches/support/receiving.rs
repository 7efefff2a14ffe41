// SPDX-License-Identifier: Apache-2.0
//! A receiver in a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use mover::Side;
use mover::endpoint::Endpoint;
use mover::sink::{Receiver, ReceiverOptions, Target};
use mover::wire::Compression;

use super::redis_server::RedisServer;

/// A running `slotmover receive`.
pub(crate) struct Receiving {
    process: Child,
    address: String,
}

impl Receiving {
    pub(crate) fn start(server: &RedisServer) -> Result<Self> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_slotmover"))
            .args(["receive", "--listen", "127.0.0.1:0", "--target", &server.address()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("it has an output")?).read_line(&mut line)?;
        let address = line.split(' ').nth(2).context("it says where it listens")?.to_owned();
        Ok(Self { process, address })
    }

    pub(crate) async fn greeted(&self, target: &Target, compression: Compression) -> Result<Receiver> {
        let endpoint = Endpoint::parse(Side::Receiver, &self.address, None).map_err(anyhow::Error::msg)?;
        let options = ReceiverOptions { endpoint, token: None, tls: None, compression };
        Ok(Receiver::connect(options, target, std::process::id().into()).await?)
    }

    /// The most memory that it ever had, in KiB.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("Linux counts it")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        // One that has ended already needs no end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
