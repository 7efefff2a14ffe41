// SPDX-License-Identifier: Apache-2.0
//! Sorted sets. Scores are wholes and halves: exact in binary, and written alike by every node. Never -inf, which Pika's
//! ZRANGE loses.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use super::super::expected::Expected;
use super::geo::Point;
use super::{Question, Request, Scale, span, text};

#[derive(Clone, Default, Debug)]
pub(in super::super) struct Value(BTreeMap<Bytes, f64>);

impl Value {
    pub(super) fn is_absent(&self) -> bool {
        self.0.is_empty()
    }

    /// By ZSCORE of every member and by their number, which does not depend on any order.
    pub(super) fn whole(&self) -> Vec<Question> {
        let card = (Operation::ZCard.request(), Expected::count(self.0.len()));
        let score = |(member, &score): (&Bytes, _)| {
            (Operation::ZScore(member.clone()).request(), Expected::Number(Some(score)))
        };
        std::iter::once(card).chain(self.0.iter().map(score)).collect()
    }

    pub(super) fn whole_past_cache(&self) -> Option<Vec<Question>> {
        Some(vec![(Operation::ZScan.request(), self.page())])
    }

    fn page(&self) -> Expected {
        Expected::Page(Box::new(Expected::Members(self.0.clone())))
    }

    fn ranked(&self) -> Vec<(Bytes, f64)> {
        let mut members: Vec<_> = self.0.iter().map(|(member, &score)| (member.clone(), score)).collect();
        // The sort is stable and the members are in order, as equal scores want it.
        members.sort_by(|a, b| a.1.total_cmp(&b.1));
        members
    }
}

#[derive(Clone, Debug)]
pub(in super::super) enum Operation {
    ZAdd(Vec<(f64, Bytes)>),
    ZIncrBy(f64, Bytes),
    ZRem(Vec<Bytes>),
    /// So many from the front, or from the end.
    ZPop(End, Option<usize>),
    GeoAdd(Point, Bytes),
    ZScore(Bytes),
    ZCard,
    /// Ranks from the first to the second.
    ZRange(i64, i64),
    ZScan,
}

/// From where a sorted set is popped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum End {
    Lowest,
    Highest,
}

impl Operation {
    pub(super) fn choose(_value: &Value, rng: &mut StdRng, scale: Scale) -> Self {
        match rng.random_range(0..12) {
            0 if rng.random() => Self::pop(rng),
            4 if rng.random() => Self::GeoAdd(Point::any(rng), scale.name(rng, 'm')),
            0..=3 => Self::ZAdd(scale.names(rng, 'm').into_iter().map(|member| (score(rng), member)).collect()),
            4..=5 => Self::ZIncrBy(score(rng), scale.name(rng, 'm')),
            6..=7 => Self::ZRem(scale.names(rng, 'm')),
            8 if scale.whole => Self::ZRange(0, -1),
            9 => Self::ZCard,
            _ => Self::ZScore(scale.name(rng, 'm')),
        }
    }

    fn pop(rng: &mut StdRng) -> Self {
        let end = if rng.random() { End::Lowest } else { End::Highest };
        Self::ZPop(end, rng.random_bool(0.5).then(|| rng.random_range(1..=4)))
    }

    /// A read that has a node cache the sorted set.
    pub(super) fn fill_cache(scale: Scale) -> Option<Self> {
        Some(Self::ZRange(0, if scale.whole { -1 } else { 9 }))
    }

    /// A read of all of it that no cache answers.
    pub(super) fn scan() -> Option<Self> {
        Some(Self::ZScan)
    }

    /// Adds members of these numbers.
    pub(super) fn fill(numbers: &[usize]) -> Self {
        let pair = |&number: &usize| {
            let score = f64::from(u32::try_from(number % 1_000_000).unwrap_or_default()) / 2.0;
            (score, text(format_args!("m{number}")))
        };
        Self::ZAdd(numbers.iter().map(pair).collect())
    }

    pub(super) fn request(&self) -> Request {
        match self {
            Self::ZAdd(pairs) => {
                Request::new("ZADD", pairs.iter().flat_map(|(score, member)| [text(score), member.clone()]))
            }
            Self::ZIncrBy(step, member) => Request::new("ZINCRBY", [text(step), member.clone()]),
            Self::ZRem(members) => Request::new("ZREM", members.iter().cloned()),
            Self::ZScore(member) => Request::new("ZSCORE", [member.clone()]),
            Self::ZCard => Request::new("ZCARD", []),
            Self::ZRange(first, last) => Request::new("ZRANGE", [text(first), text(last), text("WITHSCORES")]),
            Self::ZScan => Request::scan("ZSCAN"),
            Self::ZPop(end, count) => {
                let name = if *end == End::Lowest { "ZPOPMIN" } else { "ZPOPMAX" };
                Request::new(name, count.map(text))
            }
            Self::GeoAdd(point, member) => {
                Request::new("GEOADD", [text(point.longitude()), text(point.latitude()), member.clone()])
            }
        }
    }

    pub(super) fn apply(&self, value: &mut Value) -> Expected {
        let zset = &mut value.0;
        match self {
            Self::ZAdd(pairs) => {
                let added = pairs.iter().filter(|(score, member)| zset.insert(member.clone(), *score).is_none());
                Expected::count(added.count())
            }
            Self::ZIncrBy(step, member) => {
                let score = zset.entry(member.clone()).or_default();
                *score += step;
                Expected::Number(Some(*score))
            }
            Self::ZRem(members) => {
                Expected::count(members.iter().filter(|&member| zset.remove(member).is_some()).count())
            }
            Self::ZScore(member) => Expected::Number(zset.get(member).copied()),
            Self::ZCard => Expected::count(zset.len()),
            Self::ZRange(first, last) => {
                let all = value.ranked();
                Expected::Scores(all[span(all.len(), *first, *last)].to_vec())
            }
            Self::ZScan => value.page(),
            Self::ZPop(end, count) => {
                let mut popped = value.ranked();
                if *end == End::Highest {
                    popped.reverse();
                }
                popped.truncate(count.unwrap_or(1));
                value.0.retain(|member, _| popped.iter().all(|(gone, _)| gone != member));
                Expected::Scores(popped)
            }
            Self::GeoAdd(point, member) => {
                let before = zset.insert(member.clone(), point.score());
                Expected::Integer(i64::from(before.is_none()))
            }
        }
    }
}

fn score(rng: &mut StdRng) -> f64 {
    f64::from(rng.random_range(-2000..=2000)) / 2.0
}
