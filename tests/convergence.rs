// SPDX-License-Identifier: Apache-2.0
//! A source that changes faster than it is followed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use mover::routing::{Instruction, Manual, Operator};
use mover::{BoxFuture, Error, Job, JobBuilder, Phase, Remedy, Result, Status};

use crate::harness::{Client, HANG, RedisServer, Source};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_falls_behind_says_so_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let job = slow_job(source.addr(), target.addr(), |builder| builder);
    let (control, mut updates) = (job.control(), job.updates(Duration::from_millis(100)));
    let running = tokio::spawn(job.run());
    let mut next = async |is_it: fn(&Status) -> bool| {
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < HANG, "nothing was said");
            let status = updates.next().await.expect("the job goes on");
            if is_it(&status) {
                break status;
            }
        }
    };
    // What is written before the checkpoint is copied, and how much that would be is the machine's affair.
    next(|status| status.phase == Phase::Copy).await;
    // So many at first that more than one round is sent before any more of the log is read.
    let writer = Writer::start(source.addr(), 700);
    let status = next(|status| status.outrun.is_some()).await;
    // While the copy goes on it is the copy that the follower waits for.
    assert_eq!(status.phase, Phase::CatchUp);
    assert!(status.rates.come > status.rates.followed, "{status}");
    let text = status.to_string();
    for part in ["falling behind for", "changes come in a second", "waiting for the target", "what helps"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    control.cancel();
    let outcome = tokio::time::timeout(HANG, running).await.unwrap().unwrap();
    assert!(matches!(outcome, Err(Error::Cancelled)), "{outcome:?}");
    writer.stop();
    source.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_grows_too_long_stops_the_job() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let job = slow_job(source.addr(), target.addr(), |builder| builder.spool_max(ByteSize::mb(3)));
    let writer = Writer::start(source.addr(), 0);
    let error = tokio::time::timeout(HANG, job.run()).await.unwrap().unwrap_err();
    writer.stop();
    assert!(matches!(error, Error::SpoolFull { size: 3_000_000.., max: 3_000_000, .. }), "{error:?}");
    assert_eq!(error.remedy(), Remedy::Operator);
    assert!(error.to_string().contains("more than the 2.9 MiB that are allowed"), "{error}");
    source.assert_tidy();
}

/// A job that the writer outruns.
fn slow_job(source: SocketAddr, target: SocketAddr, change: impl FnOnce(Builder) -> Builder) -> Job {
    let routing = Arc::new(Manual::new(source.to_string(), target.to_string(), Box::new(Nobody)));
    let builder = Job::builder("0-1023".parse().unwrap()).source(source).target(target).routing(routing);
    change(builder.rate("64KiB".parse().unwrap())).build().unwrap()
}

type Builder = JobBuilder<String, String, Arc<dyn mover::routing::RoutingControl>>;

/// It never comes to the switch.
struct Nobody;

impl Operator for Nobody {
    fn ask<'a>(&'a self, instruction: &'a Instruction) -> BoxFuture<'a, Result<()>> {
        panic!("{instruction}")
    }

    fn tell<'a>(&'a self, _: &'a Instruction) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// Writes a megabyte a second, each time to another key.
struct Writer {
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// The first so many are written at once.
    fn start(addr: SocketAddr, at_once: u32) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stopped);
        let thread = std::thread::spawn(move || {
            let mut client = Client::connect(addr);
            let value = "v".repeat(5000);
            for number in 0_u32.. {
                if is_stopped.load(Ordering::Relaxed) {
                    return;
                }
                client.run(&format!("SET new:{number} {value}"));
                if number >= at_once {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        });
        Self { stopped, thread }
    }

    fn stop(self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}
