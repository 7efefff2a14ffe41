// SPDX-License-Identifier: Apache-2.0
//! The comparison of a dump with a real Redis, against the copy of the same dump into the same Redis.
//!
//! Ours: scan, four lanes of questions, answers compared as they come, and a walk over all keys of the target for those that
//! should not be there; as a job compares. Theirs: the copy, as a job copies. They take turns: what was copied is compared,
//! and must be equal. An argument chooses the cases that have it in their names.
//!
//! Measured on 2026-11-26 on 2 cores of a machine on which others compiled all the while, so that the ratios count, and the
//! rates are about half of those of a free one (`ours / theirs`: keys per second):
//!
//! | Keys | ours / theirs | ratio, all rounds | processor time of the server for a key: ours, theirs |
//! |---|---|---|---|
//! | strings of 100 B | 379k / 328k | 1.14, 1.06 to 1.48 | 2.1 us, 2.6 us |
//! | the same, some key expires | 211k / 202k | 1.03, 0.91 to 1.11 (0.81 in another run) | 3.2 us, 2.9 us |
//! | strings of 16 KB | 26.7k / 18.2k | 1.40, 1.35 to 1.55 | 14 us, 36 us |
//! | all types, ten elements each | 65.6k / 52.0k | 1.29, 1.17 to 1.29 | 11 us, 15 us |
//!
//! The server limits all of them: it has one core. It gives values many at a time, but must be asked about the expiry of each
//! key by itself, unless no key of the whole database expires: that adds half as much again to its work for small strings.

mod support {
    pub(crate) mod cpu;
    pub(crate) mod dump;
    pub(crate) mod mixed;
    #[expect(dead_code, reason = "nothing is compared with redis-benchmark here")]
    pub(crate) mod redis_server;
    pub(crate) mod rounds;
}

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use mover::dialect::HyperLogLogPolicy;
use mover::endpoint::Endpoint;
use mover::flow::{Budget, Control, Line, Throttle};
use mover::job::{copy, verify};
use mover::sink::{Sink, Target};
use mover::{JobOptions, Side};
use replication::{SlotCount, SlotSet};
use snapshot::Checkpoint;

use crate::support::redis_server::RedisServer;
use crate::support::{cpu, dump, mixed, rounds};

fn main() -> Result<()> {
    // `cargo bench` adds an argument of its own.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    let server = RedisServer::start()?;
    for case in CASES.iter().filter(|case| case.what.contains(&*filter)) {
        case.run(&server)?;
    }
    Ok(())
}

struct Case {
    what: &'static str,
    keys: u64,
    dump: fn() -> Result<PathBuf>,
    /// Whether the target has a key of another slot that expires, so that it must be asked about each key.
    mortal: bool,
}

const CASES: [Case; 4] = [
    Case { what: "100 B", keys: SMALL, dump: small, mortal: false },
    Case { what: "100 B, expiries", keys: SMALL, dump: small, mortal: true },
    Case { what: "16 KB", keys: LARGE, dump: large, mortal: false },
    Case { what: "all types", keys: MIXED, dump: all_types, mortal: true },
];

const SMALL: u64 = 1_000_000;
const LARGE: u64 = 40_000;
const MIXED: u64 = 300_000;

const ROUNDS: usize = 5;

/// As many as Pika has.
const INSTANCES: usize = 3;

fn small() -> Result<PathBuf> {
    strings("strings-16B-100B-1M", 100, SMALL)
}

fn large() -> Result<PathBuf> {
    strings("strings-16B-16KB-40k", 16 << 10, LARGE)
}

fn all_types() -> Result<PathBuf> {
    dump::made_once("mixed-300k", INSTANCES, MIXED, mixed::write)
}

/// The same as those of the bench `line`.
fn strings(name: &str, value: usize, keys: u64) -> Result<PathBuf> {
    dump::made_once(name, INSTANCES, keys, |number, rows| {
        let key = format!("key:{:012}", number * 618_033_988_749 % 1_000_000_000_000);
        rows.string(key.as_bytes(), &dump::json(number, value));
    })
}

impl Case {
    fn run(&self, server: &RedisServer) -> Result<()> {
        let Self { what, keys, mortal, .. } = *self;
        let checkpoint = Arc::new(Checkpoint::open((self.dump)()?, SlotCount::CODIS, Some(INSTANCES))?);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mut slots = SlotSet::all(SlotCount::CODIS);
        slots.remove(SlotCount::CODIS.slot_of(MORTAL));
        let options = JobOptions::new(slots);
        let served = std::cell::Cell::new([std::time::Duration::ZERO; 2]);
        let measure = |side: usize, run: &dyn Fn() -> Result<u64>| {
            let (before, begin) = (cpu::used_by(server.process())?, Instant::now());
            let count = run()?;
            let rate = count as f64 / begin.elapsed().as_secs_f64();
            let took = cpu::used_by(server.process())? - before;
            served.update(|mut sums| {
                sums[side] += took;
                sums
            });
            ensure!(count + keys / 500 > keys, "{count} of {keys} keys");
            Ok(rate)
        };
        let ours = || {
            measure(0, &|| {
                let report = runtime.block_on(async { verify(&checkpoint, &options, &target(server).await?).await })?;
                ensure!((report.mismatches, report.extra) == (0, 0), "what was copied differs: {report:?}");
                Ok(report.keys)
            })
        };
        let theirs = || {
            server.flush()?;
            if mortal {
                let client = redis::Client::open(format!("redis://{}", server.address()))?;
                redis::cmd("SET").arg(MORTAL).arg("").arg("EX").arg(1_000_000).exec(&mut client.get_connection()?)?;
            }
            measure(1, &|| runtime.block_on(copied(&checkpoint, &options, server)))
        };
        rounds::compare(what, "keys", ROUNDS, ours, theirs)?;
        let of_a_key = |time: std::time::Duration| time.as_secs_f64() * 1e6 / (keys * (ROUNDS as u64 + 1)) as f64;
        let [ours, theirs] = served.get().map(of_a_key);
        println!("    processor time of the server for a key: ours {ours:.2} us; theirs {theirs:.2} us");
        Ok(())
    }
}

async fn target(server: &RedisServer) -> mover::Result<Target> {
    let endpoint = Endpoint::parse(Side::Target, &server.address(), None).expect("the server's address is one");
    Target::connect(&endpoint, SlotCount::CODIS, HyperLogLogPolicy::Refuse).await
}

async fn copied(checkpoint: &Arc<Checkpoint>, options: &JobOptions, server: &RedisServer) -> Result<u64> {
    let target = target(server).await?;
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    for _ in 0..options.lanes {
        sinks.push(Box::new(target.sink().await?));
    }
    let memory = Budget::new(options.line_memory());
    let line = Line::start(sinks, &Control::new(), &Arc::new(Throttle::new(options.rate)), memory);
    let keys = copy(checkpoint, options, &line).await?;
    line.finish().await?;
    Ok(keys)
}

/// A key that expires, of a slot that is not moved.
const MORTAL: &[u8] = b"mortal";
