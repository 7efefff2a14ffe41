// SPDX-License-Identifier: Apache-2.0
//! What commands for hashes and lists change in the cache.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::strings::float_sum;
use super::{copy, is_positive};
use crate::sandbox::node::cache::Cache;
use crate::sandbox::node::call::{Call, is_word};
use crate::sandbox::node::lists::{self, End};
use crate::sandbox::node::number;
use crate::sandbox::node::reply::Reply;

/// HSET and HMSET.
pub(in crate::sandbox::node) fn hset(cache: &Cache, call: &Call<'_>, _: &Reply) {
    hash(cache, call, |hash| {
        for pair in call.args[2..].chunks_exact(2) {
            hash.insert(copy(&pair[0]), copy(&pair[1]));
        }
    });
}

/// HSETNX, which looks for the field in the copy.
pub(in crate::sandbox::node) fn hsetnx(cache: &Cache, call: &Call<'_>, _: &Reply) {
    hash(cache, call, |hash| {
        hash.entry(copy(&call.args[2])).or_insert_with(|| copy(&call.args[3]));
    });
}

/// HDEL, when it deleted something.
pub(in crate::sandbox::node) fn hdel(cache: &Cache, call: &Call<'_>, reply: &Reply) {
    if is_positive(reply) {
        hash(cache, call, |hash| call.args[2..].iter().for_each(|field| drop(hash.remove(field))));
    }
}

/// HINCRBY.
pub(in crate::sandbox::node) fn hincrby(cache: &Cache, call: &Call<'_>, _: &Reply) {
    hash(cache, call, |hash| {
        let old = hash.get(&call.args[2]).map_or(Some(0), |old| number::integer(old));
        let sum = old.and_then(|old| old.checked_add(call.integer(3).ok()?));
        if let Some(sum) = sum {
            hash.insert(copy(&call.args[2]), number::text(sum));
        }
    });
}

/// HINCRBYFLOAT.
pub(in crate::sandbox::node) fn hincrbyfloat(cache: &Cache, call: &Call<'_>, _: &Reply) {
    hash(cache, call, |hash| {
        let old = hash.get(&call.args[2]).map_or(&b"0"[..], |old| old);
        if let Some(sum) = float_sum(old, &call.args[3]) {
            hash.insert(copy(&call.args[2]), sum);
        }
    });
}

/// LPUSH and LPUSHX.
pub(in crate::sandbox::node) fn lpush(cache: &Cache, call: &Call<'_>, reply: &Reply) {
    if is_positive(reply) {
        list(cache, call, |list| call.args[2..].iter().for_each(|element| list.push_front(copy(element))));
    }
}

/// RPUSH and RPUSHX.
pub(in crate::sandbox::node) fn rpush(cache: &Cache, call: &Call<'_>, reply: &Reply) {
    if is_positive(reply) {
        list(cache, call, |list| list.extend(call.args[2..].iter().map(copy)));
    }
}

/// LPOP, which takes one element off the copy however many it took.
pub(in crate::sandbox::node) fn lpop(cache: &Cache, call: &Call<'_>, reply: &Reply) {
    if *reply != Reply::Null {
        popped(cache, call, call.key(), End::Left);
    }
}

/// RPOP, likewise.
pub(in crate::sandbox::node) fn rpop(cache: &Cache, call: &Call<'_>, reply: &Reply) {
    if *reply != Reply::Null {
        popped(cache, call, call.key(), End::Right);
    }
}

/// BLPOP, which names the list it took from.
pub(in crate::sandbox::node) fn blpop(cache: &Cache, call: &Call<'_>, reply: &Reply) {
    blocking_pop(cache, call, reply, End::Left);
}

/// BRPOP, likewise.
pub(in crate::sandbox::node) fn brpop(cache: &Cache, call: &Call<'_>, reply: &Reply) {
    blocking_pop(cache, call, reply, End::Right);
}

/// LSET.
pub(in crate::sandbox::node) fn lset(cache: &Cache, call: &Call<'_>, _: &Reply) {
    list(cache, call, |list| {
        let place = call.integer(2).ok().and_then(|index| lists::place_in(list.len(), index));
        if let Some(element) = place.and_then(|place| list.get_mut(place)) {
            *element = copy(&call.args[3]);
        }
    });
}

/// LREM, when it removed something.
pub(in crate::sandbox::node) fn lrem(cache: &Cache, call: &Call<'_>, reply: &Reply) {
    let Some(count) = call.integer(2).ok().filter(|_| is_positive(reply)) else {
        return;
    };
    list(cache, call, |list| {
        let limit = if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
        let equal = (0..list.len()).filter(|&place| list[place] == call.args[3]);
        let doomed: Vec<usize> =
            if count < 0 { equal.rev().take(limit).collect() } else { equal.take(limit).collect() };
        let mut place = 0;
        list.retain(|_| {
            place += 1;
            !doomed.contains(&(place - 1))
        });
    });
}

/// LTRIM.
pub(in crate::sandbox::node) fn ltrim(cache: &Cache, call: &Call<'_>, _: &Reply) {
    let (Ok(start), Ok(stop)) = (call.integer(2), call.integer(3)) else {
        return;
    };
    list(cache, call, |list| {
        let kept = lists::places(list.len(), start, stop);
        list.truncate(kept.end);
        list.drain(..kept.start);
    });
}

/// LINSERT, when it found its pivot.
pub(in crate::sandbox::node) fn linsert(cache: &Cache, call: &Call<'_>, reply: &Reply) {
    if !is_positive(reply) {
        return;
    }
    list(cache, call, |list| {
        if let Some(place) = list.iter().position(|element| *element == call.args[3]) {
            list.insert(place + usize::from(!is_word(&call.args[2], "before")), copy(&call.args[4]));
        }
    });
}

/// Takes one element off the copy of a list.
fn popped(cache: &Cache, call: &Call<'_>, key: &Bytes, end: End) {
    cache.change(key, call, |cached| {
        if let Some(list) = cached.value.list_mut() {
            match end {
                End::Left => drop(list.pop_front()),
                End::Right => drop(list.pop_back()),
            }
        }
    });
}

fn blocking_pop(cache: &Cache, call: &Call<'_>, reply: &Reply, end: End) {
    if let Reply::Array(parts) = reply
        && let Some(Reply::Bulk(key)) = parts.first()
    {
        popped(cache, call, key, end);
    }
}

fn hash(cache: &Cache, call: &Call<'_>, change: impl FnOnce(&mut BTreeMap<Bytes, Bytes>)) {
    cache.change(call.key(), call, |cached| {
        if let Some(hash) = cached.value.hash_mut() {
            change(hash);
        }
    });
}

fn list(cache: &Cache, call: &Call<'_>, change: impl FnOnce(&mut VecDeque<Bytes>)) {
    cache.change(call.key(), call, |cached| {
        if let Some(list) = cached.value.list_mut() {
            change(list);
        }
    });
}
