// SPDX-License-Identifier: Apache-2.0
//! Lists, pushed and popped at both ends.

use std::collections::VecDeque;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use super::super::expected::Expected;
use super::{Question, Request, Scale, blob, span, text};

#[derive(Clone, Default, Debug)]
pub(in super::super) struct Value(VecDeque<Bytes>);

impl Value {
    pub(super) fn is_absent(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn whole(&self) -> Vec<Question> {
        vec![(Operation::LRange(0, -1).request(), Expected::List(self.0.iter().cloned().collect()))]
    }

    /// No read of a list passes the cache by.
    pub(super) fn whole_past_cache(&self) -> Option<Vec<Question>> {
        None
    }

    /// The element that RPOP takes.
    pub(in super::super) fn last(&self) -> Option<&Bytes> {
        self.0.back()
    }

    /// The elements that LRANGE and LTRIM mean.
    fn span(&self, first: i64, last: i64) -> std::ops::Range<usize> {
        span(self.0.len(), first, last)
    }
}

#[derive(Clone, Debug)]
pub(in super::super) enum Operation {
    LPush(Vec<Bytes>),
    RPush(Vec<Bytes>),
    LPop,
    RPop,
    LPopSome(usize),
    RPopSome(usize),
    /// RPOPLPUSH to the list of this name.
    MoveOut(Bytes),
    /// What RPOPLPUSH does to the other list. It is never sent.
    MoveIn(Bytes),
    /// RPOPLPUSH from the list of this name onto itself.
    Turn(Bytes),
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
            // Not a big one: it would stay in doubt for good.
            0 if scale.whole && length > 0 && rng.random() => match rng.random() {
                true => Self::LPopSome(rng.random_range(1..=4)),
                false => Self::RPopSome(rng.random_range(1..=4)),
            },
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

    /// A read that has a node cache the list.
    pub(super) fn fill_cache(scale: Scale) -> Option<Self> {
        Some(if scale.whole { Self::LRange(0, -1) } else { Self::LLen })
    }

    pub(super) fn scan() -> Option<Self> {
        None
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
            Self::LPopSome(count) => Request::new("LPOP", [text(count)]),
            Self::RPopSome(count) => Request::new("RPOP", [text(count)]),
            Self::MoveOut(name) | Self::MoveIn(name) | Self::Turn(name) => Request::new("RPOPLPUSH", [name.clone()]),
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
            Self::RPop | Self::MoveOut(_) => Expected::Bulk(value.0.pop_back()),
            Self::LPopSome(count) => Expected::Popped(value.0.drain(..value.0.len().min(*count)).collect()),
            Self::RPopSome(count) => {
                let rest = value.0.len() - value.0.len().min(*count);
                Expected::Popped(value.0.drain(rest..).rev().collect())
            }
            Self::MoveIn(element) => {
                value.0.push_front(element.clone());
                Expected::Anything
            }
            Self::Turn(_) => {
                let element = value.0.pop_back();
                value.0.extend(element.clone());
                value.0.rotate_right(usize::from(element.is_some()));
                Expected::Bulk(element)
            }
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
