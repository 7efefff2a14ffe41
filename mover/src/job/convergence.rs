// SPDX-License-Identifier: Apache-2.0
//! Whether the target comes closer to the source, and what it is that keeps it from doing so.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use serde::Serialize;

/// The rates of the last seconds.
#[derive(Debug)]
pub(super) struct Convergence {
    samples: VecDeque<Sample>,
    spent: Spent,
}

/// Where the log and its follower were at a time, counted from where it began to follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// Bytes of the log up to its end.
    pub(super) logged: u64,
    /// Bytes of it that have been followed: what they tell of is at the target.
    pub(super) followed: u64,
    /// Changes of our slots in them.
    pub(super) changes: u64,
}

/// What the time of rounds went to.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Spent {
    /// Reading the log.
    pub(super) log: Duration,
    /// Reading changed keys at the source.
    pub(super) source: Duration,
    /// Waiting for the line to the target.
    pub(super) target: Duration,
}

/// Changes of the job's slots in a second, over the last fifteen of them.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize)]
pub struct ChangeRates {
    /// That the source logs; a guess from those that were followed, and 0 while none were.
    pub come: f64,
    /// That are followed: read at the source and at the target.
    pub followed: f64,
}

/// Why the target gets no closer.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Outrun {
    rates: ChangeRates,
    /// Bytes by which the rest of the log grows in a second.
    growth: f64,
    /// Bytes of the log that are left.
    lag: u64,
    limit: Limit,
}

/// What most of the time goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Limit {
    Log,
    Source,
    Target,
}

impl Convergence {
    pub(super) fn new() -> Self {
        Self { samples: VecDeque::new(), spent: Spent::default() }
    }

    /// Begins anew: the follower was held back by something else than its own speed.
    pub(super) fn forget(&mut self) {
        self.samples.clear();
        self.spent = Spent::default();
    }

    /// Takes in a round that ended with `sample`.
    pub(super) fn observe(&mut self, sample: Sample, spent: Spent) {
        if self.samples.back().is_none_or(|last| sample.at - last.at >= STEP) {
            self.samples.push_back(sample);
        }
        while self.samples.get(1).is_some_and(|second| sample.at - second.at >= WINDOW) {
            self.samples.pop_front();
            // What is further back counts ever less.
            self.spent = Spent {
                log: self.spent.log.mul_f64(FADING),
                source: self.spent.source.mul_f64(FADING),
                target: self.spent.target.mul_f64(FADING),
            };
        }
        self.spent.log += spent.log;
        self.spent.source += spent.source;
        self.spent.target += spent.target;
    }

    /// Changes in a second, of late.
    pub(super) fn rates(&self) -> ChangeRates {
        let Some((first, last)) = self.ends() else { return ChangeRates::default() };
        let changes = per_second(last.changes - first.changes, first, last);
        let (followed, logged) = (last.followed - first.followed, last.logged - first.logged);
        let come = if followed > 0 { changes * logged as f64 / followed as f64 } else { 0.0 };
        ChangeRates { come, followed: changes }
    }

    /// Why it does not converge, if for a whole window the rest of the log has not become shorter and is too long to be
    /// followed in a few seconds.
    pub(super) fn outrun(&self) -> Option<Outrun> {
        let (first, last) = self.ends()?;
        if last.at - first.at < WINDOW.mul_f64(0.9) {
            return None;
        }
        let lag = |sample: &Sample| sample.logged.saturating_sub(sample.followed);
        let (before, now) = (lag(first), lag(last));
        let followed = per_second(last.followed - first.followed, first, last);
        let logged = per_second(last.logged - first.logged, first, last);
        let is_shrinking = (now as f64) < before as f64 * SHRUNK;
        let is_short = now < LAG_MIN || (now as f64) < followed * LAG_SECONDS_MIN;
        if is_shrinking || is_short || logged < followed * KEEPS_UP {
            return None;
        }
        let Spent { log, source, target } = self.spent;
        let limit = match source.max(target) {
            longest if log > longest => Limit::Log,
            _ if target > source => Limit::Target,
            _ => Limit::Source,
        };
        Some(Outrun { rates: self.rates(), growth: logged - followed, lag: now, limit })
    }

    fn ends(&self) -> Option<(&Sample, &Sample)> {
        Some((self.samples.front()?, self.samples.back().filter(|_| self.samples.len() > 1)?))
    }
}

impl fmt::Display for Outrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rates: ChangeRates { come, followed }, growth, lag, limit } = self;
        let faster = if *growth > 0.0 { "faster than" } else { "as fast as" };
        write!(f, "the source changes {faster} it can be followed: ")?;
        match *come > 0.0 {
            true => write!(f, "about {come:.0} changes come in a second and {followed:.0} are followed")?,
            false => write!(f, "none of its changes were followed in {WINDOW:?}")?,
        }
        let growth = ByteSize(growth.max(0.0) as u64);
        write!(f, "; {} of its log are left, {growth} more with each second; ", ByteSize(*lag))?;
        f.write_str(match limit {
            Limit::Log => {
                "most of the time goes into reading the log, and other slots' writes count there too: move when the source is \
                 less busy"
            }
            Limit::Source => {
                "most of the time goes into reading the changed keys at the source: what helps is more lanes while the \
                 source has idle cores, fewer busy slots at once, or clients that write less for a while"
            }
            Limit::Target => {
                "most of the time goes into waiting for the target: what helps is a higher limit if one is set, more \
                 lanes while the target has idle cores, fewer busy slots at once, or clients that write less for a while"
            }
        })
    }
}

fn per_second(count: u64, first: &Sample, last: &Sample) -> f64 {
    count as f64 / (last.at - first.at).as_secs_f64().max(0.001)
}

/// What is looked at: long enough to tell a peak of the clients' from a load that stays.
const WINDOW: Duration = Duration::from_secs(15);

/// Between two samples.
const STEP: Duration = Duration::from_millis(500);

/// A rest that has become less by so much is on its way.
const SHRUNK: f64 = 0.95;

/// A rest that is followed in less time than this is no rest.
const LAG_SECONDS_MIN: f64 = 5.0;

/// Neither are so few bytes: a comparison that has the machine to itself holds rounds up for longer than they take.
const LAG_MIN: u64 = 64 << 10;

/// Whoever follows so much faster than the log grows catches up in the end.
const KEEPS_UP: f64 = 0.98;

/// What is left of the weight of a time with each step.
const FADING: f64 = 0.97;

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows a log that grows by `logged` bytes a second with a capacity of `capacity`, for so many seconds, and says
    /// after how many it found out that this will not end.
    fn run(logged: u64, capacity: u64, backlog: u64, seconds: u64) -> Option<(u64, Outrun)> {
        let mut convergence = Convergence::new();
        let begin = Instant::now();
        let mut followed = 0;
        for tenth in 0..seconds * 10 {
            let end = backlog + logged * tenth / 10;
            followed = end.min(followed + capacity / 10);
            let at = begin + Duration::from_millis(tenth * 100);
            let sample = Sample { at, logged: end, followed, changes: followed / 100 };
            let spent = Spent { source: Duration::from_millis(70), target: Duration::from_millis(30), log: STEP / 100 };
            convergence.observe(sample, spent);
            if let Some(outrun) = convergence.outrun() {
                return Some((tenth / 10, outrun));
            }
        }
        None
    }

    #[test]
    fn more_than_can_be_followed_is_told_within_half_a_minute() {
        let (after, outrun) = run(5_000_000, 3_000_000, 0, 60).unwrap();
        assert!(after <= 20, "{after}");
        let text = outrun.to_string();
        for part in ["about 50000 changes come", "30000 are followed", "1.9 MiB more", "at the source: what helps"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_rest_that_shrinks_is_no_outrun() {
        assert_eq!(run(3_000_000, 3_500_000, 400_000_000, 120), None);
        assert_eq!(run(3_000_000, 10_000_000, 0, 60), None);
        assert_eq!(run(0, 3_000_000, 1_000_000_000, 60), None);
        assert_eq!(run(700, 500, 0, 60), None, "some kilobytes");
    }

    #[test]
    fn a_follower_that_stands_still_is_told_as_well() {
        let (after, outrun) = run(1_000_000, 0, 0, 60).unwrap();
        assert!(after <= 20 && outrun.to_string().contains("none of its changes"), "{after} {outrun}");
    }

    #[test]
    fn a_peak_is_no_load_that_stays() {
        let mut convergence = Convergence::new();
        let begin = Instant::now();
        for second in 0..60_u64 {
            // Five seconds of a peak that is worked off in the ten after it.
            let logged = 1_000_000 * second.min(5) * 3 + 1_000_000 * second;
            let followed = logged.min(2_000_000 * second);
            let at = begin + Duration::from_secs(second);
            convergence.observe(Sample { at, logged, followed, changes: followed }, Spent::default());
            assert_eq!(convergence.outrun(), None, "{second}");
        }
    }

    #[test]
    fn what_was_held_back_by_others_does_not_count() {
        let mut convergence = Convergence::new();
        let begin = Instant::now();
        for second in 0..14_u64 {
            let at = begin + Duration::from_secs(second);
            convergence.observe(Sample { at, logged: second * 1000, followed: 0, changes: 0 }, Spent::default());
        }
        convergence.forget();
        let at = begin + Duration::from_secs(20);
        convergence.observe(Sample { at, logged: 20_000, followed: 0, changes: 0 }, Spent::default());
        assert_eq!(convergence.outrun(), None);
        assert_eq!(convergence.rates(), ChangeRates::default());
    }
}
