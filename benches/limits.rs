// SPDX-License-Identifier: Apache-2.0
//! Rates that were asked for against rates that come out, through the line into a real Redis, and how soon a new rate
//! holds.
//!
//! What counts is what the server has answered, over six seconds. A new rate holds from the moment on from which a tenth
//! of a second has it within a tenth.
//!
//! Measured on 2026-11-26 on 2 cores, nothing else running:
//!
//! | asked for | measured / asked |
//! |---|---|
//! | 64 KiB/s, 1 MB/s, 10 MB/s, 50 MB/s, 200 MB/s | 0.996, 0.987, 1.002, 1.000, 1.000 |
//! | 10, 1000, 20k, 200k commands/s | 1.000, 1.000, 0.999, 1.000 |
//!
//! New rates (64 KiB/s to 20 MB/s, to 1 MB/s, to 50 MB/s, to 5 MB/s) held after 0 to 24 ms.

mod support {
    #[expect(dead_code, reason = "the bench of the line uses all of it")]
    pub(crate) mod redis_server;
}

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use bytes::Bytes;
use mover::batch::Write;
use mover::dialect::HyperLogLogPolicy;
use mover::endpoint::Endpoint;
use mover::flow::{Budget, Control, Line, Speed, Throttle};
use mover::sink::{Sink, Target};
use mover::{JobLimits, JobOptions, Kindness, Side};
use replication::{SlotCount, SlotSet};
use snapshot::{Body, Part, Piece};

use crate::support::redis_server::RedisServer;

#[tokio::main]
async fn main() -> Result<()> {
    let server = RedisServer::start()?;
    println!("asked for          measured           ratio");
    for (rate, value) in [("64KiB", 100), ("1MB", 100), ("10MB", 1000), ("50MB", 1000), ("200MB", 16 << 10)] {
        let speed = Speed { rate: Some(rate.parse().map_err(anyhow::Error::msg)?), command_rate: None };
        let asked = speed.rate.map_or(0.0, |rate| rate.bytes() as f64);
        let flow = Flow::start(&server, speed, value).await?;
        row(rate, asked, flow.measure().await.0, "B/s");
        flow.end().await?;
    }
    for rate in ["10/s", "1000/s", "20k/s", "200k/s"] {
        let speed = Speed { rate: None, command_rate: Some(rate.parse().map_err(anyhow::Error::msg)?) };
        let asked = speed.command_rate.map_or(0.0, |rate| rate.commands() as f64);
        let flow = Flow::start(&server, speed, 100).await?;
        row(rate, asked, flow.measure().await.1, "commands/s");
        flow.end().await?;
    }
    for (from, to) in [("64KiB", "20MB"), ("20MB", "1MB"), ("1MB", "50MB"), ("50MB", "5MB")] {
        change(&server, from, to).await?;
    }
    Ok(())
}

fn row(name: &str, asked: f64, measured: f64, unit: &str) {
    println!("{name:<18} {measured:>13.1} {unit:<10} {:.4}", measured / asked);
}

async fn change(server: &RedisServer, from: &str, to: &str) -> Result<()> {
    let speed = |rate: &str| {
        Ok::<_, anyhow::Error>(Speed { rate: Some(rate.parse().map_err(anyhow::Error::msg)?), command_rate: None })
    };
    let flow = Flow::start(server, speed(from)?, 100).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let wanted = speed(to)?.rate.map_or(0.0, |rate| rate.bytes() as f64);
    let begin = Instant::now();
    flow.control.set_limits(JobLimits { speed: speed(to)?, kind: Kindness::Full });
    let mut seen = Vec::new();
    while begin.elapsed() < Duration::from_secs(1) {
        seen.push((begin.elapsed(), flow.line.watermark().landed().bytes));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let holds = seen.iter().position(|(at, bytes)| {
        let Some((end, more)) = seen.iter().find(|(end, _)| *end >= *at + WINDOW) else { return false };
        let rate = (more - bytes) as f64 / (*end - *at).as_secs_f64();
        (rate / wanted - 1.0).abs() < 0.1
    });
    match holds.map(|index| seen[index].0) {
        Some(after) => println!("{from} to {to}: it holds after {:.0} ms", after.as_secs_f64() * 1000.0),
        None => println!("{from} to {to}: it did not hold within a second"),
    }
    flow.end().await
}

/// A line that always has something to send.
struct Flow {
    line: Line,
    control: Control,
    stop: Arc<AtomicBool>,
    producer: JoinHandle<mover::Result<()>>,
}

impl Flow {
    async fn start(server: &RedisServer, speed: Speed, value: usize) -> Result<Self> {
        server.flush()?;
        let endpoint = Endpoint::parse(Side::Target, &server.address(), None).map_err(anyhow::Error::msg)?;
        let target = Target::connect(&endpoint, SlotCount::CODIS, HyperLogLogPolicy::Refuse).await?;
        let options = JobOptions::new(SlotSet::all(SlotCount::CODIS));
        let control = Control::new();
        control.set_limits(JobLimits { speed, kind: Kindness::Full });
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        for _ in 0..options.lanes {
            sinks.push(Box::new(target.sink().await?));
        }
        let throttle = Arc::new(Throttle::of_job(&control, None));
        let line = Line::start(sinks, &control, &throttle, Budget::new(options.line_memory()));
        let (stop, mut feed) = (Arc::new(AtomicBool::new(false)), line.feed());
        let stopped = Arc::clone(&stop);
        let producer = std::thread::spawn(move || {
            let body = Bytes::from(vec![b'v'; value]);
            for number in 0_u64.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let key = Bytes::from(format!("key:{:08}", number % KEYS));
                let body = Body::String(body.clone());
                feed.push_blocking(Write::Piece(Piece { key, part: Part::Whole, expire_at: None, body }))?;
            }
            feed.flush_blocking().map(|_| ())
        });
        Ok(Self { line, control, stop, producer })
    }

    /// Bytes and commands per second: each key is one command.
    async fn measure(&self) -> (f64, f64) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (begin, before) = (Instant::now(), self.line.watermark().landed());
        tokio::time::sleep(LENGTH).await;
        let (seconds, after) = (begin.elapsed().as_secs_f64(), self.line.watermark().landed());
        ((after.bytes - before.bytes) as f64 / seconds, (after.keys - before.keys) as f64 / seconds)
    }

    async fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.control.set_limits(JobLimits::default());
        tokio::task::spawn_blocking(|| self.producer.join()).await?.map_err(|_| anyhow!("the producer panicked"))??;
        Ok(self.line.finish().await?)
    }
}

const LENGTH: Duration = Duration::from_secs(6);
const WINDOW: Duration = Duration::from_millis(100);

/// So few that the server's memory stays small.
const KEYS: u64 = 10_000;
