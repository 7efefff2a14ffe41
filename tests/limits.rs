// SPDX-License-Identifier: Apache-2.0
//! How fast a move goes, and that it can be told to go otherwise.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mover::flow::{Cause, Speed};
use mover::job::{Phase, Progress};
use mover::routing::{Owner, RoutingControl, Standing};
use mover::{BoxFuture, Control, Error, Job, JobLimits, Kindness, Report, Result};
use redis::Value;
use replication::{Slot, SlotCount, SlotSet};
use tokio::task::JoinHandle;

use crate::harness::{
    Client, CommandLine, HANG, RedisServer, Source, Switchboard, assert_same, contents, signal, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_told_and_can_be_lifted() {
    let scene = Scene::start(slowly("1KiB")).await;
    until("the limit holds the copy", || scene.cause() == Some(Cause::JobRate)).await;
    let status = scene.progress.status();
    assert_eq!(status.phase, Phase::Copy);
    assert!(status.to_string().contains("; held by --rate 1 KiB/s for "), "{status}");
    assert!(status.held_in_all.iter().any(|held| held.cause == Cause::JobRate && held.seconds > 0.0), "{status:?}");
    let commands = JobLimits { speed: Speed { rate: None, command_rate: "2/s".parse().ok() }, kind: Kindness::Full };
    scene.control.set_limits(commands);
    assert_eq!(scene.control.limits(), commands);
    until("the other limit holds it", || scene.cause() == Some(Cause::JobCommandRate)).await;
    // At either rate it would take minutes.
    scene.control.set_limits(JobLimits::default());
    assert_eq!(scene.control.limits(), JobLimits::default());
    let report = scene.done().await;
    let held: Vec<Cause> = report.held.iter().map(|held| held.cause).collect();
    assert!(held.contains(&Cause::JobRate) && held.contains(&Cause::JobCommandRate), "{held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gentle_move_comes_to_its_end() {
    let gentle = JobLimits { kind: Kindness::Gentle, ..JobLimits::default() };
    Scene::start(gentle).await.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_stands_still_is_waited_for() {
    for kind in [Kindness::Normal, Kindness::Gentle] {
        let scene = Scene::start(JobLimits { kind, ..slowly("30KiB") }).await;
        until("the copy begins", || scene.progress.status().keys > 0).await;
        signal(scene.target.pid(), "STOP");
        tokio::time::sleep(Duration::from_millis(700)).await;
        signal(scene.target.pid(), "CONT");
        scene.control.set_limits(JobLimits { kind, ..JobLimits::default() });
        scene.done().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_nearly_full_stops_the_line() {
    let scene = Scene::start(slowly("4KiB")).await;
    let mut client = scene.target.client();
    until("the copy begins", || scene.progress.status().keys > 0).await;
    nearly_fill(&mut client);
    until("it stops", || scene.cause() == Some(Cause::TargetMemory)).await;
    let keys = scene.progress.status().keys;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(scene.progress.status().keys, keys, "nothing goes any more");
    client.run("CONFIG SET maxmemory 0");
    scene.control.set_limits(JobLimits::default());
    scene.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_target_does_not_keep_a_cancelled_job() {
    let scene = Scene::start(slowly("4KiB")).await;
    let mut client = scene.target.client();
    until("the copy begins", || scene.progress.status().keys > 0).await;
    nearly_fill(&mut client);
    until("it stops", || scene.cause() == Some(Cause::TargetMemory)).await;
    scene.control.cancel();
    let outcome = tokio::time::timeout(HANG, scene.running).await.unwrap().unwrap();
    assert!(matches!(outcome, Err(Error::Cancelled)), "{outcome:?}");
    scene.source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_limit_holds_while_clients_wait() {
    // What is written behind the first fence would take a minute at the rate that is set with it.
    let scene = Scene::start(JobLimits::default()).await;
    let report = scene.done().await;
    assert_eq!((report.fence_ms.count, report.fence_ms.retried), (1, 0), "{report:?}");
    assert!(report.changes >= LATE_KEYS as u64, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limits_file_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (Source::start(&dir.path().join("source")).await, RedisServer::start());
    let file = dir.path().join("limits");
    fs::write(&file, "rate = fast\n").unwrap();
    let limits = ["--rate", "1KiB", "--limits-file", file.to_str().unwrap()];
    let running = CommandLine::of_move(source.addr(), target.addr(), "0-1023").args(&limits).start();
    let mut client = target.client();
    until("the copy begins", || client.number("DBSIZE") > 0).await;
    fs::write(&file, "# at once\nrate = none\nkind = full\n").unwrap();
    let outcome = running.join().unwrap();
    outcome.assert_done();
    assert!(outcome.stderr.contains("`fast` is no rate"), "{}", outcome.stderr);
    assert_same(source.contents(), &contents(&mut target.client()));
}

/// A job between two servers.
struct Scene {
    source: Source,
    target: RedisServer,
    control: Control,
    progress: Arc<Progress>,
    running: JoinHandle<Result<Report>>,
    _dir: tempfile::TempDir,
}

impl Scene {
    async fn start(limits: JobLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (Source::start(dir.path()).await, RedisServer::start());
        let routing = Arc::new(Tide::new(source.addr()));
        let job = Job::builder(SlotSet::all(SlotCount::CODIS))
            .source(source.addr())
            .target(target.addr())
            .routing(Arc::clone(&routing) as Arc<dyn RoutingControl>)
            .cutover_group(std::num::NonZeroUsize::MAX)
            .max_lock(Duration::from_secs(20))
            .build()
            .unwrap();
        let (control, progress) = (job.control(), job.progress());
        control.set_limits(limits);
        routing.control.set(control.clone()).unwrap();
        Self { source, target, control, progress, running: tokio::spawn(job.run()), _dir: dir }
    }

    fn cause(&self) -> Option<Cause> {
        assert!(!self.running.is_finished(), "the job has ended");
        self.progress.status().held.map(|held| held.cause)
    }

    /// Waits for its end; both sides are equal then.
    async fn done(self) -> Report {
        let outcome = tokio::time::timeout(HANG, self.running).await;
        let report = outcome.unwrap_or_else(|_| panic!("it hangs: {:?}", self.progress.status())).unwrap().unwrap();
        assert_same(&contents(&mut self.source.client()), &contents(&mut self.target.client()));
        report
    }
}

/// A routing layer whose clients write much just before they are held, when a low limit is set as well.
struct Tide {
    switchboard: Switchboard,
    source: SocketAddr,
    control: OnceLock<Control>,
}

impl Tide {
    fn new(source: SocketAddr) -> Self {
        Self { switchboard: Switchboard::default(), source, control: OnceLock::new() }
    }
}

impl RoutingControl for Tide {
    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>> {
        self.switchboard.owner(slot)
    }

    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        if let Some(control) = self.control.get() {
            control.set_limits(slowly("1KiB"));
        }
        let source = self.source;
        Box::pin(async move {
            let writing = tokio::task::spawn_blocking(move || {
                let mut client = Client::connect(source);
                let value = "v".repeat(1000);
                (0..LATE_KEYS).for_each(|number| drop(client.run(&format!("SET late:{number} {value}"))));
            });
            writing.await.unwrap();
            self.switchboard.raise(slots).await
        })
    }

    fn holds<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Standing>> {
        self.switchboard.holds(slots)
    }

    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        self.switchboard.switch(slots)
    }

    fn lower<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        self.switchboard.lower(slots)
    }
}

fn slowly(rate: &str) -> JobLimits {
    JobLimits { speed: Speed { rate: rate.parse().ok(), command_rate: None }, kind: Kindness::Normal }
}

/// Leaves three percent of its memory free, which is much more than what its connections take now and then.
fn nearly_fill(client: &mut Client) {
    client.run("SELECT 1");
    client.run("SETRANGE large 30000000 v");
    let used = used_memory(client);
    client.run(&format!("CONFIG SET maxmemory {}", used * 103 / 100));
}

fn used_memory(client: &mut Client) -> u64 {
    let Value::BulkString(info) = client.run("INFO memory") else { panic!("no info") };
    let info = String::from_utf8(info).unwrap();
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    used.trim().parse().unwrap()
}

/// Of a thousand bytes each.
const LATE_KEYS: usize = 60;
