// SPDX-License-Identifier: Apache-2.0
//! The cached front of a sorted set: its lowest members, as many as the server keeps.
//!
//! The server guesses from counts and bounds what of a sorted set is cached, and so do these.

use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;

/// The members with the lowest scores, in the order of their ranks.
#[derive(Default)]
pub(super) struct Zset {
    members: Vec<(Bytes, f64)>,
}

impl Zset {
    /// What the server keeps of these members, given by rank.
    pub(super) fn front(mut members: Vec<(Bytes, f64)>) -> Self {
        members.truncate(MEMBERS_MAX);
        Self { members }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// All members by rank.
    pub(super) fn members(&self) -> &[(Bytes, f64)] {
        &self.members
    }

    /// The rank of a member among those cached.
    pub(super) fn rank(&self, member: &[u8]) -> Option<usize> {
        self.members.iter().position(|(other, _)| other == member)
    }

    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.rank(member).map(|rank| self.members[rank].1)
    }

    /// The members at these ranks of the whole set, of which the store counts `stored`; `None` when not all are cached.
    pub(super) fn range(&self, start: i64, stop: i64, stored: i64) -> Option<&[(Bytes, f64)]> {
        let from_end = |rank: i64| if rank < 0 { rank.saturating_add(stored) } else { rank };
        let (start, stop) = (from_end(start).max(0), from_end(stop).min(stored - 1));
        self.at(start, stop)
    }

    /// The members at these ranks counted from the highest, lowest of them first. The server counts back from `stored`
    /// for the ranks and from what it has cached for the members.
    pub(super) fn range_from_end(&self, start: i64, stop: i64, stored: i64) -> Option<&[(Bytes, f64)]> {
        let mirrored = |rank: i64| if rank >= 0 { stored - rank - 1 } else { (-1i64).saturating_sub(rank) };
        self.at(mirrored(stop).max(0), mirrored(start).min(stored - 1))
    }

    fn at(&self, start: i64, stop: i64) -> Option<&[(Bytes, f64)]> {
        let (start, stop) = (usize::try_from(start).ok()?, usize::try_from(stop).ok()?);
        if start > stop { None } else { self.members.get(start..=stop) }
    }

    /// Whether all members up to a score are cached, as far as the server can tell.
    pub(super) fn reaches(&self, max: f64, max_included: bool) -> bool {
        let (Some((_, lowest)), Some((_, highest))) = (self.members.first(), self.members.last()) else {
            return false;
        };
        let below = if self.len() == MEMBERS_MAX || max_included { max < *highest } else { max <= *highest };
        below && max >= *lowest
    }

    /// Whether it holds so little of a set of `stored` members that the server loads it again.
    pub(super) fn is_too_short(&self, stored: usize) -> bool {
        is_too_short(self.len(), stored)
    }

    /// What ZADD does to it: a member at the highest cached score drops all others from zero on, as the server hands an
    /// empty text to the cache as the lower bound.
    pub(super) fn add(&mut self, members: Vec<(Bytes, f64)>) {
        let Some(highest) = self.members.last().map(|(_, score)| *score) else {
            return;
        };
        // Of a member named twice the last score counts, where the store takes the first.
        let mut seen = HashSet::new();
        let members = members.into_iter().rev().filter(|(member, _)| seen.insert(member.clone())).collect::<Vec<_>>();
        if members.iter().all(|(_, score)| *score < highest) {
            members.into_iter().for_each(|(member, score)| self.put(member, score));
        } else {
            let (inside, outside): (Vec<_>, Vec<_>) = members.into_iter().partition(|(_, score)| *score <= highest);
            let touches = inside.iter().any(|(_, score)| *score == highest);
            let is_any_inside = !inside.is_empty();
            inside.into_iter().for_each(|(member, score)| self.put(member, score));
            if is_any_inside {
                let bound = rounded(highest);
                self.members.retain(|(_, score)| if touches { *score < 0.0 } else { *score <= bound });
            }
            outside.iter().for_each(|(member, _)| self.remove(member));
        }
        self.members.truncate(MEMBERS_MAX);
    }

    /// What ZINCRBY does to it; `false` when the server would then load it again.
    pub(super) fn set_score(&mut self, member: &Bytes, score: f64, stored: usize) -> bool {
        let Some(highest) = self.members.last().map(|(_, score)| *score) else {
            return true;
        };
        let before = self.len();
        if score < highest {
            self.put(member.clone(), score);
            self.members.truncate(MEMBERS_MAX);
            return true;
        }
        self.remove(member);
        if score == highest {
            let bound = rounded(highest);
            self.members.retain(|(_, other)| *other != bound);
        }
        !is_too_short(before, stored)
    }

    /// What ZREM does to it.
    pub(super) fn remove(&mut self, member: &[u8]) {
        self.members.retain(|(other, _)| other != member);
    }

    /// What ZREMRANGEBYRANK does to it, with the ranks of the whole set.
    pub(super) fn remove_ranks(&mut self, ranks: Range<usize>) {
        let end = ranks.end.min(self.len());
        if ranks.start < end {
            self.members.drain(ranks.start..end);
        }
    }

    /// What ZREMRANGEBYSCORE does to it, whatever its bounds: the server hands on two empty texts, which mean zero.
    pub(super) fn remove_zero(&mut self) {
        self.members.retain(|(_, score)| *score != 0.0);
    }

    fn put(&mut self, member: Bytes, score: f64) {
        self.remove(&member);
        let place = self.members.partition_point(|(other, at)| (*at, other) < (score, &member));
        self.members.insert(place, (member, score));
    }
}

/// The server writes a bound with six decimals.
fn rounded(score: f64) -> f64 {
    format!("{score:.6}").parse().unwrap_or(score)
}

fn is_too_short(cached: usize, stored: usize) -> bool {
    stored > 0 && cached * 2 < stored.min(MEMBERS_MAX)
}

/// `zset-cache-field-num-per-key` and a fifth more.
pub(super) const MEMBERS_MAX: usize = 614;

#[cfg(test)]
mod tests {
    use super::*;

    fn zset(members: &[(&'static str, f64)]) -> Zset {
        Zset::front(members.iter().map(|(name, score)| (Bytes::from(*name), *score)).collect())
    }

    fn names(members: &[(Bytes, f64)]) -> String {
        members.iter().map(|(name, _)| std::str::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn ranks_are_counted_by_the_store_and_members_by_the_cache() {
        let cached = zset(&[("a", 1.0), ("b", 2.0), ("c", 3.0)]);
        assert_eq!(names(cached.range(0, -1, 2).unwrap()), "ab");
        assert_eq!(names(cached.range_from_end(0, -1, 2).unwrap()), "ab");
        assert!(cached.range(0, -1, 4).is_none() && cached.range(0, -1, 0).is_none());
    }

    #[test]
    fn a_member_above_the_highest_is_not_kept_and_one_at_it_empties() {
        let mut cached = zset(&[("a", 1.0), ("b", 2.0), ("c", 3.0)]);
        cached.add(vec![(Bytes::from("a"), 9.0)]);
        assert_eq!(names(cached.members()), "bc");
        cached.add(vec![(Bytes::from("d"), -1.0), (Bytes::from("c"), 3.0)]);
        assert_eq!(names(cached.members()), "d");
    }
}
