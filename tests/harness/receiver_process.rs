// SPDX-License-Identifier: Apache-2.0
//! `slotmover receive` in a process of its own, which can be killed and started again.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{HANG, Process, TOKEN, free_addr};

pub(crate) struct ReceiverProcess {
    addr: SocketAddr,
    target: SocketAddr,
    dir: PathBuf,
    process: Option<Process>,
}

impl ReceiverProcess {
    /// One for `target` that knows the usual token and has its files in `dir`.
    pub(crate) async fn start(dir: &Path, target: SocketAddr) -> Self {
        let mut receiver = Self { addr: free_addr(), target, dir: dir.to_owned(), process: None };
        fs::create_dir(dir).unwrap();
        fs::write(receiver.token_file(), TOKEN).unwrap();
        receiver.restart().await;
        receiver
    }

    /// Starts it again where it was, and waits until it listens.
    pub(crate) async fn restart(&mut self) {
        let log = self.dir.join("log");
        let args =
            ["receive", "--listen", &self.addr.to_string(), "--target", &self.target.to_string(), "--token-file"];
        let mut args = args.map(str::to_owned).to_vec();
        args.push(self.token_file().to_string_lossy().into_owned());
        let begin = Instant::now();
        loop {
            let process = self
                .process
                .get_or_insert_with(|| Process::start(Path::new(env!("CARGO_BIN_EXE_slotmover")), &log, &args));
            let said = fs::read_to_string(&log).unwrap();
            if said.contains("receiving on ") {
                return;
            }
            assert!(begin.elapsed() < HANG, "it does not listen: {said}");
            // Another process may hold its port for a moment.
            if process.has_ended() {
                self.process = None;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.dir.join("token")
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }
}
