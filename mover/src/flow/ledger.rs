// SPDX-License-Identifier: Apache-2.0
//! What the line was held by, since when, and for how long in all.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::flow::limit::{Load, Measure, Scope};

/// What may hold the line back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// The bytes per second of the job.
    JobRate,
    /// The commands per second of the job.
    JobCommandRate,
    /// The bytes per second that may go to this target.
    TargetRate,
    /// The commands per second that may go to this target.
    TargetCommandRate,
    /// The bytes per second of the whole agent.
    AgentRate,
    /// The commands per second of the whole agent.
    AgentCommandRate,
    /// The kind `gentle`, with servers that answer as ever.
    Gentle,
    /// The target answers slowly.
    TargetLatency,
    /// The source answers slowly.
    SourceLatency,
    /// A replica of the target is far behind.
    ReplicaLag,
    /// A replica of the target is gone or out of sync.
    ReplicaLost,
    /// The target's memory is nearly full.
    TargetMemory,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::JobRate,
        Self::JobCommandRate,
        Self::TargetRate,
        Self::TargetCommandRate,
        Self::AgentRate,
        Self::AgentCommandRate,
        Self::Gentle,
        Self::TargetLatency,
        Self::SourceLatency,
        Self::ReplicaLag,
        Self::ReplicaLost,
        Self::TargetMemory,
    ];

    /// The cause that a limit is.
    pub(super) fn of(scope: Scope, measure: Measure) -> Self {
        match (scope, measure) {
            (Scope::Job, Measure::Bytes) => Self::JobRate,
            (Scope::Job, Measure::Commands) => Self::JobCommandRate,
            (Scope::Target, Measure::Bytes) => Self::TargetRate,
            (Scope::Target, Measure::Commands) => Self::TargetCommandRate,
            (Scope::Agent, Measure::Bytes) => Self::AgentRate,
            (Scope::Agent, Measure::Commands) => Self::AgentCommandRate,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JobRate => "--rate",
            Self::JobCommandRate => "--command-rate",
            Self::TargetRate => "the target's limit of bytes",
            Self::TargetCommandRate => "the target's limit of commands",
            Self::AgentRate => "the agent's limit of bytes",
            Self::AgentCommandRate => "the agent's limit of commands",
            Self::Gentle => "--kind gentle",
            Self::TargetLatency => "slow answers of the target",
            Self::SourceLatency => "slow answers of the source",
            Self::ReplicaLag => "a replica of the target that was behind",
            Self::ReplicaLost => "a replica of the target that was gone",
            Self::TargetMemory => "the memory of the target, which was nearly full",
        })
    }
}

/// How long the line was held by one cause.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct HeldReport {
    /// By what.
    pub cause: Cause,
    /// For how many seconds in all. Two causes may hold it at the same time.
    pub seconds: f64,
}

/// What holds the line back now.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Held {
    /// By what it is held most.
    pub cause: Cause,
    /// The same for a person.
    pub why: String,
    /// How long it has been so.
    pub since: Duration,
    /// Bytes of user data that go per second all the same.
    pub bytes_per_second: u64,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, why, since, bytes_per_second } = self;
        let since = since.as_secs();
        match cause {
            Cause::JobRate | Cause::JobCommandRate | Cause::TargetRate => write!(f, "held by {why} for {since} s"),
            Cause::TargetCommandRate | Cause::AgentRate | Cause::AgentCommandRate => {
                write!(f, "held by {why} for {since} s")
            }
            _ if *bytes_per_second == 0 => write!(f, "stopped for {since} s: {why}"),
            _ => write!(f, "slowed to {:.1} MB/s for {since} s: {why}", *bytes_per_second as f64 / 1e6),
        }
    }
}

/// The books of one line.
#[derive(Debug)]
pub(super) struct Ledger {
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    begin: Instant,
    /// The number of the second that is being booked.
    second: u64,
    gone: Load,
    gone_before: Load,
    accounts: [Account; Cause::ALL.len()],
}

#[derive(Clone, Copy, Default, Debug)]
struct Account {
    total: Duration,
    /// Waiting up to here is booked; lanes wait at the same time.
    until: Option<Instant>,
    now: Duration,
    before: Duration,
    since: Option<Instant>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        let begin = Instant::now();
        let accounts = [Account::default(); Cause::ALL.len()];
        Self { books: Mutex::new(Books { begin, second: 0, gone: Load::NONE, gone_before: Load::NONE, accounts }) }
    }

    /// Someone has waited since then until now.
    pub(super) fn waited(&self, cause: Cause, since: Instant) {
        let now = Instant::now();
        let mut books = self.lock();
        books.turn_to(now);
        let account = &mut books.accounts[cause as usize];
        let from = account.until.map_or(since, |until| until.max(since));
        let more = now.saturating_duration_since(from);
        account.until = Some(now);
        account.total += more;
        account.now += more;
        if account.now >= HOLDING {
            account.since.get_or_insert(from);
        }
    }

    /// So much has gone.
    pub(super) fn went(&self, load: Load) {
        let mut books = self.lock();
        books.turn_to(Instant::now());
        books.gone = books.gone.plus(load);
    }

    /// What has gone per second lately.
    pub(super) fn speed(&self) -> Load {
        let mut books = self.lock();
        let now = Instant::now();
        books.turn_to(now);
        // The second that is over, and what is known of the one that is not.
        let part = now.duration_since(books.begin).as_secs_f64() - books.second as f64;
        match books.second {
            0 => books.gone.times(1.0 / part.max(0.05)),
            _ => books.gone_before.plus(books.gone).times(1.0 / (1.0 + part)),
        }
    }

    /// What has held the line most in the last second, for how long it has, if anything does.
    pub(super) fn holder(&self) -> Option<(Cause, Duration)> {
        let mut books = self.lock();
        let now = Instant::now();
        books.turn_to(now);
        let accounts = Cause::ALL.into_iter().map(|cause| (cause, books.accounts[cause as usize]));
        let holding = accounts.filter_map(|(cause, account)| {
            let since = account.since?;
            Some((account.now.max(account.before), cause, now.duration_since(since)))
        });
        holding.max_by_key(|(share, ..)| *share).map(|(_, cause, since)| (cause, since))
    }

    /// All that has held the line at all.
    pub(super) fn report(&self) -> Vec<HeldReport> {
        let books = self.lock();
        let reports = Cause::ALL.into_iter().map(|cause| {
            let seconds = books.accounts[cause as usize].total.as_secs_f64();
            HeldReport { cause, seconds }
        });
        reports.filter(|report| report.seconds > 0.0).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        // Plain numbers: whoever panicked with them has not left them half done.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// Begins a new second when the last one is over.
    fn turn_to(&mut self, now: Instant) {
        let second = now.saturating_duration_since(self.begin).as_secs();
        let passed = second.saturating_sub(self.second);
        if passed == 0 {
            return;
        }
        self.second = second;
        self.gone_before = if passed == 1 { self.gone } else { Load::NONE };
        self.gone = Load::NONE;
        for account in &mut self.accounts {
            account.before = if passed == 1 { account.now } else { Duration::ZERO };
            account.now = Duration::ZERO;
            if account.before < HOLDING {
                account.since = None;
            }
        }
    }
}

/// What holds the line for less than this in a second does not hold it back.
const HOLDING: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    const STEP: Duration = Duration::from_millis(50);

    #[tokio::test(start_paused = true)]
    async fn lanes_that_wait_together_are_booked_once() {
        let ledger = Ledger::new();
        let begin = Instant::now();
        sleep(Duration::from_millis(300)).await;
        for _ in 0..4 {
            ledger.waited(Cause::JobRate, begin);
        }
        assert_eq!(ledger.report(), [HeldReport { cause: Cause::JobRate, seconds: 0.3 }]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cause_holds_while_it_takes_a_part_of_the_time() {
        let ledger = Ledger::new();
        for _ in 0..100 {
            sleep(STEP).await;
            let begin = Instant::now();
            sleep(STEP).await;
            ledger.went(Load { bytes: 1000.0, commands: 1.0 });
            ledger.waited(Cause::TargetLatency, begin);
        }
        let (cause, since) = ledger.holder().unwrap();
        assert!(cause == Cause::TargetLatency && since > Duration::from_secs(9), "{cause:?} {since:?}");
        let speed = ledger.speed();
        assert!((8_000.0..12_000.0).contains(&speed.bytes) && (8.0..12.0).contains(&speed.commands), "{speed:?}");
        sleep(Duration::from_secs(2)).await;
        assert_eq!(ledger.holder(), None);
        assert_eq!(ledger.report().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_hardly_holds_is_no_cause() {
        let ledger = Ledger::new();
        for _ in 0..100 {
            sleep(STEP * 2).await;
            let begin = Instant::now();
            sleep(Duration::from_millis(2)).await;
            ledger.waited(Cause::JobRate, begin);
            assert_eq!(ledger.holder(), None);
        }
        // A longer wait is one at once, and the greater one is shown.
        for (cause, steps) in [(Cause::JobRate, 4), (Cause::TargetMemory, 8)] {
            let begin = Instant::now();
            sleep(STEP * steps).await;
            ledger.waited(cause, begin);
        }
        assert_eq!(ledger.holder().map(|(cause, _)| cause), Some(Cause::TargetMemory));
    }

    #[test]
    fn a_person_reads_what_holds() {
        let held = |cause, why: &str, bytes_per_second| {
            Held { cause, why: why.to_owned(), since: Duration::from_secs(12), bytes_per_second }.to_string()
        };
        assert_eq!(held(Cause::JobRate, "--rate 20 MB/s", 20_000_000), "held by --rate 20 MB/s for 12 s");
        assert_eq!(
            held(Cause::TargetLatency, "the target answers in 9 ms, 1 ms is usual", 3_100_000),
            "slowed to 3.1 MB/s for 12 s: the target answers in 9 ms, 1 ms is usual"
        );
        assert_eq!(held(Cause::TargetMemory, "it is full", 0), "stopped for 12 s: it is full");
    }
}
