// SPDX-License-Identifier: Apache-2.0
//! A real Redis on a free loopback port, empty, gone at the end of the test.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{Client, HANG};

pub(crate) struct RedisServer {
    addr: SocketAddr,
    process: Child,
    _dir: tempfile::TempDir,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with more arguments.
    pub(crate) fn with(args: &[&str]) -> Self {
        let addr = free_addr();
        let dir = tempfile::tempdir().unwrap();
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &addr.port().to_string(), "--dir"])
            .arg(dir.path())
            .args(args)
            .stdout(Stdio::null())
            .spawn()
            .expect("these tests need the program `redis-server` on the PATH (Debian: apt install redis-server)");
        let mut server = Self { addr, process, _dir: dir };
        let begin = Instant::now();
        while TcpStream::connect(addr).is_err() {
            let ended = server.process.try_wait().unwrap();
            assert!(ended.is_none(), "redis-server ended at once: {ended:?}");
            assert!(begin.elapsed() < HANG, "redis-server does not listen on {addr}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        server
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

/// An address where nothing listens at the moment.
pub(crate) fn free_addr() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
