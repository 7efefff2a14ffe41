// SPDX-License-Identifier: Apache-2.0
//! Sorted sets by rank, score or name.
//!
//! The server looks members up by rank from the lowest finite score on. So ZRANGE and its kin never see a member with a
//! score of -inf; and as they count rows by the size of the set, ZRANGE then reads on into the rows of the next key.
//! Both are so here. Backwards the same holds for +inf, but here nothing foreign is shown.

use std::ops::{ControlFlow, Range};

use bytes::Bytes;
use snapshot::format::{BaseMeta, Column, ScoreKey, score_key};
use snapshot::score_text;

use super::call::{Answer, Call, is_word};
use super::fault::{Fault, Result};
use super::number;
use super::reply::Reply;
use super::zsets::{by_name, live, remove};

type Members = Vec<(Bytes, f64)>;

/// ZRANGE.
pub(super) fn zrange(call: &Call<'_>) -> Answer {
    let (start, stop, scores) = rank_arguments(call)?;
    let Some(meta) = live(call, call.key())? else {
        return Ok(Reply::Array(Vec::new()).into());
    };
    let ranks = ranks(&meta, start, stop);
    let rows = rows_from_finite(call, &meta, ranks.end)?;
    Ok(reply(rows.get(ranks).unwrap_or_default(), scores).into())
}

/// ZREVRANGE.
pub(super) fn zrevrange(call: &Call<'_>) -> Answer {
    let (start, stop, scores) = rank_arguments(call)?;
    let Some(meta) = live(call, call.key())? else {
        return Ok(Reply::Array(Vec::new()).into());
    };
    let rows = backwards(call, &meta)?;
    let ranks = ranks(&meta, start, stop);
    let ranks = ranks.start.min(rows.len())..ranks.end.min(rows.len());
    Ok(reply(&rows[ranks], scores).into())
}

/// ZRANGEBYSCORE.
pub(super) fn zrangebyscore(call: &Call<'_>) -> Answer {
    let range = ScoreRange::parse(&call.args[2], &call.args[3])?;
    let limit = Limit::parse(call)?;
    let members = within(call, &range)?;
    Ok(reply(limit.of(&members), limit.scores).into())
}

/// ZREVRANGEBYSCORE, the greater bound first.
pub(super) fn zrevrangebyscore(call: &Call<'_>) -> Answer {
    let range = ScoreRange::parse(&call.args[3], &call.args[2])?;
    let limit = Limit::parse(call)?;
    let mut members = within(call, &range)?;
    members.reverse();
    Ok(reply(limit.of(&members), limit.scores).into())
}

/// ZCOUNT, which answers an empty array where no score can fit.
pub(super) fn zcount(call: &Call<'_>) -> Answer {
    let range = ScoreRange::parse(&call.args[2], &call.args[3])?;
    match range.is_void() {
        true => Ok(Reply::Array(Vec::new()).into()),
        false => Ok(Reply::count(within(call, &range)?.len()).into()),
    }
}

/// ZRANK.
pub(super) fn zrank(call: &Call<'_>) -> Answer {
    rank_of(call, |call, meta| {
        let count = usize::try_from(meta.count).unwrap_or(0);
        rows_from_finite(call, meta, count)
    })
}

/// ZREVRANK.
pub(super) fn zrevrank(call: &Call<'_>) -> Answer {
    rank_of(call, backwards)
}

fn rank_of(call: &Call<'_>, rows: impl Fn(&Call<'_>, &BaseMeta) -> Result<Members>) -> Answer {
    let Some(meta) = live(call, call.key())? else {
        return Ok(Reply::Null.into());
    };
    let rank = rows(call, &meta)?.iter().position(|(member, _)| *member == call.args[2]);
    Ok(rank.map_or(Reply::Null, Reply::count).into())
}

/// ZPOPMIN.
pub(super) fn zpopmin(call: &Call<'_>) -> Answer {
    pop(call, "zpopmin", |call, meta| Ok(finite(by_score(call, call.key(), meta)?)))
}

/// ZPOPMAX.
pub(super) fn zpopmax(call: &Call<'_>) -> Answer {
    pop(call, "zpopmax", backwards)
}

fn pop(call: &Call<'_>, name: &str, rows: impl Fn(&Call<'_>, &BaseMeta) -> Result<Members>) -> Answer {
    let count = match call.args.len() {
        2 => 1,
        3 => call.integer(2)?,
        _ => return Err(Fault::wrong_number(name)),
    };
    let Some(meta) = live(call, call.key()).map_err(Fault::verbose)? else {
        return Ok(Reply::Array(Vec::new()).into());
    };
    let mut members = rows(call, &meta)?;
    members.truncate(usize::try_from(count).unwrap_or(0));
    remove(call, meta, &members)?;
    Ok(reply(&members, true).into())
}

/// ZREMRANGEBYRANK.
pub(super) fn zremrangebyrank(call: &Call<'_>) -> Answer {
    let (start, stop) = (call.integer(2)?, call.integer(3)?);
    let Some(meta) = live(call, call.key())? else {
        return Ok(Reply::Integer(0).into());
    };
    let members = finite(by_score(call, call.key(), &meta)?);
    let ranks = ranks(&meta, start, stop);
    let members = &members[ranks.start.min(members.len())..ranks.end.min(members.len())];
    remove(call, meta, members)?;
    Ok(Reply::count(members.len()).into())
}

/// ZREMRANGEBYSCORE.
pub(super) fn zremrangebyscore(call: &Call<'_>) -> Answer {
    let range = ScoreRange::parse(&call.args[2], &call.args[3])?;
    remove_all(call, &within(call, &range)?)
}

/// ZREMRANGEBYLEX, which answers an empty array where no name can fit.
pub(super) fn zremrangebylex(call: &Call<'_>) -> Answer {
    let range = NameRange::parse(&call.args[2], &call.args[3])?;
    match range.is_void() {
        true => Ok(Reply::Array(Vec::new()).into()),
        false => remove_all(call, &named(call, &range)?),
    }
}

fn remove_all(call: &Call<'_>, members: &[(Bytes, f64)]) -> Answer {
    if let Some(meta) = live(call, call.key())? {
        remove(call, meta, members)?;
    }
    Ok(Reply::count(members.len()).into())
}

/// ZRANGEBYLEX.
pub(super) fn zrangebylex(call: &Call<'_>) -> Answer {
    let range = NameRange::parse(&call.args[2], &call.args[3])?;
    let limit = Limit::parse_lex(call)?;
    Ok(reply(limit.of(&named(call, &range)?), false).into())
}

/// ZREVRANGEBYLEX, the greater bound first.
pub(super) fn zrevrangebylex(call: &Call<'_>) -> Answer {
    let range = NameRange::parse(&call.args[3], &call.args[2])?;
    let limit = Limit::parse_lex(call)?;
    let mut members = named(call, &range)?;
    members.reverse();
    Ok(reply(limit.of(&members), false).into())
}

/// ZLEXCOUNT.
pub(super) fn zlexcount(call: &Call<'_>) -> Answer {
    let range = NameRange::parse(&call.args[2], &call.args[3])?;
    Ok(Reply::count(named(call, &range)?.len()).into())
}

/// All members of a sorted set by score.
pub(super) fn by_score(call: &Call<'_>, key: &[u8], meta: &BaseMeta) -> Result<Members> {
    let mut members = Vec::new();
    call.data().scan(key, Column::ZsetScore, meta.version, None, |row, _| {
        let row = ScoreKey::decode(row)?;
        members.push((Bytes::copy_from_slice(row.member), row.score));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(members)
}

/// Bounds of scores.
pub(super) struct ScoreRange {
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) min_included: bool,
    pub(super) max_included: bool,
}

impl ScoreRange {
    /// Infinite bounds stand for the greatest finite numbers, as on the server.
    pub(super) fn parse(min: &[u8], max: &[u8]) -> Result<Self> {
        let bound = |text: &[u8]| {
            let (included, text) = text.strip_prefix(b"(").map_or((true, text), |text| (false, text));
            let score = match text {
                b"-inf" => Some(f64::MIN),
                b"inf" | b"+inf" => Some(f64::MAX),
                _ => number::float(text),
            };
            score.map(|score| (score, included)).ok_or_else(|| Fault::err("min or max is not a float"))
        };
        let ((min, min_included), (max, max_included)) = (bound(min)?, bound(max)?);
        Ok(Self { min, max, min_included, max_included })
    }

    /// Whether the server takes it for one that no score can be in.
    pub(super) fn is_void(&self) -> bool {
        self.min == f64::MAX || self.max == f64::MIN
    }

    pub(super) fn contains(&self, score: f64) -> bool {
        let above = if self.min_included { self.min <= score } else { self.min < score };
        let below = if self.max_included { score <= self.max } else { score < self.max };
        above && below
    }
}

/// The members within a range of scores, by score.
pub(super) fn within(call: &Call<'_>, range: &ScoreRange) -> Result<Members> {
    let Some(meta) = live(call, call.key())?.filter(|_| !range.is_void()) else {
        return Ok(Vec::new());
    };
    let members = by_score(call, call.key(), &meta)?;
    Ok(members.into_iter().filter(|(_, score)| range.contains(*score)).collect())
}

/// Bounds of names; none where there is no limit.
struct NameRange {
    min: Bound,
    max: Bound,
}

enum Bound {
    /// `-`.
    Lowest,
    /// `+`.
    Highest,
    /// `[name`.
    Included(Bytes),
    /// `(name`.
    Excluded(Bytes),
}

impl NameRange {
    fn parse(min: &Bytes, max: &Bytes) -> Result<Self> {
        let bound = |text: &Bytes| match text.first() {
            Some(b'-') if text.len() == 1 => Ok(Bound::Lowest),
            Some(b'+') if text.len() == 1 => Ok(Bound::Highest),
            Some(b'[') => Ok(Bound::Included(text.slice(1..))),
            Some(b'(') => Ok(Bound::Excluded(text.slice(1..))),
            _ => Err(Fault::err("min or max not valid string range item")),
        };
        Ok(Self { min: bound(min)?, max: bound(max)? })
    }

    fn is_void(&self) -> bool {
        matches!(self.min, Bound::Highest) || matches!(self.max, Bound::Lowest)
    }

    fn contains(&self, name: &Bytes) -> bool {
        let above = match &self.min {
            Bound::Lowest => true,
            Bound::Highest => false,
            Bound::Included(min) => min <= name,
            Bound::Excluded(min) => min < name,
        };
        let below = match &self.max {
            Bound::Lowest => false,
            Bound::Highest => true,
            Bound::Included(max) => name <= max,
            Bound::Excluded(max) => name < max,
        };
        above && below
    }
}

fn named(call: &Call<'_>, range: &NameRange) -> Result<Members> {
    let Some(meta) = live(call, call.key())?.filter(|_| !range.is_void()) else {
        return Ok(Vec::new());
    };
    Ok(by_name(call, &meta)?.into_iter().filter(|(name, _)| range.contains(name)).collect())
}

/// WITHSCORES and LIMIT.
struct Limit {
    scores: bool,
    offset: i64,
    count: i64,
}

impl Limit {
    fn parse(call: &Call<'_>) -> Result<Self> {
        let mut limit = Self { scores: false, offset: 0, count: -1 };
        let mut rest = call.args[4..].iter();
        while let Some(option) = rest.next() {
            if is_word(option, "withscores") {
                limit.scores = true;
            } else if is_word(option, "limit") {
                let (Some(offset), Some(count)) = (rest.next(), rest.next()) else {
                    return Err(Fault::SYNTAX);
                };
                limit.offset = number::integer(offset).ok_or(Fault::NOT_INTEGER)?;
                limit.count = number::integer(count).ok_or(Fault::NOT_INTEGER)?;
            } else {
                return Err(Fault::SYNTAX);
            }
        }
        Ok(limit)
    }

    fn parse_lex(call: &Call<'_>) -> Result<Self> {
        match call.args.len() {
            4 => Ok(Self { scores: false, offset: 0, count: -1 }),
            7 if is_word(&call.args[4], "limit") => Self::parse(call),
            _ => Err(Fault::SYNTAX),
        }
    }

    fn of<'a>(&self, members: &'a [(Bytes, f64)]) -> &'a [(Bytes, f64)] {
        let start = usize::try_from(self.offset).unwrap_or(usize::MAX).min(members.len());
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        &members[start..start.saturating_add(count).min(members.len())]
    }
}

/// The ranks of ZRANGE and ZREVRANGE, and whether scores are wanted.
pub(super) fn rank_arguments(call: &Call<'_>) -> Result<(i64, i64, bool)> {
    let scores = match call.args.len() {
        4 => false,
        5 if is_word(&call.args[4], "withscores") => true,
        _ => return Err(Fault::SYNTAX),
    };
    Ok((call.integer(2)?, call.integer(3)?, scores))
}

/// The ranks from one to another, both included, cut to those that the meta row counts.
fn ranks(meta: &BaseMeta, start: i64, stop: i64) -> Range<usize> {
    let count = i64::from(meta.count);
    let from_end = |rank: i64| if rank < 0 { rank.saturating_add(count) } else { rank };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(count - 1));
    if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
}

/// The members that the server caches of a sorted set: by rank, so with the faults of ZRANGE.
pub(super) fn front(call: &Call<'_>, meta: &BaseMeta, limit: usize) -> Result<Members> {
    rows_from_finite(call, meta, usize::try_from(meta.count).unwrap_or(0).min(limit))
}

/// `count` rows of the score index from the lowest finite score on, even where they are another key's.
fn rows_from_finite(call: &Call<'_>, meta: &BaseMeta, count: usize) -> Result<Members> {
    let from = score_key(call.key(), meta.version, f64::MIN, &[]);
    let mut rows = Vec::new();
    let mut fault = Ok(());
    let data = call.data();
    data.store.scan_from(data.instance(call.key()), Column::ZsetScore, &from, |row, _| {
        if rows.len() >= count {
            return ControlFlow::Break(());
        }
        match ScoreKey::decode(row) {
            Ok(row) => {
                rows.push((Bytes::copy_from_slice(row.member), row.score));
                ControlFlow::Continue(())
            }
            Err(error) => {
                fault = Err(error);
                ControlFlow::Break(())
            }
        }
    })?;
    fault?;
    Ok(rows)
}

fn finite(mut members: Members) -> Members {
    members.retain(|(_, score)| *score != f64::NEG_INFINITY);
    members
}

fn backwards(call: &Call<'_>, meta: &BaseMeta) -> Result<Members> {
    let mut members = by_score(call, call.key(), meta)?;
    members.retain(|(_, score)| *score != f64::INFINITY);
    members.reverse();
    Ok(members)
}

/// The answer of these members.
pub(super) fn reply(members: &[(Bytes, f64)], scores: bool) -> Reply {
    let one = |(member, score): &(Bytes, f64)| {
        let score = scores.then(|| Reply::text(score_text(*score)));
        std::iter::once(Reply::Bulk(member.clone())).chain(score)
    };
    Reply::Array(members.iter().flat_map(one).collect())
}
