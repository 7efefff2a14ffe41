// SPDX-License-Identifier: Apache-2.0
//! How long clients are held: 500 slots, one fence each, under a load through every proxy that checks each answer.
//!
//! `lock window`: from the first lock that is sent until the switch is answered and read back; clients go on a little
//! earlier. `longest wait`: what a client saw of it, and of everything else, the source's BGSAVE among it.
//!
//! Measured on 2026-11-22 on 2 cores that nodes, proxies, clients and mover share, nothing else running:
//!
//! | In front of the nodes | 4 clients, commands/s | lock window p50, p99, max | longest wait |
//! |---|---|---|---|
//! | a proxy that embeds the mover | 3,000 | 0.3, 1.6, 3.5 ms | 28 ms |
//! | a Codis with two proxies | 3,000 | 7.7, 18.1, 24.2 ms | 31 ms |
//! | a Codis with two proxies | all they can | 20.6, 51.5, 58.9 ms | 59 ms |
//!
//! No error, no wrong value, no fence lowered without a switch in any.

use std::time::Duration;

use anyhow::{Result, ensure};
use mover::sandbox::demo::{Demo, DemoOptions, DemoReport};

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for (what, codis, pace) in CASES {
        let report = runtime.block_on(Box::pin(run(codis, pace)))?;
        let load = pace.map_or_else(|| "as fast as they can".to_owned(), |pace| format!("{pace} commands/s"));
        let (fence, client) = (report.job.fence_ms, &report.client);
        println!("{what}, {} clients, {load}", report.writers);
        println!("    lock window: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", fence.p50, fence.p99, fence.max);
        println!("    {} switches, {} fences lowered without one", fence.count, fence.retried);
        println!(
            "    longest wait {:.1} ms, {} requests, {} errors, {} wrong values",
            client.max_latency_ms, client.requests, client.errors, client.wrong_values
        );
        ensure!(report.is_clean() && fence.count == usize::from(SLOTS), "{client:?}");
    }
    Ok(())
}

async fn run(codis: bool, pace: Option<u32>) -> Result<DemoReport> {
    let dir = tempfile::tempdir()?;
    let options = DemoOptions {
        keys: 50_000,
        slots: SLOTS,
        writers: WRITERS,
        pace,
        time: Duration::from_secs(2),
        seed: 1,
        dir: dir.path().to_owned(),
        codis,
        skip_drain: false,
    };
    let demo = Demo::start(options).await?;
    let job = demo.job();
    Ok(demo.run(job).await?)
}

const CASES: [(&str, bool, Option<u32>); 3] = [
    ("a proxy that embeds the mover", false, PACE),
    ("a Codis with two proxies", true, PACE),
    ("a Codis with two proxies", true, None),
];

const SLOTS: u16 = 500;
const WRITERS: usize = 4;

/// A tenth or so of what the machine could do: the clients hardly compete with the mover for its two cores.
const PACE: Option<u32> = Some(3000);
