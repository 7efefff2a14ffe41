// SPDX-License-Identifier: Apache-2.0
//! A cluster whose nodes and whose mover are processes that may die, with clients that know what every reply must be.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mover::job::Undo;
use mover::job::journal::{Journal, Outcome};
use mover::sandbox::codis::{Codis, CodisConfig, Intervals};
use mover::sandbox::load::{Load, LoadConfig, Tag};
use replication::{Slot, SlotCount, SlotSet};
use serde_json::Value as Json;
use tokio::time::sleep;

use crate::harness::{
    Agent, Client, Far, HANG, NodeProcess, ReceiverProcess, RedisServer, Way, fence_journals, guards, left_behind,
    signal, until,
};

pub(crate) struct Stage {
    source: NodeProcess,
    target: Target,
    receiver: Option<ReceiverProcess>,
    /// What the mover takes to the source and to the target.
    pub(crate) ways: [Way; 2],
    codis: Codis,
    load: Load,
    settings: Vec<String>,
    agents: usize,
    /// How long a move can be rolled back.
    reverse_window: &'static str,
    _far: Option<Far>,
    dir: tempfile::TempDir,
}

/// Who may die.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Party {
    Agent,
    AgentAndGuard,
    Source,
    Target,
    Receiver,
}

/// Who is there beside the mover and the source, a Pika.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Cast {
    /// The target is a Redis, not a Pika.
    pub(crate) has_redis: bool,
    /// Batches go through a receiver.
    pub(crate) has_receiver: bool,
    /// The target's files are where the receiver is, and not where the mover is.
    pub(crate) is_far: bool,
}

impl Cast {
    /// One of four, by turns.
    pub(crate) fn of(seed: u64) -> Self {
        Self { has_redis: seed & 1 == 1, has_receiver: seed & 2 == 2, is_far: false }
    }

    /// One whose target is on another machine, as it usually is.
    pub(crate) fn far() -> Self {
        Self { has_receiver: true, is_far: true, ..Self::default() }
    }

    /// One of a move that can be rolled back, by turns.
    pub(crate) fn with_way_back(seed: u64) -> Self {
        if seed & 2 == 2 { Self::far() } else { Self::default() }
    }
}

enum Target {
    Pika(NodeProcess),
    Redis(RedisServer),
}

impl Target {
    fn addr(&self) -> SocketAddr {
        match self {
            Self::Pika(node) => node.addr(),
            Self::Redis(server) => server.addr(),
        }
    }

    fn client(&self) -> Client {
        match self {
            Self::Pika(node) => node.client(),
            Self::Redis(server) => server.client().patient(),
        }
    }
}

impl Stage {
    pub(crate) async fn start(seed: u64, cast: Cast) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = |name| NodeProcess::start(&dir.path().join(name));
        let source = node("source");
        let target = match cast.has_redis {
            true => Target::Redis(RedisServer::durable()),
            false => Target::Pika(node("target")),
        };
        let receiver = match cast.has_receiver {
            true => Some(ReceiverProcess::start(&dir.path().join("receiver"), target.addr()).await),
            false => None,
        };
        fill(&mut source.client());
        let config = CodisConfig {
            intervals: Intervals::brisk(),
            dead_checks: 100,
            ..CodisConfig::pair(source.addr(), target.addr())
        };
        let codis = Codis::start(config).await.unwrap();
        let (far, seen) = match cast.is_far {
            true => {
                let far = Far::before(target.addr(), &dir.path().join("target"), &dir.path().join("nobody")).await;
                let addr = far.addr();
                (Some(far), addr)
            }
            false => (None, target.addr()),
        };
        let ways = [Way::before(source.addr()).await, Way::before(seen).await];
        let load = LoadConfig {
            seed,
            writers: 2,
            keys_per_tag: 8,
            big_elements: 50,
            pace: Some(500),
            nodes: vec![source.addr(), target.addr()],
            ..LoadConfig::new(codis.proxy_addrs(), tags())
        };
        let load = Load::start(load).await.unwrap();
        let settings = settings(&source);
        Self { source, target, receiver, ways, codis, load, settings, agents: 0, reverse_window: "0s", _far: far, dir }
    }

    /// The same, of moves that can be rolled back.
    pub(crate) async fn with_way_back(seed: u64, cast: Cast) -> Self {
        Self { reverse_window: "1h", ..Self::start(seed, cast).await }
    }

    /// The move, begun or gone on with; a signal may come at an entry of its journal.
    pub(crate) fn agent(&mut self, accident: Option<&str>) -> Agent {
        let line = format!(
            "move --source {} --target {} --slots {} --routing codis --dashboard {} --source-group 1 --target-group 2 \
             --state-dir {} --rate 1MB --reverse-window {}",
            self.ways[0].addr(),
            self.ways[1].addr(),
            slots(),
            self.codis.dashboard_url(),
            self.state().display(),
            self.reverse_window,
        );
        let through = match &self.receiver {
            Some(receiver) => {
                format!("--receiver {} --token-file {}", receiver.addr(), receiver.token_file().display())
            }
            None => String::new(),
        };
        self.command(&format!("{line} {through}"), accident)
    }

    fn command(&mut self, line: &str, accident: Option<&str>) -> Agent {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        self.agents += 1;
        Agent::with_accident(&words, self.dir.path().join(format!("agent-{}", self.agents)), accident)
    }

    /// Waits until the move can be rolled back; whether its mover died before. It is started again then.
    pub(crate) async fn until_arrived(&mut self, agent: &mut Agent, what: &str) -> bool {
        let (begin, mut has_died) = (std::time::Instant::now(), false);
        while !matches!(self.undo(), Some(Undo::Possible { .. })) {
            assert!(begin.elapsed() < HANG * 2, "{what}: {}", agent.errors());
            if agent.has_ended() {
                has_died = true;
                *agent = self.agent(None);
            }
            sleep(Duration::from_millis(5)).await;
        }
        has_died
    }

    /// Waits until the move can be rolled back, or its mover stands still; whether it does.
    pub(crate) async fn until_arrived_or_stopped(&self, agent: &Agent, what: &str) -> bool {
        let begin = std::time::Instant::now();
        while !matches!(self.undo(), Some(Undo::Possible { .. })) {
            assert!(begin.elapsed() < HANG * 2, "{what}: {}", agent.errors());
            if agent.is_stopped() {
                return true;
            }
            sleep(Duration::from_millis(5)).await;
        }
        false
    }

    /// Begins to have the move rolled back, by the mover as long as that lives.
    pub(crate) fn begin_rollback(&mut self) -> Agent {
        let job = Journal::peek(&self.journals()[0]).unwrap().header.job;
        let line = format!("rollback {job} --state-dir {}", self.state().display());
        self.command(&line, None)
    }

    /// Has the move rolled back, whatever was begun of that.
    pub(crate) async fn roll_back(&mut self, what: &str) {
        let mut errors = String::new();
        for _ in 0..STARTS_MAX {
            let mut rollback = self.begin_rollback();
            let code = rollback.end().await;
            if self.outcome() == Some(Outcome::RolledBack) {
                return;
            }
            // The mover died over it, or a dashboard did not answer.
            errors = rollback.errors();
            let is_known = errors.contains("the process that worked on") || errors.contains("slotmover: routing: ");
            assert!(code == Some(1) && is_known, "{what}: {code:?}: {errors}");
        }
        panic!("{what}: it was rolled back {STARTS_MAX} times: {errors}");
    }

    fn undo(&self) -> Option<Undo> {
        self.journals().first().and_then(|path| Journal::peek(path).unwrap().undo)
    }

    fn outcome(&self) -> Option<Outcome> {
        self.journals().first().and_then(|path| Journal::peek(path).unwrap().outcome)
    }

    fn journals(&self) -> Vec<PathBuf> {
        Journal::all(&self.state()).unwrap()
    }

    /// How long clients were held at each switch back, as the journal says.
    pub(crate) fn fences_back(&self) -> Vec<Duration> {
        let text = std::fs::read_to_string(&self.journals()[0]).unwrap();
        let entries = text.lines().map(|line| serde_json::from_str::<Json>(line.split_once(' ').unwrap().1).unwrap());
        let micros = |entry: Json| match entry["step"]["entry"] == "switched" {
            true => entry["step"]["micros"].as_u64(),
            false => None,
        };
        entries.filter_map(micros).map(Duration::from_micros).collect()
    }

    /// Entries of the journal so far.
    pub(crate) fn entries(&self) -> u64 {
        let lines = std::fs::read_to_string(&self.journals()[0]).unwrap().lines().count();
        lines as u64 - 1
    }

    /// Waits until the move is done. One that could not even begin has left nothing to go on with, one that a dashboard did
    /// not answer in time was stopped, and so was one that was given an answer that makes no sense, as a network makes it that
    /// garbles: they are started again, as a person would.
    pub(crate) async fn see_through(&mut self, mut agent: Agent, what: &str) {
        for _ in 0..STARTS_MAX {
            match agent.end().await {
                Some(0) => return,
                code => {
                    let has_left_nothing = Journal::all(&self.state()).unwrap().is_empty();
                    let is_routing = agent.errors().contains("slotmover: routing: ");
                    let is_garbled = what.contains("Garbage") && agent.errors().contains(" answered ");
                    assert!(
                        code == Some(1) && (has_left_nothing || is_routing || is_garbled),
                        "{what}: {code:?}: {}",
                        agent.errors()
                    );
                }
            }
            agent = self.agent(None);
        }
        panic!("{what}: it was started {STARTS_MAX} times: {}", agent.errors());
    }

    /// Whether the journal says that nothing is left to do.
    pub(crate) fn is_done(&self) -> bool {
        self.outcome().is_some()
    }

    /// Who may die beside the mover and its guard.
    pub(crate) fn others(&self) -> &'static [Party] {
        match self.receiver {
            Some(_) => &[Party::Source, Party::Target, Party::Receiver],
            None => &[Party::Source, Party::Target],
        }
    }

    /// Bytes of the only journal.
    pub(crate) fn journal_length(&self) -> u64 {
        let journals = Journal::all(&self.state()).unwrap();
        let [path] = &journals[..] else { panic!("not one journal but {journals:?}") };
        path.metadata().unwrap().len()
    }

    /// Kills a server or the receiver, and starts it again a while later.
    pub(crate) async fn restart(&mut self, party: Party, after: Duration) {
        match (party, &mut self.target, &mut self.receiver) {
            (Party::Source, ..) => {
                self.source.kill();
                sleep(after).await;
                self.source.restart();
            }
            (Party::Target, Target::Pika(node), _) => {
                node.kill();
                sleep(after).await;
                node.restart();
            }
            (Party::Target, Target::Redis(server), _) => {
                server.kill();
                sleep(after).await;
                server.restart();
            }
            (Party::Receiver, _, Some(receiver)) => {
                receiver.kill();
                sleep(after).await;
                receiver.restart().await;
            }
            _ => panic!("there is no {party:?} that could be started again"),
        }
    }

    /// Kills the mover, and its guard before it if that is to die as well.
    pub(crate) async fn kill(&self, agent: &mut Agent, party: Party) {
        if party == Party::AgentAndGuard {
            guards(&self.state().to_string_lossy()).into_iter().for_each(|guard| signal(guard, "KILL"));
        }
        agent.kill();
    }

    /// Every slot is at the target with all that was in it, and nothing else is different from before.
    pub(crate) async fn assert_moved(self, what: &str) {
        self.assert_at(2, what).await;
    }

    /// Every slot is at the source again with all that was written meanwhile, and nothing else is different from before.
    pub(crate) async fn assert_rolled_back(self, what: &str) {
        self.assert_at(1, what).await;
    }

    async fn assert_at(self, group: i64, what: &str) {
        until("the guard is gone", || guards(&self.state().to_string_lossy()).is_empty()).await;
        assert_eq!(self.codis.locks(), [], "{what}");
        assert_eq!(fence_journals(&self.state()), 0, "{what}: {}", self.said());
        for slot in slots().iter() {
            assert_eq!(self.codis.mapping(slot).unwrap().group_id, group, "{what}: slot {slot}");
        }
        let seen = self.load.stop().await;
        assert!(seen.wrong_values == 0 && seen.keys_unchecked == 0, "{what}: {seen}");
        let (source, target) = (self.source.client(), self.target.client());
        let (mut owner, mut other) = if group == 1 { (source, target) } else { (target, source) };
        check(&mut owner, what);
        let left: Vec<String> = keys(&mut other).into_iter().filter(|key| key != "other").collect();
        assert_eq!(left, [""; 0], "{what}: keys are left where they have moved from");
        let pika = if let Target::Pika(node) = &self.target { Some(node) } else { None };
        for node in [Some(&self.source), pika].into_iter().flatten() {
            assert_eq!(settings(node), self.settings, "{what}");
            assert_eq!(left_behind(node.dir()), Vec::<PathBuf>::new(), "{what}");
        }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The state directory, and what all movers and guards have said.
    fn said(&self) -> String {
        let mut said = String::new();
        let agents = (1..=self.agents).map(|number| self.dir.path().join(format!("agent-{number}")));
        let states = std::fs::read_dir(self.state()).unwrap().map(|entry| entry.unwrap().path());
        for path in states.chain(agents).filter(|path| path.is_file()) {
            let text = std::fs::read(&path).unwrap();
            said += &format!("\n--- {}\n{}", path.display(), String::from_utf8_lossy(&text));
        }
        said
    }
}

fn slots() -> SlotSet {
    SLOTS.into_iter().map(Slot::new).collect()
}

fn tags() -> Vec<Tag> {
    Tag::of_slots(slots().iter(), SlotCount::CODIS)
}

/// Keys that nobody writes, so that there is something to copy; and one of another slot, which stays.
fn fill(client: &mut Client) {
    client.run("SET other stays");
    for tag in tags() {
        for number in 0..KEYS {
            client.call(["SET", &name(&tag, number), &value(number)].map(str::to_owned)).unwrap();
        }
    }
}

fn check(client: &mut Client, what: &str) {
    for tag in tags() {
        for number in 0..KEYS {
            let name = name(&tag, number);
            let found = client.call(["GET", &name].map(str::to_owned)).unwrap();
            assert_eq!(found, redis::Value::BulkString(value(number).into_bytes()), "{what}: {name}");
        }
    }
}

fn name(tag: &Tag, number: usize) -> String {
    format!("{{{}}}:still:{number}", tag.name)
}

fn value(number: usize) -> String {
    number.to_string().repeat(500)
}

fn keys(client: &mut Client) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), "0".to_owned());
    loop {
        let page = client.run(&format!("SCAN {cursor} COUNT 1000"));
        let (next, names): (String, Vec<String>) = redis::from_redis_value(page).unwrap();
        found.extend(names);
        if next == "0" {
            return found;
        }
        cursor = next;
    }
}

fn settings(node: &NodeProcess) -> Vec<String> {
    let mut client = node.client();
    ["expire-logs-nums", "dump-prefix"].map(|name| client.setting(name)).to_vec()
}

/// Few, so that each is cut over in every run.
const SLOTS: [u16; 3] = [3, 500, 1001];

/// How often a move is started by hand.
const STARTS_MAX: usize = 5;

/// In each slot; with the rate above the copy takes about a second.
const KEYS: usize = 200;
