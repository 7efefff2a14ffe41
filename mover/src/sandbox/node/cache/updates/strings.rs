// SPDX-License-Identifier: Apache-2.0
//! What commands for strings change in the cache.

use bytes::Bytes;
use snapshot::UnixMillis;

use super::copy;
use crate::sandbox::node::cache::Cache;
use crate::sandbox::node::cache::value::Value;
use crate::sandbox::node::call::Call;
use crate::sandbox::node::number;
use crate::sandbox::node::reply::Reply;
use crate::sandbox::node::strings::{self, Condition};

/// SET, but not with NX.
pub(in crate::sandbox::node) fn set(cache: &Cache, call: &Call<'_>, reply: &Reply) {
    let is_made = matches!(reply, Reply::Status(_) | Reply::Integer(1));
    match strings::set_options(call) {
        Ok((Condition::IfAbsent, _)) | Err(_) => {}
        Ok((_, ttl)) if is_made => match ttl {
            None => overwrite(cache, call, call.key(), &call.args[2], None),
            Some(millis) => overwrite_for(cache, call, &call.args[2], millis / 1000),
        },
        Ok(_) => {}
    }
}

/// SETEX.
pub(in crate::sandbox::node) fn setex(cache: &Cache, call: &Call<'_>, _: &Reply) {
    if let Ok(seconds) = call.integer(2) {
        overwrite_for(cache, call, &call.args[3], seconds);
    }
}

/// PSETEX. A time below one second changes nothing.
pub(in crate::sandbox::node) fn psetex(cache: &Cache, call: &Call<'_>, _: &Reply) {
    if let Ok(millis) = call.integer(2) {
        overwrite_for(cache, call, &call.args[3], millis / 1000);
    }
}

/// PKSETEXAT.
pub(in crate::sandbox::node) fn pksetexat(cache: &Cache, call: &Call<'_>, _: &Reply) {
    let Ok(at) = call.integer(2) else {
        return;
    };
    match at - call.now.0 as i64 / 1000 {
        seconds @ 1.. => overwrite_for(cache, call, &call.args[3], seconds),
        _ => cache.remove(call.key()),
    }
}

/// GETSET.
pub(in crate::sandbox::node) fn getset(cache: &Cache, call: &Call<'_>, _: &Reply) {
    overwrite(cache, call, call.key(), &call.args[2], None);
}

/// MSET.
pub(in crate::sandbox::node) fn mset(cache: &Cache, call: &Call<'_>, _: &Reply) {
    for pair in call.args[1..].chunks_exact(2) {
        overwrite(cache, call, &pair[0], &pair[1], None);
    }
}

/// INCR.
pub(in crate::sandbox::node) fn incr(cache: &Cache, call: &Call<'_>, _: &Reply) {
    add(cache, call, Some(1));
}

/// INCRBY.
pub(in crate::sandbox::node) fn incrby(cache: &Cache, call: &Call<'_>, _: &Reply) {
    add(cache, call, call.integer(2).ok());
}

/// DECR.
pub(in crate::sandbox::node) fn decr(cache: &Cache, call: &Call<'_>, _: &Reply) {
    add(cache, call, Some(-1));
}

/// DECRBY.
pub(in crate::sandbox::node) fn decrby(cache: &Cache, call: &Call<'_>, _: &Reply) {
    add(cache, call, call.integer(2).ok().and_then(i64::checked_neg));
}

/// INCRBYFLOAT.
pub(in crate::sandbox::node) fn incrbyfloat(cache: &Cache, call: &Call<'_>, _: &Reply) {
    string(cache, call, |old| float_sum(old, &call.args[2]));
}

/// APPEND.
pub(in crate::sandbox::node) fn append(cache: &Cache, call: &Call<'_>, _: &Reply) {
    string(cache, call, |old| Some([old, &call.args[2][..]].concat().into()));
}

/// SETRANGE, of the whole argument where the store stops at a NUL byte.
pub(in crate::sandbox::node) fn setrange(cache: &Cache, call: &Call<'_>, _: &Reply) {
    let Some(offset) = call.integer(2).ok().and_then(|offset| usize::try_from(offset).ok()) else {
        return;
    };
    let part = &call.args[3];
    string(cache, call, |old| {
        let mut value = old.to_vec();
        if !part.is_empty() {
            value.resize(value.len().max(offset + part.len()), 0);
            value[offset..offset + part.len()].copy_from_slice(part);
        }
        Some(value.into())
    });
}

/// SETBIT, which lengthens the copy even for a zero.
pub(in crate::sandbox::node) fn setbit(cache: &Cache, call: &Call<'_>, _: &Reply) {
    let Some(offset) = call.integer(2).ok().and_then(|offset| usize::try_from(offset).ok()) else {
        return;
    };
    string(cache, call, |old| {
        let mut value = old.to_vec();
        value.resize(value.len().max(offset / 8 + 1), 0);
        let mask = 0x80 >> (offset % 8);
        match call.args[3].as_ref() {
            b"0" => value[offset / 8] &= !mask,
            _ => value[offset / 8] |= mask,
        }
        Some(value.into())
    });
}

/// Makes the copy of a key, of whatever type, this string.
fn overwrite(cache: &Cache, call: &Call<'_>, key: &Bytes, value: &Bytes, expire_at: Option<UnixMillis>) {
    cache.change(key, call, |cached| {
        cached.value = Value::String(copy(value));
        cached.expire_at = expire_at;
    });
}

/// As [`overwrite`], for so many seconds; for none the copy stays what it is.
fn overwrite_for(cache: &Cache, call: &Call<'_>, value: &Bytes, seconds: i64) {
    if seconds > 0 {
        let expire_at = call.now.0.saturating_add_signed(seconds.saturating_mul(1000));
        overwrite(cache, call, call.key(), value, Some(UnixMillis(expire_at)));
    }
}

fn add(cache: &Cache, call: &Call<'_>, by: Option<i64>) {
    string(cache, call, |old| Some(number::text(number::integer(old)?.checked_add(by?)?)));
}

/// The sum as the server computes it for the cache: with an increment that went through a 64-bit float.
pub(super) fn float_sum(old: &[u8], by: &[u8]) -> Option<Bytes> {
    let by = format!("{:.17}", number::float(by)?);
    number::decimal_sum(old, by.as_bytes()).ok().map(Bytes::from)
}

fn string(cache: &Cache, call: &Call<'_>, change: impl FnOnce(&[u8]) -> Option<Bytes>) {
    cache.change(call.key(), call, |cached| {
        if let Some(string) = cached.value.string_mut()
            && let Some(changed) = change(string)
        {
            *string = changed;
        }
    });
}
