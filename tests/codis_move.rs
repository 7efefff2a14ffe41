// SPDX-License-Identifier: Apache-2.0
//! `slotmover move --routing codis` in front of a Codis of the sandbox, and its processes killed at exact steps.

use std::sync::{Arc, Mutex};

use mover::sandbox::codis::{Action, Codis, CodisConfig, Event, Moment, Place};
use mover::sandbox::node::{Node, NodeConfig};
use replication::Slot;

use crate::harness::{
    Agent, Client, CommandLine, Contents, Source, assert_same, contents, fence_journals, free_addr, guards, signal,
    until,
};

struct Scene {
    source: Source,
    target: Node,
    cluster: Codis,
    dir: tempfile::TempDir,
    /// Requests to dashboard and proxies that change something, in order.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = |name| NodeConfig { password: Some(SECRET.to_owned()), ..NodeConfig::new(dir.path().join(name)) };
        let source = Source::with(node("source")).await;
        let target = Node::start(node("target")).await.unwrap();
        let config = CodisConfig { product_auth: SECRET.to_owned(), ..CodisConfig::pair(source.addr(), target.addr()) };
        let cluster = Codis::start(config).await.unwrap();
        std::fs::write(dir.path().join("auth"), SECRET).unwrap();
        std::fs::write(dir.path().join("wrong"), "wrong").unwrap();
        let scene = Self { source, target, cluster, dir, requests: Arc::default() };
        scene.watch(|_| None);
        scene
    }

    /// Sends signals at exact steps: what `at` gives for a request is sent before the request goes on.
    fn watch(&self, at: impl Fn(&Event) -> Option<(u32, &'static str)> + Send + Sync + 'static) {
        let requests = Arc::clone(&self.requests);
        self.cluster.on_request(move |event| {
            if event.method == "PUT" && event.moment == Moment::Before {
                requests.lock().unwrap().push(event.path.clone());
            }
            if let Some((pid, name)) = at(&event) {
                signal(pid, name);
            }
            async { Action::Continue }
        });
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).into_os_string().into_string().unwrap()
    }

    fn arguments(&self) -> Vec<String> {
        let (source, target, url) = (self.source.addr(), self.target.addr(), self.cluster.dashboard_url());
        let line = format!(
            "move --source {source} --target {target} --slots 0-1023 --cutover-group 512 --max-lock 10s --routing codis \
             --dashboard {url} --product-auth-file {auth} --source-password-file {auth} --target-password-file {auth} \
             --reverse-window 0s --cleanup keep --state-dir {}",
            self.path("state"),
            auth = self.path("auth"),
        );
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn agent(&self) -> Agent {
        Agent::start(&self.arguments(), self.dir.path().join("stderr"))
    }

    /// The groups that the dashboard names for the first and the last slot.
    fn groups(&self) -> [i64; 2] {
        [0, 1023].map(|slot| self.cluster.mapping(Slot::new(slot)).unwrap().group_id)
    }

    fn target_contents(&self) -> Contents {
        contents(&mut Client::log_in(self.target.addr(), Some(SECRET)))
    }

    fn is_settled(&self) -> bool {
        let journals = fence_journals(&self.dir.path().join("state"));
        journals == 0 && self.cluster.locks().is_empty() && guards(&self.path("state")).is_empty()
    }

    /// That native actions were stopped, and were let go on last.
    fn assert_restored(&self) {
        let requests = self.requests.lock().unwrap();
        let actions: Vec<_> = requests.iter().filter(|path| path.contains("/action/disabled/")).collect();
        assert!(actions.len() >= 2 && actions[0].ends_with("/1"), "{actions:?}");
        assert!(actions[actions.len() - 1].ends_with("/0"), "{actions:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_goes_through_a_codis() {
    let scene = Scene::start().await;
    let mut agent = scene.agent();
    assert_eq!(agent.end().await, Some(0), "{}", agent.errors());
    assert_eq!(scene.groups(), [2, 2]);
    assert!(scene.is_settled());
    scene.assert_restored();
    assert_same(scene.source.contents(), &scene.target_contents());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_dashboard_or_password_is_refused_before_anything_is_copied() {
    let scene = Scene::start().await;
    let words = scene.arguments();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let with = |option: &str, value: &str| {
        let at = words.iter().position(|word| *word == option).unwrap();
        CommandLine::new(&[&words[..=at], &[value], &words[at + 2..]].concat()).run()
    };
    let wrong = with("--product-auth-file", &scene.path("wrong"));
    wrong.assert_failed(&["does not let us in", "--product-auth-file"]);
    let nobody = free_addr().to_string();
    with("--dashboard", &nobody).assert_failed(&["the dashboard at", &nobody]);
    assert!(scene.target_contents().is_empty());
    assert!(scene.requests.lock().unwrap().is_empty());
    scene.source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_while_it_locks_leaves_no_lock() {
    let scene = Scene::start().await;
    let mut agent = scene.agent();
    let pid = agent.pid();
    let once = Arc::new(Mutex::new(true));
    scene.watch(move |event| (is_locked(event) && std::mem::take(&mut *once.lock().unwrap())).then_some((pid, "KILL")));
    assert_eq!(agent.end().await, None, "{}", agent.errors());
    until("the guard has unlocked and gone", || scene.is_settled()).await;
    assert_eq!(scene.groups(), [1, 1]);
    scene.assert_restored();
    assert!(agent.errors().contains("lowered the fence of slots 0-511"), "{}", agent.errors());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_while_it_switches_is_switched() {
    let scene = Scene::start().await;
    let mut agent = scene.agent();
    let pid = agent.pid();
    let once = Arc::new(Mutex::new(true));
    scene.watch(move |event| {
        let assigns = event.path.contains("/slots/assign/") && event.moment == Moment::Before;
        (assigns && std::mem::take(&mut *once.lock().unwrap())).then_some((pid, "KILL"))
    });
    assert_eq!(agent.end().await, None, "{}", agent.errors());
    until("the guard has switched and gone", || scene.is_settled()).await;
    assert_eq!(scene.groups(), [2, 1]);
    scene.assert_restored();
    assert!(agent.errors().contains("switched slots 0-511"), "{}", agent.errors());
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_that_agent_and_guard_left_are_taken_off_by_hand() {
    let scene = Scene::start().await;
    let mut agent = scene.agent();
    let (pid, state) = (agent.pid(), scene.path("state"));
    let once = Arc::new(Mutex::new(true));
    scene.watch(move |event| {
        if !is_locked(event) || !std::mem::take(&mut *once.lock().unwrap()) {
            return None;
        }
        guards(&state).into_iter().for_each(|guard| signal(guard, "KILL"));
        Some((pid, "KILL"))
    });
    assert_eq!(agent.end().await, None, "{}", agent.errors());
    until("the guard is gone", || guards(&scene.path("state")).is_empty()).await;
    assert!(!scene.cluster.locks().is_empty(), "somebody unlocked it who should be dead");
    let outcome = CommandLine::new(&["fence-lower", "--state-dir", &scene.path("state")]).run();
    outcome.assert_done();
    assert!(outcome.stderr.contains("their clients go on at the source"), "{}", outcome.stderr);
    assert!(scene.is_settled());
    assert_eq!(scene.groups(), [1, 1]);
    scene.assert_restored();
}

/// One proxy holds the lock, the other perhaps, and the agent has not been answered.
fn is_locked(event: &Event) -> bool {
    let text = String::from_utf8_lossy(&event.body).replace(' ', "");
    event.place == Place::Proxy(0) && event.moment == Moment::After && text.contains("\"locked\":true")
}

const SECRET: &str = "s3cret";
