// SPDX-License-Identifier: Apache-2.0
//! What commands for sets and sorted sets change in the cache.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{copy, is_positive};
use crate::sandbox::node::cache::Cache;
use crate::sandbox::node::cache::answers::stored_count;
use crate::sandbox::node::cache::zset::Zset;
use crate::sandbox::node::call::Call;
use crate::sandbox::node::lists;
use crate::sandbox::node::number;
use crate::sandbox::node::reply::Reply;

/// SADD.
pub(in crate::sandbox::node) fn sadd(cache: &Cache, call: &Call<'_>, _: &Reply) {
    set_of(cache, call, call.key(), |set| set.extend(call.args[2..].iter().map(copy)));
}

/// SREM, when it removed something.
pub(in crate::sandbox::node) fn srem(cache: &Cache, call: &Call<'_>, reply: &Reply) {
    if is_positive(reply) {
        set_of(cache, call, call.key(), |set| call.args[2..].iter().for_each(|member| drop(set.take(member))));
    }
}

/// SPOP, of the members it answers.
pub(in crate::sandbox::node) fn spop(cache: &Cache, call: &Call<'_>, reply: &Reply) {
    let Reply::Array(members) = reply else {
        return;
    };
    set_of(cache, call, call.key(), |set| {
        set.retain(|member| !members.iter().any(|popped| matches!(popped, Reply::Bulk(popped) if popped == member)));
    });
}

/// SMOVE, when it moved something.
pub(in crate::sandbox::node) fn smove(cache: &Cache, call: &Call<'_>, reply: &Reply) {
    if is_positive(reply) {
        set_of(cache, call, call.key(), |set| drop(set.take(&call.args[3])));
        set_of(cache, call, &call.args[2], |set| set.extend([copy(&call.args[3])]));
    }
}

/// ZADD.
pub(in crate::sandbox::node) fn zadd(cache: &Cache, call: &Call<'_>, _: &Reply) {
    let scored = |pair: &[Bytes]| number::float(&pair[0]).map(|score| (copy(&pair[1]), score));
    zset(cache, call, |zset| zset.add(call.args[2..].chunks_exact(2).filter_map(scored).collect()));
}

/// ZINCRBY, of anything but zero.
pub(in crate::sandbox::node) fn zincrby(cache: &Cache, call: &Call<'_>, reply: &Reply) {
    let is_any = call.float(2).is_ok_and(|by| by.abs() >= f64::EPSILON);
    let Reply::Bulk(text) = reply else {
        return;
    };
    let Some(score) = number::float(text).filter(|_| is_any) else {
        return;
    };
    let mut is_enough = true;
    zset(cache, call, |zset| is_enough = zset.set_score(&copy(&call.args[3]), score, stored(call)));
    if !is_enough {
        cache.remove(call.key());
    }
}

/// ZREM, when it removed something.
pub(in crate::sandbox::node) fn zrem(cache: &Cache, call: &Call<'_>, reply: &Reply) {
    if is_positive(reply) {
        shorten(cache, call, |zset| call.args[2..].iter().for_each(|member| zset.remove(member)));
    }
}

/// ZREMRANGEBYRANK, of ranks counted before it.
pub(in crate::sandbox::node) fn zremrangebyrank(cache: &Cache, call: &Call<'_>, reply: &Reply) {
    let (Ok(start), Ok(stop), Reply::Integer(removed)) = (call.integer(2), call.integer(3), reply) else {
        return;
    };
    let before = stored(call) + usize::try_from(*removed).unwrap_or(0);
    shorten(cache, call, |zset| zset.remove_ranks(lists::places(before, start, stop)));
}

/// ZREMRANGEBYSCORE, which forgets its bounds.
pub(in crate::sandbox::node) fn zremrangebyscore(cache: &Cache, call: &Call<'_>, _: &Reply) {
    shorten(cache, call, Zset::remove_zero);
}

fn set_of(cache: &Cache, call: &Call<'_>, key: &Bytes, change: impl FnOnce(&mut BTreeSet<Bytes>)) {
    cache.change(key, call, |cached| {
        if let Some(set) = cached.value.set_mut() {
            change(set);
        }
    });
}

fn zset(cache: &Cache, call: &Call<'_>, change: impl FnOnce(&mut Zset)) {
    cache.change(call.key(), call, |cached| {
        if let Some(zset) = cached.value.zset_mut() {
            change(zset);
        }
    });
}

/// Takes members off the copy of a sorted set, and drops it when too little is left of it.
fn shorten(cache: &Cache, call: &Call<'_>, change: impl FnOnce(&mut Zset)) {
    let mut is_too_short = false;
    zset(cache, call, |zset| {
        change(zset);
        is_too_short = zset.is_too_short(stored(call));
    });
    if is_too_short {
        cache.remove(call.key());
    }
}

fn stored(call: &Call<'_>) -> usize {
    usize::try_from(stored_count(call)).unwrap_or(0)
}
