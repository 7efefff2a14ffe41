// SPDX-License-Identifier: Apache-2.0
//! How many changes a second of the moving slots are followed until they are switched, and what is said when it is too many.
//!
//! Two nodes, a proxy, clients that check every answer, and the mover, all in one process. Three of ten commands change a
//! key of a moving slot, of any type.
//!
//! Measured on 2026-11-26 on 2 cores, nothing else running; the clients bring them to their limit from 20,000 commands/s on:
//!
//! | Clients, commands/s asked for | commands/s | changes/s followed | the move | clients held at most |
//! |---|---|---|---|---|
//! | 4, 5,000 | 6,411 | 1,085 | 4.6 s | 1.1 ms |
//! | 8, 10,000 | 12,153 | 2,777 | 6.1 s | 4.9 ms |
//! | 16, 20,000 | 18,975 | 4,013 | 8.8 s | 7.8 ms |
//! | 32, 40,000 | 19,715 | 4,586 | 18.1 s | 26.6 ms |
//! | 64, all they can | 15,900 | 4,720 | 47.0 s | 68.8 ms |
//!
//! All were switched, no fence was lowered without a switch, no client saw an error or a wrong value.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mover::sandbox::demo::{Demo, DemoError, DemoOptions};
use mover::{Error, Status};

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("{:<28} {:>12} {:>12} {:>12}   outcome", "clients, commands/s", "commands/s", "changes/s", "move");
    for (writers, pace) in CASES {
        runtime.block_on(Box::pin(run(writers, pace)))?;
    }
    Ok(())
}

async fn run(writers: usize, pace: Option<u32>) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let options = DemoOptions {
        keys: 50_000,
        slots: 8,
        writers,
        pace,
        time: Duration::from_secs(2),
        seed: 1,
        dir: dir.path().to_owned(),
        codis: false,
        skip_drain: false,
    };
    let demo = Demo::start(options).await?;
    let job = demo.job();
    let (control, mut updates) = (job.control(), job.updates(Duration::from_millis(200)));
    let begin = Instant::now();
    let watching = tokio::spawn(async move {
        let mut first: Option<(Duration, Status)> = None;
        while let Some(status) = updates.next().await {
            if status.outrun.is_some() && first.is_none() {
                first = Some((begin.elapsed(), status));
            }
            if begin.elapsed() > GIVEN_UP {
                control.cancel();
            }
        }
        first
    });
    let outcome = demo.run(job).await;
    let seconds = begin.elapsed().as_secs_f64();
    let outrun = watching.await?;
    let load = pace.map_or_else(|| "all they can".to_owned(), |pace| pace.to_string());
    let what = format!("{writers}, {load}");
    match outcome {
        Ok(report) => {
            ensure!(report.is_clean(), "{:?}", report.client);
            let (commands, changes) = (report.client.requests as f64 / seconds, report.job.changes as f64);
            let fence = report.job.fence_ms;
            println!(
                "{what:<28} {commands:>12.0} {:>12.0} {:>10.1} s   switched, clients held {:.1} ms at most, {} lowered",
                changes / report.move_seconds,
                report.move_seconds,
                fence.max,
                fence.retried
            );
        }
        Err(DemoError::Move(Error::Cancelled)) => println!("{what:<28} {:>38.1} s   not switched, given up", seconds),
        Err(error) => return Err(error.into()),
    }
    if let Some((after, status)) = outrun {
        println!("    said after {:.1} s: {status}", after.as_secs_f64());
    }
    Ok(())
}

const CASES: [(usize, Option<u32>); 5] =
    [(4, Some(5_000)), (8, Some(10_000)), (16, Some(20_000)), (32, Some(40_000)), (64, None)];

/// A move that takes longer does not converge.
const GIVEN_UP: Duration = Duration::from_secs(60);
