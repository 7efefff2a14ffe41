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
    /// A count up to this one that no other client was told.
    Untold(i64),
    Bulk(Option<Bytes>),
    /// A score, however it is written.
    Number(Option<f64>),
    List(Vec<Bytes>),
    /// In any order.
    Set(BTreeSet<Bytes>),
    /// Field, value, field, value, the pairs in any order.
    Pairs(BTreeMap<Bytes, Bytes>),
    /// What a pop with a count answers; where it took one element, some nodes answer that element alone.
    Popped(Vec<Bytes>),
    /// The only page of a scan.
    Page(Box<Self>),
    /// Member, score, member, score, in any order.
    Members(BTreeMap<Bytes, f64>),
    /// Member, score, member, score, by rank.
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
            (Self::Popped(expected), Reply::Bulk(Some(bulk))) => expected.iter().eq([bulk]),
            (Self::Popped(expected), Reply::Bulk(None) | Reply::Array(None)) => expected.is_empty(),
            (Self::Page(expected), Reply::Array(Some(parts))) => match &parts[..] {
                [Reply::Bulk(Some(cursor)), page] => &cursor[..] == b"0" && expected.matches(page, window),
                _ => false,
            },
            (expected, Reply::Array(Some(elements))) => expected.matches_elements(elements),
            _ => false,
        }
    }

    fn matches_elements(&self, elements: &[Reply]) -> bool {
        match self {
            Self::List(expected) | Self::Popped(expected) => {
                bulks(elements).is_some_and(|bulks| bulks.into_iter().eq(expected))
            }
            Self::Set(expected) => bulks(elements).is_some_and(|bulks| {
                // A member told twice must not pass for one that is missing.
                bulks.len() == expected.len() && bulks.into_iter().collect::<BTreeSet<_>>().into_iter().eq(expected)
            }),
            Self::Pairs(expected) => bulks(elements).is_some_and(|bulks| {
                let pairs: BTreeMap<_, _> = bulks.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
                bulks.len() == expected.len() * 2 && pairs.into_iter().eq(expected)
            }),
            Self::Members(expected) => bulks(elements).is_some_and(|bulks| {
                let pairs: BTreeMap<_, _> = bulks.chunks_exact(2).map(|pair| (pair[0], number(pair[1]))).collect();
                bulks.len() == expected.len() * 2
                    && pairs.into_iter().eq(expected.iter().map(|(member, score)| (member, Some(*score))))
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

#[cfg(test)]
mod tests {
    use super::super::kind::text;
    use super::*;

    fn array(words: &str) -> Reply {
        Reply::Array(Some(words.split_whitespace().map(|word| Reply::Bulk(Some(text(word)))).collect()))
    }

    fn matches(expected: &Expected, reply: &Reply) -> bool {
        expected.matches(reply, Window { first: 1000, last: 1200, slack: 50 })
    }

    #[test]
    fn collections_are_compared_whole() {
        let set = Expected::Set(["a", "b"].map(text).into());
        assert!(matches(&set, &array("b a")));
        for wrong in ["a", "a b c", "a a", "a a b", "a c", ""] {
            assert!(!matches(&set, &array(wrong)), "{wrong}");
        }
        let pairs = Expected::Pairs([("f", "1"), ("g", "2")].map(|(field, value)| (text(field), text(value))).into());
        assert!(matches(&pairs, &array("g 2 f 1")));
        for wrong in ["f 1", "f 1 g 3", "f 1 g 2 h 3", "f 1 f 1", "f 1 g", "f 1 g 2 f"] {
            assert!(!matches(&pairs, &array(wrong)), "{wrong}");
        }
        let scores = Expected::Scores(vec![(text("a"), -0.5), (text("b"), 3.0)]);
        assert!(matches(&scores, &array("a -0.5 b 3")));
        for wrong in ["b 3 a -0.5", "a -0.5", "a 0.5 b 3", "a -0.5 b x"] {
            assert!(!matches(&scores, &array(wrong)), "{wrong}");
        }
    }

    #[test]
    fn an_expiry_has_a_window() {
        // Set between 1000 and 1200 for ten seconds, asked in the same window, 50 ms of slack.
        let expiry = Expiry::after(10, Window { first: 1000, last: 1200, slack: 0 });
        let expected = Expected::Expiry(expiry);
        for right in [9750, 10_000, 10_250] {
            assert!(matches(&expected, &Reply::Integer(right)), "{right}");
        }
        for wrong in [-1, -2, 0, 9749, 10_251] {
            assert!(!matches(&expected, &Reply::Integer(wrong)), "{wrong}");
        }
    }

    #[test]
    fn an_error_is_never_right() {
        let error = Reply::Error(Bytes::from("ERR"));
        for expected in [Expected::Ok, Expected::Error, Expected::Bulk(None), Expected::List(Vec::new())] {
            assert!(!matches(&expected, &error));
        }
    }
}
