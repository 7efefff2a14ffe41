// SPDX-License-Identifier: Apache-2.0
//! The memory of a move, whatever it moves: copy, follow, compare, switch, by the command itself.
//!
//! Each case moves a node with one big key (or many small ones) into a real Redis. Meanwhile the key gets small changes,
//! and once all of it must be read again. A string does so only after the checkpoint was taken: in one that holds several
//! versions of 64 MB RocksDB keeps a block of each. What counts is the largest resident size that the mover's process
//! ever had, and that of the receiver where a case goes through one.
//!
//! `cargo bench -p mover --bench memory -- zset` runs the cases whose names begin with `zset`, `-- zset-10M/receiver` one
//! of them. A case that takes longer than its time is stopped; its peak so far is told.
//!
//! Measured on 2026-11-26, with `--memory 256MB` at both ends (peak of the sender; of the sender and the receiver):
//!
//! | Case | straight | through a receiver |
//! |---|---|---|
//! | sorted set of 10 million members | 47 MB | 49 and 27 MB |
//! | list of 10 million elements | 50 MB | 43 and 25 MB |
//! | hash of 1 KB fields, 2 GB | 67 MB | 60 and 26 MB |
//! | string of 64 MB, noise | 151 MB | 152 and 83 MB |
//! | string of 64 MB, JSON | 150 MB | 154 and 84 MB |
//! | 1 million small strings | 32 MB | 33 and 23 MB |
//! | 20 million small strings | 60 MB | 59 and 23 MB |

mod support {
    pub(crate) mod big;
    pub(crate) mod dump;
    pub(crate) mod node_process;
    pub(crate) mod peak;
    #[expect(dead_code, reason = "nothing is compared with redis-benchmark here")]
    pub(crate) mod redis_server;
}

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::support::big::Data;
use crate::support::node_process::{self, NodeProcess};
use crate::support::peak;
use crate::support::redis_server::RedisServer;

fn main() -> Result<()> {
    if node_process::role()? {
        return Ok(());
    }
    // Cargo adds a `--bench` of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    println!("{:<22} {:>9} {:>9} {:>9} {:>9} {:>9}", "case", "copy", "compare", "all", "sender", "receiver");
    let ways = if knows("receive", "--listen")? { 2 } else { 1 };
    for (name, data) in CASES {
        for (way, through_receiver) in [("", false), ("/receiver", true)].into_iter().take(ways) {
            let name_of_both = format!("{name}{way}");
            if wanted.is_empty() || wanted.iter().any(|start| name_of_both.starts_with(start)) {
                run(&name_of_both, &data.dump(name)?, data, through_receiver)?;
            }
        }
        data.forget_if_large(name)?;
    }
    Ok(())
}

const CASES: [(&str, Data); 7] = [
    ("zset-10M", Data::Zset(10_000_000)),
    ("list-10M", Data::List(10_000_000)),
    ("hash-2GB", Data::Hash(2 << 20)),
    ("noise-64MB", Data::Noise(64 << 20)),
    ("json-64MB", Data::Text(64 << 20)),
    ("small-1M", Data::Strings(1_000_000)),
    ("small-20M", Data::Strings(20_000_000)),
];

/// What each end may have, as it is told and in bytes.
const MEMORY: &str = "256MB";
const LIMIT: u64 = 256_000_000;

/// Nothing is expected to take longer, and whatever does is told as not finished.
const TIME_MAX: Duration = Duration::from_secs(1800);

fn run(name: &str, dump: &Path, data: Data, through_receiver: bool) -> Result<()> {
    let (node, target, scratch) = (NodeProcess::start(dump)?, RedisServer::start()?, tempfile::tempdir()?);
    let mut receiver = through_receiver.then(|| Receiver::start(&target.address())).transpose()?;
    let through = receiver.as_ref().map(|receiver| &*receiver.address);
    let mut sender = Sender::start(node.address(), &target.address(), through, scratch.path())?;
    let begin = Instant::now();
    let clients = Clients::start(node.address(), data, sender.phases());
    let ended = sender.watch(begin + TIME_MAX)?;
    clients.end()?;
    let received = receiver.as_mut().map(Receiver::peak).transpose()?;
    let took = |from: &str, to: &str| sender.phases.between(from, to).map_or_else(|| "-".to_owned(), seconds);
    let (copy, compare) = (took("copy", "catch up"), took("verify", "cutover"));
    let megabytes = |bytes: u64| format!("{:.0} MB", bytes as f64 / f64::from(1 << 20));
    let verdict = match (ended, sender.peak.max(received.unwrap_or_default()) <= LIMIT) {
        (None, _) => "not finished",
        (Some(status), _) if !status.success() => "FAILED",
        (Some(_), true) => "within the limit",
        (Some(_), false) => "MORE THAN THE LIMIT",
    };
    println!(
        "{name:<22} {copy:>9} {compare:>9} {:>9} {:>9} {:>9}  {verdict}",
        seconds(begin.elapsed()),
        megabytes(sender.peak),
        received.map_or_else(|| "-".to_owned(), megabytes),
    );
    for (phase, peak) in sender.phases.peaks(sender.peak) {
        println!("    sender up to the end of {phase:<10} {:>9}", megabytes(peak));
    }
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// The move, as its own process.
struct Sender {
    process: Child,
    phases: Arc<Phases>,
    peak: u64,
}

/// What the process has told of itself, and what it had when it did.
#[derive(Default)]
struct Phases {
    seen: Mutex<Vec<(String, Instant, u64)>>,
    postponed: PathBuf,
}

impl Phases {
    fn enter(&self, phase: &str, process: u32) {
        let peak = peak::resident_max(process).unwrap_or_default();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.last_mut() {
            Some((last, ..)) if last == phase => {}
            _ => seen.push((phase.to_owned(), Instant::now(), peak)),
        }
    }

    fn has_come_to(&self, phase: &str) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|(seen, ..)| seen == phase)
    }

    /// From the first time in one phase to the next time in another. Phases that are over at once are not told of.
    fn between(&self, one: &str, other: &str) -> Option<Duration> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let from = seen.iter().position(|(phase, ..)| phase == one)?;
        let to = seen[from..].iter().find(|(phase, ..)| phase == other)?;
        Some(to.1 - seen[from].1)
    }

    /// The peak at the end of each phase; that of the last one is `last`.
    fn peaks(&self, last: u64) -> Vec<(String, u64)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = seen.iter().skip(1).map(|(.., peak)| *peak).chain([last]);
        seen.iter().map(|(phase, ..)| phase.clone()).zip(ends).collect()
    }
}

impl Sender {
    fn start(source: &str, target: &str, receiver: Option<&str>, scratch: &Path) -> Result<Self> {
        let postponed = scratch.join("postponed");
        fs::write(&postponed, "")?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_slotmover"));
        command.args(["move", "--source", source, "--target", target, "--slots", "0-1023"]);
        command.args(["--routing", "manual", "--yes", "--json", "--postpone-cutover"]).arg(&postponed);
        command.arg("--state-dir").arg(scratch.join("state"));
        if knows("move", "--memory")? {
            command.args(["--memory", MEMORY]);
        }
        if let Some(receiver) = receiver {
            command.args(["--receiver", receiver]);
        }
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = process.stderr.take().context("the move has no standard error")?;
        let phases = Arc::new(Phases { postponed, ..Phases::default() });
        let (reader, id) = (Arc::clone(&phases), process.id());
        thread::spawn(move || read(stderr, id, &reader));
        Ok(Self { process, phases, peak: 0 })
    }

    fn phases(&self) -> Arc<Phases> {
        Arc::clone(&self.phases)
    }

    /// Waits for its end, which is `None` when it did not come in time, and sees how large it grows.
    fn watch(&mut self, until: Instant) -> Result<Option<std::process::ExitStatus>> {
        loop {
            // Between its end and our question it has no size any more.
            self.peak = self.peak.max(peak::resident_max(self.process.id()).unwrap_or_default());
            if let Some(status) = self.process.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() > until {
                return Ok(None);
            }
            thread::sleep(SAMPLE);
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // One that has ended already needs no end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The other end of the network, as a process too.
struct Receiver {
    process: Child,
    address: String,
}

impl Receiver {
    fn start(target: &str) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slotmover"));
        command.args(["receive", "--listen", "127.0.0.1:0", "--target", target, "--memory", MEMORY]);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().context("the receiver has no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.split(' ').nth(2).unwrap_or_default().to_owned();
        let receiver = Self { process, address };
        ensure!(line.starts_with("receiving on "), "the receiver did not start: {line}");
        Ok(receiver)
    }

    fn peak(&mut self) -> Result<u64> {
        peak::resident_max(self.process.id())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // One that has ended already needs no end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether this build of the command has a flag.
fn knows(command: &str, flag: &str) -> Result<bool> {
    let help = Command::new(env!("CARGO_BIN_EXE_slotmover")).args([command, "--help"]).output()?;
    Ok(String::from_utf8_lossy(&help.stdout).contains(flag))
}

/// Follows the lines of progress, each of which begins with the phase.
fn read(stderr: ChildStderr, process: u32, phases: &Phases) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        match line.split_once(": ") {
            Some((phase, _)) if PHASES.contains(&phase) => phases.enter(phase, process),
            _ => println!("    {line}"),
        }
    }
}

const PHASES: [&str; 7] = ["plan", "snapshot", "copy", "catch up", "verify", "cutover", "done"];

/// How often the size is read.
const SAMPLE: Duration = Duration::from_millis(50);

/// Clients that change what is moved until both sides were compared, and then let it be switched.
struct Clients {
    over: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<()>>,
}

impl Clients {
    fn start(source: &str, data: Data, phases: Arc<Phases>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (source, ended) = (source.to_owned(), Arc::clone(&over));
        Self { over, thread: thread::spawn(move || change(&source, data, &phases, &ended)) }
    }

    fn end(self) -> Result<()> {
        self.over.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?
    }
}

fn change(source: &str, data: Data, phases: &Phases, over: &AtomicBool) -> Result<()> {
    let mut connection = redis::Client::open(format!("redis://{source}"))?.get_connection()?;
    let mut whole = false;
    for number in 0.. {
        if over.load(Ordering::Acquire) {
            return Ok(());
        }
        if phases.has_come_to("cutover") {
            break;
        }
        if phases.has_come_to("copy") || !data.is_string() {
            for command in data.small_changes(number * 7) {
                command.exec(&mut connection)?;
            }
        }
        if phases.has_come_to("catch up") && !whole {
            whole = true;
            for command in data.whole_changes() {
                ensure!(command.query::<u64>(&mut connection)? == 1, "the big key is not there");
            }
        }
        thread::sleep(CHANGE);
    }
    Ok(fs::remove_file(&phases.postponed)?)
}

/// Between two changes.
const CHANGE: Duration = Duration::from_millis(200);
