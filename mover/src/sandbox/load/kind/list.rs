// SPDX-License-Identifier: Apache-2.0
//! Lists, pushed and popped at both ends.

use std::collections::VecDeque;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use super::super::expected::Expected;
use super::{Question, Request, Scale, blob, text};

#[derive(Clone, Default, Debug)]
pub(in super::super) struct Value(VecDeque<Bytes>);

impl Value {
    pub(super) fn is_absent(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn whole(&self) -> Vec<Question> {
        vec![(Operation::LRange(0, -1).request(), Expected::List(self.0.iter().cloned().collect()))]
    }

    /// The elements that LRANGE and LTRIM mean.
    fn span(&self, first: i64, last: i64) -> std::ops::Range<usize> {
        let length = i64::try_from(self.0.len()).unwrap_or(i64::MAX);
        let place = |index: i64| if index < 0 { length + index } else { index };
        let first = place(first).clamp(0, length);
        let end = (place(last) + 1).clamp(first, length);
        let index = |place: i64| usize::try_from(place).unwrap_or_default();
        index(first)..index(end)
    }
}

#[derive(Clone, Debug)]
pub(in super::super) enum Operation {
    LPush(Vec<Bytes>),
    RPush(Vec<Bytes>),
    LPop,
    RPop,
    LLen,
    LRange(i64, i64),
    LSet(i64, Bytes),
    LTrim(i64, i64),
}

impl Operation {
    pub(super) fn choose(value: &Value, rng: &mut StdRng, scale: Scale) -> Self {
        let length = value.0.len();
        let index = i64::try_from(length).unwrap_or(i64::MAX);
        let elements = |rng: &mut StdRng| (0..rng.random_range(1..=3)).map(|_| blob(rng)).collect();
        match rng.random_range(0..12) {
            // An ordinary list may run empty, a big one stays big.
            0..=3 if length > scale.elements || (scale.whole && length > 0) => match rng.random() {
                true => Self::LPop,
                false => Self::RPop,
            },
            8 if length > 0 => Self::LSet(rng.random_range(-index..index), blob(rng)),
            9 if length > 8 => Self::LTrim(rng.random_range(0..3), -1 - rng.random_range(0..3)),
            10 if scale.whole => Self::LRange(0, -1),
            10 | 9 => {
                let first = rng.random_range(-index..=index);
                Self::LRange(first, first.saturating_add(rng.random_range(0..10)))
            }
            11 => Self::LLen,
            _ if length > scale.elements * 2 => Self::LLen,
            _ if rng.random() => Self::LPush(elements(rng)),
            _ => Self::RPush(elements(rng)),
        }
    }

    /// Appends elements of these numbers.
    pub(super) fn fill(numbers: &[usize]) -> Self {
        Self::RPush(numbers.iter().map(|number| text(format_args!("element {number}"))).collect())
    }

    pub(super) fn request(&self) -> Request {
        match self {
            Self::LPush(elements) => Request::new("LPUSH", elements.iter().cloned()),
            Self::RPush(elements) => Request::new("RPUSH", elements.iter().cloned()),
            Self::LPop => Request::new("LPOP", []),
            Self::RPop => Request::new("RPOP", []),
            Self::LLen => Request::new("LLEN", []),
            Self::LRange(first, last) => Request::new("LRANGE", [text(first), text(last)]),
            Self::LSet(index, element) => Request::new("LSET", [text(index), element.clone()]),
            Self::LTrim(first, last) => Request::new("LTRIM", [text(first), text(last)]),
        }
    }

    pub(super) fn apply(&self, value: &mut Value) -> Expected {
        match self {
            Self::LPush(elements) => {
                elements.iter().for_each(|element| value.0.push_front(element.clone()));
                Expected::count(value.0.len())
            }
            Self::RPush(elements) => {
                value.0.extend(elements.iter().cloned());
                Expected::count(value.0.len())
            }
            Self::LPop => Expected::Bulk(value.0.pop_front()),
            Self::RPop => Expected::Bulk(value.0.pop_back()),
            Self::LLen => Expected::count(value.0.len()),
            Self::LRange(first, last) => Expected::List(value.0.range(value.span(*first, *last)).cloned().collect()),
            Self::LSet(index, element) => match value.span(*index, *index) {
                span if span.is_empty() => Expected::Error,
                span => {
                    value.0[span.start] = element.clone();
                    Expected::Ok
                }
            },
            Self::LTrim(first, last) => {
                let span = value.span(*first, *last);
                value.0.truncate(span.end);
                value.0.drain(..span.start);
                Expected::Ok
            }
        }
    }
}
