// SPDX-License-Identifier: Apache-2.0
//! How both servers are while the line runs: what their clients notice, and what would break.
//!
//! It asks on connections of its own. Of a Pika it knows how fast it answers and how its replicas are; the room on its disk
//! and its pending compactions are not in its INFO.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{debug, warn};

use crate::endpoint::{Endpoint, Info};
use crate::flow::{Cause, Control, Gate, Kindness, Memory, Observation, Pace, Replicas, Throttle};
use crate::job::plan::Plan;
use crate::job::probe::Probe;
use crate::sink::Target;
use crate::{Error, Result, Side};

/// Looks after the servers of a line until it is dropped.
pub(super) struct Health {
    watch: Arc<Watch>,
    gate: Gate,
    tasks: JoinSet<()>,
}

/// What its tasks share.
struct Watch {
    pace: Mutex<Pace>,
    throttle: Arc<Throttle>,
    /// Why the job cannot go on.
    fault: Mutex<Option<Error>>,
}

impl Health {
    /// Begins to ask both servers.
    ///
    /// # Errors
    /// [`Error::Unfit`] for a target that is nearly full already.
    pub(super) async fn start(
        plan: &Plan,
        control: &Control,
        throttle: &Arc<Throttle>,
        ignore_replicas: bool,
    ) -> Result<Self> {
        let mut health = Self::while_reading(plan, control, throttle);
        let mut load = Load::of(&plan.target, ignore_replicas);
        if let Some(memory) = load.look(&health.watch).await?.filter(Memory::is_full) {
            let what = format!("it uses {} of the {} bytes of its maxmemory", memory.used, memory.max);
            return Err(plan.target.endpoint().unfit(what, FULL_HELP));
        }
        health.tasks.spawn(load.run(Arc::clone(&health.watch), control.clone()));
        Ok(health)
    }

    /// The same for whoever only reads: that fills no target, and no replica lags for it.
    pub(super) fn while_reading(plan: &Plan, control: &Control, throttle: &Arc<Throttle>) -> Self {
        let gate = control.gate();
        let watch = Arc::new(Watch {
            pace: Mutex::new(Pace::new(gate.kind())),
            throttle: Arc::clone(throttle),
            fault: Mutex::new(None),
        });
        let mut tasks = JoinSet::new();
        let mut silences = Vec::new();
        for (side, endpoint) in [(Side::Source, plan.source.client()), (Side::Target, plan.target.client())]
            .map(|(side, client)| (side, client.endpoint().clone()))
        {
            let asked = Arc::new(Mutex::new(None));
            silences.push((side, Arc::clone(&asked)));
            let asker = Asker { side, endpoint, asked, watch: Arc::clone(&watch), gate: gate.clone() };
            tasks.spawn(asker.run());
        }
        tasks.spawn(Arc::clone(&watch).regulate(silences, control.clone()));
        Self { watch, gate, tasks }
    }

    /// Waits until it is known how fast the servers answer without the line. Only a gentle move needs it.
    pub(super) async fn know_what_is_usual(&self) {
        if self.gate.kind() == Kindness::Gentle {
            sleep(USUAL_TIME).await;
        }
    }

    /// The line begins to send.
    pub(super) fn line_begins(&self) {
        self.watch.pace().begin();
    }

    /// The line only follows from now on.
    pub(super) fn line_follows(&self) {
        self.watch.pace().follow();
    }

    /// What it lets go at its pace.
    pub(super) fn throttle(&self) -> &Arc<Throttle> {
        &self.watch.throttle
    }

    /// Why it has stopped the job, if it has.
    pub(super) fn fault(&self) -> Option<Error> {
        lock(&self.watch.fault).take()
    }
}

impl Watch {
    fn pace(&self) -> MutexGuard<'_, Pace> {
        lock(&self.pace)
    }

    /// Lets the line go as the servers bear it, until the job is to end: then nothing may hold it any more.
    async fn regulate(self: Arc<Self>, silences: Vec<(Side, Asked)>, control: Control) {
        let mut gate = control.gate();
        let regulated = async {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let mut pace = self.pace();
                pace.set_kind(control.limits().kind);
                for (side, asked) in &silences {
                    if let Some(since) = *lock(asked) {
                        pace.observe(Observation::Silence(*side, since.elapsed()));
                    }
                }
                self.throttle.regulate(&mut pace);
            }
        };
        tokio::select! {
            () = gate.ended() => {}
            () = regulated => {}
        }
        let _urgent = self.throttle.urgent();
        std::future::pending::<()>().await;
    }
}

/// Since when a question is out.
type Asked = Arc<Mutex<Option<Instant>>>;

/// Asks one server all the time how fast it answers.
struct Asker {
    side: Side,
    endpoint: Endpoint,
    asked: Asked,
    watch: Arc<Watch>,
    gate: Gate,
}

impl Asker {
    async fn run(self) {
        loop {
            lock(&self.asked).get_or_insert_with(Instant::now);
            let error = match Probe::connect(&self.endpoint).await {
                Ok(probe) => self.ask(probe).await,
                Err(error) => error,
            };
            debug!(%error, "the {} did not say how it is", self.side);
            sleep(AGAIN).await;
        }
    }

    /// Asks until there is no answer.
    async fn ask(&self, mut probe: Probe) -> io::Error {
        loop {
            // A server that has been silent since before this connection still is.
            lock(&self.asked).get_or_insert_with(Instant::now);
            match probe.answer_time().await {
                Ok(took) => self.watch.pace().observe(Observation::Answer(self.side, took)),
                Err(error) => return error,
            }
            *lock(&self.asked) = None;
            sleep(if self.gate.kind() == Kindness::Gentle { STEP_GENTLE } else { STEP }).await;
        }
    }
}

/// Looks now and then at what the target says of itself.
struct Load {
    target: Target,
    ignore_replicas: bool,
    /// When each replica was last seen.
    replicas: HashMap<String, Instant>,
    /// The end of a Redis' log at the last looks.
    ends: VecDeque<(Instant, u64)>,
}

impl Load {
    fn of(target: &Target, ignore_replicas: bool) -> Self {
        Self { target: target.clone(), ignore_replicas, replicas: HashMap::new(), ends: VecDeque::new() }
    }

    async fn run(mut self, watch: Arc<Watch>, control: Control) {
        let mut full_since = None;
        loop {
            sleep(LOAD_STEP).await;
            if let Err(error) = self.look(&watch).await {
                debug!(%error, "the target did not say how it is");
            }
            let stopped = watch.throttle.stopped().filter(|(cause, _)| *cause == Cause::TargetMemory);
            let Some((_, what)) = stopped else {
                full_since = None;
                continue;
            };
            let since: Instant = *full_since.get_or_insert_with(Instant::now);
            if since.elapsed() > FULL_MAX {
                let what = format!("for {FULL_MAX:?} there was no room: {what}");
                *lock(&watch.fault) = Some(self.target.endpoint().unfit(what, FULL_HELP));
                control.stop();
                return;
            }
        }
    }

    /// Looks once; the target's memory, if it tells.
    async fn look(&mut self, watch: &Watch) -> Result<Option<Memory>> {
        let mut client = self.target.client();
        let memory = memory(&client.info("memory").await?);
        if let Some(memory) = memory {
            watch.pace().observe(Observation::Memory(memory));
        }
        if !self.ignore_replicas {
            let info = client.info("replication").await?;
            let replicas = self.replicas(&info);
            watch.pace().observe(Observation::Replicas(replicas));
        }
        Ok(memory)
    }

    fn replicas(&mut self, info: &Info) -> Replicas {
        let now = Instant::now();
        let grown = self.growth(now, info);
        let mut found = Replicas::default();
        for behind in self.target.replicas(info) {
            match behind.bytes {
                Some(bytes) => found.lag = found.lag.max(bytes.saturating_sub(grown)),
                None => found.lost = Some(behind.to_string()),
            }
            self.replicas.insert(behind.replica, now);
        }
        self.replicas.retain(|replica, seen| {
            let is_wanted = seen.elapsed() < LOST_MAX;
            if !is_wanted {
                warn!("the target's replica {replica} is gone, going on without it");
            }
            is_wanted
        });
        if let Some((replica, _)) = self.replicas.iter().find(|(_, seen)| **seen != now) {
            found.lost = Some(format!("the target's replica {replica} is gone"));
        }
        found
    }

    /// What the log of a Redis has grown since its replicas said how far they are: they do so once in a second.
    fn growth(&mut self, now: Instant, info: &Info) -> u64 {
        let Some(end) = info.get("master_repl_offset").and_then(|end| end.parse().ok()) else { return 0 };
        self.ends.push_back((now, end));
        while self.ends.len() > 1 && now.duration_since(self.ends[1].0) >= ACKNOWLEDGED {
            self.ends.pop_front();
        }
        self.ends.front().map_or(0, |(_, before)| end.saturating_sub(*before))
    }
}

/// What a Redis says, for which 0 is no bound. A Pika says nothing of it.
fn memory(info: &Info) -> Option<Memory> {
    let number = |name| info.get(name)?.parse().ok();
    let bound = |max| if max == 0 { u64::MAX } else { max };
    Some(Memory { used: number("used_memory")?, max: bound(number("maxmemory")?) })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain data: whoever panicked with it has not left it half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long it is looked what is usual before a gentle move begins.
const USUAL_TIME: Duration = Duration::from_secs(1);

/// Between two questions for the time of an answer.
const STEP: Duration = Duration::from_millis(50);
const STEP_GENTLE: Duration = Duration::from_millis(10);

/// Between two settings of the pace.
const TICK: Duration = Duration::from_millis(50);

/// Between two looks at what a server says of itself.
const LOAD_STEP: Duration = Duration::from_millis(250);

/// Before a server that cannot be reached is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// By then a Redis has heard of its replicas.
const ACKNOWLEDGED: Duration = Duration::from_millis(1500);

/// How long a replica that is gone is waited for. Then someone has taken it away.
const LOST_MAX: Duration = Duration::from_secs(60);

/// How long a full target is waited for.
const FULL_MAX: Duration = Duration::from_secs(600);

const FULL_HELP: &str = "raise its maxmemory, or choose another target";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_says_how_full_it_is() {
        let info = |max: &str| Info::from_text(format!("# Memory\r\nused_memory:970\r\nmaxmemory:{max}\r\n"));
        let full = memory(&info("1000")).unwrap();
        assert!(full == Memory { used: 970, max: 1000 } && full.is_full());
        // A bound that is lifted must be seen, too.
        assert_eq!(memory(&info("0")), Some(Memory { used: 970, max: u64::MAX }));
        assert_eq!(memory(&Info::from_text("")), None);
    }
}
