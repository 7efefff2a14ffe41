// SPDX-License-Identifier: Apache-2.0
//! Keys that were not the same on both sides when they were looked at, while both sides may be written to.
//!
//! No log says here why two sides differ, so time must: a key that a follower is about to bring to the target is equal a
//! moment later, and one that is written all the time is never twice the same. What stays as it is at one side at least and
//! is not found at the other one, look after look, is different.

use std::collections::HashMap;

use bytes::Bytes;

use super::difference::{Difference, Differing};
use super::digest::Digest;
use super::sides::Looked;

/// The keys that differed at every look so far.
#[derive(Default)]
pub(super) struct Suspects {
    keys: HashMap<Bytes, Suspect>,
}

/// What is known of one of them.
struct Suspect {
    source: Option<Digest>,
    target: Option<Digest>,
    /// Whether a side had the same at every look.
    source_stays: bool,
    target_stays: bool,
    how: Difference,
}

impl Suspects {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Their names.
    pub(super) fn keys(&self) -> Vec<Bytes> {
        self.keys.keys().cloned().collect()
    }

    /// Takes note of a look: a key that is equal is no suspect any more.
    pub(super) fn note(&mut self, looked: Looked) {
        let Some(how) = looked.difference() else {
            self.keys.remove(&looked.key);
            return;
        };
        let Looked { key, source, target, is_settled } = looked;
        let new = || Suspect { source, target, source_stays: true, target_stays: true, how };
        let suspect = self.keys.entry(key).or_insert_with(new);
        suspect.source_stays &= is_settled && is_same(&suspect.source, &source);
        suspect.target_stays &= is_settled && is_same(&suspect.target, &target);
        if is_settled {
            suspect.how = how;
        }
    }

    /// Takes all of them out, in the order of their names: those that differ, and those that changed at both sides.
    pub(super) fn take(&mut self) -> (Vec<Differing>, Vec<Bytes>) {
        let mut all: Vec<_> = std::mem::take(&mut self.keys).into_iter().collect();
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let (mut differing, mut changing) = (Vec::new(), Vec::new());
        for (key, suspect) in all {
            match suspect.source_stays || suspect.target_stays {
                true => differing.push(Differing { key, how: suspect.how }),
                false => changing.push(key),
            }
        }
        (differing, changing)
    }
}

/// Whether a side has what it had: an expiry that was asked for twice is never the same to the millisecond.
fn is_same(before: &Option<Digest>, now: &Option<Digest>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => before.difference(now).is_none(),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapshot::Body;

    fn looked(source: &'static str, target: &'static str) -> Looked {
        let side = |value: &'static str| (!value.is_empty()).then(|| Digest::of(&Body::String(value.into())));
        Looked { key: "key".into(), source: side(source), target: side(target), is_settled: true }
    }

    /// What a key counts as that both sides had so, look after look.
    fn judged(looks: &[(&'static str, &'static str)]) -> (Vec<Difference>, usize) {
        let mut suspects = Suspects::default();
        looks.iter().for_each(|(source, target)| suspects.note(looked(source, target)));
        let (differing, changing) = suspects.take();
        assert!(suspects.is_empty());
        (differing.into_iter().map(|differing| differing.how).collect(), changing.len())
    }

    #[test]
    fn what_stays_different_is_different() {
        assert_eq!(judged(&[("a", "b"), ("a", "b")]), (vec![Difference::Value], 0));
        assert_eq!(judged(&[("a", ""), ("a", "")]), (vec![Difference::Missing], 0));
        assert_eq!(judged(&[("", "b"), ("", "b")]), (vec![Difference::Extra], 0));
        // The clients of one side go on, the other one never has what they have.
        assert_eq!(judged(&[("a", "b"), ("a", "c"), ("a", "")]), (vec![Difference::Missing], 0));
        assert_eq!(judged(&[("a", "x"), ("b", "x"), ("c", "x")]), (vec![Difference::Value], 0));
    }

    #[test]
    fn what_was_equal_once_is_no_suspect() {
        assert_eq!(judged(&[("a", "b"), ("b", "b")]), (vec![], 0));
        assert_eq!(judged(&[("a", "b"), ("", "")]), (vec![], 0));
        assert_eq!(judged(&[("a", "a")]), (vec![], 0));
    }

    #[test]
    fn what_changes_at_both_sides_cannot_be_told() {
        assert_eq!(judged(&[("b", "a"), ("c", "b"), ("d", "c")]), (vec![], 1));
        let mut suspects = Suspects::default();
        let torn = || Looked { is_settled: false, ..looked("a", "b") };
        [torn(), looked("a", "b")].into_iter().for_each(|looked| suspects.note(looked));
        assert_eq!(suspects.take(), (vec![], vec![Bytes::from("key")]));
    }
}
