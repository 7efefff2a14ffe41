// SPDX-License-Identifier: Apache-2.0
//! Moves that are undone, and those that cannot be.

use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mover::flow::Control;
use mover::job::journal::{Course, Journal};
use mover::job::{Cleanup, Progress, ReverseWindow, Undo};
use mover::routing::RoutingControl;
use mover::sandbox::node::{Node, NodeConfig};
use mover::{Error, Job, JobOptions, Phase, Report, Side};
use redis::Value as Reply;
use replication::binlog::Manifest;
use replication::{SlotCount, SlotSet};
use tokio::task::JoinHandle;

use crate::harness::{
    Client, HANG, RedisServer, Source, Switchboard, assert_same, contents, differences, endpoint, left_behind, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_at_the_target_comes_back() {
    let scene = Scene::start(LONG).await;
    scene.until_arrived().await;
    let mut target = scene.target.client();
    write_new(&mut target);
    let written = contents(&mut target);
    assert!(differences(&written, scene.source.contents()).len() > 10);
    scene.control.roll_back();
    let (report, scene) = scene.end().await;
    let report = report.unwrap();
    let rollback = report.rollback.expect("it was rolled back");
    assert!(rollback.changes > 0 && rollback.verify.keys > 0 && rollback.verify.repaired == 0, "{rollback:?}");
    assert_eq!(rollback.cleaned, Some(written.len() as u64));
    assert_eq!((report.counts.before, report.counts.after), (Some(scene.source.contents().len() as u64), None));
    assert!(scene.routing.switched().is_empty());
    assert_same(&written, &contents(&mut scene.source.client()));
    assert_eq!(contents(&mut target).len(), 0, "keys are left at the target");
    scene.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_brought_back_while_the_window_is_open() {
    let scene = Scene::start(LONG).await;
    scene.until_arrived().await;
    let (mut source, mut target) = (scene.source.client(), scene.target.client());
    write_new(&mut target);
    let written = contents(&mut target);
    // The round that brings the second begins when all is back that came before the first.
    for marker in ["first", "second"] {
        target.run(&format!("SET marker {marker}"));
        until("it comes back", || source.run("GET marker") == Reply::BulkString(marker.into())).await;
    }
    target.run("DEL marker");
    until("it goes", || source.run("GET marker") == Reply::Nil).await;
    assert_same(&written, &contents(&mut source));
    // Nothing of it is deleted before the window is over.
    scene.control.close_window();
    let (report, scene) = scene.end().await;
    let report = report.unwrap();
    assert_eq!((report.rollback, report.no_way_back.is_some()), (None, true));
    assert_eq!(contents(&mut source).len(), 0, "keys are left at the source");
    assert_same(&written, &contents(&mut target));
    let (counts, after) = (report.counts, written.len() as u64);
    let before = scene.source.contents().len() as u64;
    assert_eq!((counts.before, counts.expired, counts.after), (Some(before), Some(0), Some(after)), "{counts:?}");
    // What came and went again in one round was not seen.
    assert_eq!(before + counts.created.unwrap(), after + counts.deleted.unwrap(), "{counts:?}");
    assert_eq!((report.cleaned, report.findings), (Some(after), Vec::new()));
    scene.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_of_the_target_comes_back() {
    let scene = Scene::start(LONG).await;
    scene.until_arrived().await;
    let mut target = scene.target.client();
    target.run("FLUSHALL");
    target.run("SET after flush");
    scene.control.roll_back();
    let (report, scene) = scene.end().await;
    assert!(report.unwrap().rollback.is_some());
    assert_eq!(contents(&mut scene.source.client()).len(), 1);
    scene.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_over_is_told() {
    let scene = Scene::start(Duration::from_millis(300)).await;
    let (report, scene) = scene.end().await;
    let why = report.unwrap().no_way_back.unwrap();
    assert!(why.contains("window is over"), "{why}");
    assert_eq!(contents(&mut scene.source.client()).len(), 0);
    assert_same(scene.source.contents(), &contents(&mut scene.target.client()));
    scene.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_dies_is_told_and_deletes_nothing_before_its_time() {
    let scene = Scene::start(LONG).await;
    scene.until_arrived().await;
    let (mut target, log) = (scene.target.client(), scene.target_dir.join("log/log_db0"));
    until("a damaged entry is met", || {
        let end = Manifest::read(&log).unwrap().end;
        target.run("SET new value");
        // The type of the fragment, behind its length and its time.
        let file = fs::OpenOptions::new().write(true).open(log.join(format!("write2file{}", end.file))).unwrap();
        file.write_all_at(&[0xff], end.position + 7).unwrap();
        matches!(scene.progress.status().undo, Some(Undo::Gone { .. }))
    })
    .await;
    // The target may be in trouble: the other copy is not deleted now.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(scene.progress.status().phase, Phase::Watch);
    assert!(contents(&mut scene.source.client()).len() >= scene.source.contents().len());
    scene.control.close_window();
    let (report, scene) = scene.end().await;
    let report = report.unwrap();
    assert!(report.rollback.is_none() && report.no_way_back.is_some(), "{report:?}");
    assert_eq!(scene.routing.switched().len(), 1024);
    assert_eq!(contents(&mut scene.source.client()).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_a_log_has_no_way_back() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let (target, routing) = (RedisServer::start(), Arc::new(Switchboard::default()));
    let job = job(&source, target.addr(), &routing).with_reverse_window(window(&routing, LONG));
    let (progress, control) = (job.progress(), job.control());
    control.roll_back();
    let report = job.run().await.unwrap();
    let why = report.no_way_back.unwrap();
    assert!(report.rollback.is_none() && why.contains("no Pika"), "{why}");
    assert_eq!(progress.status().phase, Phase::Done);
    assert_same(source.contents(), &contents(&mut target.client()));
    source.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_clients_one_way_only_is_not_asked_to_send_them_back() {
    let scene = Scene::with(LONG, |routing| Arc::clone(routing) as _).await;
    scene.until_arrived().await;
    scene.control.roll_back();
    let (outcome, scene) = scene.end().await;
    match outcome {
        Err(Error::Undo { why }) => assert!(why.contains("is served by the source"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(scene.routing.switched().len(), 1024);
    assert_same(scene.source.contents(), &contents(&mut scene.target.client()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_gone_on_with_by_another_process() {
    let state = tempfile::tempdir().unwrap();
    let journal = Journal::create(state.path(), course()).unwrap();
    let path = journal.path().unwrap();
    let scene = Scene::with_journal(LONG, |routing| routing.reversed(), Some(journal)).await;
    scene.until_arrived().await;
    let mut target = scene.target.client();
    target.run("SET string:0 before");
    scene.control.stop();
    let (outcome, scene) = scene.end().await;
    assert!(matches!(outcome, Err(Error::Stopped)), "{outcome:?}");
    assert!(matches!(Journal::peek(&path).unwrap().undo, Some(Undo::Possible { .. })));
    // While nobody brings it back it is in the log.
    target.run("SET string:1 meanwhile");
    target.run("DEL hash:1");
    let written = contents(&mut target);
    let journal = Journal::open(&path).unwrap();
    journal.roll_back().await.unwrap();
    let Scene { source, target_dir, target: node, routing, .. } = &scene;
    let job = job(source, node.addr(), routing).with_journal(journal).with_reverse_window(window(routing, LONG));
    let report = job.run().await.unwrap();
    assert!(report.rollback.is_some(), "{report:?} {}", target_dir.display());
    assert_same(&written, &contents(&mut scene.source.client()));
    scene.assert_tidy();
}

/// A job from a node with keys to an empty one that can be rolled back.
pub(crate) struct Scene {
    pub(crate) source: Source,
    pub(crate) target: Target,
    pub(crate) target_dir: PathBuf,
    pub(crate) routing: Arc<Switchboard>,
    pub(crate) control: Control,
    pub(crate) progress: Arc<Progress>,
    running: Option<JoinHandle<Result<Report, Error>>>,
    dir: tempfile::TempDir,
}

pub(crate) struct Target(Node);

impl Target {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.addr()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr())
    }
}

impl Scene {
    async fn start(length: Duration) -> Self {
        Self::with(length, |routing| routing.reversed()).await
    }

    async fn with(length: Duration, back: impl FnOnce(&Arc<Switchboard>) -> Arc<dyn RoutingControl>) -> Self {
        Self::with_journal(length, back, None).await
    }

    async fn with_journal(
        length: Duration,
        back: impl FnOnce(&Arc<Switchboard>) -> Arc<dyn RoutingControl>,
        journal: Option<Journal>,
    ) -> Self {
        let mut scene = Self::set_up().await;
        let window = ReverseWindow { length, routing: back(&scene.routing) };
        let job = job(&scene.source, scene.target.addr(), &scene.routing).with_reverse_window(window);
        scene.run(match journal {
            Some(journal) => job.with_journal(journal),
            None => job,
        });
        scene
    }

    /// Both nodes, and no job yet.
    pub(crate) async fn set_up() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::start(&dir.path().join("source")).await;
        let target_dir = dir.path().join("target");
        let target = Target(Node::start(NodeConfig::new(&target_dir)).await.unwrap());
        let routing = Arc::default();
        let idle = job(&source, target.addr(), &routing);
        let (control, progress) = (idle.control(), idle.progress());
        Self { source, target, target_dir, routing, control, progress, running: None, dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Begins a job.
    pub(crate) fn run(&mut self, job: Job) {
        (self.control, self.progress) = (job.control(), job.progress());
        self.running = Some(tokio::spawn(job.run()));
    }

    /// Waits until the window is open.
    pub(crate) async fn until_arrived(&self) {
        until("the window is open", || {
            let status = self.progress.status();
            status.phase == Phase::Watch && matches!(status.undo, Some(Undo::Possible { .. }))
        })
        .await;
    }

    pub(crate) async fn end(mut self) -> (Result<Report, Error>, Self) {
        let outcome = tokio::time::timeout(HANG, self.running.take().unwrap()).await;
        (outcome.expect("it hangs").unwrap(), self)
    }

    /// Nothing of ours is left at either node, and its settings are as before.
    pub(crate) fn assert_tidy(&self) {
        self.source.assert_tidy();
        assert_eq!(left_behind(&self.target_dir), Vec::<PathBuf>::new());
        let (mut client, mut usual) = (self.target.client(), self.source.client());
        for name in ["expire-logs-nums", "dump-prefix"] {
            assert_eq!(client.setting(name), usual.setting(name), "{name}");
        }
    }
}

/// A change of each kind.
pub(crate) fn write_new(client: &mut Client) {
    for line in [
        "SET string:0 new",
        "APPEND string:1 more",
        "DEL string:2",
        "HSET hash:0 c 3",
        "RPUSH list:0 d",
        "LPOP list:1",
        "SREM set:0 a",
        "ZADD zset:0 7 c",
        "XADD stream:0 2-1 field other",
        "DEL hash:3",
        "RPUSH hash:3 another type",
        "PERSIST mortal:0",
        "EXPIRE string:3 5000",
        "SET new 1",
        "INCR new",
    ] {
        client.run(line);
    }
}

pub(crate) fn course() -> Course {
    Course { slots: SlotSet::all(SlotCount::CODIS), directory: Path::new(".").to_owned(), ..Course::default() }
}

pub(crate) fn window(routing: &Arc<Switchboard>, length: Duration) -> ReverseWindow {
    ReverseWindow { length, routing: routing.reversed() }
}

pub(crate) fn job(source: &Source, target: SocketAddr, routing: &Arc<Switchboard>) -> Job {
    job_with(source, target, routing, |_| ())
}

pub(crate) fn job_with(
    source: &Source,
    target: SocketAddr,
    routing: &Arc<Switchboard>,
    change: impl FnOnce(&mut JobOptions),
) -> Job {
    let mut options = JobOptions::new(SlotSet::all(SlotCount::CODIS));
    options.cutover.group = NonZeroUsize::MAX;
    options.cleanup = Cleanup::Delete;
    change(&mut options);
    let ends = (endpoint(Side::Source, source.addr()), endpoint(Side::Target, target));
    Job::new(ends.0, ends.1, options, Arc::clone(routing) as _)
}

/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_secs(3600);
