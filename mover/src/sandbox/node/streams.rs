// SPDX-License-Identifier: Apache-2.0
//! Commands for streams.
//!
//! A stream without entries stays, and its next XADD begins it anew. `first_id` is what the server makes of it: after
//! the last entry was deleted, it is the id of the one that is last then.

use std::ops::ControlFlow;

use bytes::Bytes;
use replication::Command;
use snapshot::format::{Column, StreamKey, StreamMeta, Version, encode_entry, entry_fields, meta_key, stream_key};
use snapshot::{Batch, StreamEntry, StreamId};

use super::call::{Answer, Call, Done, Logged, is_word};
use super::data::empty_stream;
use super::fault::{Fault, Result};
use super::number;
use super::reply::Reply;
use super::stream_arguments::{AddOptions, Interval, NewId, Trim, strict_id};

/// XADD, logged with the id that was given out.
pub(super) fn xadd(call: &Call<'_>) -> Answer {
    let options = AddOptions::parse(call.args)?;
    let fields = call.args.get(options.fields_at..).unwrap_or_default();
    if fields.is_empty() || fields.len() % 2 == 1 {
        return Err(Fault::wrong_number("xadd"));
    }
    let failed = |fault| match fault {
        Fault::WrongType(wrong) => {
            Fault::err([b"Corruption: error from XADD, get stream meta failed: ", &wrong.status()[..]].concat())
        }
        other => other,
    };
    let old = call.data().stream(call.key(), call.now).map_err(failed)?;
    let mut meta = match old {
        Some(meta) if meta.length != 0 => meta,
        _ if options.no_new_stream => return Err(Fault::err("NotFound: no_mkstream")),
        Some(meta) => empty_stream(meta.version),
        // The server begins a new stream twice, so its first version is 2.
        None => empty_stream(empty_stream(Version(0)).version),
    };
    let id = new_id(options.id, meta.last_id, call.now.0)?;
    let mut batch = call.data().batch(call.key());
    batch.put(Column::Stream, stream_key(call.key(), meta.version, id), encode_entry(fields));
    if meta.length == 0 {
        meta.first_id = id;
    }
    meta.added += 1;
    meta.last_id = id;
    meta.length += 1;
    if let Some(trim) = options.trim {
        let added = StreamEntry { id, fields: fields.to_vec() };
        cut(call, &mut meta, trim, Some(added), &mut batch)?;
    }
    // The server writes them one after the other, and one that is killed in between counts wrongly from then on, or has more
    // entries than it ever had for its clients. Clients who hold every answer against a model could not tell that from a loss,
    // so here they are one.
    put(call, &meta, batch)?;
    let text = Bytes::from(id.to_string());
    let log = match options.id {
        NewId::Full(_) => Logged::Verbatim,
        NewId::Any | NewId::Millis(_) => {
            let mut args = call.args.to_vec();
            args[options.fields_at - 1] = text.clone();
            Logged::Rewritten(vec![Command::new(args)])
        }
    };
    Ok(Done::logged(Reply::Bulk(text), log))
}

/// XTRIM.
pub(super) fn xtrim(call: &Call<'_>) -> Answer {
    let trim = Trim::parse(&call.args[2..])?;
    let Some(mut meta) = stream(call, call.key())? else {
        return Ok(Reply::Integer(0).into());
    };
    let mut batch = call.data().batch(call.key());
    let count = cut(call, &mut meta, trim, None, &mut batch)?;
    put(call, &meta, batch)?;
    Ok(Reply::count(count).into())
}

/// XDEL.
pub(super) fn xdel(call: &Call<'_>) -> Answer {
    let ids = call.args[2..].iter().map(|id| strict_id(id)).collect::<Result<Vec<_>>>()?;
    let Some(mut meta) = stream(call, call.key())? else {
        return Ok(Reply::Integer(0).into());
    };
    let mut batch = call.data().batch(call.key());
    let mut count = 0;
    for id in &ids {
        let row = stream_key(call.key(), meta.version, *id);
        count += i32::from(call.data().get(call.key(), Column::Stream, &row)?.is_some());
        batch.delete(Column::Stream, row);
    }
    meta.length -= count;
    for &id in &ids {
        meta.deleted_id_max = meta.deleted_id_max.max(id);
        // Of the rest the server takes the first entry's id, or, when the last was deleted, by mistake that of the last.
        let end = match id {
            id if id == meta.first_id => <[StreamEntry]>::first,
            id if id == meta.last_id => <[StreamEntry]>::last,
            _ => continue,
        };
        let mut rest = entries(call, call.key(), &meta, Interval::ALL, usize::MAX)?;
        rest.retain(|entry| !ids.contains(&entry.id));
        meta.first_id = end(&rest).map_or_else(StreamId::default, |entry| entry.id);
    }
    // At once, as in XADD.
    put(call, &meta, batch)?;
    Ok(Reply::Integer(i64::from(count)).into())
}

/// XLEN, for which a missing stream is an error.
pub(super) fn xlen(call: &Call<'_>) -> Answer {
    let meta = stream(call, call.key())?.ok_or(Fault::NO_SUCH_KEY)?;
    Ok(Reply::Integer(i64::from(meta.length)).into())
}

/// XRANGE.
pub(super) fn xrange(call: &Call<'_>) -> Answer {
    let interval = Interval::parse(&call.args[2], &call.args[3])?;
    let limit = limit(call)?;
    let found = match stream(call, call.key())? {
        Some(meta) => entries(call, call.key(), &meta, interval, limit)?,
        None => Vec::new(),
    };
    Ok(shown(found).into())
}

/// XREVRANGE, the greater id first.
pub(super) fn xrevrange(call: &Call<'_>) -> Answer {
    let interval = Interval::parse(&call.args[3], &call.args[2])?;
    let limit = limit(call)?;
    let mut found = match stream(call, call.key())? {
        Some(meta) => entries(call, call.key(), &meta, interval, usize::MAX)?,
        None => Vec::new(),
    };
    found.reverse();
    found.truncate(limit);
    Ok(shown(found).into())
}

/// XREAD, which never waits. A stream that has nothing new is answered with an empty array.
pub(super) fn xread(call: &Call<'_>) -> Answer {
    let mut count = usize::MAX;
    let mut at = 1;
    while let Some(option) = call.args.get(at) {
        let value = call.args.get(at + 1);
        match value {
            Some(_) if is_word(option, "streams") => break,
            Some(value) if is_word(option, "count") => {
                let given = number::integer(value).ok_or(Fault::INVALID_ARGUMENT)?;
                count = usize::try_from(given).unwrap_or(0);
            }
            Some(value) if is_word(option, "block") => {
                number::integer(value).ok_or(Fault::INVALID_ARGUMENT)?;
            }
            _ => return Err(Fault::SYNTAX),
        }
        at += 2;
    }
    let named = call.args.get(at + 1..).filter(|named| !named.is_empty() && named.len() % 2 == 0);
    let (keys, ids) = named.map(|named| named.split_at(named.len() / 2)).ok_or(Fault::SYNTAX)?;
    let mut found = Vec::new();
    for (key, id) in keys.iter().zip(ids) {
        let Some(meta) = stream(call, key)? else {
            continue;
        };
        let after = match id.as_ref() {
            b"$" => meta.last_id,
            _ => strict_id(id).map_err(|_| Fault::err("Corruption: Invalid stream ID specified as stream "))?,
        };
        let new = entries(call, key, &meta, Interval::after(after), count)?;
        found.push(Reply::Array(vec![Reply::Bulk(key.clone()), shown(new)]));
    }
    Ok(if found.is_empty() { Reply::NullArray } else { Reply::Array(found) }.into())
}

/// XINFO STREAM.
pub(super) fn xinfo(call: &Call<'_>) -> Answer {
    let [_, verb, key, ..] = call.args else {
        return Err(Fault::SYNTAX);
    };
    if !is_word(verb, "stream") {
        return Err(Fault::SYNTAX);
    }
    let meta = stream(call, key)?.ok_or(Fault::NO_SUCH_KEY)?;
    let id = |id: StreamId| Reply::text(id.to_string());
    Ok(Reply::Array(vec![
        Reply::text("length"),
        Reply::Integer(i64::from(meta.length)),
        Reply::text("last-generated-id"),
        id(meta.last_id),
        Reply::text("max-deleted-entry-id"),
        id(meta.deleted_id_max),
        Reply::text("entries-added"),
        Reply::Integer(meta.added as i64),
        Reply::text("recorded-first-entry-id"),
        id(meta.first_id),
    ])
    .into())
}

/// Deletes entries from the front and tells how many; `added` is one behind all others that is not yet written.
fn cut(
    call: &Call<'_>,
    meta: &mut StreamMeta,
    trim: Trim,
    added: Option<StreamEntry>,
    batch: &mut Batch<'_>,
) -> Result<usize> {
    let from = Interval { first: meta.first_id, ..Interval::ALL };
    let length = u64::try_from(meta.length).unwrap_or(0);
    let excess = match trim {
        Trim::None => return Ok(0),
        Trim::Length(kept) => usize::try_from(length.saturating_sub(kept)).unwrap_or(usize::MAX),
        Trim::Below(_) => usize::MAX,
    };
    // One more, which is the first entry from now on.
    let limit = excess.saturating_add(1);
    let mut front = entries(call, call.key(), meta, from, limit)?;
    front.extend(added.filter(|_| front.len() < limit));
    let count = match trim {
        Trim::Below(id) => front.iter().take_while(|entry| entry.id < id).count(),
        Trim::None | Trim::Length(_) => excess.min(front.len()),
    };
    let Some(last) = count.checked_sub(1).map(|at| front[at].id) else {
        return Ok(0);
    };
    for entry in &front[..count] {
        batch.delete(Column::Stream, stream_key(call.key(), meta.version, entry.id));
    }
    meta.deleted_id_max = meta.deleted_id_max.max(last);
    meta.length -= i32::try_from(count).unwrap_or(meta.length);
    meta.first_id = front.get(count).map_or_else(StreamId::default, |entry| entry.id);
    Ok(count)
}

/// The id for a new entry, which must be above all that were given out.
fn new_id(wanted: NewId, last: StreamId, now: u64) -> Result<StreamId> {
    const EXHAUSTED: StreamId = StreamId::new(u64::MAX, u64::MAX);
    if last == EXHAUSTED {
        return Err(Fault::err("Corruption: Fatal! Sequence number overflow !"));
    }
    let too_small = || Fault::err("Invalid argument: The ID specified in XADD is equal or smaller");
    let following = |millis: u64| match millis.cmp(&last.millis) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => Some(StreamId::new(millis, last.sequence.checked_add(1)?)),
        std::cmp::Ordering::Greater => Some(StreamId::new(millis, 0)),
    };
    match wanted {
        // With the clock behind the last id, the server gives out that millisecond's number 1, over and over.
        NewId::Any if now < last.millis => match last.sequence {
            u64::MAX => Ok(StreamId::new(last.millis.saturating_add(1), 0)),
            _ => Ok(StreamId::new(last.millis, 1)),
        },
        NewId::Any => following(now).ok_or_else(too_small),
        NewId::Millis(millis) => following(millis).ok_or_else(too_small),
        NewId::Full(id) if id == StreamId::default() => {
            Err(Fault::err("Invalid argument: The ID specified in XADD must be greater than 0-0"))
        }
        NewId::Full(id) if id <= last => Err(Fault::err("Invalid argument: INVALID ID given")),
        NewId::Full(id) => Ok(id),
    }
}

/// The meta row of a stream; the streams' commands give the long error line for a wrong type.
fn stream(call: &Call<'_>, key: &Bytes) -> Result<Option<StreamMeta>> {
    call.data().stream(key, call.now).map_err(Fault::verbose)
}

/// Writes what is in the batch, and the meta row.
fn put(call: &Call<'_>, meta: &StreamMeta, mut batch: Batch<'_>) -> Result<()> {
    batch.put(Column::Default, meta_key(call.key()), meta.encode());
    call.data().write(batch)
}

/// Up to `limit` entries within an interval, by id.
fn entries(
    call: &Call<'_>,
    key: &[u8],
    meta: &StreamMeta,
    interval: Interval,
    limit: usize,
) -> Result<Vec<StreamEntry>> {
    let mut found = Vec::new();
    let from = stream_key(key, meta.version, interval.first);
    if limit == 0 {
        return Ok(found);
    }
    call.data().scan(key, Column::Stream, meta.version, Some(&from), |row, value| {
        let id = StreamKey::decode(row)?.id;
        if id > interval.last {
            return Ok(ControlFlow::Break(()));
        }
        let fields = entry_fields(value)?.map(Bytes::copy_from_slice).collect();
        found.push(StreamEntry { id, fields });
        Ok(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}

/// The COUNT of an XRANGE or XREVRANGE.
fn limit(call: &Call<'_>) -> Result<usize> {
    match call.args.get(5) {
        Some(count) if call.args.len() == 6 => {
            let count = number::integer(count).ok_or(Fault::INVALID_ARGUMENT)?;
            Ok(usize::try_from(count).unwrap_or(0))
        }
        _ => Ok(usize::MAX),
    }
}

fn shown(entries: Vec<StreamEntry>) -> Reply {
    let one = |entry: StreamEntry| Reply::Array(vec![Reply::text(entry.id.to_string()), Reply::bulks(entry.fields)]);
    Reply::Array(entries.into_iter().map(one).collect())
}
