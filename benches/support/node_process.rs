// SPDX-License-Identifier: Apache-2.0
//! A node in a process of its own: the bench's own program, started again in another role.
//!
//! Whatever the node needs of memory and processor time is then its own, and not that of whoever is measured.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};
use mover::sandbox::node::{Node, NodeConfig};

/// The other end of a node in another process. It ends with this value.
pub(crate) struct NodeProcess {
    process: Child,
    address: String,
    /// The node ends when nobody holds the other end of its standard input, so it never outlives the bench.
    stdin: Option<ChildStdin>,
}

impl NodeProcess {
    /// Starts a node with a copy of this dump. The program's `main` must give way to [`role`].
    pub(crate) fn start(dump: &Path) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .env(ROLE, dump)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a node")?;
        let stdin = process.stdin.take();
        let mut address = String::new();
        let mut stdout = BufReader::new(process.stdout.take().context("the node has no standard output")?);
        stdout.read_line(&mut address)?;
        let address = address.trim().to_owned();
        let node = Self { process, address, stdin };
        anyhow::ensure!(!node.address.is_empty(), "the node did not start");
        Ok(node)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        self.stdin.take();
        // One that has ended already needs no end.
        let _ = self.process.wait();
    }
}

/// Is the node, if that is what this process was started for; `false` in the bench itself.
pub(crate) fn role() -> Result<bool> {
    let Some(dump) = std::env::var_os(ROLE) else { return Ok(false) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let node = Node::adopt(dump, NodeConfig::new(dir.path())).await?;
        println!("{}", node.addr());
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        node.stop().await?;
        Ok(true)
    })
}

const ROLE: &str = "SLOTMOVER_BENCH_NODE";
