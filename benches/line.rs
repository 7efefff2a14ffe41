// SPDX-License-Identifier: Apache-2.0
//! The copy of a dump into a real Redis against `redis-benchmark` on the same server.
//!
//! Ours: scan, feed, four lanes, a `SET` for each key, as a job copies. Theirs: `redis-benchmark -t set -P 64 -c 4` with
//! values of the same size and as many keys, which it need not read from anywhere. The server is emptied before each run.
//!
//! Measured on 2026-11-22 on 2 cores of a machine that was shared but mostly free (`ours / theirs`: keys per second):
//!
//! | Strings of | ours / theirs | ratio, all rounds | processor time for a key: ours, theirs, the server |
//! |---|---|---|---|
//! | 100 B | 788k / 841k | 0.94, 0.81 to 1.08 | 0.86 us, 0.36 us, 1.2 us |
//! | 16 KB | 35k / 51k | 0.70, 0.63 to 0.74 | 28 us, 7 us, 19 us |
//!
//! With 100 B the server needs more processor time than we do and limits both. With 16 KB our own time does, where two
//! cores are all there is: they could do 42k keys per second at best. A third of it decompresses the dump, a third is
//! spent in the kernel, a tenth copies. Batches of 256 KiB instead of 64 KiB did not help.

mod support {
    pub(crate) mod cpu;
    pub(crate) mod dump;
    pub(crate) mod redis_server;
    pub(crate) mod rounds;
}

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mover::batch::Write;
use mover::dialect::HyperLogLogPolicy;
use mover::endpoint::Endpoint;
use mover::flow::{Budget, Control, Line, Throttle};
use mover::sink::{Sink, Target};
use mover::source::Known;
use mover::{JobOptions, Side};
use replication::{SlotCount, SlotSet};
use snapshot::{Checkpoint, Part, Piece, ScanRequest, Summary};
use tokio::task::JoinSet;

use crate::support::redis_server::RedisServer;
use crate::support::{cpu, dump, rounds};

fn main() -> Result<()> {
    let server = RedisServer::start()?;
    compare(&server, "strings of 100 B", "strings-16B-100B-1M", 100, 1_000_000)?;
    compare(&server, "strings of 16 KB", "strings-16B-16KB-40k", 16 << 10, 40_000)
}

const ROUNDS: usize = 5;

/// As many as Pika has.
const INSTANCES: usize = 3;

fn compare(server: &RedisServer, what: &str, name: &str, value: usize, keys: u64) -> Result<()> {
    let dir = dump::made_once(name, INSTANCES, keys, |number, rows| {
        // As long as the keys of `redis-benchmark`, and all different because the factor is prime to 10^12.
        let key = format!("key:{:012}", number * 618_033_988_749 % 1_000_000_000_000);
        rows.string(key.as_bytes(), &dump::json(number, value));
    })?;
    let checkpoint = Arc::new(Checkpoint::open(&dir, SlotCount::CODIS, Some(INSTANCES))?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (our_cost, their_cost) = (Cost::default(), Cost::default());
    let ours = || {
        server.flush()?;
        our_cost.of(server, keys, || {
            let begin = Instant::now();
            let copied = runtime.block_on(copy(&checkpoint, server))?;
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

/// What `job::copy` does.
async fn copy(checkpoint: &Arc<Checkpoint>, server: &RedisServer) -> Result<u64> {
    let endpoint = Endpoint::parse(Side::Target, &server.address(), None).map_err(anyhow::Error::msg)?;
    let target = Target::connect(&endpoint, SlotCount::CODIS, HyperLogLogPolicy::Refuse).await?;
    let options = JobOptions::new(SlotSet::all(SlotCount::CODIS));
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    for _ in 0..options.lanes {
        sinks.push(Box::new(target.sink().await?));
    }
    let memory = Budget::new(options.line_memory());
    let line = Line::start(sinks, &Control::new(), &Arc::new(Throttle::new(options.rate)), memory);
    let known = Arc::new(Known::new());
    let mut scans = JoinSet::new();
    for instance in 0..checkpoint.instances() {
        let (checkpoint, known) = (Arc::clone(checkpoint), Arc::clone(&known));
        let request = ScanRequest::new(options.slots.clone());
        let mut feed = line.feed();
        scans.spawn_blocking(move || {
            let mut outcome = Ok(());
            let summary = checkpoint.scan(instance, &request, |piece| {
                learn(&known, &piece);
                outcome = feed.push_blocking(Write::Piece(piece));
                match outcome {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            })?;
            outcome?;
            feed.flush_blocking()?;
            Ok::<Summary, anyhow::Error>(summary)
        });
    }
    let mut keys = 0;
    while let Some(scanned) = scans.join_next().await {
        keys += scanned??.keys;
    }
    line.watermark().reached(&line.watermark().mark()).await?;
    line.finish().await?;
    Ok(keys)
}

fn learn(known: &Known, piece: &Piece) {
    if piece.part == Part::Whole && piece.body.len() > 1 {
        known.learn_copied(&piece.key, piece.body.kind(), piece.body.len(), piece.expire_at.is_some());
    }
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
