// SPDX-License-Identifier: Apache-2.0
//! The copy of a dump into a real Redis, straight and through a receiver, against `redis-benchmark` on the same server.
//!
//! Ours: scan, feed, four lanes, a `SET` for each key, as a job copies; a receiver is a process of its own beside them.
//! Theirs: `redis-benchmark -t set -P 64 -c 4` with values of the same size and as many keys, which it need not read from
//! anywhere. The server is emptied before each run. An argument chooses the cases that have it in their names.
//!
//! Measured on 2026-11-26 on 2 cores of a machine that was shared but mostly free (`ours / theirs`: keys per second):
//!
//! | Strings of | ours / theirs | ratio, all rounds | processor time for a key: ours, theirs, the server |
//! |---|---|---|---|
//! | 100 B | 805k / 747k | 1.07, 1.00 to 1.16 | 0.69 us, 0.39 us, 1.2 us |
//! | 16 KB | 41.6k / 47.9k | 0.85, 0.81 to 0.89 | 25 us, 6.5 us, 16 us |
//! | 100 B, by receiver, zstd | 594k / 708k | 0.84, 0.81 to 0.87 | 0.92 us and the receiver, 0.23 us, 1.3 us |
//! | 100 B, by receiver, off | 626k / 689k | 0.93, 0.88 to 0.99 | 0.65 us and the receiver, 0.25 us, 1.3 us |
//! | 16 KB, by receiver, auto | 26.6k / 44.4k | 0.58, 0.56 to 0.62 | 34 us and the receiver, 6.8 us, 18 us |
//!
//! On another such machine, on which the same work took a quarter more processor time, ours more than theirs, the ratios
//! were 0.94, 0.72 to 0.76 (four runs; 0.77 and 0.81 at the commit that the table is of), 0.78, 0.87, and 0.50 to 0.56. On
//! a third one, half as fast as the first, 16 KB gave 0.70 to 0.79 in six runs: four times larger batches, other settings of
//! the allocator, and SSSE3 and BMI2 for Snappy changed nothing of that.
//!
//! With 100 B the server limits both: it needs more processor time than we do, and one core is its own. With 16 KB our own
//! time does, where two cores are all there is. In a profile of the process the largest part of that is Snappy, which unpacks
//! the dump; checksums and one copy come far behind. Through a receiver two more processes share the two cores, and 16 KB
//! values cross the loopback twice.

mod support {
    pub(crate) mod cpu;
    pub(crate) mod dump;
    #[expect(dead_code, reason = "its memory is measured elsewhere")]
    pub(crate) mod receiving;
    pub(crate) mod redis_server;
    pub(crate) mod rounds;
}

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mover::dialect::HyperLogLogPolicy;
use mover::endpoint::Endpoint;
use mover::flow::{Budget, Control, Line, Throttle};
use mover::job::copy;
use mover::sink::{Sink, Target};
use mover::wire::Compression;
use mover::{JobOptions, Side};
use replication::{SlotCount, SlotSet};
use snapshot::Checkpoint;

use crate::support::receiving::Receiving;
use crate::support::redis_server::RedisServer;
use crate::support::{cpu, dump, rounds};

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
    dump: &'static str,
    value: usize,
    keys: u64,
    through: Option<Compression>,
}

const CASES: [Case; 5] = [
    Case::strings("100 B", "strings-16B-100B-1M", 100, 1_000_000, None),
    Case::strings("16 KB", "strings-16B-16KB-40k", 16 << 10, 40_000, None),
    Case::strings("100 B by receiver, zstd", "strings-16B-100B-1M", 100, 1_000_000, Some(Compression::Zstd(1))),
    Case::strings("100 B by receiver, off", "strings-16B-100B-1M", 100, 1_000_000, Some(Compression::Off)),
    Case::strings("16 KB by receiver, auto", "strings-16B-16KB-40k", 16 << 10, 40_000, Some(Compression::Auto)),
];

const ROUNDS: usize = 5;

/// As many as Pika has.
const INSTANCES: usize = 3;

impl Case {
    const fn strings(
        what: &'static str,
        dump: &'static str,
        value: usize,
        keys: u64,
        through: Option<Compression>,
    ) -> Self {
        Self { what, dump, value, keys, through }
    }

    fn run(&self, server: &RedisServer) -> Result<()> {
        let Self { what, value, keys, .. } = *self;
        let dir = dump::made_once(self.dump, INSTANCES, keys, |number, rows| {
            // As long as the keys of `redis-benchmark`, and all different because the factor is prime to 10^12.
            let key = format!("key:{:012}", number * 618_033_988_749 % 1_000_000_000_000);
            rows.string(key.as_bytes(), &dump::json(number, value));
        })?;
        let checkpoint = Arc::new(Checkpoint::open(&dir, SlotCount::CODIS, Some(INSTANCES))?);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let receiving = self.through.map(|_| Receiving::start(server)).transpose()?;
        let through = receiving.as_ref().zip(self.through);
        let (our_cost, their_cost) = (Cost::default(), Cost::default());
        let ours = || {
            server.flush()?;
            our_cost.of(server, keys, || {
                let begin = Instant::now();
                let copied = runtime.block_on(copied(&checkpoint, server, through))?;
                let rate = keys as f64 / begin.elapsed().as_secs_f64();
                ensure!(copied == keys && server.keys()? == keys, "{copied} keys were copied, not {keys}");
                Ok(rate)
            })
        };
        let theirs = || {
            server.flush()?;
            their_cost.of(server, keys, || server.benchmark(value, keys))
        };
        rounds::compare(what, "keys", ROUNDS, ours, theirs)?;
        println!("    processor time for a key: ours {our_cost}; theirs {their_cost}");
        Ok(())
    }
}

async fn copied(
    checkpoint: &Arc<Checkpoint>,
    server: &RedisServer,
    through: Option<(&Receiving, Compression)>,
) -> Result<u64> {
    let endpoint = Endpoint::parse(Side::Target, &server.address(), None).map_err(anyhow::Error::msg)?;
    let target = Target::connect(&endpoint, SlotCount::CODIS, HyperLogLogPolicy::Refuse).await?;
    let options = JobOptions::new(SlotSet::all(SlotCount::CODIS));
    let receiver = match through {
        Some((receiving, compression)) => Some(receiving.greeted(&target, compression).await?),
        None => None,
    };
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    for _ in 0..options.lanes {
        sinks.push(match &receiver {
            Some(receiver) => Box::new(receiver.sink().await?),
            None => Box::new(target.sink().await?),
        });
    }
    let memory = Budget::new(options.line_memory());
    let line = Line::start(sinks, &Control::new(), &Arc::new(Throttle::new(options.rate)), memory);
    let keys = copy(checkpoint, &options, &line).await?;
    line.finish().await?;
    Ok(keys)
}

/// The processor time that some runs took, on both ends of the connection.
#[derive(Default)]
struct Cost {
    keys: Cell<u64>,
    client: Cell<Duration>,
    server: Cell<Duration>,
}

impl Cost {
    fn of(&self, server: &RedisServer, keys: u64, run: impl FnOnce() -> Result<f64>) -> Result<f64> {
        let (client, served) = (cpu::used_by(std::process::id())?, cpu::used_by(server.process())?);
        let rate = run()?;
        self.keys.update(|sum| sum + keys);
        let (client, served) = (cpu::used_by(std::process::id())? - client, cpu::used_by(server.process())? - served);
        self.client.update(|sum| sum + client);
        self.server.update(|sum| sum + served);
        Ok(rate)
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of_a_key = |time: &Cell<Duration>| time.get().as_secs_f64() * 1e6 / self.keys.get() as f64;
        write!(f, "{:.2} us + {:.2} us in the server", of_a_key(&self.client), of_a_key(&self.server))
    }
}
