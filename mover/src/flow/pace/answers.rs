// SPDX-License-Identifier: Apache-2.0
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::flow::limit::Kindness;

/// How fast a server answers, and how fast it did without us.
#[derive(Default, Debug)]
pub(super) struct Answers {
    recent: VecDeque<(Instant, Duration)>,
    silence: Duration,
    usual: Option<Usual>,
}

/// What is usual.
#[derive(Clone, Copy, Debug)]
struct Usual {
    median: Duration,
    high: Duration,
}

/// An answer that is too slow, and what would not be, if that is known.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Slowness {
    took: Duration,
    usual: Option<Duration>,
}

impl fmt::Display for Slowness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "answers in {:.1?}", self.took)?;
        self.usual.map_or(Ok(()), |usual| write!(f, ", {usual:.1?} is usual"))
    }
}

impl Answers {
    pub(super) fn answered(&mut self, now: Instant, took: Duration) {
        self.silence = Duration::ZERO;
        self.recent.push_back((now, took));
        let span = if self.usual.is_some() { SPAN } else { SPAN_BEFORE };
        while self.recent.len() > ANSWERS_MAX || self.recent.front().is_some_and(|(at, _)| now - *at > span) {
            self.recent.pop_front();
        }
    }

    pub(super) fn silent(&mut self, length: Duration) {
        self.silence = length;
    }

    pub(super) fn take_as_usual(&mut self) {
        if self.usual.is_none() && !self.recent.is_empty() {
            self.usual = Some(Usual { median: self.quantile(0.5), high: self.quantile(HIGH) });
            self.forget();
        }
    }

    pub(super) fn forget(&mut self) {
        self.recent.clear();
    }

    /// What is usual may have become another: the line hardly matters now, so what is seen is that.
    pub(super) fn drift(&mut self) {
        if self.recent.len() < MANY {
            return;
        }
        let (median, high) = (self.quantile(0.5), self.quantile(HIGH));
        if let Some(usual) = &mut self.usual {
            usual.median = usual.median.mul_f64(1.0 - DRIFT) + median.mul_f64(DRIFT);
            usual.high = usual.high.mul_f64(1.0 - DRIFT) + high.mul_f64(DRIFT);
        }
    }

    pub(super) fn usual(&self) -> Option<Duration> {
        self.usual.map(|usual| usual.median)
    }

    /// Whether it is too slow for this kind.
    pub(super) fn slowness(&self, kind: Kindness) -> Option<Slowness> {
        let median = self.usual();
        match kind {
            Kindness::Full => None,
            Kindness::Normal => {
                let bound = median.unwrap_or_default() * NORMAL_TIMES + NORMAL_MORE;
                self.beyond(ENOUGH, NORMAL_QUANTILE, median, bound)
            }
            Kindness::Gentle => {
                // Without anything to compare with, only what is slow by any measure tells.
                let Some(usual) = self.usual else { return self.beyond(MANY, HIGH, None, NORMAL_MORE) };
                let bound = |usual: Duration, more| usual.mul_f64(GENTLE_TIMES) + more;
                let high = self.beyond(PLENTY, HIGH, Some(usual.high), bound(usual.high, GENTLE_MORE_HIGH));
                high.or_else(|| self.beyond(MANY, 0.5, median, bound(usual.median, GENTLE_MORE)))
            }
        }
    }

    fn beyond(&self, enough: usize, quantile: f64, usual: Option<Duration>, bound: Duration) -> Option<Slowness> {
        // Nobody need answer for this to be known.
        if self.silence > bound.max(SILENCE_MIN) {
            return Some(Slowness { took: self.silence, usual });
        }
        if self.recent.len() < enough {
            return None;
        }
        let took = self.quantile(quantile);
        (took > bound).then_some(Slowness { took, usual })
    }

    fn quantile(&self, share: f64) -> Duration {
        let mut times: Vec<Duration> = self.recent.iter().map(|(_, took)| *took).collect();
        times.sort_unstable();
        let last = times.len().saturating_sub(1);
        times.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}

/// The answers of so long count. Before the line begins they are kept for longer.
const SPAN: Duration = Duration::from_millis(700);
const SPAN_BEFORE: Duration = Duration::from_secs(5);

/// Answers from which a slow server is told; from which one that is a little slower in the middle is, and among the slow
/// ones, of which there are few.
const ENOUGH: usize = 5;
const MANY: usize = 20;
const PLENTY: usize = 50;
const ANSWERS_MAX: usize = 512;

/// The slow ones among the answers.
const HIGH: f64 = 0.9;

/// A question that is out for less says nothing yet.
const SILENCE_MIN: Duration = Duration::from_millis(20);

/// A full copy itself makes a server answer later: its batches stand in line before the question.
const NORMAL_QUANTILE: f64 = 0.75;
const NORMAL_TIMES: u32 = 3;
const NORMAL_MORE: Duration = Duration::from_millis(40);

const GENTLE_TIMES: f64 = 1.2;
/// Waiting for a core of a busy machine alone makes such a difference, among all answers and among the slow ones.
const GENTLE_MORE: Duration = Duration::from_micros(30);
const GENTLE_MORE_HIGH: Duration = Duration::from_micros(300);

/// Of a new usual, at each look.
const DRIFT: f64 = 0.002;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_usual_is_told_once_it_is_known() {
        let mut answers = Answers::default();
        let mut told = |took| {
            (0..ENOUGH).for_each(|_| answers.answered(Instant::now(), took));
            let told = answers.slowness(Kindness::Normal).map(|slowness| slowness.to_string());
            answers.take_as_usual();
            told
        };
        assert_eq!(told(Duration::from_millis(50)).as_deref(), Some("answers in 50.0ms"));
        assert_eq!(told(Duration::from_millis(150)), None);
        assert_eq!(told(Duration::from_millis(250)).as_deref(), Some("answers in 250.0ms, 50.0ms is usual"));
    }
}
