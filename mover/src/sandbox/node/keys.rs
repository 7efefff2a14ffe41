// SPDX-License-Identifier: Apache-2.0
//! Commands for keys of any type.

use bytes::Bytes;
use replication::Command;
use snapshot::UnixMillis;
use snapshot::format::{Column, meta_key};

use super::call::{Answer, Call, Done, Logged};
use super::data::Row;
use super::fault::Result;
use super::number;
use super::reply::Reply;

/// DEL and UNLINK, logged key by key, also for keys that are not there.
pub(super) fn del(call: &Call<'_>) -> Answer {
    let mut count = 0;
    for key in &call.args[1..] {
        count += usize::from(call.data().delete(key, call.now)?);
    }
    let name = &call.args[0];
    let log = call.args[1..].iter().map(|key| Command::new([name.clone(), key.clone()])).collect();
    Ok(Done::logged(Reply::count(count), Logged::Rewritten(log)))
}

/// EXISTS, which finds deleted streams too.
pub(super) fn exists(call: &Call<'_>) -> Answer {
    let mut count = 0;
    for key in &call.args[1..] {
        let row = call.data().row(key)?;
        count += usize::from(row.is_some_and(|row| matches!(row, Row::Stream(_)) || !row.is_gone(call.now)));
    }
    Ok(Reply::count(count).into())
}

/// TYPE, which names the type of expired, emptied and deleted keys as well.
pub(super) fn type_of(call: &Call<'_>) -> Answer {
    let row = call.data().row(call.key())?;
    Ok(Reply::Status(row.map_or("none", |row| row.type_name())).into())
}

/// EXPIRE, logged as `expireat`.
pub(super) fn expire(call: &Call<'_>) -> Answer {
    let seconds = call.integer(2)?;
    let reply = expire_in(call, seconds.saturating_mul(1000))?;
    let at = number::text((call.now.0 as i64 / 1000).saturating_add(seconds));
    let log = Logged::as_command([Bytes::from_static(b"expireat"), call.key().clone(), at]);
    Ok(Done::logged(reply, log))
}

/// PEXPIRE, logged as `pexpireat`.
pub(super) fn pexpire(call: &Call<'_>) -> Answer {
    let millis = call.integer(2)?;
    let reply = expire_in(call, millis)?;
    let at = number::text((call.now.0 as i64).saturating_add(millis));
    let log = Logged::as_command([Bytes::from_static(b"pexpireat"), call.key().clone(), at]);
    Ok(Done::logged(reply, log))
}

/// EXPIREAT, logged as it came.
pub(super) fn expireat(call: &Call<'_>) -> Answer {
    Ok(expire_at(call, call.integer(2)?.saturating_mul(1000))?.into())
}

/// PEXPIREAT, which cuts its time to 32 bits: the key is gone, or expired since 1970.
pub(super) fn pexpireat(call: &Call<'_>) -> Answer {
    Ok(expire_at(call, i64::from(call.integer(2)? as i32))?.into())
}

/// PERSIST.
pub(super) fn persist(call: &Call<'_>) -> Answer {
    let row = call.data().row(call.key())?.filter(|row| !row.is_gone(call.now) && row.expire_at().is_some());
    let Some(row) = row else {
        return Ok(Reply::Integer(0).into());
    };
    put_expiry(call, &row, None)?;
    Ok(Reply::Integer(1).into())
}

/// TTL in whole seconds: 0 for streams and for keys that never were, -2 for those that are no more.
pub(super) fn ttl(call: &Call<'_>) -> Answer {
    let millis = remaining(call)?;
    Ok(Reply::Integer(if millis > 0 { millis / 1000 } else { millis }).into())
}

/// PTTL, as [`ttl`] in milliseconds.
pub(super) fn pttl(call: &Call<'_>) -> Answer {
    Ok(Reply::Integer(remaining(call)?).into())
}

fn remaining(call: &Call<'_>) -> Result<i64> {
    Ok(match call.data().row(call.key())? {
        None | Some(Row::Stream(_)) => 0,
        Some(row) if row.is_gone(call.now) => -2,
        Some(row) => row.expire_at().map_or(-1, |at| at.0 as i64 - call.now.0 as i64),
    })
}

fn expire_in(call: &Call<'_>, millis: i64) -> Result<Reply> {
    expire_at(call, if millis > 0 { (call.now.0 as i64).saturating_add(millis) } else { 0 })
}

/// Lets the key expire at this time, which may be past; one of zero or less deletes the key.
fn expire_at(call: &Call<'_>, millis: i64) -> Result<Reply> {
    let row = call.data().row(call.key())?.filter(|row| !row.is_gone(call.now));
    let Some(row) = row.filter(|row| !matches!(row, Row::Stream(_))) else {
        return Ok(Reply::Integer(0));
    };
    match u64::try_from(millis) {
        Ok(at @ 1..) => put_expiry(call, &row, Some(UnixMillis(at)))?,
        _ => {
            call.data().delete(call.key(), call.now)?;
        }
    }
    Ok(Reply::Integer(1))
}

fn put_expiry(call: &Call<'_>, row: &Row, expire_at: Option<UnixMillis>) -> Result<()> {
    let Some(row) = row.with_expiry(expire_at, call.now) else {
        return Ok(());
    };
    let mut batch = call.data().batch(call.key());
    batch.put(Column::Default, meta_key(call.key()), row);
    call.data().write(batch)
}
