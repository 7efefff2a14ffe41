// SPDX-License-Identifier: Apache-2.0
//! What the writers count together.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;

use super::expected::Expected;
use super::kind::Request;
use super::report::{Latency, Report, WrongValue};
use crate::sandbox::reply::Reply;

/// Shared by all writers, locked for a moment after each exchange.
#[derive(Debug)]
pub(super) struct Tally {
    seed: u64,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    start: Instant,
    answered: Instant,
    longest_stall: Duration,
    requests: u64,
    errors: u64,
    error_examples: Vec<String>,
    wrong_values: u64,
    examples: Vec<WrongValue>,
    checked: u64,
    unchecked: u64,
    latency: Histogram<u64>,
    operations: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(super) fn new(seed: u64) -> Self {
        let now = Instant::now();
        let counts = Counts {
            start: now,
            answered: now,
            longest_stall: Duration::ZERO,
            requests: 0,
            errors: 0,
            error_examples: Vec::new(),
            wrong_values: 0,
            examples: Vec::new(),
            checked: 0,
            unchecked: 0,
            latency: Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("these bounds are within what it can"),
            operations: BTreeMap::new(),
        };
        Self { seed, counts: Mutex::new(counts) }
    }

    /// Counts answered requests: their names and times.
    pub(super) fn answered(&self, requests: impl Iterator<Item = (&'static str, Duration)>) {
        let now = Instant::now();
        let counts = &mut *self.lock();
        for (name, time) in requests {
            counts.requests += 1;
            *counts.operations.entry(name).or_default() += 1;
            counts.latency.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        }
        counts.longest_stall = counts.longest_stall.max(now.saturating_duration_since(counts.answered));
        counts.answered = now;
    }

    pub(super) fn error(&self, text: &str) {
        let mut counts = self.lock();
        counts.errors += 1;
        if counts.error_examples.len() < ERROR_EXAMPLES {
            counts.error_examples.push(cut(text.to_owned()));
        }
    }

    pub(super) fn wrong(&self, key: &Bytes, request: &Request, expected: &Expected, got: &Reply) {
        let mut counts = self.lock();
        counts.wrong_values += 1;
        if counts.examples.len() < EXAMPLES {
            counts.examples.push(WrongValue {
                key: key.escape_ascii().to_string(),
                operation: operation(request),
                expected: printed(expected),
                got: printed(got),
            });
        }
    }

    /// Begins the counts of a check anew.
    pub(super) fn begin_check(&self) {
        let mut counts = self.lock();
        (counts.checked, counts.unchecked) = (0, 0);
    }

    pub(super) fn checked(&self, read: bool) {
        let mut counts = self.lock();
        match read {
            true => counts.checked += 1,
            false => counts.unchecked += 1,
        }
    }

    pub(super) fn report(&self) -> Report {
        let counts = self.lock();
        let quantile = |share| Duration::from_micros(counts.latency.value_at_quantile(share));
        Report {
            seed: self.seed,
            elapsed: counts.start.elapsed(),
            requests: counts.requests,
            errors: counts.errors,
            error_examples: counts.error_examples.clone(),
            wrong_values: counts.wrong_values,
            examples: counts.examples.clone(),
            keys_checked: counts.checked,
            keys_unchecked: counts.unchecked,
            latency: Latency {
                p50: quantile(0.5),
                p99: quantile(0.99),
                p999: quantile(0.999),
                max: Duration::from_micros(counts.latency.max()),
            },
            longest_stall: counts.longest_stall,
            operations: counts.operations.iter().map(|(&name, &count)| (name.to_owned(), count)).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn operation(request: &Request) -> String {
    let args: Vec<_> = request.args.iter().map(|arg| arg.escape_ascii().to_string()).collect();
    cut(format!("{} {}", request.name, args.join(" ")))
}

fn printed(value: &impl Debug) -> String {
    cut(format!("{value:?}"))
}

fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(TEXT_MAX) {
        text.truncate(at);
        text.push('…');
    }
    text
}

const ERROR_EXAMPLES: usize = 10;
const EXAMPLES: usize = 20;
/// An hour in microseconds, longer than any request may take.
const LATENCY_MAX: u64 = 3_600_000_000;
const TEXT_MAX: usize = 300;
