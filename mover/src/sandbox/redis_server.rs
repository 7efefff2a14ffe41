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

    /// Stops it where it is: connections are taken by the system and nothing is answered.
    pub(crate) fn halt(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        let status = kill.args(["-s", name, &self.process.id().to_string()]).status().expect("there is a `kill`");
        assert!(status.success(), "kill -s {name}: {status}");
    }

    /// Moves the keys of this pattern to another server, which must not have them.
    pub(crate) fn move_keys(&self, to: &Self, pattern: &str) {
        let (mut from, mut to) = (self.connection(), to.connection());
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg(pattern).query(&mut from).expect("keys");
        let (mut read, mut write) = (redis::pipe(), redis::pipe());
        for key in &keys {
            read.cmd("DUMP").arg(key).cmd("PTTL").arg(key);
        }
        let dumps: Vec<redis::Value> = read.query(&mut from).expect("the keys exist");
        for (key, dump) in keys.iter().zip(dumps.chunks(2)) {
            // A key that has just expired has no dump.
            if let [redis::Value::BulkString(dump), redis::Value::Int(ttl)] = dump {
                write.cmd("RESTORE").arg(key).arg((*ttl).max(0)).arg(dump);
            }
        }
        let _: Vec<redis::Value> = write.query(&mut to).expect("the target is empty");
        if !keys.is_empty() {
            let _: () = redis::cmd("DEL").arg(keys).query(&mut from).expect("they exist");
        }
    }

    fn connection(&self) -> redis::Connection {
        let client = redis::Client::open(format!("redis://{}", self.addr)).expect("an address is a valid URL");
        client.get_connection().expect("the server listens")
    }

    /// Runs a command given as words; the reply as the driver reads it.
    pub(crate) fn run(&self, words: &str) -> redis::Value {
        let mut connection = self.connection();
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
