// SPDX-License-Identifier: Apache-2.0
//! A real Redis on a free loopback port, empty, gone at the end of the test.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use super::{Client, HANG};

pub(crate) struct RedisServer {
    addr: SocketAddr,
    process: Child,
    args: Vec<String>,
    dir: tempfile::TempDir,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// One that still has after a crash what it has answered for.
    pub(crate) fn durable() -> Self {
        Self::with(&["--appendonly", "yes"])
    }

    /// Starts one with more arguments.
    pub(crate) fn with(args: &[&str]) -> Self {
        let (addr, dir) = (free_addr(), tempfile::tempdir().unwrap());
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut server = Self { addr, process: spawn(addr, dir.path(), &args), args, dir };
        let ended = server.wait();
        assert!(ended.is_none(), "redis-server ended at once: {ended:?}");
        server
    }

    /// Starts it again where it was killed.
    pub(crate) fn restart(&mut self) {
        let begin = Instant::now();
        loop {
            self.process = spawn(self.addr, self.dir.path(), &self.args);
            let Some(ended) = self.wait() else { return };
            // Another process may hold its port for a moment.
            assert!(begin.elapsed() < HANG, "redis-server does not start again: {ended}");
        }
    }

    /// Waits until it listens, or how it has ended.
    fn wait(&mut self) -> Option<ExitStatus> {
        let begin = Instant::now();
        while TcpStream::connect(self.addr).is_err() {
            let ended = self.process.try_wait().unwrap();
            if ended.is_some() {
                return ended;
            }
            assert!(begin.elapsed() < HANG, "redis-server does not listen on {}", self.addr);
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        None
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // The test may have killed it already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(addr: SocketAddr, dir: &Path, args: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--port", &addr.port().to_string(), "--dir"])
        .arg(dir)
        .args(args)
        .stdout(Stdio::null())
        .spawn()
        .expect("these tests need the program `redis-server` on the PATH (Debian: apt install redis-server)")
}

/// An address where nothing listens at the moment.
pub(crate) fn free_addr() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
