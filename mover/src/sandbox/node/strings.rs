// SPDX-License-Identifier: Apache-2.0
//! Commands for strings.

use bytes::Bytes;
use replication::Command;
use snapshot::UnixMillis;

use super::call::{Answer, Call, Done, Logged, is_word};
use super::data::StringRow;
use super::fault::{Fault, Result};
use super::number::{self, SumError};
use super::reply::Reply;

/// When a SET applies.
pub(super) enum Condition {
    Always,
    IfAbsent,
    IfPresent,
    IfValue(Bytes),
}

/// SET with EX, PX, NX, XX and Pika's own VX. With a time and no condition it is logged as `pksetexat`, otherwise as it
/// came, also when it did not apply.
pub(super) fn set(call: &Call<'_>) -> Answer {
    let (condition, ttl) = set_options(call)?;
    let value = &call.args[2];
    let expire_at = ttl.filter(|&ttl| ttl > 0).map(|ttl| after(call.now, ttl));
    let put = || call.data().set(call.key(), value, expire_at, call.now);
    match condition {
        Condition::Always => {
            let Some(ttl) = ttl else {
                put()?;
                return Ok(Reply::OK.into());
            };
            set_for(call, value, ttl)?;
            let at = call.now.0 as i64 / 1000 + ttl / 1000;
            Ok(Done::logged(Reply::OK, pksetexat(call.key(), at, value)))
        }
        Condition::IfAbsent => {
            let taken = call.data().row(call.key())?.is_some_and(|row| !row.is_stale(call.now));
            if taken {
                return Ok(Reply::Null.into());
            }
            put()?;
            Ok(Reply::OK.into())
        }
        Condition::IfPresent => {
            if call.data().string(call.key(), call.now)?.is_none() {
                return Ok(Reply::Null.into());
            }
            put()?;
            Ok(Reply::OK.into())
        }
        Condition::IfValue(expected) => match call.data().string(call.key(), call.now)? {
            None => Ok(Reply::Integer(0).into()),
            Some(old) if old.value != expected => Ok(Reply::Integer(-1).into()),
            Some(_) => {
                put()?;
                Ok(Reply::Integer(1).into())
            }
        },
    }
}

/// The condition of a SET and the milliseconds it is for.
pub(super) fn set_options(call: &Call<'_>) -> Result<(Condition, Option<i64>)> {
    let mut condition = Condition::Always;
    let mut ttl = None;
    let mut options = call.args[3..].iter();
    while let Some(option) = options.next() {
        if is_word(option, "xx") {
            condition = Condition::IfPresent;
        } else if is_word(option, "nx") {
            condition = Condition::IfAbsent;
        } else if is_word(option, "vx") {
            condition = Condition::IfValue(options.next().ok_or(Fault::SYNTAX)?.clone());
        } else if is_word(option, "ex") || is_word(option, "px") {
            let time = number::integer(options.next().ok_or(Fault::SYNTAX)?).ok_or(Fault::NOT_INTEGER)?;
            ttl = Some(if is_word(option, "ex") { time.saturating_mul(1000) } else { time });
        } else {
            return Err(Fault::SYNTAX);
        }
    }
    Ok((condition, ttl))
}

/// SETNX, logged also when it did not apply.
pub(super) fn setnx(call: &Call<'_>) -> Answer {
    let taken = call.data().row(call.key())?.is_some_and(|row| !row.is_stale(call.now));
    if !taken {
        call.data().set(call.key(), &call.args[2], None, call.now)?;
    }
    let log = Logged::as_command([Bytes::from_static(b"setnx"), call.key().clone(), call.args[2].clone()]);
    Ok(Done::logged(Reply::Integer(i64::from(!taken)), log))
}

/// SETEX, logged as `pksetexat`.
pub(super) fn setex(call: &Call<'_>) -> Answer {
    let seconds = call.integer(2)?;
    set_for(call, &call.args[3], seconds.saturating_mul(1000))?;
    let at = (call.now.0 as i64 / 1000).saturating_add(seconds);
    Ok(Done::logged(Reply::OK, pksetexat(call.key(), at, &call.args[3])))
}

/// PSETEX, logged as `pksetexat` with milliseconds where seconds belong.
pub(super) fn psetex(call: &Call<'_>) -> Answer {
    let millis = call.integer(2)?;
    set_for(call, &call.args[3], millis)?;
    let at = (call.now.0 as i64).saturating_add(millis);
    Ok(Done::logged(Reply::OK, pksetexat(call.key(), at, &call.args[3])))
}

/// PKSETEXAT, which cuts its time to 32 bits of milliseconds: the key is expired at once, except with the time 0.
pub(super) fn pksetexat_command(call: &Call<'_>) -> Answer {
    let seconds = call.integer(2)?;
    if seconds >= i64::from(i32::MAX) {
        return Err(Fault::NOT_INTEGER);
    }
    let expire_at = match seconds.wrapping_mul(1000) as i32 {
        0 => None,
        at => Some(UnixMillis(u64::try_from(at).unwrap_or(call.now.0 - 1))),
    };
    call.data().set(call.key(), &call.args[3], expire_at, call.now)?;
    Ok(Reply::OK.into())
}

/// GETSET, which takes an empty old value for none.
pub(super) fn getset(call: &Call<'_>) -> Answer {
    let old = call.data().string(call.key(), call.now)?.map(|old| old.value);
    call.data().set(call.key(), &call.args[2], None, call.now)?;
    Ok(Reply::bulk_or_null(old.filter(|old| !old.is_empty())).into())
}

/// GET.
pub(super) fn get(call: &Call<'_>) -> Answer {
    let value = call.data().string(call.key(), call.now)?;
    Ok(Reply::bulk_or_null(value.map(|string| string.value)).into())
}

/// MGET, which takes keys of other types for missing.
pub(super) fn mget(call: &Call<'_>) -> Answer {
    let mut values = Vec::with_capacity(call.args.len() - 1);
    for key in &call.args[1..] {
        let value = match call.data().string(key, call.now) {
            Err(Fault::WrongType(_)) => None,
            found => found?,
        };
        values.push(Reply::bulk_or_null(value.map(|string| string.value)));
    }
    Ok(Reply::Array(values).into())
}

/// MSET, logged pair by pair.
pub(super) fn mset(call: &Call<'_>) -> Answer {
    let log = set_pairs(call, "mset")?;
    Ok(Done::logged(Reply::OK, log))
}

/// MSETNX, logged pair by pair when it applied.
pub(super) fn msetnx(call: &Call<'_>) -> Answer {
    for pair in call.args[1..].chunks_exact(2) {
        if call.data().row(&pair[0])?.is_some_and(|row| !row.is_stale(call.now)) {
            return Ok(Done::logged(Reply::Integer(0), Logged::Nothing));
        }
    }
    let log = set_pairs(call, "msetnx")?;
    Ok(Done::logged(Reply::Integer(1), log))
}

fn set_pairs(call: &Call<'_>, name: &str) -> Result<Logged> {
    let pairs = call.args[1..].chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(Fault::wrong_number(name));
    }
    let mut log = Vec::with_capacity(pairs.len());
    for pair in pairs {
        call.data().set(&pair[0], &pair[1], None, call.now)?;
        log.push(Command::new([Bytes::from_static(b"set"), pair[0].clone(), pair[1].clone()]));
    }
    Ok(Logged::Rewritten(log))
}

/// INCR, logged as `pksetexat`.
pub(super) fn incr(call: &Call<'_>) -> Answer {
    increase(call, 1)
}

/// INCRBY, logged as `pksetexat`.
pub(super) fn incrby(call: &Call<'_>) -> Answer {
    increase(call, call.integer(2)?)
}

/// DECR, logged as it came.
pub(super) fn decr(call: &Call<'_>) -> Answer {
    let (reply, _) = add(call, -1)?;
    Ok(reply.into())
}

/// DECRBY, logged as it came.
pub(super) fn decrby(call: &Call<'_>) -> Answer {
    let (reply, _) = add(call, call.integer(2)?.checked_neg().ok_or(Fault::OVERFLOW)?)?;
    Ok(reply.into())
}

fn increase(call: &Call<'_>, by: i64) -> Answer {
    let (reply, log) = add(call, by)?;
    Ok(Done::logged(reply, log))
}

/// Adds to a counter; also gives what INCR and INCRBY log.
fn add(call: &Call<'_>, by: i64) -> Result<(Reply, Logged)> {
    let old = call.data().string(call.key(), call.now)?;
    let count = match &old {
        Some(old) => number::counter(&old.value).ok_or(Fault::NOT_INTEGER)?,
        None => 0,
    };
    let sum = count.checked_add(by).ok_or(Fault::OVERFLOW)?;
    let expire_at = old.and_then(|old| old.expire_at);
    let value = number::text(sum);
    call.data().set(call.key(), &value, expire_at, call.now)?;
    Ok((Reply::Integer(sum), pksetexat(call.key(), seconds_of(expire_at), &value)))
}

/// INCRBYFLOAT, logged as `pksetexat`.
pub(super) fn incrbyfloat(call: &Call<'_>) -> Answer {
    call.float(2)?;
    let old = call.data().string(call.key(), call.now)?;
    let before = old.as_ref().map_or(&b"0"[..], |old| &old.value);
    let sum = number::decimal_sum(before, &call.args[2]).map_err(|error| match error {
        SumError::NoNumber => Fault::NOT_FLOAT,
        SumError::Overflow => Fault::err("increment would produce NaN or Infinity"),
    })?;
    let expire_at = old.and_then(|old| old.expire_at);
    let value = Bytes::from(sum);
    call.data().set(call.key(), &value, expire_at, call.now)?;
    let log = pksetexat(call.key(), seconds_of(expire_at), &value);
    Ok(Done::logged(Reply::Bulk(value), log))
}

/// APPEND, logged as `pksetexat` of the whole value. When it creates the key, it logs an empty value instead.
pub(super) fn append(call: &Call<'_>) -> Answer {
    let Some(StringRow { value, expire_at, .. }) = call.data().string(call.key(), call.now)? else {
        call.data().set(call.key(), &call.args[2], None, call.now)?;
        return Ok(Done::logged(Reply::count(call.args[2].len()), pksetexat(call.key(), 0, &Bytes::new())));
    };
    let value = Bytes::from([&value[..], &call.args[2][..]].concat());
    call.data().set(call.key(), &value, expire_at, call.now)?;
    Ok(Done::logged(Reply::count(value.len()), pksetexat(call.key(), seconds_of(expire_at), &value)))
}

/// STRLEN.
pub(super) fn strlen(call: &Call<'_>) -> Answer {
    let value = call.data().string(call.key(), call.now)?;
    Ok(Reply::count(value.map_or(0, |string| string.value.len())).into())
}

/// GETRANGE.
pub(super) fn getrange(call: &Call<'_>) -> Answer {
    let (start, end) = (call.integer(2)?, call.integer(3)?);
    let value = call.data().string(call.key(), call.now)?.map_or_else(Bytes::new, |string| string.value);
    Ok(Reply::Bulk(part(&value, start, end)).into())
}

/// The bytes of a value from one place to another, both included.
pub(super) fn part(value: &Bytes, start: i64, end: i64) -> Bytes {
    let size = value.len() as i64;
    let from_end = |index: i64| if index < 0 { size.saturating_add(index) } else { index };
    let (start, end) = (from_end(start), from_end(end));
    if start > size - 1 || (start != 0 && (start > end || end < 0)) {
        return Bytes::new();
    }
    let (start, end) = (start.max(0), end.clamp(0, size - 1));
    if start > end { Bytes::new() } else { value.slice(start as usize..=end as usize) }
}

/// SETRANGE, which writes only what stands before the first NUL byte of the value but clears the place of all of it.
pub(super) fn setrange(call: &Call<'_>) -> Answer {
    let Ok(offset) = usize::try_from(call.integer(2)?) else {
        return Err(Fault::WRONG_TYPE);
    };
    if offset.saturating_add(call.args[3].len()) > VALUE_MAX {
        return Err(Fault::err("string exceeds maximum allowed size (512MB)"));
    }
    let old = call.data().string(call.key(), call.now)?;
    let (before, expire_at) = old.map_or((Bytes::new(), None), |old| (old.value, old.expire_at));
    let mut value = before[..offset.min(before.len())].to_vec();
    value.resize(offset, 0);
    value.extend_from_slice(number::c_string(&call.args[3]));
    value.extend_from_slice(before.get(offset + call.args[3].len()..).unwrap_or_default());
    call.data().set(call.key(), &value, expire_at, call.now)?;
    Ok(Reply::count(value.len()).into())
}

/// DELVX: deletes a string that has this value.
pub(super) fn delvx(call: &Call<'_>) -> Answer {
    match call.data().string(call.key(), call.now).map_err(Fault::verbose)? {
        None => Ok(Reply::Integer(0).into()),
        Some(old) if old.value != call.args[2] => Ok(Reply::Integer(-1).into()),
        Some(_) => {
            call.data().delete(call.key(), call.now)?;
            Ok(Reply::Integer(1).into())
        }
    }
}

/// The longest value there can be, in bytes.
pub(super) const VALUE_MAX: usize = 512 << 20;

fn set_for(call: &Call<'_>, value: &[u8], ttl: i64) -> Result<()> {
    match ttl {
        1.. => call.data().set(call.key(), value, Some(after(call.now, ttl)), call.now),
        _ => Err(Fault::WRONG_TYPE),
    }
}

fn after(now: UnixMillis, millis: i64) -> UnixMillis {
    UnixMillis(now.0.saturating_add_signed(millis))
}

fn seconds_of(expire_at: Option<UnixMillis>) -> i64 {
    expire_at.map_or(0, |at| (at.0 / 1000) as i64)
}

fn pksetexat(key: &Bytes, at: i64, value: &Bytes) -> Logged {
    Logged::as_command([Bytes::from_static(b"pksetexat"), key.clone(), number::text(at), value.clone()])
}
