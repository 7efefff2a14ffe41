// SPDX-License-Identifier: Apache-2.0
//! Streams with ids the load gives. One is never emptied: nodes differ in what is left then.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use super::super::expected::Expected;
use super::{Question, Request, Scale, blob, text};

/// The id of an entry, `<milliseconds>-<sequence>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(in super::super) struct Id(u64, u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

impl FromStr for Id {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (milliseconds, sequence) = text.split_once('-').unwrap_or((text, "0"));
        Ok(Self(milliseconds.parse()?, sequence.parse()?))
    }
}

#[derive(Clone, Default, Debug)]
pub(in super::super) struct Value {
    entries: BTreeMap<Id, (Bytes, Bytes)>,
    /// The greatest id ever given: it stays when its entry goes.
    last: Id,
    /// The newest entry was deleted once: from then on Pika takes another entry for the first one, and trims from there on.
    is_mistrimmed: bool,
}

impl Value {
    pub(super) fn is_absent(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn whole(&self) -> Vec<Question> {
        let entries = (Operation::XRange.request(), self.all());
        match self.entries.len() {
            // Pika answers the length of a missing stream with an error.
            0 => vec![entries],
            length => vec![(Operation::XLen.request(), Expected::count(length)), entries],
        }
    }

    pub(super) fn whole_past_cache(&self) -> Option<Vec<Question>> {
        Some(self.whole())
    }

    /// Takes over what no read shows from a state that it may be in as well.
    pub(in super::super) fn take_hidden(&mut self, other: &Self) {
        self.last = self.last.max(other.last);
        self.is_mistrimmed |= other.is_mistrimmed;
    }

    /// Drops the oldest entries until there are so many, and tells how many those were.
    fn trim(&mut self, length_max: usize) -> usize {
        let surplus = self.entries.len().saturating_sub(length_max);
        (0..surplus).for_each(|_| drop(self.entries.pop_first()));
        surplus
    }

    fn all(&self) -> Expected {
        Expected::Entries(self.entries.iter().map(|(&id, (field, value))| (id, field.clone(), value.clone())).collect())
    }
}

#[derive(Clone, Debug)]
#[expect(clippy::enum_variant_names, reason = "the commands have these names")]
pub(in super::super) enum Operation {
    /// The last is the length to which it trims.
    XAdd(Id, Bytes, Bytes, Option<usize>),
    XDel(Id),
    XTrim(usize),
    XLen,
    XRange,
}

impl Operation {
    pub(super) fn choose(value: &Value, rng: &mut StdRng, scale: Scale) -> Self {
        let length = value.entries.len();
        let choice = rng.random_range(0..10);
        match choice {
            0..=4 if length > 0 && length < scale.elements * 2 => Self::next(value, rng, scale),
            5 if length > scale.elements && !value.is_mistrimmed && rng.random() => {
                Self::XTrim(scale.elements - rng.random_range(0..4))
            }
            0..=6 if length > 1 => {
                // A big stream is trimmed as long as it lives.
                let place = rng.random_range(0..length - usize::from(!scale.whole));
                let id = value.entries.keys().nth(place).copied().unwrap_or_default();
                Self::XDel(id)
            }
            _ if length == 0 => Self::next(value, rng, scale),
            7 => Self::XLen,
            _ => Self::XRange,
        }
    }

    fn next(value: &Value, rng: &mut StdRng, scale: Scale) -> Self {
        let Id(milliseconds, sequence) = value.last;
        let id = match rng.random() {
            true => Id(milliseconds, sequence + 1),
            false => Id(milliseconds + rng.random_range(1..1000), 0),
        };
        let length_max = (!value.is_mistrimmed && rng.random_ratio(1, 8)).then_some(scale.elements);
        Self::XAdd(id, text(format_args!("f{}", rng.random_range(0..4))), blob(rng), length_max)
    }

    /// One of the many writes of a hot stream.
    pub(super) fn burst(value: &Value, rng: &mut StdRng, scale: Scale) -> Self {
        match rng.random_range(0..8) {
            0 if !value.is_absent() => Self::choose(value, rng, scale),
            _ => Self::next(value, rng, scale),
        }
    }

    /// Nothing of a stream is cached.
    pub(super) fn fill_cache(_scale: Scale) -> Option<Self> {
        None
    }

    pub(super) fn scan() -> Option<Self> {
        None
    }

    pub(super) fn request(&self) -> Request {
        match self {
            Self::XAdd(id, field, value, length_max) => {
                let trim = length_max.map(|length| [text("MAXLEN"), text(length)]);
                let entry = [text(id), field.clone(), value.clone()];
                Request::new("XADD", trim.into_iter().flatten().chain(entry))
            }
            Self::XTrim(length) => Request::new("XTRIM", [text("MAXLEN"), text(length)]),
            Self::XDel(id) => Request::new("XDEL", [text(id)]),
            Self::XLen => Request::new("XLEN", []),
            Self::XRange => Request::new("XRANGE", [text('-'), text('+')]),
        }
    }

    pub(super) fn apply(&self, value: &mut Value) -> Expected {
        match self {
            Self::XAdd(id, ..) if *id <= value.last => Expected::Error,
            Self::XAdd(id, field, bytes, length_max) => {
                value.last = *id;
                value.entries.insert(*id, (field.clone(), bytes.clone()));
                length_max.map(|length| value.trim(length));
                Expected::Bulk(Some(text(id)))
            }
            Self::XDel(id) => {
                value.is_mistrimmed |= *id == value.last;
                Expected::Integer(i64::from(value.entries.remove(id).is_some()))
            }
            Self::XTrim(length) => Expected::count(value.trim(*length)),
            Self::XLen => Expected::count(value.entries.len()),
            Self::XRange => value.all(),
        }
    }
}
