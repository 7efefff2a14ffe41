// SPDX-License-Identifier: Apache-2.0
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mover::job::{Phase, Report};
use mover::sandbox::node::{Node, NodeConfig};
use mover::{Control, Error, Job, JobOptions, Side, VerifyMode};
use redis::Value as Reply;
use replication::{SlotCount, SlotSet};
use tempfile::TempDir;

use crate::harness::{Client, PikaServer, RedisServer, Switchboard, assert_same, contents, endpoint, until};

/// Two nodes, their caches on.
pub(crate) struct Scene {
    pub(crate) source: Server,
    pub(crate) target: Server,
    _dir: TempDir,
}

/// A Pika, or a Redis as the target.
pub(crate) enum Server {
    Sandbox(Box<Node>),
    Real(PikaServer),
    Redis(RedisServer),
}

/// A move whose cutover is postponed.
pub(crate) struct Following {
    control: Control,
    running: tokio::task::JoinHandle<Result<Report, Error>>,
    pub(crate) board: Arc<Switchboard>,
}

impl Scene {
    pub(crate) async fn in_the_sandbox() -> Self {
        Self::with_source(|_| ()).await
    }

    /// One whose source is set up like this.
    pub(crate) async fn with_source(change: impl FnOnce(&mut NodeConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = NodeConfig::new(dir.path().join("source"));
        change(&mut config);
        let source = Node::start(config).await.unwrap();
        let target = Node::start(NodeConfig::new(dir.path().join("target"))).await.unwrap();
        Self { source: Server::Sandbox(Box::new(source)), target: Server::Sandbox(Box::new(target)), _dir: dir }
    }

    /// `None` without a program.
    pub(crate) async fn of_real_servers() -> Option<Self> {
        Self::of_real_servers_with(&[]).await
    }

    /// One whose source has these settings as well.
    pub(crate) async fn of_real_servers_with(settings: &[(&str, &str)]) -> Option<Self> {
        let program = PikaServer::program()?;
        let dir = tempfile::tempdir().unwrap();
        let source = PikaServer::with(&program, &dir.path().join("source"), settings).await;
        let target = PikaServer::start(&program, &dir.path().join("target")).await;
        Some(Self { source: Server::Real(source), target: Server::Real(target), _dir: dir })
    }

    /// The same with a Redis as the target.
    pub(crate) fn with_a_redis(self) -> Self {
        Self { target: Server::Redis(RedisServer::start()), ..self }
    }

    /// Begins to move everything, and returns when the cutover is all that is left.
    pub(crate) async fn follow(&self, verify: VerifyMode, change: impl FnOnce(&mut JobOptions)) -> Following {
        let (following, progress) = self.begin(verify, change);
        until("the cutover", || progress.status().phase == Phase::Cutover || following.running.is_finished()).await;
        following
    }

    /// Begins to move everything.
    pub(crate) fn begin(
        &self,
        verify: VerifyMode,
        change: impl FnOnce(&mut JobOptions),
    ) -> (Following, Arc<mover::job::Progress>) {
        let mut options = JobOptions::new(SlotSet::all(SlotCount::CODIS));
        (options.verify, options.cutover.group, options.cutover.max_lock) = (verify, NonZeroUsize::MAX, None);
        change(&mut options);
        let board = Arc::new(Switchboard::default());
        let ends = (endpoint(Side::Source, self.source.addr()), endpoint(Side::Target, self.target.addr()));
        let routing: Arc<dyn mover::routing::RoutingControl> = Arc::<Switchboard>::clone(&board);
        let job = Job::new(ends.0, ends.1, options, routing);
        let (control, progress) = (job.control(), job.progress());
        control.postpone_cutover(true);
        (Following { control, running: tokio::spawn(job.run()), board }, progress)
    }

    /// Both databases hold the same, the caches out of the way.
    pub(crate) fn assert_same(&self) {
        assert_same(&contents(&mut self.source.client()), &contents(&mut self.target.client()));
    }
}

impl Server {
    pub(crate) fn addr(&self) -> SocketAddr {
        match self {
            Self::Sandbox(node) => node.addr(),
            Self::Real(server) => server.addr(),
            Self::Redis(server) => server.addr(),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr())
    }

    /// Time for a real server's loader to put what was read into its cache.
    pub(crate) async fn let_it_load(&self) {
        if matches!(self, Self::Real(_)) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Writes in a thread until it is told to end.
    pub(crate) fn write(&self, mut step: impl FnMut(&mut Client, u64) + Send + 'static) -> Writer {
        let (addr, stop) = (self.addr(), Arc::new(AtomicBool::new(false)));
        let is_over = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut client = Client::connect(addr);
            let mut number = 0;
            while !is_over.load(Ordering::SeqCst) {
                step(&mut client, number);
                number += 1;
            }
        });
        Writer { stop, thread }
    }
}

/// A client in a thread of its own.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Writer {
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
    }
}

impl Following {
    /// Makes changes while the move is paused, so that one round of it finds them all in the log.
    pub(crate) async fn while_paused(&self, change: impl FnOnce()) {
        self.control.pause();
        // A round that is under way still reads the log.
        tokio::time::sleep(UNDER_WAY).await;
        change();
        self.control.resume();
    }

    /// Waits until the move has followed all that the source has logged, or has ended with an error.
    pub(crate) async fn catch_up(&self, scene: &Scene) {
        let (mut here, mut there) = (scene.source.client(), scene.target.client());
        here.run("SET marker here");
        until("the marker", || there.run("EXISTS marker") == Reply::Int(1) || self.is_over()).await;
        here.run("DEL marker");
        until("the marker's end", || there.run("EXISTS marker") == Reply::Int(0) || self.is_over()).await;
    }

    /// Lets it switch, and waits for its end.
    pub(crate) async fn finish(self) -> Result<Report, Error> {
        self.control.postpone_cutover(false);
        tokio::time::timeout(crate::harness::HANG, self.running).await.expect("the move never ends").unwrap()
    }

    /// Whether it has ended, as with an error.
    pub(crate) fn is_over(&self) -> bool {
        self.running.is_finished()
    }

    /// Waits for an end that comes by itself.
    pub(crate) async fn end(self) -> Result<Report, Error> {
        tokio::time::timeout(crate::harness::HANG, self.running).await.expect("the move never ends").unwrap()
    }
}

/// Far longer than a round of which nothing is in the log.
const UNDER_WAY: Duration = Duration::from_millis(100);
