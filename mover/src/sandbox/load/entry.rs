// SPDX-License-Identifier: Apache-2.0
//! The model of one key.

use std::ops::RangeInclusive;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use super::expected::Expected;
use super::kind::{Generic, Operation, Question, Request, Scale, Value, blob};

/// What a key holds and when it ends.
#[derive(Clone, Default, Debug)]
pub(super) struct Entry {
    pub(super) value: Option<Value>,
    pub(super) expiry: Option<Expiry>,
    /// A write passed Pika's read cache by: until the key is set or deleted, what is cached of it may be of an earlier time.
    tainted: bool,
    /// It was a stream when it was deleted: Pika keeps something of it, so it is written next and not read.
    buried: bool,
    /// It was a stream before another type took its place: in Pika entries of that time may show again in the next
    /// stream of this name, so there must be none.
    haunted: bool,
}

impl Entry {
    /// A key without expiry.
    pub(super) fn of(value: Value) -> Self {
        Self { value: Some(value), ..Self::default() }
    }

    /// No key, and nothing known about what was there before.
    pub(super) fn forgotten() -> Self {
        Self { buried: true, haunted: true, ..Self::default() }
    }

    /// What is left of a key that held `value`.
    pub(super) fn deleted(value: Option<Value>) -> Self {
        Self { buried: matches!(value, Some(Value::Stream(_))), ..Self::default() }
    }

    /// Whether this name was a stream's once.
    pub(super) fn was_ever_stream(&self) -> bool {
        self.buried || self.haunted || matches!(self.value, Some(Value::Stream(_)))
    }

    /// Takes over what no read shows from a state that it may be in as well.
    pub(super) fn take_hidden(&mut self, other: &Self) {
        self.tainted |= other.tainted;
        self.buried |= self.value.is_none() && other.buried;
        self.haunted |= other.haunted;
        if let (Some(Value::Stream(value)), Some(Value::Stream(other))) = (&mut self.value, &other.value) {
            value.take_hidden(other);
        }
    }

    /// Whether RPOPLPUSH may put elements there.
    pub(super) fn takes_elements(&self) -> bool {
        matches!(&self.value, Some(Value::List(_))) || self.value.is_none() && !self.buried
    }

    /// Whether commands that know nothing of streams may write or delete it.
    pub(super) fn is_plain(&self) -> bool {
        !self.buried && !matches!(self.value, Some(Value::Stream(_)))
    }

    /// The last element, if it is a list.
    pub(super) fn last_element(&self) -> Option<&Bytes> {
        match &self.value {
            Some(Value::List(list)) => list.last(),
            _ => None,
        }
    }

    /// A command for it; another type now and then.
    pub(super) fn choose(&self, rng: &mut StdRng, hyperloglogs: bool) -> Operation {
        let Some(value) = &self.value else {
            return self.create(rng, hyperloglogs);
        };
        if self.tainted {
            match rng.random_range(0..16) {
                // So that few keys stay so.
                0 => return Operation::Generic(Generic::Del),
                1..=3 => {
                    if let Some(scan) = value.scan() {
                        return scan;
                    }
                }
                _ => {}
            }
        }
        // Streams do not expire in Pika, and an expiry is lost with PFADD there; both want a DEL before another type.
        let plain = !matches!(value, Value::Stream(_) | Value::HyperLogLog(_));
        let string = matches!(value, Value::String(_));
        let generic = match rng.random_range(0..100) {
            0..=1 => Generic::Del,
            2 => Generic::Unlink,
            3..=4 if string => Generic::Set(blob(rng)),
            5..=6 if string => Generic::SetEx(blob(rng), seconds(rng)),
            3 if plain => Generic::Set(blob(rng)),
            // An expiry is lost with PFADD, and nobody asks for that of a HyperLogLog.
            7..=9 if plain || matches!(value, Value::HyperLogLog(_)) => Generic::Expire(seconds(rng)),
            10 if plain => Generic::Persist,
            11..=13 if plain => Generic::Ttl,
            14 if plain => Generic::SetNx(blob(rng)),
            15..=16 => match value.fill_cache(Scale::SMALL) {
                Some(read) => return read,
                None => return value.choose(rng, Scale::SMALL),
            },
            _ => return value.choose(rng, Scale::SMALL),
        };
        Operation::Generic(generic)
    }

    fn create(&self, rng: &mut StdRng, hyperloglogs: bool) -> Operation {
        match rng.random_range(0..10) {
            0..=7 if self.buried => Operation::Generic(Generic::Set(blob(rng))),
            _ if self.buried && !self.haunted => Value::stream().choose(rng, Scale::SMALL),
            _ if self.buried => Operation::Generic(Generic::Set(blob(rng))),
            0 => Operation::Generic(Generic::SetEx(blob(rng), seconds(rng))),
            1 => Operation::Generic(Generic::SetNx(blob(rng))),
            _ => match Value::any(rng, hyperloglogs) {
                Value::Stream(_) if self.haunted => Operation::Generic(Generic::Set(blob(rng))),
                value => value.choose(rng, Scale::SMALL),
            },
        }
    }

    /// Does what a node does, and tells what the node answers.
    pub(super) fn apply(&mut self, operation: &Operation, window: Window) -> Expected {
        let was_there = self.value.is_some();
        let was_tainted = self.tainted;
        let (was_haunted, was_stream) = (self.haunted, self.buried || matches!(self.value, Some(Value::Stream(_))));
        let expected = match operation {
            Operation::Generic(generic) => generic.apply(self, window),
            typed => typed.apply(&mut self.value),
        };
        self.tainted = match operation {
            Operation::Generic(Generic::SetNx(_)) => was_tainted || !was_there,
            Operation::Generic(Generic::Set(_) | Generic::SetEx(..) | Generic::Del) => false,
            other => was_tainted || other.request().bypasses_cache(),
        };
        let is_other = self.value.as_ref().is_some_and(|value| !matches!(value, Value::Stream(_)));
        self.haunted = was_haunted || was_stream && is_other;
        if self.value.is_some() {
            self.buried = false;
        } else {
            self.expiry = None;
        }
        expected
    }

    /// Whether a cache may answer this command with something else than the model does.
    pub(super) fn is_unreliable(&self, operation: &Operation) -> bool {
        self.tainted && operation.request().asks_cache()
    }

    /// Nothing is cached of it any more.
    pub(super) fn clear_taint(&mut self) {
        self.tainted = false;
    }

    /// What reads all of it back although something else may be cached; `None` where there is no such read.
    pub(super) fn whole_past_cache(&self) -> Option<Vec<Question>> {
        if !self.tainted {
            return Some(self.whole());
        }
        let Some(value) = &self.value else {
            return match self.buried {
                // A key of another type shows as an error.
                false => Value::hash().whole_past_cache(),
                true => Some(Value::stream().whole()),
            };
        };
        let mut questions = value.whole_past_cache()?;
        questions.extend(self.lifetime());
        Some(questions)
    }

    /// What reads all of it back.
    pub(super) fn whole(&self) -> Vec<Question> {
        let Some(value) = &self.value else {
            // A key of any type shows in it: as an error, or as a value.
            return match self.buried {
                false => vec![(Request::new("GET", []), Expected::Bulk(None))],
                true => Value::stream().whole(),
            };
        };
        let mut questions = value.whole();
        questions.extend(self.lifetime());
        questions
    }

    /// What reads back when it ends.
    fn lifetime(&self) -> Option<Question> {
        let is_told = self.value.as_ref().is_some_and(|it| !matches!(it, Value::Stream(_) | Value::HyperLogLog(_)));
        let expected = self.expiry.map_or(Expected::Integer(-1), Expected::Expiry);
        is_told.then(|| (Request::new("PTTL", []), expected))
    }
}

/// The time between sending a request and reading its reply, in Unix milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) first: i64,
    pub(super) last: i64,
    /// By how many milliseconds an expiry may be off.
    pub(super) slack: i64,
}

/// The Unix time in milliseconds.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// When a key ends: not before and not after, in Unix milliseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Expiry {
    first: i64,
    last: i64,
}

impl Expiry {
    /// So many seconds after a moment of `window`.
    pub(super) fn after(seconds: u32, window: Window) -> Self {
        let lifetime = i64::from(seconds) * 1000;
        Self { first: window.first + lifetime, last: window.last + lifetime }
    }

    /// Whether a PTTL of so many milliseconds, asked within `window`, is right.
    pub(super) fn allows(self, milliseconds: i64, window: Window) -> bool {
        self.left(window).contains(&milliseconds)
    }

    fn left(self, window: Window) -> RangeInclusive<i64> {
        self.first - window.last - window.slack..=self.last - window.first + window.slack
    }
}

/// Longer than any test.
fn seconds(rng: &mut StdRng) -> u32 {
    rng.random_range(3600..100_000)
}
