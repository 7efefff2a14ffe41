// SPDX-License-Identifier: Apache-2.0
//! What clients of a Redis notice of a gentle copy into it, by turns without and with the copy, and what becomes of the
//! copy when the Redis stands still.
//!
//! The clients' load takes half of the server's core. A word `normal` or `full` on the command line takes that kind of
//! copy.
//!
//! Measured on 2026-11-26 on 2 cores, one for the clients, the other one for the server; the node, the mover and the
//! kernel have what is left of both. At 30,500 requests/s, a quarter of what the clients can get, in 15 rounds of 3 s each:
//!
//! | | throughput | p50 | p90 | p99, of all rounds | p99.9 | keys/s copied |
//! |---|---|---|---|---|---|---|
//! | alone | 1.000 | 40 us | 76 us | 1 ms | 5 ms | |
//! | beside the copy | 1.000 | 42 us | 170 us | 1 ms | 7 ms | 3,300 to 14,600 |
//!
//! The ratio of the p99 in a round was 0.95 in the middle of them, 0.28 at least and 3.17 at most: a single pause of the
//! machine, of which there are some without the copy too, makes the p99 of a round. At 61,000 requests/s, half of what the
//! clients can get, server and clients leave less than a tenth of the machine, and that ratio was 0.97 and 1.65 in two runs.
//! After a stop of 2 s the next key came 1 ms after its end.

mod support {
    #[expect(dead_code, reason = "the bench of memory uses all of it")]
    pub(crate) mod big;
    pub(crate) mod cores;
    pub(crate) mod cpu;
    pub(crate) mod dump;
    pub(crate) mod load;
    pub(crate) mod node_process;
    #[expect(dead_code, reason = "the bench of the line uses all of it")]
    pub(crate) mod redis_server;
}

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mover::job::{Phase, Progress};
use mover::routing::{Owner, RoutingControl, Standing};
use mover::sandbox::load::Tag;
use mover::{BoxFuture, Control, Job, Kindness};
use replication::{Slot, SlotCount, SlotSet};

use crate::support::big::Data;
use crate::support::load::{Load, Seen, histogram};
use crate::support::node_process::{self, NodeProcess};
use crate::support::redis_server::RedisServer;
use crate::support::{cores, cpu};

fn main() -> Result<()> {
    if node_process::role()? {
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure())
}

async fn measure() -> Result<()> {
    let node = NodeProcess::start(&Data::Strings(KEYS).dump("small-4M")?)?;
    let server = RedisServer::start()?;
    // The clients have the other core: who waits for a core because of them tells nothing about the copy.
    cores::keep_on(Some(server.process()), 0)?;
    // Keys of a slot that does not move.
    let tag = Tag::of_slot(Slot::new(1000), SlotCount::CODIS).name;
    let load = Load { address: server.address().parse()?, tag };
    load.prepare()?;
    load.run(None, ROUND / 2)?;
    let most = load.run(None, ROUND)?.rate;
    let rate = half_of_the_core(&load, &server, most / 2.0)?;
    println!("the clients can get {most:.0} requests/s, and {rate:.0}/s take half of the server's core");
    // The load runs before and while the copy finds out what is usual.
    let steady = load.spawn(rate, Duration::from_secs(8));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let kind = std::env::args().filter_map(|word| word.parse().ok()).next_back().unwrap_or(Kindness::Gentle);
    let job = Job::builder("0-511".parse()?)
        .source(node.address().parse::<std::net::SocketAddr>()?)
        .target(server.address())
        .routing(Arc::new(Nobody))
        .kind(kind)
        .build()?;
    let (control, progress) = (job.control(), job.progress());
    control.postpone_cutover(true);
    let running = tokio::spawn(job.run());
    steady.join()?;
    ensure!(progress.status().phase == Phase::Copy, "{}: not while it copies", progress.status());
    by_turns(&load, rate, &control, &progress)?;
    stand_still(&server, &progress).await?;
    control.cancel();
    println!("the job: {:?}", running.await?.map(|_| ()));
    Ok(())
}

/// The rate of requests with which the server uses half of its core. It is less than half of what it can answer: the more
/// requests wait the more of them it takes at once.
fn half_of_the_core(load: &Load, server: &RedisServer, mut rate: f64) -> Result<f64> {
    for _ in 0..TRIALS {
        let before = cpu::used_by(server.process())?;
        let begin = Instant::now();
        load.run(Some(rate), Duration::from_secs(1))?;
        let used = (cpu::used_by(server.process())? - before).div_duration_f64(begin.elapsed());
        println!("{rate:.0} requests/s take {:.0} % of the server's core", used * 100.0);
        rate *= 0.5 / used.max(0.1);
    }
    Ok(rate)
}

/// Without the copy and with it, several times.
fn by_turns(load: &Load, rate: f64, control: &Control, progress: &Progress) -> Result<()> {
    let (mut throughput, mut tails) = (Vec::new(), Vec::new());
    let mut all = [histogram()?, histogram()?];
    for round in 1..=ROUNDS {
        let (alone, (beside, copied)) = match round % 2 {
            0 => (alone(load, rate, control)?, beside(load, rate, control, progress)?),
            // Who goes first changes, so that what gets better or worse with time hits both.
            _ => {
                let first = beside(load, rate, control, progress)?;
                (alone(load, rate, control)?, first)
            }
        };
        println!("round {round:>2}: alone {alone}; beside {beside}, {copied:.0} keys/s copied");
        throughput.push(beside.rate / alone.rate);
        tails.push(beside.quantile(0.99).as_secs_f64() / alone.quantile(0.99).as_secs_f64());
        for (all, seen) in all.iter_mut().zip([alone, beside]) {
            all.add(seen.waits)?;
        }
    }
    throughput.sort_by(f64::total_cmp);
    tails.sort_by(f64::total_cmp);
    println!("{}", progress.status());
    println!("throughput x {:.3} ({throughput:.3?})", throughput[throughput.len() / 2]);
    println!("p99 x {:.2} ({tails:.2?})", tails[tails.len() / 2]);
    let quantiles = all.map(|seen| SHARES.map(|share| Duration::from_nanos(seen.value_at_quantile(share))));
    println!("p50, p90, p99, p99.9 of all rounds: alone {:.2?}, beside {:.2?}", quantiles[0], quantiles[1]);
    Ok(())
}

fn alone(load: &Load, rate: f64, control: &Control) -> Result<Seen> {
    control.pause();
    let seen = load.spawn(rate, ROUND).join()?;
    control.resume();
    Ok(seen)
}

/// What the clients saw, and the keys that were copied in a second.
fn beside(load: &Load, rate: f64, control: &Control, progress: &Progress) -> Result<(Seen, f64)> {
    control.resume();
    let keys = progress.status().keys;
    let seen = load.spawn(rate, ROUND).join()?;
    Ok((seen, (progress.status().keys - keys) as f64 / ROUND.as_secs_f64()))
}

async fn stand_still(server: &RedisServer, progress: &Progress) -> Result<()> {
    signal(server, "STOP")?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = progress.status().keys;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let during = progress.status().keys - before;
    signal(server, "CONT")?;
    let (begin, keys) = (Instant::now(), progress.status().keys);
    while progress.status().keys == keys {
        ensure!(begin.elapsed() < Duration::from_secs(30), "it does not go on");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let again = begin.elapsed();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = (progress.status().keys - keys) as f64 / begin.elapsed().as_secs_f64();
    println!(
        "stopped for 2 s: {during} keys in its last second, the next one {again:.0?} after its end, then {after:.0} keys/s"
    );
    Ok(())
}

fn signal(server: &RedisServer, name: &str) -> Result<()> {
    let sent = Command::new("kill").args([&format!("-{name}"), &server.process().to_string()]).status()?;
    ensure!(sent.success(), "no {name} for the server");
    Ok(())
}

/// A routing layer that is never asked for anything.
struct Nobody;

impl RoutingControl for Nobody {
    fn owner(&self, _: Slot) -> BoxFuture<'_, mover::Result<Owner>> {
        Box::pin(async { Ok(Owner::Source) })
    }

    fn raise<'a>(&'a self, _: &'a SlotSet) -> BoxFuture<'a, mover::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn holds<'a>(&'a self, _: &'a SlotSet) -> BoxFuture<'a, mover::Result<Standing>> {
        Box::pin(async { Ok(Standing::Holds) })
    }

    fn switch<'a>(&'a self, _: &'a SlotSet) -> BoxFuture<'a, mover::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn lower<'a>(&'a self, _: &'a SlotSet) -> BoxFuture<'a, mover::Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

const TRIALS: usize = 5;
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_secs(3);

const SHARES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// Half of them move: more than a gentle copy gets done meanwhile.
const KEYS: u64 = 4_000_000;
