// SPDX-License-Identifier: Apache-2.0
//! Sets.

use std::collections::BTreeSet;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use super::super::expected::Expected;
use super::{Question, Request, Scale};

#[derive(Clone, Default, Debug)]
pub(in super::super) struct Value(BTreeSet<Bytes>);

impl Value {
    pub(super) fn is_absent(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn whole(&self) -> Vec<Question> {
        vec![(Operation::SMembers.request(), Expected::Set(self.0.clone()))]
    }

    pub(super) fn whole_past_cache(&self) -> Option<Vec<Question>> {
        Some(vec![(Operation::SScan.request(), self.page())])
    }

    fn page(&self) -> Expected {
        Expected::Page(Box::new(Expected::Set(self.0.clone())))
    }
}

#[derive(Clone, Debug)]
#[expect(clippy::enum_variant_names, reason = "the commands have these names")]
pub(in super::super) enum Operation {
    SAdd(Vec<Bytes>),
    SRem(Vec<Bytes>),
    SIsMember(Bytes),
    SCard,
    SMembers,
    SScan,
}

impl Operation {
    pub(super) fn choose(_value: &Value, rng: &mut StdRng, scale: Scale) -> Self {
        match rng.random_range(0..10) {
            0..=3 => Self::SAdd(scale.names(rng, 'm')),
            4..=6 => Self::SRem(scale.names(rng, 'm')),
            7 if scale.whole => Self::SMembers,
            7 | 8 => Self::SIsMember(scale.name(rng, 'm')),
            _ => Self::SCard,
        }
    }

    /// A read that has a node cache the set.
    pub(super) fn fill_cache(_scale: Scale) -> Option<Self> {
        Some(Self::SMembers)
    }

    /// A read of all of it that no cache answers.
    pub(super) fn scan() -> Option<Self> {
        Some(Self::SScan)
    }

    pub(super) fn request(&self) -> Request {
        match self {
            Self::SAdd(members) => Request::new("SADD", members.iter().cloned()),
            Self::SRem(members) => Request::new("SREM", members.iter().cloned()),
            Self::SIsMember(member) => Request::new("SISMEMBER", [member.clone()]),
            Self::SCard => Request::new("SCARD", []),
            Self::SMembers => Request::new("SMEMBERS", []),
            Self::SScan => Request::scan("SSCAN"),
        }
    }

    pub(super) fn apply(&self, value: &mut Value) -> Expected {
        let set = &mut value.0;
        match self {
            Self::SAdd(members) => Expected::count(members.iter().filter(|&member| set.insert(member.clone())).count()),
            Self::SRem(members) => Expected::count(members.iter().filter(|&member| set.remove(member)).count()),
            Self::SIsMember(member) => Expected::Integer(i64::from(set.contains(member))),
            Self::SCard => Expected::count(set.len()),
            Self::SMembers => Expected::Set(set.clone()),
            Self::SScan => value.page(),
        }
    }
}
