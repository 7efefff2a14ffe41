// SPDX-License-Identifier: Apache-2.0
//! Commands for sorted sets; what is chosen by rank, score or name stands in `zset_ranges`.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use replication::Command;
use snapshot::format::{BaseKind, BaseMeta, Column, DataKey, SetValue, ZsetValue, data_key, meta_key, score_key};
use snapshot::{Batch, score_text};

use super::call::{Answer, Call, Done, Logged, is_word};
use super::cursor::{Page, ScanOptions};
use super::fault::{Fault, Result};
use super::number;
use super::reply::Reply;
use super::sets::in_chunks;
use super::zset_ranges::by_score;

/// ZADD, without any options.
pub(super) fn zadd(call: &Call<'_>) -> Answer {
    let pairs = call.args[2..].chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(Fault::SYNTAX);
    }
    let scored = |pair: &[Bytes]| number::float(&pair[0]).map(|score| (pair[1].clone(), score)).ok_or(Fault::NOT_FLOAT);
    let members = pairs.map(scored).collect::<Result<Vec<_>>>()?;
    Ok(Reply::count(add(call, call.key(), &members)?).into())
}

/// ZINCRBY.
pub(super) fn zincrby(call: &Call<'_>) -> Answer {
    let by = call.float(2)?;
    let member = &call.args[3];
    let sum = score_of(call, call.key(), member).map_err(Fault::verbose)?.unwrap_or(0.0) + by;
    add(call, call.key(), &[(member.clone(), sum)])?;
    Ok(Reply::text(score_text(sum)).into())
}

/// ZREM.
pub(super) fn zrem(call: &Call<'_>) -> Answer {
    let Some(meta) = live(call, call.key())? else {
        return Ok(Reply::Integer(0).into());
    };
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for member in call.args[2..].iter().filter(|member| seen.insert(*member)) {
        if let Some(score) = stored_score(call, call.key(), &meta, member)? {
            found.push((member.clone(), score));
        }
    }
    remove(call, meta, &found)?;
    Ok(Reply::count(found.len()).into())
}

/// ZSCORE.
pub(super) fn zscore(call: &Call<'_>) -> Answer {
    let score = score_of(call, call.key(), &call.args[2])?;
    Ok(score.map_or(Reply::Null, |score| Reply::text(score_text(score))).into())
}

/// ZCARD.
pub(super) fn zcard(call: &Call<'_>) -> Answer {
    Ok(Reply::Integer(live(call, call.key())?.map_or(0, |meta| i64::from(meta.count))).into())
}

/// ZSCAN, which gives the long error line for a wrong type. It is the one way to read a whole sorted set that is right
/// for every score.
pub(super) fn zscan(call: &Call<'_>) -> Answer {
    let options = ScanOptions::parse(call, Fault::wrong_number("zscan"))?;
    let Some(meta) = live(call, call.key()).map_err(Fault::verbose)? else {
        return Ok(Page::empty().reply().into());
    };
    let page = options.page(call, Column::Zset, meta.version, |member, row| {
        Ok(vec![member, Bytes::from(score_text(ZsetValue::decode(row)?.score))])
    })?;
    Ok(page.reply().into())
}

/// ZUNIONSTORE. Like ZINTERSTORE it is logged as a `del` and `zadd`s of the result, also when it fails.
pub(super) fn zunionstore(call: &Call<'_>) -> Answer {
    let sources = Sources::parse(call)?;
    let mut union: BTreeMap<Bytes, f64> = BTreeMap::new();
    for (key, weight) in sources.weighted() {
        match weighted(call, key, weight) {
            Ok(members) => members.into_iter().for_each(|(member, score)| {
                let merged = |old: &mut f64| *old = unsigned_zero(sources.aggregate.of(*old, score));
                union.entry(member).and_modify(merged).or_insert(score);
            }),
            Err(fault) => return store(call, union.into_iter().collect(), Err(fault)),
        }
    }
    store(call, union.into_iter().collect(), Ok(()))
}

/// ZINTERSTORE.
pub(super) fn zinterstore(call: &Call<'_>) -> Answer {
    let sources = Sources::parse(call)?;
    let mut common = Vec::new();
    let mut fault = Ok(());
    match weighted(call, &sources.keys[0], sources.weights[0]) {
        Ok(first) => {
            for (member, score) in first {
                match in_all(call, &sources, &member, score) {
                    Ok(Some(score)) => common.push((member, score)),
                    Ok(None) => {}
                    Err(error) => {
                        fault = Err(error);
                        break;
                    }
                }
            }
        }
        Err(error) => fault = Err(error),
    }
    store(call, common, fault)
}

/// The score of a member of the first source over all of them, if all have it.
fn in_all(call: &Call<'_>, sources: &Sources<'_>, member: &Bytes, mut score: f64) -> Result<Option<f64>> {
    for (key, weight) in sources.weighted().skip(1) {
        match score_of(call, key, member)? {
            Some(other) => score = sources.aggregate.of(score, other * weight),
            None => return Ok(None),
        }
    }
    Ok(Some(score))
}

/// The sources of a stored union or intersection.
struct Sources<'a> {
    keys: &'a [Bytes],
    weights: Vec<f64>,
    aggregate: Aggregate,
}

/// How the scores of a member become one.
#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl<'a> Sources<'a> {
    fn parse(call: &Call<'a>) -> Result<Self> {
        let count = call.integer(2)?;
        let count = match usize::try_from(count) {
            Ok(count @ 1..) => count,
            _ => return Err(Fault::err("at least 1 input key is needed for ZUNIONSTORE/ZINTERSTORE")),
        };
        let keys = count.checked_add(3).and_then(|end| call.args.get(3..end)).ok_or(Fault::SYNTAX)?;
        let mut sources = Self { keys, weights: vec![1.0; count], aggregate: Aggregate::Sum };
        let mut rest = call.args[3 + count..].iter();
        while let Some(option) = rest.next() {
            if is_word(option, "weights") {
                for weight in &mut sources.weights {
                    let text = rest.next().ok_or(Fault::SYNTAX)?;
                    *weight = number::float(text).ok_or_else(|| Fault::err("weight value is not a float"))?;
                }
            } else if is_word(option, "aggregate") {
                sources.aggregate = match rest.next() {
                    Some(word) if is_word(word, "sum") => Aggregate::Sum,
                    Some(word) if is_word(word, "min") => Aggregate::Min,
                    Some(word) if is_word(word, "max") => Aggregate::Max,
                    _ => return Err(Fault::SYNTAX),
                };
            } else {
                return Err(Fault::SYNTAX);
            }
        }
        Ok(sources)
    }

    fn weighted(&self) -> impl Iterator<Item = (&'a Bytes, f64)> {
        self.keys.iter().zip(self.weights.iter().copied())
    }
}

impl Aggregate {
    fn of(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Sum => left + right,
            Self::Min => left.min(right),
            Self::Max => left.max(right),
        }
    }
}

/// The members of a source by name. Those with a score of -inf are not seen.
fn weighted(call: &Call<'_>, key: &Bytes, weight: f64) -> Result<Vec<(Bytes, f64)>> {
    // A set is no wrong type to the server, but its members are not found where those of sorted sets are.
    let meta = match live(call, key) {
        Err(Fault::WrongType(wrong)) if wrong.found == "set" => None,
        found => found?,
    };
    let Some(meta) = meta else {
        return Ok(Vec::new());
    };
    let mut members: Vec<_> = by_score(call, key, &meta)?
        .into_iter()
        .filter(|(_, score)| *score != f64::NEG_INFINITY)
        .map(|(member, score)| (member, unsigned_zero(score * weight)))
        .collect();
    members.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(members)
}

fn unsigned_zero(score: f64) -> f64 {
    if score == 0.0 { 0.0 } else { score }
}

/// Replaces the target with `members`, unless finding them ended in a fault.
fn store(call: &Call<'_>, members: Vec<(Bytes, f64)>, found: Result<()>) -> Answer {
    let target = call.key();
    let mut log = vec![Command::new([Bytes::from_static(b"del"), target.clone()])];
    let elements = members.iter().map(|(member, score)| [Bytes::from(score_text(*score)), member.clone()]);
    log.extend(in_chunks(b"zadd", target, elements));
    let put = || {
        found?;
        live(call, target)?;
        call.data().delete(target, call.now)?;
        add(call, target, &members)
    };
    let reply = put().map_or_else(Fault::reply, |_| Reply::count(members.len()));
    Ok(Done::logged(reply, Logged::Rewritten(log)))
}

/// Puts members in, of one named twice the first score, and tells how many are new.
pub(super) fn add(call: &Call<'_>, key: &Bytes, members: &[(Bytes, f64)]) -> Result<usize> {
    let (mut meta, lived) = call.data().base_to_fill(key, BaseKind::Zset, call.now)?;
    let mut batch = call.data().batch(key);
    let mut seen = HashSet::new();
    let mut added = 0;
    for (member, score) in members.iter().filter(|(member, _)| seen.insert(member)) {
        let old = if lived { stored_score(call, key, &meta, member)? } else { None };
        match old {
            Some(old) if old == *score => continue,
            Some(old) => batch.delete(Column::ZsetScore, score_key(key, meta.version, old, member)),
            None => added += 1,
        }
        let created = Some(call.now);
        let value = ZsetValue { score: *score, created }.encode();
        batch.put(Column::Zset, data_key(key, meta.version, member), value);
        batch.put(Column::ZsetScore, score_key(key, meta.version, *score, member), SetValue { created }.encode());
    }
    let too_big = || Fault::err("Invalid argument: zset size overflow");
    meta.count = i32::try_from(added).ok().and_then(|added| meta.count.checked_add(added)).ok_or_else(too_big)?;
    batch.put(Column::Default, meta_key(key), meta.encode());
    call.data().write(batch)?;
    Ok(added)
}

/// Takes members with these scores out.
pub(super) fn remove(call: &Call<'_>, mut meta: BaseMeta, members: &[(Bytes, f64)]) -> Result<()> {
    let key = call.key();
    let mut batch: Batch<'_> = call.data().batch(key);
    for (member, score) in members {
        batch.delete(Column::Zset, data_key(key, meta.version, member));
        batch.delete(Column::ZsetScore, score_key(key, meta.version, *score, member));
    }
    meta.count -= i32::try_from(members.len()).unwrap_or(meta.count);
    batch.put(Column::Default, meta_key(key), meta.encode());
    call.data().write(batch)
}

/// The meta row of a sorted set, if it lives.
pub(super) fn live(call: &Call<'_>, key: &Bytes) -> Result<Option<BaseMeta>> {
    call.data().base(key, BaseKind::Zset, call.now)
}

/// All members in the order of their names.
pub(super) fn by_name(call: &Call<'_>, meta: &BaseMeta) -> Result<Vec<(Bytes, f64)>> {
    let mut members = Vec::new();
    call.data().scan(call.key(), Column::Zset, meta.version, None, |row, value| {
        let member = Bytes::copy_from_slice(DataKey::decode(row)?.element);
        members.push((member, ZsetValue::decode(value)?.score));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(members)
}

/// The score of a member. A set holds no member with a score, but is no wrong type.
pub(super) fn score_of(call: &Call<'_>, key: &Bytes, member: &[u8]) -> Result<Option<f64>> {
    match live(call, key) {
        Err(Fault::WrongType(wrong)) if wrong.found == "set" => Ok(None),
        Err(fault) => Err(fault),
        Ok(None) => Ok(None),
        Ok(Some(meta)) => stored_score(call, key, &meta, member),
    }
}

fn stored_score(call: &Call<'_>, key: &[u8], meta: &BaseMeta, member: &[u8]) -> Result<Option<f64>> {
    let row = call.data().get(key, Column::Zset, &data_key(key, meta.version, member))?;
    row.map(|row| Ok(ZsetValue::decode(&row)?.score)).transpose()
}
