// SPDX-License-Identifier: Apache-2.0
//! What a load has seen.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// What a load has seen so far.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The seed of the load, to run it again.
    pub seed: u64,
    /// Since the start.
    #[serde(rename = "elapsed_us", serialize_with = "microseconds")]
    pub elapsed: Duration,
    /// Requests answered, with whatever reply.
    pub requests: u64,
    /// Error replies, lost connections and refused ones.
    pub errors: u64,
    /// The first texts of errors.
    pub error_examples: Vec<String>,
    /// Replies that differ from the model, in the load and in its checks.
    pub wrong_values: u64,
    /// The first wrong values.
    pub examples: Vec<WrongValue>,
    /// Keys that the last check read back whole.
    pub keys_checked: u64,
    /// Keys that the last check could not read, for reasons that are among the errors, or only through a cache that may have
    /// answered wrongly.
    pub keys_unchecked: u64,
    /// From sending a request to having its reply.
    pub latency: Latency,
    /// The longest time in which no writer got any reply. It counts pauses of a paced load too.
    #[serde(rename = "longest_stall_us", serialize_with = "microseconds")]
    pub longest_stall: Duration,
    /// Requests by command.
    pub operations: BTreeMap<String, u64>,
}

impl Report {
    /// Whether nothing at all went wrong and every checked key was read.
    pub fn is_clean(&self) -> bool {
        self.errors == 0 && self.wrong_values == 0 && self.keys_unchecked == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, errors, wrong_values, latency, longest_stall, .. } = self;
        let Latency { p50, p99, max, .. } = latency;
        write!(f, "{requests} requests, {errors} errors, {wrong_values} wrong values, ")?;
        write!(f, "p50 {p50:?}, p99 {p99:?}, max {max:?}, longest stall {longest_stall:?} (seed {})", self.seed)?;
        if self.keys_unchecked > 0 {
            write!(f, ", {} keys unchecked", self.keys_unchecked)?;
        }
        for text in &self.error_examples {
            write!(f, "\n  error: {text}")?;
        }
        for example in &self.examples {
            write!(f, "\n  wrong: {example}")?;
        }
        Ok(())
    }
}

/// How long requests took: half, 99 %, 99.9 % and all of them at most so long.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are the field's own")]
pub struct Latency {
    #[serde(rename = "p50_us", serialize_with = "microseconds")]
    pub p50: Duration,
    #[serde(rename = "p99_us", serialize_with = "microseconds")]
    pub p99: Duration,
    #[serde(rename = "p999_us", serialize_with = "microseconds")]
    pub p999: Duration,
    #[serde(rename = "max_us", serialize_with = "microseconds")]
    pub max: Duration,
}

/// A reply that differs from the model.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct WrongValue {
    /// The key, printable.
    pub key: String,
    /// The command, printable and cut.
    pub operation: String,
    /// What the reply had to be, cut.
    pub expected: String,
    /// The reply, cut.
    pub got: String,
}

impl fmt::Display for WrongValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: expected {}, got {}", self.key, self.operation, self.expected, self.got)
    }
}

fn microseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
