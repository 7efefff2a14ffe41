// SPDX-License-Identifier: Apache-2.0
//! Batches into a real Redis through a receiver, against the same batches sent to it directly; and the memory that a
//! receiver takes.
//!
//! All of it runs on one machine and over its loopback, so this is what frames, checksums and compression cost, not what
//! they gain on a network. The receiver is a process of its own.
//!
//! Measured on 2026-11-26 on 2 cores, nothing else running, in keys per second. The values are like JSON:
//!
//! | values | straight | receiver, plain | `auto` | `zstd:1` | made smaller by zstd |
//! |---|---|---|---|---|---|
//! | 100 B | 754k to 806k | 651k to 661k | 561k to 642k | 536k to 574k | 3.4 times |
//! | 16 KB | 37k to 38k | 29k | 24k to 29k | 17k | 3.4 times |
//!
//! `auto` finds at 16 KB that the cores are the limit, and all but leaves zstd out. With one string of 64 MiB, noise or
//! JSON, the receiver took 87 MB of memory at most.
//!
//! A dictionary, trained on as many other values, made 64 KiB of them no smaller than zstd alone (3.47 against 3.51 times;
//! 5.41 against 5.50 for values like a profile), and neither did level 3 (3.35, 5.31). So there is none.

mod support {
    #[expect(dead_code, reason = "no dump is made here, only values")]
    pub(crate) mod dump;
    pub(crate) mod receiving;
    #[expect(dead_code, reason = "there is another yardstick here")]
    pub(crate) mod redis_server;
}

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use bytes::Bytes;
use mover::batch::Write;
use mover::dialect::HyperLogLogPolicy;
use mover::endpoint::Endpoint;
use mover::flow::{Budget, Control, Line, Throttle};
use mover::sink::{Sink, Target};
use mover::wire::Compression;
use mover::{Side, SlotCount};
use snapshot::{Body, Part, Piece};

use crate::support::dump;
use crate::support::receiving::Receiving;
use crate::support::redis_server::RedisServer;

fn main() -> Result<()> {
    let server = RedisServer::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for (what, size, keys) in [("strings of 100 B", 100, 1_000_000), ("strings of 16 KB", 16 << 10, 20_000)] {
        for round in 1..=ROUNDS {
            let straight = runtime.block_on(run(&server, None, size, keys))?;
            print!("{what}, round {round}: straight {:.0} keys/s", straight.rate);
            for compression in [Compression::Off, Compression::Auto, Compression::Zstd(1)] {
                let receiving = Receiving::start(&server)?;
                let through = runtime.block_on(run(&server, Some((&receiving, compression)), size, keys))?;
                print!("; {compression} {:.0} keys/s, ratio {:.2}", through.rate, through.ratio);
            }
            println!();
        }
    }
    for (what, value) in [("of noise", noise(64 << 20)), ("of JSON", dump::json(1, 64 << 20))] {
        let receiving = Receiving::start(&server)?;
        runtime.block_on(one(&server, &receiving, value.into()))?;
        println!("one string of 64 MiB {what}: the receiver took {} KiB at most", receiving.memory()?);
    }
    Ok(())
}

struct Seen {
    rate: f64,
    ratio: f64,
}

/// Sends `keys` strings of `size` bytes over four lanes.
async fn run(server: &RedisServer, through: Option<(&Receiving, Compression)>, size: usize, keys: u64) -> Result<Seen> {
    server.flush()?;
    let target = target(server).await?;
    let receiver = match through {
        Some((receiving, compression)) => Some(receiving.greeted(&target, compression).await?),
        None => None,
    };
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    for _ in 0..LANES {
        sinks.push(match &receiver {
            Some(receiver) => Box::new(receiver.sink().await?),
            None => Box::new(target.sink().await?),
        });
    }
    let line = Line::start(sinks, &Control::new(), &Arc::new(Throttle::new(None)), Budget::new(LINE_MEMORY));
    let values: Vec<Bytes> = (0..VALUES).map(|number| dump::json(number, size).into()).collect();
    let begin = Instant::now();
    let mut feed = line.feed();
    let fed = tokio::task::spawn_blocking(move || {
        for number in 0..keys {
            let key = format!("key:{:012}", number * 618_033_988_749 % 1_000_000_000_000);
            feed.push_blocking(string(key, values[(number % VALUES) as usize].clone()))?;
        }
        feed.flush_blocking()
    });
    let mark = fed.await??;
    line.watermark().reached(&mark).await?;
    let rate = keys as f64 / begin.elapsed().as_secs_f64();
    line.finish().await?;
    ensure!(server.keys()? == keys, "not all keys arrived");
    let ratio =
        receiver.map_or(1.0, |receiver| receiver.traffic().raw_bytes() as f64 / receiver.traffic().wire_bytes() as f64);
    Ok(Seen { rate, ratio })
}

async fn one(server: &RedisServer, receiving: &Receiving, value: Bytes) -> Result<()> {
    server.flush()?;
    let receiver = receiving.greeted(&target(server).await?, Compression::Zstd(1)).await?;
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(receiver.sink().await?)];
    let line = Line::start(sinks, &Control::new(), &Arc::new(Throttle::new(None)), Budget::new(LINE_MEMORY));
    let mut feed = line.feed();
    feed.push(string("key".to_owned(), value)).await?;
    line.watermark().reached(&feed.flush().await?).await?;
    drop(feed);
    line.finish().await?;
    Ok(())
}

async fn target(server: &RedisServer) -> Result<Target> {
    let endpoint = Endpoint::parse(Side::Target, &server.address(), None).map_err(anyhow::Error::msg)?;
    Ok(Target::connect(&endpoint, SlotCount::CODIS, HyperLogLogPolicy::Refuse).await?)
}

fn string(key: String, value: Bytes) -> Write {
    Write::Piece(Piece { key: key.into(), part: Part::Whole, expire_at: None, body: Body::String(value) })
}

/// Bytes that do not become smaller.
fn noise(size: usize) -> Vec<u8> {
    (0..size as u64 / 8).flat_map(|number| dump::scrambled(number).to_le_bytes()).collect()
}

const ROUNDS: usize = 2;
const LANES: usize = 4;

/// Different values.
const VALUES: u64 = 5_000;

const LINE_MEMORY: usize = 32 << 20;
