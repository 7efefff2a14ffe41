// SPDX-License-Identifier: Apache-2.0
//! A node in a process of its own, which can be killed and started again.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Client, HANG, example, free_addr};

pub(crate) struct NodeProcess {
    dir: PathBuf,
    addr: SocketAddr,
    process: Option<Child>,
}

impl NodeProcess {
    /// An empty node, or the one that is in `dir`.
    pub(crate) fn start(dir: &Path) -> Self {
        let mut node = Self { dir: dir.to_owned(), addr: free_addr(), process: None };
        node.restart();
        node
    }

    /// Starts it again where it was.
    pub(crate) fn restart(&mut self) {
        let begin = std::time::Instant::now();
        while self.process.is_none() {
            assert!(begin.elapsed() < HANG, "the node in {} does not start", self.dir.display());
            self.process = self.try_start();
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr).patient()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn try_start(&self) -> Option<Child> {
        let mut process = Command::new(example("sandbox_node"))
            .arg(&self.dir)
            .arg(self.addr.port().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        if address.trim() == self.addr.to_string() {
            return Some(process);
        }
        // Another process may hold its port or its files for a moment.
        process.wait().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        None
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
