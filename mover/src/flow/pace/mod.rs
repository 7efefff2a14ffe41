// SPDX-License-Identifier: Apache-2.0
//! How much may go while clients use the servers too: observations in, a permit out.
//!
//! It looks at what a client would notice, the time that the servers take to answer, and at what would break: a target
//! that is full, a replica that is lost. What is too slow cuts the speed to a part at once; while all is well it grows
//! again, step by step. For slowness it never falls to nothing, or a server that is slow by itself would hold a move up
//! for ever.
//!
//! It cannot tell whose load makes a server slow. Where it is another one's, `gentle` gives way down to its floor.

mod answers;

use std::time::Duration;

use tokio::time::Instant;

use self::answers::Answers;
use crate::Side;
use crate::flow::ledger::Cause;
use crate::flow::limit::{Kindness, Load};

/// The adaptive part of a [`Throttle`](crate::flow::Throttle), as a function of what is observed.
#[derive(Debug)]
pub struct Pace {
    kind: Kindness,
    source: Answers,
    target: Answers,
    memory: Option<Memory>,
    replicas: Replicas,
    /// Weight per second; infinite while nothing holds the line.
    speed: f64,
    following: bool,
    stopped: bool,
    last: Instant,
    cut: Option<(Instant, Why)>,
    /// Since when the line does not need what it may use.
    loose: Option<Instant>,
}

/// Something that was seen at a server.
#[derive(Clone, PartialEq, Debug)]
pub enum Observation {
    /// A server answered a question of no work after so long.
    Answer(Side, Duration),
    /// A server has not answered yet.
    Silence(Side, Duration),
    /// The memory that the target uses, and the most that it may.
    Memory(Memory),
    /// How the target's replicas are.
    Replicas(Replicas),
}

/// The memory of a target, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// What it uses.
    pub used: u64,
    /// The most that it may use.
    pub max: u64,
}

impl Memory {
    /// Whether nothing more should go there.
    pub fn is_full(&self) -> bool {
        self.used as f64 > self.max as f64 * MEMORY_MAX
    }
}

/// What is wrong with the target's replicas.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Replicas {
    /// One that is gone or out of sync, for a person.
    pub lost: Option<String>,
    /// Bytes that one of them lacks.
    pub lag: u64,
}

/// What may go until the next one.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Permit {
    /// Everything.
    Free,
    /// So much weight per second, in small units or in large ones.
    Slow { speed: f64, small: bool, why: Why },
    /// Nothing.
    Stop(Why),
}

/// Why the line is slowed or stopped.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Why {
    pub(super) cause: Cause,
    /// The same for a person.
    pub(super) text: String,
}

impl Pace {
    /// At the beginning nothing is known.
    pub fn new(kind: Kindness) -> Self {
        Self {
            kind,
            source: Answers::default(),
            target: Answers::default(),
            memory: None,
            replicas: Replicas::default(),
            speed: start(kind),
            following: false,
            stopped: false,
            last: Instant::now(),
            cut: None,
            loose: None,
        }
    }

    /// What a batch weighs: its bytes, and what a command costs a server beside them.
    pub(super) fn weight(load: Load) -> f64 {
        load.bytes + COMMAND_WEIGHT * load.commands
    }

    /// Takes another kind; it begins as that kind begins.
    pub fn set_kind(&mut self, kind: Kindness) {
        if self.kind != kind {
            (self.kind, self.speed, self.cut) = (kind, start(kind), None);
        }
    }

    /// What was seen so far was seen without the line: it is what is usual.
    pub fn begin(&mut self) {
        self.source.take_as_usual();
        self.target.take_as_usual();
    }

    /// From now on the line only follows what clients write: it must not fall behind them.
    pub fn follow(&mut self) {
        self.following = true;
    }

    /// Takes note of something.
    pub fn observe(&mut self, observation: Observation) {
        let now = Instant::now();
        match observation {
            Observation::Answer(side, took) => self.of(side).answered(now, took),
            Observation::Silence(side, length) => self.of(side).silent(length),
            Observation::Memory(memory) => self.memory = Some(memory),
            Observation::Replicas(replicas) => self.replicas = replicas,
        }
    }

    /// What may go from now on; `gone` is what went per second lately.
    pub(super) fn permit(&mut self, gone: Load) -> Permit {
        let (now, gone) = (Instant::now(), Self::weight(gone));
        let passed = now.duration_since(std::mem::replace(&mut self.last, now));
        if let Some(why) = self.stop() {
            self.stopped = true;
            // Whatever it was, it begins anew behind it.
            self.speed = self.speed.min(start(Kindness::Gentle));
            return Permit::Stop(why);
        }
        self.stopped = false;
        match self.slow() {
            Some(why) => self.cut(now, gone, why),
            None => self.grow(now, gone, passed),
        }
        self.speed = self.speed.max(self.floor());
        let why = match &self.cut {
            Some((at, why)) if self.kind != Kindness::Gentle || now.duration_since(*at) < TOLD => why.clone(),
            Some(_) | None => self.calm(),
        };
        match self.speed.is_finite() {
            true => Permit::Slow { speed: self.speed, small: self.kind == Kindness::Gentle, why },
            false => Permit::Free,
        }
    }

    /// What must stop the line.
    fn stop(&self) -> Option<Why> {
        if let Some(memory @ Memory { used, max }) = self.memory
            && (memory.is_full() || self.stopped && used as f64 > max as f64 * MEMORY_AGAIN)
        {
            let (used, max) = (used as f64 / 1e6, max as f64 / 1e6);
            let text = format!("the target's memory is nearly full, {used:.1} MB of the {max:.1} MB of its maxmemory");
            return Some(Why { cause: Cause::TargetMemory, text });
        }
        if let Some(lost) = &self.replicas.lost {
            return Some(Why { cause: Cause::ReplicaLost, text: lost.clone() });
        }
        let far = self.kind != Kindness::Full && self.replicas.lag > LAG_STOP;
        far.then(|| self.lagging())
    }

    /// What should slow it.
    fn slow(&mut self) -> Option<Why> {
        let usual_lag = match self.kind {
            Kindness::Full => return None,
            Kindness::Normal => LAG_NORMAL,
            Kindness::Gentle => LAG_GENTLE,
        };
        if self.replicas.lag > usual_lag {
            return Some(self.lagging());
        }
        let kind = self.kind;
        let sides = [(Side::Target, Cause::TargetLatency), (Side::Source, Cause::SourceLatency)];
        sides.into_iter().find_map(|(side, cause)| {
            let slowness = self.of(side).slowness(kind)?;
            Some(Why { cause, text: format!("the {side} {slowness}") })
        })
    }

    fn cut(&mut self, now: Instant, gone: f64, why: Why) {
        // Behind a cut only answers count that come after it. Without any there is nothing to cut for again.
        let again = self.cut.as_ref().is_none_or(|(at, _)| now.duration_since(*at) >= CUT_STEP);
        if again {
            let used = if self.speed.is_finite() { self.speed.min(gone * 1.25) } else { gone };
            self.speed = used * CUT;
            self.cut = Some((now, why));
            self.loose = None;
            self.source.forget();
            self.target.forget();
        }
    }

    fn grow(&mut self, now: Instant, gone: f64, passed: Duration) {
        if !self.speed.is_finite() {
            return;
        }
        if self.kind == Kindness::Full {
            (self.speed, self.cut) = (f64::INFINITY, None);
            return;
        }
        // What is not used proves nothing.
        if gone > self.speed / 3.0 {
            self.loose = None;
            self.speed *= GROWTH.powf(passed.as_secs_f64().min(1.0) / GROWTH_STEP.as_secs_f64());
        } else {
            let since = *self.loose.get_or_insert(now);
            if self.kind == Kindness::Normal && now.duration_since(since) > LOOSE {
                (self.speed, self.cut) = (f64::INFINITY, None);
            }
        }
        if self.kind == Kindness::Gentle && self.speed <= self.floor() * 1.5 {
            self.source.drift();
            self.target.drift();
        }
    }

    fn floor(&self) -> f64 {
        match (self.following, self.kind) {
            (true, _) => FLOOR_FOLLOWING,
            (false, Kindness::Gentle) => FLOOR_GENTLE,
            (false, Kindness::Normal | Kindness::Full) => FLOOR_NORMAL,
        }
    }

    fn calm(&self) -> Why {
        let text = match self.target.usual() {
            Some(usual) => format!("--kind {}, with a target that answers in {usual:.1?} as ever", self.kind),
            None => format!("--kind {}", self.kind),
        };
        Why { cause: Cause::Gentle, text }
    }

    fn lagging(&self) -> Why {
        let text = format!("a replica of the target is {:.1} MB behind", self.replicas.lag as f64 / 1e6);
        Why { cause: Cause::ReplicaLag, text }
    }

    fn of(&mut self, side: Side) -> &mut Answers {
        match side {
            Side::Source => &mut self.source,
            _ => &mut self.target,
        }
    }
}

/// Where a kind begins, in weight per second.
fn start(kind: Kindness) -> f64 {
    match kind {
        Kindness::Gentle => START_GENTLE,
        Kindness::Normal | Kindness::Full => f64::INFINITY,
    }
}

const START_GENTLE: f64 = 1024.0 * 1024.0;

/// A small command costs a server about as much as so many bytes.
const COMMAND_WEIGHT: f64 = 64.0;

const CUT: f64 = 0.6;
const CUT_STEP: Duration = Duration::from_millis(100);

/// It grows by a twelfth each time, twice as fast after a second.
const GROWTH: f64 = 1.08;
const GROWTH_STEP: Duration = Duration::from_millis(100);

/// How long a line must not need what it may use until it is let go.
const LOOSE: Duration = Duration::from_secs(2);

/// How long `gentle` tells of a slow answer.
const TOLD: Duration = Duration::from_secs(2);

/// For a Redis about a hundredth of a core.
const FLOOR_GENTLE: f64 = 512.0 * 1024.0;
const FLOOR_NORMAL: f64 = 1024.0 * 1024.0;

/// What clients write must find its way, or the move never ends.
const FLOOR_FOLLOWING: f64 = 8.0 * 1024.0 * 1024.0;

const MEMORY_MAX: f64 = 0.95;
const MEMORY_AGAIN: f64 = 0.93;

/// Bytes that a replica may lack. Beyond the last one Redis' own bound for a replica, 256 MB, is near, where it is thrown
/// out.
const LAG_GENTLE: u64 = 8 << 20;
const LAG_NORMAL: u64 = 64 << 20;
const LAG_STOP: u64 = 160 << 20;

#[cfg(test)]
mod tests;
