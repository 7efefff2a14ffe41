// SPDX-License-Identifier: Apache-2.0
//! What a read that missed puts into the cache: the whole key, however little of it was read.
//!
//! Each command has the time that is left of the key in milliseconds, and hands it to the cache as seconds in its own
//! wrong way: -1 stands for a key that never expires, and any other time below one second drops what is cached.

use bytes::Bytes;
use snapshot::UnixMillis;
use snapshot::format::BaseKind;

use super::Cache;
use super::value::{Cached, Value};
use super::zset::{MEMBERS_MAX, Zset};
use crate::sandbox::node::call::Call;
use crate::sandbox::node::fault::Result;
use crate::sandbox::node::reply::Reply;
use crate::sandbox::node::{hashes, lists, sets, zset_ranges, zsets};

/// A value read from the store, and when its key expires.
type Loaded = Result<Option<(Value, Option<UnixMillis>)>>;

/// After GET, which so caches no string without an expiry.
pub(in crate::sandbox::node) fn after_get(cache: &Cache, call: &Call<'_>, reply: Reply) -> Reply {
    fill(cache, call, call.key(), string(call, call.key()), |left| left / 1000);
    reply
}

/// After STRLEN, which caches no string without an expiry either, and the others for too long.
pub(in crate::sandbox::node) fn after_strlen(cache: &Cache, call: &Call<'_>, reply: Reply) -> Reply {
    fill(cache, call, call.key(), string(call, call.key()), |left| if left > 0 { left } else { left / 1000 });
    reply
}

/// After GETRANGE and BITCOUNT.
pub(in crate::sandbox::node) fn string_for_too_long(cache: &Cache, call: &Call<'_>, reply: Reply) -> Reply {
    fill(cache, call, call.key(), string(call, call.key()), |left| left);
    reply
}

/// After MGET, some of whose keys may have been cached all the same: those are answered from the cache.
pub(in crate::sandbox::node) fn after_mget(cache: &Cache, call: &Call<'_>, reply: Reply) -> Reply {
    let Reply::Array(mut values) = reply else {
        return reply;
    };
    for (key, value) in call.args[1..].iter().zip(&mut values) {
        match cache.look(key, call.now, |cached| cached.value.string().cloned()) {
            Some(cached) => *value = Reply::Bulk(cached),
            None => fill(cache, call, key, string(call, key), in_seconds),
        }
    }
    Reply::Array(values)
}

/// After a read of a hash.
pub(in crate::sandbox::node) fn hash(cache: &Cache, call: &Call<'_>, reply: Reply) -> Reply {
    let load = || {
        let Some(meta) = hashes::live(call)?.filter(|meta| is_short(i64::from(meta.count))) else {
            return Ok(None);
        };
        Ok(Some((Value::Hash(hashes::fields(call)?.into_iter().collect()), meta.expire_at)))
    };
    fill(cache, call, call.key(), load(), |left| left);
    reply
}

/// After a read of a list.
pub(in crate::sandbox::node) fn list(cache: &Cache, call: &Call<'_>, reply: Reply) -> Reply {
    let load = || {
        let meta = call.data().list(call.key(), call.now)?;
        let Some(meta) = meta.filter(|meta| is_short(meta.count as i64)) else {
            return Ok(None);
        };
        Ok(Some((Value::List(lists::all(call, &meta)?.into()), meta.expire_at)))
    };
    fill(cache, call, call.key(), load(), |left| left);
    reply
}

/// After a read of a set.
pub(in crate::sandbox::node) fn set(cache: &Cache, call: &Call<'_>, reply: Reply) -> Reply {
    let load = || {
        let meta = call.data().base(call.key(), BaseKind::Set, call.now)?;
        let Some(meta) = meta.filter(|meta| is_short(i64::from(meta.count))) else {
            return Ok(None);
        };
        let members = sets::members(call, call.key(), &meta)?;
        Ok(Some((Value::Set(members.into_iter().collect()), meta.expire_at)))
    };
    fill(cache, call, call.key(), load(), in_seconds);
    reply
}

/// After a read of a sorted set, of which only the front is cached.
pub(in crate::sandbox::node) fn zset(cache: &Cache, call: &Call<'_>, reply: Reply) -> Reply {
    let load = || {
        let Some(meta) = zsets::live(call, call.key())? else {
            return Ok(None);
        };
        Ok(Some((Value::Zset(Zset::front(zset_ranges::front(call, &meta, MEMBERS_MAX)?)), meta.expire_at)))
    };
    fill(cache, call, call.key(), load(), |left| left);
    reply
}

fn string(call: &Call<'_>, key: &Bytes) -> Loaded {
    let found = call.data().string(key, call.now)?;
    Ok(found.map(|string| (Value::String(string.value), string.expire_at)))
}

/// Caches what was loaded. A key that cannot be loaded is not cached, and nobody is told.
fn fill(cache: &Cache, call: &Call<'_>, key: &Bytes, loaded: Loaded, seconds_of: impl Fn(i64) -> i64) {
    let Ok(Some((value, expire_at))) = loaded else {
        return;
    };
    let left = expire_at.map_or(FOREVER, |at| at.0 as i64 - call.now.0 as i64);
    match seconds_of(left) {
        FOREVER => cache.insert(key, call.now, Cached::new(value, None)),
        seconds @ 1.. => {
            let expire_at = call.now.0.saturating_add_signed(seconds.saturating_mul(1000));
            cache.insert(key, call.now, Cached::new(value, Some(UnixMillis(expire_at))));
        }
        _ => cache.remove(key),
    }
}

/// The one right way.
fn in_seconds(left: i64) -> i64 {
    if left > 0 { left / 1000 } else { left }
}

fn is_short(count: i64) -> bool {
    count <= ELEMENTS_MAX
}

/// What the server takes for a time that never ends.
const FOREVER: i64 = -1;
/// The server caches no longer hash, list or set.
const ELEMENTS_MAX: i64 = 2048;
