// SPDX-License-Identifier: Apache-2.0
//! Moves in a row on real servers under a load that does all it can to be told a stale value: each kind once, or for so many
//! minutes as SLOTMOVER_SOAK_MINUTES says. PIKA_BIN and CODIS_BIN_DIR name the programs.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mover::job::{Cleanup, Report};
use mover::routing::RoutingControl;
use mover::sandbox::load::{CommandSet, FillConfig, Load, LoadConfig, Tag, fill};
use mover::{Job, JobOptions, Side, VerifyMode};
use replication::{Slot, SlotCount, SlotSet};

use crate::harness::{
    Call, Client, PikaServer, RealCluster, RedisServer, Switchboard, assert_same, contents, endpoint,
};

/// Slots go from one node to the other and back, and clients of both proxies go on.
#[tokio::test(flavor = "multi_thread")]
async fn real_slots_go_to_and_fro_behind_a_codis() {
    let Some(cluster) = RealCluster::start().await else { return };
    let slots: SlotSet = (0..12).map(|number| Slot::new(number * 85)).collect();
    let load = LoadConfig { hyperloglogs: true, burst: 60, pace: Some(2000), ..cluster.load(&slots) };
    let cold = FillConfig { big_elements: 2000, ..FillConfig::new(load.tags.clone(), 20_000) };
    fill(cluster.source.addr(), cold).await.unwrap();
    let load = Load::start(load).await.unwrap();
    let mut rounds = Rounds::start();
    while rounds.go_on() {
        for is_back in [false, true] {
            let (from, to) = match is_back {
                false => (cluster.source.addr(), cluster.target.addr()),
                true => (cluster.target.addr(), cluster.source.addr()),
            };
            let routing = if is_back { cluster.control_back().await } else { cluster.control().await };
            let verify = rounds.verify(is_back);
            let options = JobOptions { verify, cleanup: Cleanup::Delete, ..JobOptions::new(slots.clone()) };
            let report = run(from, to, options, Arc::new(routing)).await;
            rounds.tell(verify, "pika", &report);
            let seen = load.check_all().await;
            assert!(seen.is_clean(), "{report:?}: {seen}");
        }
    }
    let seen = load.stop().await;
    println!("{rounds:?}: {seen}");
    assert!(seen.is_clean(), "{seen}");
    cluster.codis.assert_no_fence();
}

/// Clients of the source itself, which takes commands that no proxy passes on, until a fence is raised.
#[tokio::test(flavor = "multi_thread")]
async fn real_nodes_are_emptied_into_pikas_and_redises() {
    let Some(program) = PikaServer::program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut rounds = Rounds::start();
    while rounds.go_on() {
        for is_redis in [false, true] {
            // Servers without a past, for a FLUSHALL leaves traces.
            let place = |name| dir.path().join(format!("{name}-{}", rounds.moves));
            let source = PikaServer::start(&program, &place("source")).await;
            let verify = rounds.verify(is_redis);
            let load = LoadConfig { seed: rounds.moves, ..load(&source, !is_redis) };
            if is_redis {
                let target = RedisServer::start();
                let report = empty(&source, load, target.addr(), target.client(), verify).await;
                rounds.tell(verify, "redis", &report);
            } else {
                let target = PikaServer::start(&program, &place("target")).await;
                let report = empty(&source, load, target.addr(), target.client(), verify).await;
                rounds.tell(verify, "pika", &report);
            }
        }
    }
    println!("{rounds:?}");
}

/// All that a Pika takes; without HyperLogLogs for a Redis, which may have another encoding of the same registers.
fn load(source: &PikaServer, hyperloglogs: bool) -> LoadConfig {
    let tags = Tag::of_slots((0..12).map(|number| Slot::new(number * 85)), SlotCount::CODIS);
    LoadConfig {
        commands: CommandSet::Pika,
        hyperloglogs,
        burst: 60,
        pace: Some(3000),
        nodes: vec![source.addr()],
        ..LoadConfig::new(source.addr(), tags)
    }
}

/// Moves everything under load, and reads both sides whole, the source's cache off.
async fn empty(
    source: &PikaServer,
    load: LoadConfig,
    target: SocketAddr,
    mut target_client: Client,
    verify: VerifyMode,
) -> Report {
    let cold = FillConfig { big_elements: 2000, seed: load.seed, ..FillConfig::new(load.tags.clone(), 10_000) };
    fill(source.addr(), cold).await.unwrap();
    let load = Load::start(load).await.unwrap();
    let (board, (fenced, mut is_fenced), (stopped, is_stopped)) =
        (Arc::new(Switchboard::default()), tokio::sync::mpsc::channel(1), std::sync::mpsc::channel());
    let is_stopped = std::sync::Mutex::new(Some(is_stopped));
    board.on(Call::Raise, move |_| {
        if let Some(is_stopped) = is_stopped.lock().unwrap().take() {
            fenced.try_send(()).unwrap();
            is_stopped.recv().unwrap();
        }
    });
    let mut options = JobOptions { verify, cleanup: Cleanup::Keep, ..JobOptions::new(SlotSet::all(SlotCount::CODIS)) };
    (options.cutover.group, options.cutover.max_lock) = (NonZeroUsize::MAX, None);
    let running = tokio::spawn(run(source.addr(), target, options, board));
    is_fenced.recv().await.expect("it ended before the fence");
    let seen = load.stop().await;
    stopped.send(()).unwrap();
    let report = running.await.unwrap();
    println!("{seen}");
    assert!(seen.is_clean(), "{report:?}: {seen}");
    assert_same(&contents(&mut source.client()), &contents(&mut target_client));
    report
}

async fn run(from: SocketAddr, to: SocketAddr, options: JobOptions, routing: Arc<dyn RoutingControl>) -> Report {
    let (source, target) = (endpoint(Side::Source, from), endpoint(Side::Target, to));
    let report = Job::new(source, target, options, routing).run().await.unwrap();
    assert_eq!((report.verify.mismatches, report.verify.extra), (0, 0), "{report:?}");
    report
}

/// How long it goes on.
#[derive(Debug)]
struct Rounds {
    begin: Instant,
    length: Duration,
    rounds: u64,
    moves: u64,
}

impl Rounds {
    fn start() -> Self {
        let minutes = std::env::var("SLOTMOVER_SOAK_MINUTES").map_or(0, |minutes| minutes.parse().unwrap());
        Self { begin: Instant::now(), length: Duration::from_secs(minutes * 60), rounds: 0, moves: 0 }
    }

    /// Whether there is another round; there is always one.
    fn go_on(&mut self) -> bool {
        self.rounds += 1;
        self.rounds == 1 || self.begin.elapsed() < self.length
    }

    /// In turn, and the other way round in the next round, so that both moves of a round have had both after two.
    fn verify(&self, is_second: bool) -> VerifyMode {
        match is_second == self.rounds.is_multiple_of(2) {
            true => VerifyMode::Full,
            false => VerifyMode::Off,
        }
    }

    fn tell(&mut self, verify: VerifyMode, target: &str, report: &Report) {
        self.moves += 1;
        let (keys, changes, whole) = (report.keys, report.changes, report.whole_rereads);
        let (repaired, uncompared) = (report.verify.repaired, report.verify.uncompared);
        println!(
            "move {} after {:.0?}, to a {target}, --verify {verify}: {keys} keys, {changes} changes, {whole} read whole, \
             {repaired} repaired, {uncompared} uncompared, held {:.1} ms at most",
            self.moves,
            self.begin.elapsed(),
            report.fence_ms.max,
        );
    }
}
