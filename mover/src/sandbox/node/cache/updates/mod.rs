// SPDX-License-Identifier: Apache-2.0
//! What writes change in the cache: the copy of a key that is cached, and never more than that.
//!
//! The server repeats the command on its copy instead of copying the result, so a stale copy stays stale.

mod elements;
mod sets;
mod strings;

use bytes::Bytes;
use snapshot::UnixMillis;

use super::Cache;
use crate::sandbox::node::call::{Call, is_word};
use crate::sandbox::node::reply::Reply;

pub(in crate::sandbox::node) use self::elements::*;
pub(in crate::sandbox::node) use self::sets::*;
pub(in crate::sandbox::node) use self::strings::*;

/// DEL.
pub(in crate::sandbox::node) fn del(cache: &Cache, call: &Call<'_>, _: &Reply) {
    call.args[1..].iter().for_each(|key| cache.remove(key));
}

/// SUNIONSTORE and its kin, which drop the target.
pub(in crate::sandbox::node) fn target(cache: &Cache, call: &Call<'_>, _: &Reply) {
    cache.remove(call.key());
}

/// BITOP, which drops the target.
pub(in crate::sandbox::node) fn bitop(cache: &Cache, call: &Call<'_>, _: &Reply) {
    cache.remove(&call.args[2]);
}

/// GEORADIUS and GEORADIUSBYMEMBER with STORE or STOREDIST, which drop the target.
pub(in crate::sandbox::node) fn georadius(cache: &Cache, call: &Call<'_>, _: &Reply) {
    for option in call.args.windows(2).skip(1) {
        if is_word(&option[0], "store") || is_word(&option[0], "storedist") {
            cache.remove(&option[1]);
        }
    }
}

/// EXPIRE, and PEXPIRE, whose milliseconds the server hands on as seconds.
pub(in crate::sandbox::node) fn expire(cache: &Cache, call: &Call<'_>, _: &Reply) {
    if let Ok(seconds) = call.integer(2) {
        expire_at(cache, call, (call.now.0 as i64).saturating_add(seconds.saturating_mul(1000)));
    }
}

/// EXPIREAT.
pub(in crate::sandbox::node) fn expireat(cache: &Cache, call: &Call<'_>, _: &Reply) {
    if let Ok(seconds) = call.integer(2) {
        expire_at(cache, call, seconds.saturating_mul(1000));
    }
}

/// PEXPIREAT, cut to whole seconds but not to 32 bits.
pub(in crate::sandbox::node) fn pexpireat(cache: &Cache, call: &Call<'_>, _: &Reply) {
    if let Ok(millis) = call.integer(2) {
        expire_at(cache, call, millis / 1000 * 1000);
    }
}

/// PERSIST.
pub(in crate::sandbox::node) fn persist(cache: &Cache, call: &Call<'_>, _: &Reply) {
    cache.change(call.key(), call, |cached| cached.expire_at = None);
}

fn expire_at(cache: &Cache, call: &Call<'_>, millis: i64) {
    match u64::try_from(millis) {
        Ok(at) if at > call.now.0 => cache.change(call.key(), call, |cached| cached.expire_at = Some(UnixMillis(at))),
        _ => cache.remove(call.key()),
    }
}

fn is_positive(reply: &Reply) -> bool {
    matches!(reply, Reply::Integer(1..))
}

/// The request's own slice would keep all of the request in memory.
fn copy(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
