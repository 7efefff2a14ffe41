// SPDX-License-Identifier: Apache-2.0
//! A real Redis for the tests, empty, on a free loopback port, gone at the end of the test.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running `redis-server`.
pub(crate) struct RedisServer {
    addr: SocketAddr,
    process: Child,
}

impl RedisServer {
    /// Starts one.
    pub(crate) fn start() -> Self {
        Self::start_at(free_addr())
    }

    /// Starts one at this address.
    pub(crate) fn start_at(addr: SocketAddr) -> Self {
        let dir = std::env::temp_dir();
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--enable-debug-command", "local"])
            .args(["--port", &addr.port().to_string(), "--dir"])
            .arg(dir)
            .stdout(Stdio::null())
            .spawn()
            .expect("these tests need the program `redis-server` on the PATH (Debian: apt install redis-server)");
        let mut server = Self { addr, process };
        let start = Instant::now();
        while TcpStream::connect(addr).is_err() {
            let ended = server.process.try_wait().expect("the state of a child can be asked");
            assert!(ended.is_none(), "redis-server ended at once: {ended:?}");
            assert!(start.elapsed() < Duration::from_secs(10), "redis-server does not listen on {addr}");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Runs a command given as words; the reply as the driver reads it.
    pub(crate) fn run(&self, words: &str) -> redis::Value {
        let client = redis::Client::open(format!("redis://{}", self.addr)).expect("an address is a valid URL");
        let mut connection = client.get_connection().expect("the server listens");
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().expect("a command has a name"));
        words.for_each(|word| {
            command.arg(word);
        });
        command.query(&mut connection).expect("the command is right")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have been shut down by the test.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address where nothing listens at the moment.
pub(crate) fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    listener.local_addr().expect("it is bound")
}
