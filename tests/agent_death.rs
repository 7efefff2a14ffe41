// SPDX-License-Identifier: Apache-2.0
//! The agent dies at every step between the first lock and the answer of the switch, alone or with its guard: clients wait
//! for the deadline and two seconds at most, or for the next start, and no value is lost or stale.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mover::sandbox::codis::{Action, Codis};
use mover::sandbox::load::Load;

use crate::harness::{Agent, Counting, Step, Trial, fence_journals, guards, signal, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_killed_at_every_step() {
    for step in STEPS {
        let dir = tempfile::tempdir().unwrap();
        let scene = Scene::start(dir.path()).await;
        scene.kill_at(step, false).await;
        until("the guard lets the clients go", || scene.is_settled()).await;
        scene.complete(step).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_is_killed_as_well() {
    for step in STEPS {
        let dir = tempfile::tempdir().unwrap();
        let scene = Scene::start(dir.path()).await;
        scene.kill_at(step, true).await;
        scene.complete(step).await;
    }
}

/// From the first lock to the answer of the switch.
const STEPS: [Step; 6] =
    [Step::LockAsked(0), Step::Locked(0), Step::Locked(1), Step::LastLook, Step::SwitchAsked, Step::Switched];

/// A cluster with clients, and an agent that is to die.
struct Scene<'a> {
    dir: &'a Path,
    trial: Trial,
    load: Load,
    counting: [Counting; 2],
}

impl<'a> Scene<'a> {
    async fn start(dir: &'a Path) -> Self {
        let trial = Trial::start(dir).await;
        let load = trial.load().await;
        let counting = [trial.counting(0), trial.counting(1)];
        Self { dir, trial, load, counting }
    }

    /// Starts an agent and kills it at this step.
    async fn kill_at(&self, step: Step, with_guard: bool) {
        let mut agent = self.agent("first");
        let (pid, state) = (agent.pid(), self.state());
        let done = self.trial.at(step, move |_: Codis| async move {
            // The guard first: it must not see the agent's end.
            if with_guard {
                guards(&state).into_iter().for_each(|guard| signal(guard, "KILL"));
            }
            signal(pid, "KILL");
            Action::Continue
        });
        assert_eq!(agent.end().await, None, "{step:?}: {}", agent.errors());
        assert!(done.load(Ordering::SeqCst), "{step:?} did not come");
        self.trial.codis.off_request();
    }

    /// Starts the agent again, which goes on, and shows that no client has noticed more than a wait.
    async fn complete(self, step: Step) {
        let mut agent = self.agent("second");
        assert_eq!(agent.end().await, Some(0), "{step:?}: {}", agent.errors());
        let at_source = |slot| self.trial.codis.mapping(slot).is_some_and(|mapping| mapping.group_id == 1);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(self.is_settled(), "{step:?}: {}", agent.errors());
        self.trial.assert_no_fence();
        assert!(!Trial::slots().iter().any(at_source), "{step:?}: {}", agent.errors());
        let owner: SocketAddr = self.trial.target.addr();
        for counting in self.counting {
            counting.assert_nothing_lost(owner, WAIT_MAX);
        }
        let seen = self.load.stop().await;
        assert!(seen.is_clean() && seen.latency.max <= WAIT_MAX, "{step:?}: {seen}");
    }

    fn agent(&self, name: &str) -> Agent {
        let slots = Trial::slots();
        let (source, target) = (self.trial.source.addr(), self.trial.target.addr());
        let line = format!(
            "move --source {source} --target {target} --slots {slots} --routing codis --dashboard {} \
             --source-group 1 --reverse-window 0s --cleanup keep --state-dir {}",
            self.trial.codis.dashboard_url(),
            self.state(),
        );
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Agent::start(&words, self.dir.join(name))
    }

    fn state(&self) -> String {
        self.dir.join("state").into_os_string().into_string().unwrap()
    }

    /// No lock is up, nobody looks after one, and nobody has to.
    fn is_settled(&self) -> bool {
        fence_journals(&self.dir.join("state")) == 0
            && self.trial.codis.locks().is_empty()
            && guards(&self.state()).is_empty()
    }
}

/// The lock's cap, what the guard gives more, two seconds, and what a busy machine adds to the start of a process.
const WAIT_MAX: Duration = Duration::from_millis(3500);
