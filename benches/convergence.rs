// SPDX-License-Identifier: Apache-2.0
//! How many changes a second of the moving slots are followed until they are switched, and what is said when it is too many.
//!
//! Two nodes, a proxy, clients, and the mover, all in one process. `cargo bench -p mover --bench convergence -- written`
//! runs one of the two parts. With `BENCH_NODES=<source>,<target>`, two empty Pikas that are running, the first part is
//! measured once between them, with `BENCH_RATE` writes a second or as many as the clients can.
//!
//! Measured on 2026-11-26 on 2 cores, nothing else running. Clients that only write strings of 100 bytes, each time another
//! one of 100,000, all in moving slots; in the end every one had the value that was acknowledged last:
//!
//! | writes/s asked for | writes/s | changes/s followed | the move | clients held at most | longest wait for 32 writes |
//! |---|---|---|---|---|---|
//! | 10,000 | 10,189 | 8,243 | 13.8 s | 0.9 ms | 33 ms |
//! | 20,000 | 20,168 | 18,483 | 30.7 s | 2.0 ms | 29 ms |
//! | 30,000 | 30,239 | 27,823 | 44.2 s | 3.6 ms | 27 ms |
//! | 40,000 | 32,047 | 27,586 | 46.0 s | 5.5 ms | 40 ms |
//! | all they can | 33,009 | 27,187 | 48.1 s | 3.9 ms | 36 ms |
//!
//! With 30,000 writes/s and `--command-rate 10k` it does not converge, which is said 13 s after the copy.
//!
//! Between two real Pikas 4.0.1 with the cache of their sample configuration, on 2026-11-30 on 2 cores, before live keys were
//! read in transactions and since:
//!
//! | writes/s asked for | changes/s followed | the move | clients held at most | longest wait for 32 writes |
//! |---|---|---|---|---|
//! | 10,000 | 8,206, 8,588 | 11.6 s, 14.7 s | 1.7 ms, 1.5 ms | 281 ms, 347 ms |
//! | all they can | 22,755, 21,681 | 24.9 s, 24.8 s | 9.1 ms, 6.3 ms | 303 ms, 344 ms |
//!
//! The longest wait is presumably that for the source's BGSAVE, which holds all clients.
//!
//! Clients that check every answer cost the machine more than what they ask for; three of ten of their commands change a
//! key of a moving slot, of any type. No client saw an error or a wrong value, no fence was lowered without a switch:
//!
//! | clients, commands/s asked for | commands/s | changes/s followed | the move | clients held at most |
//! |---|---|---|---|---|
//! | 4, 5,000 | 5,897 | 1,350 | 7.0 s | 0.2 ms |
//! | 8, 10,000 | 9,616 | 2,091 | 9.1 s | 5.6 ms |
//! | 16, 20,000 | 14,279 | 2,802 | 12.0 s | 8.1 ms |
//! | 32, 40,000 | 12,004 | 2,824 | 24.5 s | 22.7 ms |
//! | 64, all they can | 10,162 | 3,001 | 65.3 s | 47.6 ms |
//!
//! When a drain behind a fence waited for all moving slots, not for its own only, the clients of 30,000 writes/s were held
//! for 27 ms, and 64 clients that ask for all they can left no room for a drain at all.

mod support {
    #[expect(dead_code, reason = "the benches that make dumps use all of it")]
    pub(crate) mod dump;
    pub(crate) mod writers;
}

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mover::sandbox::demo::{Demo, DemoError, DemoOptions};
use mover::sandbox::load::{self, FillConfig, Tag};
use mover::sandbox::node::{Node, NodeConfig};
use mover::sandbox::proxy::{Proxy, ProxyConfig};
use mover::{Error, Job, Phase, Report, Status};
use replication::{Slot, SlotCount, SlotSet};
use tokio::task::JoinHandle;

use crate::support::writers::Writers;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let part = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let wants = |name| part.as_ref().is_none_or(|part| part == name);
    if let Ok(nodes) = std::env::var("BENCH_NODES") {
        let (source, target) = nodes.split_once(',').context("BENCH_NODES is not `<source>,<target>`")?;
        let rate = std::env::var("BENCH_RATE").ok().map(|rate| rate.parse()).transpose()?;
        return runtime.block_on(Box::pin(written_between(source.parse()?, target.parse()?, rate, None)));
    }
    if wants("written") {
        println!("clients that only write to moving slots, writes/s asked for");
        for (rate, limit) in WRITTEN {
            runtime.block_on(Box::pin(written(rate, limit)))?;
        }
    }
    if wants("checked") {
        println!("clients that check every answer, three of ten commands to moving slots; commands/s asked for");
        for (clients, pace) in CHECKED {
            runtime.block_on(Box::pin(checked(clients, pace)))?;
        }
    }
    Ok(())
}

/// The moving slots get nothing but writes, each of another key out of a hundred thousand.
async fn written(rate: Option<f64>, limit: Option<&str>) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let source = Node::start(NodeConfig::new(dir.path().join("source"))).await?;
    let target = Node::start(NodeConfig::new(dir.path().join("target"))).await?;
    written_between(source.addr(), target.addr(), rate, limit).await?;
    source.stop().await?;
    Ok(target.stop().await?)
}

async fn written_between(source: SocketAddr, target: SocketAddr, rate: Option<f64>, limit: Option<&str>) -> Result<()> {
    let proxy = Proxy::start(ProxyConfig::new(source, target)).await?;
    let slots: SlotSet = (0..SLOTS).map(|slot| Slot::new(slot * 100)).collect();
    let tags = Tag::of_slots(slots.iter(), SlotCount::CODIS);
    load::fill(source, FillConfig::new(tags.clone(), KEYS)).await?;
    let writers = Writers::start(proxy.addr(), &tags, rate)?;
    tokio::time::sleep(BEFORE).await;
    let mut job = Job::builder(slots).source(source).target(target).routing(proxy.control());
    if let Some(limit) = limit {
        job = job.command_rate(limit.parse().map_err(anyhow::Error::msg)?);
    }
    let job = job.build()?;
    let (begin, watching) = (Instant::now(), watch(&job));
    let outcome = job.run().await;
    let took = begin.elapsed();
    let seen = tokio::task::spawn_blocking(|| writers.end()).await??;
    ensure!(seen.wrong == 0, "{} keys do not have the value that was acknowledged last", seen.wrong);
    let mut what = rate.map_or_else(|| "all they can".to_owned(), |rate| rate.to_string());
    if let Some(limit) = limit {
        what.push_str(&format!(", --command-rate {limit}"));
    }
    let commands = seen.commands as f64 / (took + BEFORE).as_secs_f64();
    tell(&what, Some(commands), took, outcome, watching).await?;
    println!("{:<28} longest wait for {} commands {:.1?}", "", Writers::PIPELINE, seen.longest);
    proxy.stop().await;
    Ok(())
}

async fn checked(clients: usize, pace: Option<u32>) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let options = DemoOptions {
        keys: KEYS,
        slots: SLOTS,
        writers: clients,
        pace,
        time: BEFORE,
        seed: 1,
        dir: dir.path().to_owned(),
        codis: false,
        skip_drain: false,
    };
    let demo = Demo::start(options).await?;
    let job = demo.job();
    let (begin, watching) = (Instant::now(), watch(&job));
    let outcome = demo.run(job).await;
    let what = pace.map_or_else(|| "all they can".to_owned(), |pace| pace.to_string());
    let what = format!("{clients} clients, {what}");
    match outcome {
        Ok(report) => {
            ensure!(report.is_clean(), "{:?}", report.client);
            let commands = report.client.requests as f64 / begin.elapsed().as_secs_f64();
            let took = Duration::from_secs_f64(report.move_seconds);
            tell(&what, Some(commands), took, Ok(report.job), watching).await
        }
        Err(DemoError::Move(error)) => tell(&what, None, begin.elapsed(), Err(error), watching).await,
        Err(error) => Err(error.into()),
    }
}

/// What a job said of itself.
#[derive(Default)]
struct Said {
    /// That it does not converge, and how long after the end of the copy.
    outrun: Option<(Duration, Status)>,
    /// The last word before it ended.
    last: Option<Status>,
}

/// Listens to a job. If it takes too long it is given up.
fn watch(job: &Job) -> JoinHandle<Said> {
    let (control, mut updates, begin) = (job.control(), job.updates(Duration::from_millis(200)), Instant::now());
    tokio::spawn(async move {
        let (mut copied, mut said) = (None, Said::default());
        while let Some(status) = updates.next().await {
            if status.phase == Phase::CatchUp {
                copied.get_or_insert_with(Instant::now);
            }
            if status.outrun.is_some() && said.outrun.is_none() {
                let after = copied.map_or(Duration::ZERO, |copied: Instant| copied.elapsed());
                said.outrun = Some((after, status.clone()));
            }
            if begin.elapsed() > GIVEN_UP {
                control.cancel();
            } else {
                said.last = Some(status);
            }
        }
        said
    })
}

/// Clients that check tell of their commands only after a move that was finished.
async fn tell(
    what: &str,
    commands: Option<f64>,
    took: Duration,
    outcome: mover::Result<Report>,
    watching: JoinHandle<Said>,
) -> Result<()> {
    let (seconds, said) = (took.as_secs_f64(), watching.await?);
    let commands = commands.map(|commands| format!("{commands:>6.0} commands/s, ")).unwrap_or_default();
    match outcome {
        Ok(report) => println!(
            "{what:<28} {commands}{:>6.0} changes/s followed, switched after {seconds:.1} s, clients \
             held {:.1} ms at most, {} fences lowered",
            report.changes as f64 / seconds,
            report.fence_ms.max,
            report.fence_ms.retried,
        ),
        Err(Error::Cancelled) => {
            let last = said.last.map(|status| status.to_string()).unwrap_or_default();
            println!("{what:<28} {commands}given up after {seconds:.1} s: {last}");
        }
        Err(error) => return Err(error.into()),
    }
    if let Some((after, status)) = said.outrun {
        println!("{:<28} said {:.1} s after the copy: {status}", "", after.as_secs_f64());
    }
    Ok(())
}

/// Writes per second, and what the job may send.
const WRITTEN: [(Option<f64>, Option<&str>); 6] = [
    (Some(10_000.0), None),
    (Some(20_000.0), None),
    (Some(30_000.0), None),
    (Some(40_000.0), None),
    (None, None),
    (Some(30_000.0), Some("10k")),
];

const CHECKED: [(usize, Option<u32>); 5] =
    [(4, Some(5_000)), (8, Some(10_000)), (16, Some(20_000)), (32, Some(40_000)), (64, None)];

const SLOTS: u16 = 8;

/// Keys of all types that the source is filled with.
const KEYS: usize = 50_000;

/// How long the clients run before the move begins.
const BEFORE: Duration = Duration::from_secs(2);

/// A move that takes longer does not converge.
const GIVEN_UP: Duration = Duration::from_secs(100);
