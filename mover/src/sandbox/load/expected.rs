// SPDX-License-Identifier: Apache-2.0
//! What a reply must be.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::entry::{Expiry, Window};
use super::kind::Id;
use crate::sandbox::reply::Reply;

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Expected {
    Ok,
    Integer(i64),
    /// An integer from the first to the second.
    Between(i64, i64),
    Bulk(Option<Bytes>),
    /// A score, however it is written.
    Number(Option<f64>),
    List(Vec<Bytes>),
    /// In any order.
    Set(BTreeSet<Bytes>),
    /// Field, value, field, value, the pairs in any order.
    Pairs(BTreeMap<Bytes, Bytes>),
    /// Member, score, member, score.
    Scores(Vec<(Bytes, f64)>),
    /// The entries of a stream with one field each.
    Entries(Vec<(Id, Bytes, Bytes)>),
    /// What PTTL answers for a key that ends then.
    Expiry(Expiry),
    /// Nothing that counts as an answer: the command does not fit the value.
    Error,
    /// No matter what.
    Anything,
}

impl Expected {
    /// This many.
    pub(super) fn count(count: usize) -> Self {
        Self::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// Whether the reply to a request sent and answered within `window` is what it must be.
    pub(super) fn matches(&self, reply: &Reply, window: Window) -> bool {
        match (self, reply) {
            (Self::Anything, _) => true,
            (Self::Ok, Reply::Status(status)) => &status[..] == b"OK",
            (Self::Integer(expected), Reply::Integer(number)) => number == expected,
            (Self::Between(first, last), Reply::Integer(number)) => (first..=last).contains(&number),
            (Self::Expiry(expiry), Reply::Integer(milliseconds)) => expiry.allows(*milliseconds, window),
            (Self::Bulk(expected), Reply::Bulk(bulk)) => bulk == expected,
            (Self::Number(None), Reply::Bulk(None)) => true,
            (Self::Number(Some(expected)), Reply::Bulk(Some(bulk))) => number(bulk) == Some(*expected),
            (expected, Reply::Array(Some(elements))) => expected.matches_elements(elements),
            _ => false,
        }
    }

    fn matches_elements(&self, elements: &[Reply]) -> bool {
        match self {
            Self::List(expected) => bulks(elements).is_some_and(|bulks| bulks.into_iter().eq(expected)),
            Self::Set(expected) => bulks(elements).is_some_and(|bulks| {
                // A member told twice must not pass for one that is missing.
                bulks.len() == expected.len() && bulks.into_iter().collect::<BTreeSet<_>>().into_iter().eq(expected)
            }),
            Self::Pairs(expected) => bulks(elements).is_some_and(|bulks| {
                let pairs: BTreeMap<_, _> = bulks.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
                bulks.len() == expected.len() * 2 && pairs.into_iter().eq(expected)
            }),
            Self::Scores(expected) => bulks(elements).is_some_and(|bulks| {
                let pairs = bulks.chunks_exact(2).map(|pair| (pair[0], number(pair[1])));
                bulks.len() == expected.len() * 2
                    && pairs.eq(expected.iter().map(|(member, score)| (member, Some(*score))))
            }),
            Self::Entries(expected) => {
                elements.len() == expected.len()
                    && elements.iter().zip(expected).all(|(entry, expected)| matches_entry(entry, expected))
            }
            _ => false,
        }
    }
}

fn matches_entry(entry: &Reply, (id, field, value): &(Id, Bytes, Bytes)) -> bool {
    let Reply::Array(Some(parts)) = entry else {
        return false;
    };
    match &parts[..] {
        [Reply::Bulk(Some(name)), Reply::Array(Some(pair))] => {
            let named = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok()) == Some(*id);
            named && bulks(pair).is_some_and(|pair| pair == [field, value])
        }
        _ => false,
    }
}

fn bulks(elements: &[Reply]) -> Option<Vec<&Bytes>> {
    let bulk = |element| match element {
        &Reply::Bulk(Some(ref bulk)) => Some(bulk),
        _ => None,
    };
    elements.iter().map(bulk).collect()
}

fn number(bulk: &[u8]) -> Option<f64> {
    std::str::from_utf8(bulk).ok()?.parse().ok()
}
