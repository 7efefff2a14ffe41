// SPDX-License-Identifier: Apache-2.0
//! Reads answered from the cache. Where one gives `None`, the store is asked.
//!
//! A copy of another type counts as no copy, and so does an argument that the command refuses.

use bytes::Bytes;
use snapshot::score_text;

use super::Cache;
use super::value::Cached;
use super::zset::Zset;
use crate::sandbox::node::bits;
use crate::sandbox::node::call::Call;
use crate::sandbox::node::lists;
use crate::sandbox::node::reply::Reply;
use crate::sandbox::node::sets;
use crate::sandbox::node::strings;
use crate::sandbox::node::zset_ranges::{self, ScoreRange};
use crate::sandbox::node::zsets;

/// EXISTS of one key.
pub(in crate::sandbox::node) fn exists(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    let [_, key] = call.args else {
        return None;
    };
    cache.look(key, call.now, |_| Some(Reply::Integer(1)))
}

/// TTL, rounded to the nearest second.
pub(in crate::sandbox::node) fn ttl(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    let left = |cached: &Cached| cached.expire_at.map_or(-1, |at| (at.0 - call.now.0 + 500) as i64 / 1000);
    cache.look(call.key(), call.now, |cached| Some(Reply::Integer(left(cached))))
}

/// GET.
pub(in crate::sandbox::node) fn get(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    string(cache, call, |value| Some(Reply::Bulk(value.clone())))
}

/// MGET, when all keys are cached.
pub(in crate::sandbox::node) fn mget(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    let value = |key| cache.look(key, call.now, |cached| cached.value.string().cloned().map(Reply::Bulk));
    call.args[1..].iter().map(value).collect::<Option<_>>().map(Reply::Array)
}

/// STRLEN.
pub(in crate::sandbox::node) fn strlen(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    string(cache, call, |value| Some(Reply::count(value.len())))
}

/// GETRANGE.
pub(in crate::sandbox::node) fn getrange(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    let (start, end) = (call.integer(2).ok()?, call.integer(3).ok()?);
    string(cache, call, |value| Some(Reply::Bulk(strings::part(value, start, end))))
}

/// BITCOUNT.
pub(in crate::sandbox::node) fn bitcount(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    let range = bits::count_range(call).ok()?;
    string(cache, call, |value| Some(Reply::count(bits::count(value, range))))
}

/// HGET of a cached field.
pub(in crate::sandbox::node) fn hget(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    cache.look(call.key(), call.now, |cached| Some(Reply::Bulk(cached.value.hash()?.get(&call.args[2])?.clone())))
}

/// HMGET, which takes a field that is not cached for missing.
pub(in crate::sandbox::node) fn hmget(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    cache.look(call.key(), call.now, |cached| {
        let hash = cached.value.hash()?;
        let values = call.args[2..].iter().map(|field| Reply::bulk_or_null(hash.get(field).cloned()));
        Some(Reply::Array(values.collect()))
    })
}

/// HGETALL.
pub(in crate::sandbox::node) fn hgetall(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    cache.look(call.key(), call.now, |cached| {
        let pairs = cached.value.hash()?.iter();
        Some(Reply::bulks(pairs.flat_map(|(field, value)| [field.clone(), value.clone()])))
    })
}

/// HKEYS.
pub(in crate::sandbox::node) fn hkeys(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    cache.look(call.key(), call.now, |cached| Some(Reply::bulks(cached.value.hash()?.keys().cloned())))
}

/// HVALS.
pub(in crate::sandbox::node) fn hvals(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    cache.look(call.key(), call.now, |cached| Some(Reply::bulks(cached.value.hash()?.values().cloned())))
}

/// HLEN.
pub(in crate::sandbox::node) fn hlen(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    cache.look(call.key(), call.now, |cached| Some(Reply::count(cached.value.hash()?.len())))
}

/// HEXISTS of a cached field.
pub(in crate::sandbox::node) fn hexists(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    cache.look(call.key(), call.now, |cached| cached.value.hash()?.get(&call.args[2]).map(|_| Reply::Integer(1)))
}

/// HSTRLEN.
pub(in crate::sandbox::node) fn hstrlen(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    cache.look(call.key(), call.now, |cached| {
        Some(Reply::count(cached.value.hash()?.get(&call.args[2]).map_or(0, Bytes::len)))
    })
}

/// LRANGE.
pub(in crate::sandbox::node) fn lrange(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    let (start, stop) = (call.integer(2).ok()?, call.integer(3).ok()?);
    cache.look(call.key(), call.now, |cached| {
        let list = cached.value.list()?;
        Some(Reply::bulks(list.range(lists::places(list.len(), start, stop)).cloned()))
    })
}

/// LLEN.
pub(in crate::sandbox::node) fn llen(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    cache.look(call.key(), call.now, |cached| Some(Reply::count(cached.value.list()?.len())))
}

/// LINDEX of a cached element.
pub(in crate::sandbox::node) fn lindex(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    let index = call.integer(2).ok()?;
    cache.look(call.key(), call.now, |cached| {
        let list = cached.value.list()?;
        list.get(lists::place_in(list.len(), index)?).cloned().map(Reply::Bulk)
    })
}

/// SMEMBERS.
pub(in crate::sandbox::node) fn smembers(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    cache.look(call.key(), call.now, |cached| Some(Reply::bulks(cached.value.set()?.iter().cloned())))
}

/// SCARD.
pub(in crate::sandbox::node) fn scard(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    cache.look(call.key(), call.now, |cached| Some(Reply::count(cached.value.set()?.len())))
}

/// SISMEMBER of a cached member.
pub(in crate::sandbox::node) fn sismember(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    cache.look(call.key(), call.now, |cached| cached.value.set()?.get(&call.args[2]).map(|_| Reply::Integer(1)))
}

/// SRANDMEMBER.
pub(in crate::sandbox::node) fn srandmember(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    let count = sets::random_count(call).ok()?;
    let all: Vec<Bytes> =
        cache.look(call.key(), call.now, |cached| Some(cached.value.set()?.iter().cloned().collect()))?;
    Some(sets::chosen(all, count))
}

/// ZRANGE, when the ranks that the store counts are all cached.
pub(in crate::sandbox::node) fn zrange(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    let (start, stop, scores) = zset_ranges::rank_arguments(call).ok()?;
    let found = range(cache, call, |zset, stored| zset.range(start, stop, stored).map(<[_]>::to_vec))?;
    Some(zset_ranges::reply(&found, scores))
}

/// ZREVRANGE, likewise.
pub(in crate::sandbox::node) fn zrevrange(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    let (start, stop, scores) = zset_ranges::rank_arguments(call).ok()?;
    let mut found = range(cache, call, |zset, stored| zset.range_from_end(start, stop, stored).map(<[_]>::to_vec))?;
    found.reverse();
    Some(zset_ranges::reply(&found, scores))
}

/// ZSCORE of a cached member.
pub(in crate::sandbox::node) fn zscore(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    zset(cache, call, |zset| Some(Reply::text(score_text(zset.score(&call.args[2])?))))
}

/// ZRANK of a cached member.
pub(in crate::sandbox::node) fn zrank(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    zset(cache, call, |zset| zset.rank(&call.args[2]).map(Reply::count))
}

/// ZREVRANK of a cached member: its place from the end of the cache, and what the store has more than that.
pub(in crate::sandbox::node) fn zrevrank(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    let from_front = zset(cache, call, |zset| zset.rank(&call.args[2]))?;
    Some(Reply::Integer(stored_count(call) - 1 - from_front as i64))
}

/// ZCOUNT, when all scores up to the greater bound are cached.
pub(in crate::sandbox::node) fn zcount(cache: &Cache, call: &Call<'_>) -> Option<Reply> {
    let range = ScoreRange::parse(&call.args[2], &call.args[3]).ok().filter(|range| !range.is_void())?;
    zset(cache, call, |zset| {
        let count = || zset.members().iter().filter(|(_, score)| range.contains(*score)).count();
        zset.reaches(range.max, range.max_included).then(|| Reply::count(count()))
    })
}

fn string(cache: &Cache, call: &Call<'_>, read: impl FnOnce(&Bytes) -> Option<Reply>) -> Option<Reply> {
    cache.look(call.key(), call.now, |cached| read(cached.value.string()?))
}

fn zset<R>(cache: &Cache, call: &Call<'_>, read: impl FnOnce(&Zset) -> Option<R>) -> Option<R> {
    cache.look(call.key(), call.now, |cached| read(cached.value.zset()?))
}

/// Members by rank. A copy that holds too little of the set is dropped, so that the miss loads it again.
fn range(
    cache: &Cache,
    call: &Call<'_>,
    read: impl FnOnce(&Zset, i64) -> Option<Vec<(Bytes, f64)>>,
) -> Option<Vec<(Bytes, f64)>> {
    let (found, is_too_short) = zset(cache, call, |zset| {
        let stored = stored_count(call);
        let found = read(zset, stored);
        let is_too_short = found.is_none() && zset.is_too_short(usize::try_from(stored).unwrap_or(0));
        Some((found, is_too_short))
    })?;
    if is_too_short {
        cache.remove(call.key());
    }
    found
}

/// How many members the store counts. The server takes every trouble there for none.
pub(super) fn stored_count(call: &Call<'_>) -> i64 {
    zsets::live(call, call.key()).ok().flatten().map_or(0, |meta| i64::from(meta.count))
}
