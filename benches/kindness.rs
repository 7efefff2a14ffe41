// SPDX-License-Identifier: Apache-2.0
//! What clients of a Redis notice of a gentle copy into it, by turns without and with the copy, and what becomes of the
//! copy when the Redis stands still.
//!
//! The clients' load is half of what they can get out of the server when nothing holds them, on a schedule of their own:
//! a request that is late because the server was, counts from when it should have been sent. They are threads, for a
//! timer of tokio is as coarse as what is to be measured. A word `normal` or `full` on the command line takes that kind.
//!
//! Measured on 2026-11-26 on 2 cores that server, clients and mover share, nothing else running, at 63,000 requests/s: the
//! clients' throughput was 1.000 of what it was without the copy in each of four rounds, their p50 130 us alone and 145 us
//! beside it, while 3,000 to 17,000 keys/s were copied. Their p99 was 0.5 to 11 ms alone and 0.9 to 23 ms beside the copy,
//! with ratios of 0.3 to 7.7 from round to round (the median of the four was between 0.5 and 2.2): with three busy parties
//! on two cores it tells who had to wait for a core, not what the copy costs. After a stop of 2 s the next key came 2 ms
//! after its end.

mod support {
    pub(crate) mod load;
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
use mover::sandbox::node::{Node, NodeConfig};
use mover::{BoxFuture, Control, Job, Kindness};
use replication::{Slot, SlotCount, SlotSet};

use crate::support::load::{Load, Seen};
use crate::support::redis_server::RedisServer;

#[tokio::main]
async fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let node = Node::start(NodeConfig::new(dir.path())).await?;
    fill(&node.addr().to_string())?;
    let server = RedisServer::start()?;
    // Keys of a slot that does not move.
    let load = Load { address: server.address(), tag: Tag::of_slot(Slot::new(1000), SlotCount::CODIS).name };
    load.run(None, ROUND / 2)?;
    let capacity = load.run(None, ROUND)?.rate;
    let rate = capacity / 2.0;
    println!("the clients can get {capacity:.0} requests/s, and are given {rate:.0}/s from now on");
    // The load runs before and while the copy finds out what is usual.
    let steady = spawn_load(&load, rate, Duration::from_secs(8));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let kind = std::env::args().filter_map(|word| word.parse().ok()).next_back().unwrap_or(Kindness::Gentle);
    let job = Job::builder("0-511".parse()?)
        .source(node.addr())
        .target(server.address())
        .routing(Arc::new(Nobody))
        .kind(kind)
        .build()?;
    let (control, progress) = (job.control(), job.progress());
    control.postpone_cutover(true);
    let running = tokio::spawn(job.run());
    steady.await??;
    ensure!(progress.status().phase == Phase::Copy, "{}: not while it copies", progress.status());
    by_turns(&load, rate, &control, &progress).await?;
    stand_still(&server, &progress).await?;
    control.cancel();
    println!("the job: {:?}", running.await?.map(|_| ()));
    Ok(())
}

/// Alone, with the copy, alone, with the copy ...
async fn by_turns(load: &Load, rate: f64, control: &Control, progress: &Progress) -> Result<()> {
    let (mut throughput, mut tails) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        control.pause();
        let alone = spawn_load(load, rate, ROUND).await??;
        control.resume();
        let keys = progress.status().keys;
        let beside = spawn_load(load, rate, ROUND).await??;
        let copied = (progress.status().keys - keys) as f64 / ROUND.as_secs_f64();
        println!("round {round}: alone {alone}; beside {beside}; {copied:.0} keys/s copied; {}", progress.status());
        throughput.push(beside.rate / alone.rate);
        tails.push(beside.p99.as_secs_f64() / alone.p99.as_secs_f64());
    }
    throughput.sort_by(f64::total_cmp);
    tails.sort_by(f64::total_cmp);
    println!("throughput x {:.3} ({throughput:.3?})", throughput[throughput.len() / 2]);
    println!("p99 x {:.2} ({tails:.2?})", tails[tails.len() / 2]);
    Ok(())
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

fn spawn_load(load: &Load, rate: f64, length: Duration) -> tokio::task::JoinHandle<Result<Seen>> {
    let load = load.clone();
    tokio::task::spawn_blocking(move || load.run(Some(rate), length))
}

fn signal(server: &RedisServer, name: &str) -> Result<()> {
    let sent = Command::new("kill").args([&format!("-{name}"), &server.process().to_string()]).status()?;
    ensure!(sent.success(), "no {name} for the server");
    Ok(())
}

fn fill(address: &str) -> Result<()> {
    let mut connection = redis::Client::open(format!("redis://{address}"))?.get_connection()?;
    let value = "v".repeat(100);
    for chunk in 0..KEYS / 1000 {
        let mut pipeline = redis::pipe();
        for number in chunk * 1000..(chunk + 1) * 1000 {
            pipeline.cmd("SET").arg(format!("key:{number:010}")).arg(&value).ignore();
        }
        pipeline.query::<()>(&mut connection)?;
    }
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

const ROUNDS: usize = 4;
const ROUND: Duration = Duration::from_secs(4);

/// Half of them move: more than a gentle copy gets done meanwhile.
const KEYS: u64 = 2_000_000;
