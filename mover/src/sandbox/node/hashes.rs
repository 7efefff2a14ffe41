// SPDX-License-Identifier: Apache-2.0
//! Commands for hashes.

use std::collections::HashSet;
use std::ops::ControlFlow;

use bytes::Bytes;
use snapshot::format::{BaseKind, BaseMeta, Column, DataKey, HashValue, data_key, meta_key};

use super::call::{Answer, Call};
use super::cursor::{Page, ScanOptions};
use super::fault::{Fault, Result};
use super::number::{self, SumError};
use super::reply::Reply;

/// HSET of one field; more than one is a wrong number of arguments.
pub(super) fn hset(call: &Call<'_>) -> Answer {
    let added = put(call, &[(&call.args[2], &call.args[3])])?;
    Ok(Reply::count(added).into())
}

/// HMSET.
pub(super) fn hmset(call: &Call<'_>) -> Answer {
    let pairs = call.args[2..].chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(Fault::wrong_number("hmset"));
    }
    let fields: Vec<_> = pairs.map(|pair| (&pair[0], &pair[1])).collect();
    put(call, &fields)?;
    Ok(Reply::OK.into())
}

/// HSETNX.
pub(super) fn hsetnx(call: &Call<'_>) -> Answer {
    if field(call, &call.args[2])?.is_some() {
        return Ok(Reply::Integer(0).into());
    }
    put(call, &[(&call.args[2], &call.args[3])])?;
    Ok(Reply::Integer(1).into())
}

/// HINCRBY.
pub(super) fn hincrby(call: &Call<'_>) -> Answer {
    let by = call.integer(3)?;
    let old = field(call, &call.args[2])?;
    let count = old.map_or(Some(0), |old| number::integer(&old)).ok_or(Fault::NOT_INTEGER)?;
    let sum = count.checked_add(by).ok_or(Fault::OVERFLOW)?;
    put(call, &[(&call.args[2], &number::text(sum))])?;
    Ok(Reply::Integer(sum).into())
}

/// HINCRBYFLOAT.
pub(super) fn hincrbyfloat(call: &Call<'_>) -> Answer {
    let old = field(call, &call.args[2])?.unwrap_or_else(|| Bytes::from_static(b"0"));
    let sum = number::decimal_sum(&old, &call.args[3]).map_err(|error| match error {
        SumError::NoNumber => Fault::NOT_FLOAT,
        SumError::Overflow => Fault::OVERFLOW,
    })?;
    let sum = Bytes::from(sum);
    put(call, &[(&call.args[2], &sum)])?;
    Ok(Reply::Bulk(sum).into())
}

/// HDEL.
pub(super) fn hdel(call: &Call<'_>) -> Answer {
    let Some(mut meta) = live(call)? else {
        return Ok(Reply::Integer(0).into());
    };
    let mut seen = HashSet::new();
    let mut batch = call.data().batch(call.key());
    let mut count = 0;
    for field in call.args[2..].iter().filter(|field| seen.insert(*field)) {
        let row = data_key(call.key(), meta.version, field);
        if call.data().get(call.key(), Column::Hash, &row)?.is_some() {
            batch.delete(Column::Hash, row);
            count += 1;
        }
    }
    meta.count -= count;
    batch.put(Column::Default, meta_key(call.key()), meta.encode());
    call.data().write(batch)?;
    Ok(Reply::Integer(i64::from(count)).into())
}

/// HGET.
pub(super) fn hget(call: &Call<'_>) -> Answer {
    Ok(Reply::bulk_or_null(field(call, &call.args[2])?).into())
}

/// HMGET.
pub(super) fn hmget(call: &Call<'_>) -> Answer {
    let meta = live(call)?;
    let value = |field: &Bytes| match &meta {
        Some(meta) => value(call, meta, field),
        None => Ok(None),
    };
    let values: Result<Vec<_>> = call.args[2..].iter().map(|field| Ok(Reply::bulk_or_null(value(field)?))).collect();
    Ok(Reply::Array(values?).into())
}

/// HEXISTS.
pub(super) fn hexists(call: &Call<'_>) -> Answer {
    Ok(Reply::Integer(i64::from(field(call, &call.args[2])?.is_some())).into())
}

/// HSTRLEN.
pub(super) fn hstrlen(call: &Call<'_>) -> Answer {
    Ok(Reply::count(field(call, &call.args[2])?.map_or(0, |value| value.len())).into())
}

/// HLEN.
pub(super) fn hlen(call: &Call<'_>) -> Answer {
    Ok(Reply::Integer(live(call)?.map_or(0, |meta| i64::from(meta.count))).into())
}

/// HGETALL, which gives the long error line for a wrong type.
pub(super) fn hgetall(call: &Call<'_>) -> Answer {
    let fields = fields(call).map_err(Fault::verbose)?;
    Ok(Reply::bulks(fields.into_iter().flat_map(|(field, value)| [field, value])).into())
}

/// HKEYS.
pub(super) fn hkeys(call: &Call<'_>) -> Answer {
    Ok(Reply::bulks(fields(call)?.into_iter().map(|(field, _)| field)).into())
}

/// HVALS.
pub(super) fn hvals(call: &Call<'_>) -> Answer {
    Ok(Reply::bulks(fields(call)?.into_iter().map(|(_, value)| value)).into())
}

/// HSCAN, which gives the long error line for a wrong type.
pub(super) fn hscan(call: &Call<'_>) -> Answer {
    let options = ScanOptions::parse(call, Fault::NOT_INTEGER)?;
    let Some(meta) = live(call).map_err(Fault::verbose)? else {
        return Ok(Page::empty().reply().into());
    };
    let page = options.page(call, Column::Hash, meta.version, |field, row| {
        Ok(vec![field, Bytes::copy_from_slice(HashValue::decode(row).value)])
    })?;
    Ok(page.reply().into())
}

/// Writes fields, of one named twice the last value, and tells how many are new.
fn put(call: &Call<'_>, fields: &[(&Bytes, &Bytes)]) -> Result<usize> {
    let (mut meta, lived) = call.data().base_to_fill(call.key(), BaseKind::Hash, call.now)?;
    let mut batch = call.data().batch(call.key());
    let mut seen = HashSet::new();
    let mut added = 0;
    for (field, value) in fields.iter().rev().filter(|(field, _)| seen.insert(*field)) {
        let row = data_key(call.key(), meta.version, field);
        added += usize::from(!lived || call.data().get(call.key(), Column::Hash, &row)?.is_none());
        batch.put(Column::Hash, row, HashValue { value, created: Some(call.now) }.encode());
    }
    if added > 0 {
        meta.count = i32::try_from(added).ok().and_then(|added| meta.count.checked_add(added)).ok_or_else(too_big)?;
        batch.put(Column::Default, meta_key(call.key()), meta.encode());
    }
    call.data().write(batch)?;
    Ok(added)
}

fn too_big() -> Fault {
    Fault::err("Invalid argument: hash size overflow")
}

/// The meta row of the hash, if it lives.
pub(super) fn live(call: &Call<'_>) -> Result<Option<BaseMeta>> {
    call.data().base(call.key(), BaseKind::Hash, call.now)
}

fn field(call: &Call<'_>, field: &Bytes) -> Result<Option<Bytes>> {
    match live(call)? {
        Some(meta) => value(call, &meta, field),
        None => Ok(None),
    }
}

fn value(call: &Call<'_>, meta: &BaseMeta, field: &[u8]) -> Result<Option<Bytes>> {
    let row = call.data().get(call.key(), Column::Hash, &data_key(call.key(), meta.version, field))?;
    Ok(row.map(|row| Bytes::copy_from_slice(HashValue::decode(&row).value)))
}

/// All fields and values in the order of the fields.
pub(super) fn fields(call: &Call<'_>) -> Result<Vec<(Bytes, Bytes)>> {
    let Some(meta) = live(call)? else {
        return Ok(Vec::new());
    };
    let mut fields = Vec::new();
    call.data().scan(call.key(), Column::Hash, meta.version, None, |key, row| {
        let field = Bytes::copy_from_slice(DataKey::decode(key)?.element);
        fields.push((field, Bytes::copy_from_slice(HashValue::decode(row).value)));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(fields)
}
