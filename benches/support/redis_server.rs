// SPDX-License-Identifier: Apache-2.0
//! A Redis of our own, and the yardstick that comes with it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// A running `redis-server` on a free loopback port that stores nothing on the disk.
pub(crate) struct RedisServer {
    port: u16,
    process: Child,
}

impl RedisServer {
    pub(crate) fn start() -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server must be on the PATH")?;
        let server = Self { port, process };
        let begin = Instant::now();
        while TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_err() {
            ensure!(begin.elapsed() < Duration::from_secs(10), "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }

    /// Makes it empty.
    pub(crate) fn flush(&self) -> Result<()> {
        let client = redis::Client::open(format!("redis://{}", self.address()))?;
        Ok(redis::cmd("FLUSHALL").arg("SYNC").query(&mut client.get_connection()?)?)
    }

    /// How many keys it holds.
    pub(crate) fn keys(&self) -> Result<u64> {
        let client = redis::Client::open(format!("redis://{}", self.address()))?;
        Ok(redis::cmd("DBSIZE").query(&mut client.get_connection()?)?)
    }

    /// SETs per second by `redis-benchmark`: `count` of them, of values of this size, on random keys.
    pub(crate) fn benchmark(&self, value: usize, count: u64) -> Result<f64> {
        let count = count.to_string();
        let output = Command::new("redis-benchmark")
            .args(["-p", &self.port.to_string(), "-t", "set", "-P", "64", "-c", "4", "--csv"])
            .args(["-d", &value.to_string(), "-n", &count, "-r", KEY_SPACE])
            .output()
            .context("redis-benchmark must be on the PATH")?;
        let text = String::from_utf8(output.stdout)?;
        let line = text.lines().find(|line| line.starts_with("\"SET\"")).context("redis-benchmark gave no figure")?;
        let rate = line.split(',').nth(1).context("redis-benchmark gave no rate")?;
        Ok(rate.trim_matches('"').parse()?)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // A server that has ended already needs no end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// So many keys that nearly every SET makes a new one.
const KEY_SPACE: &str = "100000000";
