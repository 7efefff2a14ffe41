// SPDX-License-Identifier: Apache-2.0
//! A real Pika on loopback ports, where PIKA_BIN names the program.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use super::{Client, HANG, Process};

pub(crate) struct PikaServer {
    addr: SocketAddr,
    dir: PathBuf,
    process: Process,
}

impl PikaServer {
    /// The program; without one there is nothing to test, which is said.
    pub(crate) fn program() -> Option<PathBuf> {
        let program = std::env::var_os("PIKA_BIN").map(PathBuf::from);
        if program.is_none() {
            println!("PIKA_BIN names no pika: nothing is tested");
        }
        program
    }

    /// Starts one with its files in `dir`; what is in `dir/db` already it takes for its own.
    pub(crate) async fn start(program: &Path, dir: &Path) -> Self {
        Self::with(program, dir, &[]).await
    }

    /// The same with other settings, each of which replaces one of [`SETTINGS`] or is added.
    pub(crate) async fn with(program: &Path, dir: &Path, settings: &[(&str, &str)]) -> Self {
        let addr = free_addr();
        for name in DIRECTORIES {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        fs::write(dir.join("pika.conf"), configuration(dir, addr.port(), settings)).unwrap();
        let mut server = Self { addr, dir: dir.to_owned(), process: launch(program, dir) };
        server.until_answers().await;
        server
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    /// Its files: `db`, `log`, `dump`.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    async fn until_answers(&mut self) {
        let begin = Instant::now();
        while !answers(self.addr) {
            self.process.assert_running();
            assert!(begin.elapsed() < HANG, "no pika answers at {}", self.addr);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn launch(program: &Path, dir: &Path) -> Process {
    let arguments = ["-c".to_owned(), dir.join("pika.conf").display().to_string()];
    Process::start(program, &dir.join("pika.out"), &arguments)
}

/// Whatever it says: without a login that is an error.
fn answers(addr: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
        stream.read_exact(&mut [0])
    };
    ask().is_ok()
}

fn configuration(dir: &Path, port: u16, changes: &[(&str, &str)]) -> String {
    let mut settings: Vec<(&str, String)> = vec![("port", port.to_string())];
    let places = [("db-path", "db"), ("log-path", "log"), ("dump-path", "dump"), ("db-sync-path", "dbsync")];
    settings.extend(places.map(|(name, place)| (name, format!("{}/", dir.join(place).display()))));
    settings.push(("pidfile", dir.join("pika.pid").display().to_string()));
    settings.extend(SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned())));
    // Of two lines with the same name the first one counts.
    settings.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    settings.extend(changes.iter().map(|(name, value)| (*name, (*value).to_owned())));
    settings.into_iter().map(|(name, value)| format!("{name} : {value}\n")).collect()
}

/// A free port whose companions are free as well: a Pika also listens for its replicas, and keeps a third port for rsync.
/// All of them lie below those that the system gives to clients.
fn free_addr() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 1500).unwrap();
    loop {
        let port = 10_000 + (process * 8 + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if COMPANIONS.iter().all(|distance| is_free(port + distance)) {
            return (Ipv4Addr::LOCALHOST, port).into();
        }
    }
}

const COMPANIONS: [u16; 3] = [0, 2000, 10_001];

const DIRECTORIES: [&str; 4] = ["db", "log", "dump", "dbsync"];

/// What differs from Pika's own defaults, or has none: little memory, few threads, loopback only.
const SETTINGS: &[(&str, &str)] = &[
    ("network-interface", "lo"),
    ("db-instance-num", "3"),
    ("databases", "1"),
    ("default-slot-num", "1024"),
    ("instance-mode", "classic"),
    ("thread-num", "1"),
    ("thread-pool-size", "4"),
    ("slow-cmd-pool", "no"),
    ("admin-thread-pool-size", "1"),
    ("sync-thread-num", "2"),
    ("sync-binlog-thread-num", "1"),
    ("write-buffer-size", "16M"),
    ("arena-block-size", "1M"),
    ("max-write-buffer-size", "268435456"),
    ("max-write-buffer-num", "2"),
    ("max-background-jobs", "1"),
    ("max-cache-files", "500"),
    ("target-file-size-base", "4M"),
    ("compression", "snappy"),
    ("daemonize", "no"),
    ("maxclients", "2000"),
    ("root-connection-num", "2"),
    ("timeout", "600"),
    ("requirepass", ""),
    ("masterauth", ""),
    ("dump-prefix", ""),
    ("dump-expire", "0"),
    ("write-binlog", "yes"),
    ("binlog-file-size", "104857600"),
    ("expire-logs-days", "7"),
    ("expire-logs-nums", "10"),
    ("replication-num", "0"),
    ("consensus-level", "0"),
    ("slotmigrate", "no"),
    ("cache-num", "1"),
    ("cache-model", "1"),
    ("cache-type", "string, set, zset, list, hash, bit"),
    ("cache-maxmemory", "16777216"),
    ("wash-data", "false"),
];
