// SPDX-License-Identifier: Apache-2.0
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytesize::ByteSize;
use serde::Serialize;

use crate::flow::meter::Meter;
use crate::flow::rate::{CommandRate, Rate};

/// How fast something may go.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Speed {
    /// User data per second; no limit when not given.
    pub rate: Option<Rate>,
    /// Commands per second; no limit when not given.
    pub command_rate: Option<CommandRate>,
}

/// A speed limit that may be changed at any time, also under those who wait for it. Clones are the same limit: whoever
/// shares it takes turns with the others.
#[derive(Clone, Debug)]
pub struct Limit {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Bytes and commands per second, 0 for no limit.
    speeds: [AtomicU64; 2],
    meters: [Meter; 2],
}

impl Limit {
    /// A limit at this speed.
    pub fn new(speed: Speed) -> Self {
        let meters = [Meter::new(BURST), Meter::new(BURST)];
        let limit = Self { shared: Arc::new(Shared { speeds: Default::default(), meters }) };
        limit.set(speed);
        limit
    }

    /// Sets another speed. It holds at once for everyone.
    pub fn set(&self, speed: Speed) {
        let [bytes, commands] = &self.shared.speeds;
        bytes.store(speed.rate.map_or(0, Rate::bytes), Ordering::Relaxed);
        commands.store(speed.command_rate.map_or(0, CommandRate::commands), Ordering::Relaxed);
    }

    /// The speed that holds now.
    pub fn speed(&self) -> Speed {
        let [bytes, commands] = self.shared.speeds.each_ref().map(|speed| speed.load(Ordering::Relaxed));
        Speed { rate: Rate::per_second(ByteSize(bytes)), command_rate: CommandRate::per_second(commands) }
    }

    /// What is metered, and by what.
    pub(super) fn meters(&self) -> [(Measure, &Meter); 2] {
        let [bytes, commands] = &self.shared.meters;
        [(Measure::Bytes, bytes), (Measure::Commands, commands)]
    }

    /// How many seconds of its time this takes.
    pub(super) fn price(&self, measure: Measure, load: Load) -> f64 {
        let (index, amount) = match measure {
            Measure::Bytes => (0, load.bytes),
            Measure::Commands => (1, load.commands),
        };
        match self.shared.speeds[index].load(Ordering::Relaxed) {
            0 => 0.0,
            speed => amount / speed as f64,
        }
    }

    /// The most bytes and commands that should go at once: as much as goes in a twentieth of a second.
    pub(super) fn share(&self) -> Load {
        let [bytes, commands] = self.shared.speeds.each_ref().map(|speed| match speed.load(Ordering::Relaxed) {
            0 => f64::INFINITY,
            speed => speed as f64 / SHARES_PER_SECOND,
        });
        Load { bytes, commands }
    }
}

/// Something that wants to go.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Load {
    pub(super) bytes: f64,
    pub(super) commands: f64,
}

impl Load {
    pub(super) const NONE: Self = Self { bytes: 0.0, commands: 0.0 };

    pub(super) fn plus(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, commands: self.commands + other.commands }
    }

    pub(super) fn times(self, factor: f64) -> Self {
        Self { bytes: self.bytes * factor, commands: self.commands * factor }
    }
}

/// What a limit counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Measure {
    Bytes,
    Commands,
}

/// Whose limit it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One move.
    Job,
    /// Everything that goes to one target.
    Target,
    /// Everything that this agent sends.
    Agent,
}

/// The limits that the jobs of one agent share: one for all of them, and one for each target. Clones are the same limits.
///
/// ```
/// use mover::flow::{Limits, Speed};
///
/// let limits = Limits::new()
///     .agent(Speed { rate: Some("200MB".parse()?), ..Speed::default() })
///     .each_target(Speed { command_rate: Some("50k".parse()?), ..Speed::default() });
/// limits.of_target("10.0.0.2:9221").set(Speed::default());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug)]
pub struct Limits {
    agent: Limit,
    targets: Arc<Mutex<Targets>>,
}

#[derive(Default, Debug)]
struct Targets {
    usual: Speed,
    known: HashMap<String, Limit>,
}

impl Limits {
    /// No limits yet.
    pub fn new() -> Self {
        Self { agent: Limit::new(Speed::default()), targets: Arc::default() }
    }

    /// The most that all jobs together may send.
    #[must_use]
    pub fn agent(self, speed: Speed) -> Self {
        self.agent.set(speed);
        self
    }

    /// The most that may be sent to a target for which nothing else is said.
    #[must_use]
    pub fn each_target(self, speed: Speed) -> Self {
        self.lock().usual = speed;
        self
    }

    /// The limit of all jobs together.
    pub fn of_agent(&self) -> Limit {
        self.agent.clone()
    }

    /// The limit of everything that goes to the target `HOST:PORT`.
    pub fn of_target(&self, address: &str) -> Limit {
        let mut targets = self.lock();
        let usual = targets.usual;
        targets.known.entry(address.to_owned()).or_insert_with(|| Limit::new(usual)).clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Targets> {
        // Plain data: whoever panicked with it has not left it half done.
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

/// How much a move gives way to the servers' clients, without any number from the operator.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kindness {
    /// Clients notice nothing: small and evenly spaced units, more of them only as long as the servers answer as before.
    Gentle,
    /// It goes as fast as it can and backs off once a server answers slowly.
    #[default]
    Normal,
    /// It goes as fast as it can; it stops only where going on would break something: a target that is nearly full, a
    /// replica that is lost.
    Full,
}

impl fmt::Display for Kindness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gentle => "gentle",
            Self::Normal => "normal",
            Self::Full => "full",
        })
    }
}

impl std::str::FromStr for Kindness {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "gentle" => Ok(Self::Gentle),
            "normal" => Ok(Self::Normal),
            "full" => Ok(Self::Full),
            _ => Err(format!("`{text}` is none of gentle, normal and full")),
        }
    }
}

/// What may be changed while a job runs, through [`Control::set_limits`](crate::Control::set_limits).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct JobLimits {
    /// How fast this job may go.
    pub speed: Speed,
    /// How much it gives way.
    pub kind: Kindness,
}

/// A burst: short enough to be even, long enough that a lane that is woken late makes up for it.
const BURST: Duration = Duration::from_millis(40);

/// At a low rate batches are small, or else one of them would be the traffic of seconds.
const SHARES_PER_SECOND: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_back() {
        let limit = Limit::new(Speed::default());
        assert_eq!(limit.speed(), Speed::default());
        let speed = Speed { rate: Some("3MB".parse().unwrap()), command_rate: Some("10k".parse().unwrap()) };
        limit.set(speed);
        assert_eq!(limit.speed(), speed);
    }

    #[test]
    fn a_price_is_the_time_at_the_speed() {
        let speed = Speed { rate: Some("2MB".parse().unwrap()), command_rate: None };
        let limit = Limit::new(speed);
        let load = Load { bytes: 1e6, commands: 100.0 };
        assert_eq!(limit.price(Measure::Bytes, load), 0.5);
        assert_eq!(limit.price(Measure::Commands, load), 0.0);
        limit.set(Speed { rate: None, command_rate: Some("10k".parse().unwrap()) });
        assert_eq!(limit.price(Measure::Commands, load), 0.01);
        assert_eq!(limit.share(), Load { bytes: f64::INFINITY, commands: 500.0 });
    }

    #[test]
    fn jobs_share_the_limits_of_their_agent() {
        let usual = Speed { rate: Some("2MB".parse().unwrap()), command_rate: None };
        let limits = Limits::new().each_target(usual);
        let other = Speed { rate: None, command_rate: Some("1k".parse().unwrap()) };
        limits.of_target("a:1").set(other);
        assert_eq!(limits.of_target("a:1").speed(), other);
        assert_eq!(limits.of_target("b:1").speed(), usual);
        limits.of_agent().set(other);
        assert_eq!(limits.of_agent().speed(), other);
    }

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in [Kindness::Gentle, Kindness::Normal, Kindness::Full] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("cruel".parse::<Kindness>().is_err());
    }
}
