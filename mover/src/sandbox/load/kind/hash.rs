// SPDX-License-Identifier: Apache-2.0
//! Hashes: fields `f…` hold bytes, fields `n…` count.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use super::super::expected::Expected;
use super::{Question, Request, Scale, blob, text};

#[derive(Clone, Default, Debug)]
pub(in super::super) struct Value(BTreeMap<Bytes, Bytes>);

impl Value {
    pub(super) fn is_absent(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn whole(&self) -> Vec<Question> {
        vec![(Operation::HGetAll.request(), Expected::Pairs(self.0.clone()))]
    }

    pub(super) fn whole_past_cache(&self) -> Option<Vec<Question>> {
        Some(vec![(Operation::HScan.request(), self.page())])
    }

    fn page(&self) -> Expected {
        Expected::Page(Box::new(Expected::Pairs(self.0.clone())))
    }
}

#[derive(Clone, Debug)]
#[expect(clippy::enum_variant_names, reason = "the commands have these names")]
pub(in super::super) enum Operation {
    HSet(Bytes, Bytes),
    HMSet(Vec<(Bytes, Bytes)>),
    HDel(Vec<Bytes>),
    HIncrBy(Bytes, i64),
    HGet(Bytes),
    HLen,
    HGetAll,
    HScan,
}

impl Operation {
    pub(super) fn choose(_value: &Value, rng: &mut StdRng, scale: Scale) -> Self {
        match rng.random_range(0..12) {
            0..=2 => Self::HSet(scale.name(rng, 'f'), blob(rng)),
            3..=4 => Self::HMSet(scale.names(rng, 'f').into_iter().map(|name| (name, blob(rng))).collect()),
            5 => Self::HDel(scale.names(rng, 'f')),
            6 => Self::HDel(scale.names(rng, 'n')),
            7 if !scale.whole => Self::count_up(rng),
            7..=8 => Self::HIncrBy(scale.name(rng, 'n'), rng.random_range(-1000..=1000)),
            9 => Self::HGet(scale.name(rng, 'f')),
            10 if scale.whole => Self::HGetAll,
            10 => Self::HGet(scale.name(rng, 'n')),
            _ => Self::HLen,
        }
    }

    /// Writes the field of a big hash that is written all the time.
    pub(super) fn count_up(rng: &mut StdRng) -> Self {
        Self::HIncrBy(text("n0"), rng.random_range(-1000..=1000))
    }

    /// Sets one field.
    pub(super) fn set_one(rng: &mut StdRng, scale: Scale) -> Self {
        Self::HSet(scale.name(rng, 'f'), blob(rng))
    }

    /// A read that has a node cache the hash.
    pub(super) fn fill_cache(scale: Scale) -> Option<Self> {
        Some(if scale.whole { Self::HGetAll } else { Self::HLen })
    }

    /// A read of all of it that no cache answers.
    pub(super) fn scan() -> Option<Self> {
        Some(Self::HScan)
    }

    /// Sets the fields of these numbers.
    pub(super) fn fill(numbers: &[usize]) -> Self {
        let pair = |number| (text(format_args!("f{number}")), text(format_args!("value of {number}")));
        Self::HMSet(numbers.iter().map(pair).collect())
    }

    pub(super) fn request(&self) -> Request {
        match self {
            Self::HSet(field, value) => Request::new("HSET", [field.clone(), value.clone()]),
            Self::HMSet(pairs) => {
                Request::new("HMSET", pairs.iter().flat_map(|(field, value)| [field.clone(), value.clone()]))
            }
            Self::HDel(fields) => Request::new("HDEL", fields.iter().cloned()),
            Self::HIncrBy(field, step) => Request::new("HINCRBY", [field.clone(), text(step)]),
            Self::HGet(field) => Request::new("HGET", [field.clone()]),
            Self::HLen => Request::new("HLEN", []),
            Self::HGetAll => Request::new("HGETALL", []),
            Self::HScan => Request::scan("HSCAN"),
        }
    }

    pub(super) fn apply(&self, value: &mut Value) -> Expected {
        let hash = &mut value.0;
        match self {
            Self::HSet(field, value) => {
                let before = hash.insert(field.clone(), value.clone());
                Expected::Integer(i64::from(before.is_none()))
            }
            Self::HMSet(pairs) => {
                hash.extend(pairs.iter().cloned());
                Expected::Ok
            }
            Self::HDel(fields) => Expected::count(fields.iter().filter(|&field| hash.remove(field).is_some()).count()),
            Self::HIncrBy(field, step) => {
                let before = hash.get(field).map_or(Some(0), |value| std::str::from_utf8(value).ok()?.parse().ok());
                let Some(before): Option<i64> = before else {
                    return Expected::Error;
                };
                hash.insert(field.clone(), text(before + step));
                Expected::Integer(before + step)
            }
            Self::HGet(field) => Expected::Bulk(hash.get(field).cloned()),
            Self::HLen => Expected::count(hash.len()),
            Self::HGetAll => Expected::Pairs(hash.clone()),
            Self::HScan => value.page(),
        }
    }
}
