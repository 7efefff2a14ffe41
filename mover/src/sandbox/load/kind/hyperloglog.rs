// SPDX-License-Identifier: Apache-2.0
//! HyperLogLogs: what they count is known within their error.

use std::collections::BTreeSet;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use super::super::expected::Expected;
use super::{Question, Request, Scale, text};

/// The elements added so far.
#[derive(Clone, Default, Debug)]
pub(in super::super) struct Value(BTreeSet<Bytes>);

impl Value {
    pub(super) fn is_absent(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn whole(&self) -> Vec<Question> {
        vec![(Operation::PfCount.request(), self.count())]
    }

    pub(super) fn whole_past_cache(&self) -> Option<Vec<Question>> {
        Some(self.whole())
    }

    /// Small counts are nearly exact in Redis and in Pika.
    fn count(&self) -> Expected {
        let count = i64::try_from(self.0.len()).unwrap_or(i64::MAX);
        let error = 2 + count / 20;
        Expected::Between((count - error).max(1), count + error)
    }
}

#[derive(Clone, Debug)]
pub(in super::super) enum Operation {
    PfAdd(Bytes),
    PfCount,
    /// Its bytes, which no model knows.
    Get,
}

impl Operation {
    pub(super) fn choose(value: &Value, rng: &mut StdRng, _scale: Scale) -> Self {
        match value.0.len() {
            0 => Self::PfAdd(element(rng)),
            _ if rng.random() => Self::PfAdd(element(rng)),
            _ => Self::PfCount,
        }
    }

    /// A read that has a node cache the bytes.
    pub(super) fn fill_cache(_scale: Scale) -> Option<Self> {
        Some(Self::Get)
    }

    pub(super) fn scan() -> Option<Self> {
        None
    }

    pub(super) fn request(&self) -> Request {
        match self {
            Self::PfAdd(element) => Request::new("PFADD", [element.clone()]),
            Self::PfCount => Request::new("PFCOUNT", []),
            Self::Get => Request::new("GET", []),
        }
    }

    pub(super) fn apply(&self, value: &mut Value) -> Expected {
        let first = value.0.is_empty();
        match self {
            Self::PfAdd(element) if !value.0.insert(element.clone()) => Expected::Integer(0),
            Self::PfAdd(_) if first => Expected::Integer(1),
            // A new element need not raise a register.
            Self::PfAdd(_) => Expected::Between(0, 1),
            Self::PfCount if first => Expected::Integer(0),
            Self::PfCount => value.count(),
            Self::Get => Expected::Anything,
        }
    }
}

fn element(rng: &mut StdRng) -> Bytes {
    text(format_args!("e{}", rng.random_range(0..300)))
}
