// SPDX-License-Identifier: Apache-2.0
//! The program itself before a real Codis with a password, as an operator runs it, and killed at random times.

use std::path::PathBuf;
use std::time::Duration;

use mover::job::Undo;
use mover::job::journal::Journal;
use mover::sandbox::load::{Load, LoadConfig};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use replication::{Slot, SlotSet};
use tokio::time::sleep;

use super::seed;
use crate::harness::{Agent, Counting, RealCluster, guards, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_move_goes_through_a_real_codis() {
    let Some(scene) = Scene::start().await else { return };
    let mut agent = scene.agent("only");
    assert_eq!(agent.end().await, Some(0), "{}", agent.errors());
    scene.assert_nobody_noticed(WAIT_MAX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_killed_at_random_times() {
    let Some(scene) = Scene::start().await else { return };
    let mut rng = StdRng::seed_from_u64(seed());
    for death in 0..DEATHS {
        let left = scene.left();
        let mut agent = scene.agent(&format!("killed-{death}"));
        until("the first slots are switched", || scene.left().len() + 2 < left.len()).await;
        sleep(Duration::from_millis(rng.random_range(0..80))).await;
        agent.kill();
        println!("killed when {} of {SLOTS} are left", scene.left().len());
        until("the guard lets the clients go", || scene.is_settled()).await;
    }
    let mut agent = scene.agent("last");
    assert_eq!(agent.end().await, Some(0), "{}", agent.errors());
    scene.assert_nobody_noticed(WAIT_MAX + GUARD_MAX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_is_rolled_back_whoever_dies() {
    let Some(scene) = Scene::with_reverse_window("1h").await else { return };
    let mut rng = StdRng::seed_from_u64(seed());
    let mut agent = scene.agent("only");
    until("it can be rolled back", || matches!(scene.undo(), Some(Undo::Possible { .. }))).await;
    // It brings changes back until then.
    sleep(Duration::from_millis(rng.random_range(0..1000))).await;
    agent.kill();
    // Each looks for differences before its first switch.
    for death in 0..DEATHS {
        let mut rollback = scene.rollback(&format!("killed-{death}"));
        sleep(Duration::from_millis(rng.random_range(0..5000))).await;
        rollback.kill();
        println!("killed when {} of {SLOTS} are back", scene.left().len());
        until("the guard lets the clients go", || scene.is_settled()).await;
        if scene.is_over() {
            break;
        }
    }
    if !scene.is_over() {
        let mut rollback = scene.rollback("last");
        assert_eq!(rollback.end().await, Some(0), "{}", rollback.errors());
    }
    scene.assert_nobody_noticed_at(&SlotSet::new(), WAIT_MAX + GUARD_MAX).await;
}

/// A cluster with clients of all slots.
struct Scene {
    cluster: RealCluster,
    dir: tempfile::TempDir,
    load: Load,
    counting: [Counting; 2],
    reverse_window: &'static str,
}

impl Scene {
    async fn start() -> Option<Self> {
        Self::with_reverse_window("0s").await
    }

    async fn with_reverse_window(reverse_window: &'static str) -> Option<Self> {
        let cluster = RealCluster::with_password(SECRET).await?;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("auth"), SECRET).unwrap();
        let load = LoadConfig { keys_per_tag: 3, big_elements: 50, pace: Some(1000), ..cluster.load(&slots()) };
        // In the last slot, so that it is counted most of the time before it moves.
        let tag = &load.tags[load.tags.len() - 1].name;
        let count = |proxy: usize| Counting::start(load.addrs[proxy], &format!("{{{tag}}}:counted-by-{proxy}"));
        let counting = [count(0), count(1)];
        let load = Load::start(load).await.unwrap();
        Some(Self { cluster, dir, load, counting, reverse_window })
    }

    /// The move, begun or gone on with.
    fn agent(&self, name: &str) -> Agent {
        let (source, target) = (self.cluster.source.addr(), self.cluster.target.addr());
        let line = format!(
            "move --source {source} --target {target} --slots {} --routing codis --dashboard {} \
             --product-auth-file {auth} --source-password-file {auth} --target-password-file {auth} --reverse-window {} \
             --cleanup keep --state-dir {}",
            slots(),
            self.cluster.codis.dashboard_addr(),
            self.reverse_window,
            self.path("state"),
            auth = self.path("auth"),
        );
        self.command(&line, name)
    }

    fn rollback(&self, name: &str) -> Agent {
        let job = Journal::peek(&self.journal()).unwrap().header.job;
        self.command(&format!("rollback {job} --state-dir {}", self.path("state")), name)
    }

    fn command(&self, line: &str, name: &str) -> Agent {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Agent::start(&words, self.dir.path().join(name))
    }

    fn undo(&self) -> Option<Undo> {
        let journals = Journal::all(&self.dir.path().join("state")).ok()?;
        Journal::peek(journals.first()?).unwrap().undo
    }

    fn is_over(&self) -> bool {
        Journal::peek(&self.journal()).unwrap().outcome.is_some()
    }

    fn journal(&self) -> PathBuf {
        Journal::all(&self.dir.path().join("state")).unwrap().remove(0)
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).into_os_string().into_string().unwrap()
    }

    /// The slots that are at the source still.
    fn left(&self) -> SlotSet {
        let switched = self.cluster.switched();
        slots().iter().filter(|slot| !switched.contains(*slot)).collect()
    }

    /// Nobody looks after a lock, and nobody has to. Who was killed before he had a guard may have left a journal of no lock.
    fn is_settled(&self) -> bool {
        let entries = std::fs::read_dir(self.path("state")).unwrap().map(|entry| entry.unwrap().path());
        let mut fences = entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("fence-"));
        // The last one's guard may have removed it by now.
        let has_lock = |path: PathBuf| std::fs::read_to_string(path).is_ok_and(|text| text.contains("raised"));
        guards(&self.path("state")).is_empty() && !fences.any(has_lock)
    }

    async fn assert_nobody_noticed(self, wait_max: Duration) {
        self.assert_nobody_noticed_at(&slots(), wait_max).await;
    }

    /// These slots are at the target in the end.
    async fn assert_nobody_noticed_at(self, moved: &SlotSet, wait_max: Duration) {
        sleep(Duration::from_millis(300)).await;
        for (counting, proxy) in self.counting.into_iter().zip(self.cluster.codis.proxy_addrs()) {
            counting.assert_nothing_lost(*proxy, wait_max);
        }
        let seen = self.load.stop().await;
        println!("{seen}");
        assert!(seen.is_clean() && seen.latency.max <= wait_max, "{seen}");
        assert_eq!(self.cluster.switched(), *moved);
        self.cluster.codis.assert_no_fence();
    }
}

fn slots() -> SlotSet {
    (0..SLOTS).map(|number| Slot::new(number * 16 + 3)).collect()
}

const SLOTS: u16 = 40;
const DEATHS: usize = 5;
const SECRET: &str = "s3cret";

/// A lock's cap and two seconds.
const WAIT_MAX: Duration = Duration::from_millis(2200);

/// What the guard waits more before it takes the agent for dead, and a busy machine adds to the start of a process.
const GUARD_MAX: Duration = Duration::from_millis(1300);
