// SPDX-License-Identifier: Apache-2.0
//! What the answers to reading commands mean.

use bytes::Bytes;
use redis::Value;
use snapshot::{Body, Kind, StreamEntry, StreamId};

use crate::endpoint::{Endpoint, error_text};
use crate::{Error, Result};

/// An answer to a read, seen as data.
#[derive(Debug)]
pub(super) enum Read<T> {
    /// The data.
    Data(T),
    /// The key has another type by now.
    TypeChanged,
}

/// Tells a changed type from data and from every other error.
pub(super) fn read(endpoint: &Endpoint, command: &str, value: Value) -> Result<Read<Value>> {
    match value {
        Value::ServerError(error) => {
            let text = error_text(&error);
            // Pika wraps it in other texts, depending on the command.
            match text.as_str() {
                text if text.contains("WRONGTYPE") => Ok(Read::TypeChanged),
                // Pika's answer to XLEN where TYPE still names a stream that is gone.
                text if text.contains("no such key") => Ok(Read::Data(Value::Nil)),
                _ => Err(endpoint.answered(command, text)),
            }
        }
        value => Ok(Read::Data(value)),
    }
}

/// The elements of one reply, by type. A missing key gives an empty body.
pub(super) fn body(endpoint: &Endpoint, kind: Kind, value: Value) -> Result<Body> {
    let nonsense = || endpoint.answered(&format!("a read of a {kind}"), "something else than elements");
    let body = match kind {
        Kind::String => Body::String(bulk(value).ok_or_else(nonsense)?),
        Kind::HyperLogLog => Body::HyperLogLog(bulk(value).ok_or_else(nonsense)?),
        Kind::Hash => Body::Hash(pairs(bulks(value).ok_or_else(nonsense)?).ok_or_else(nonsense)?),
        Kind::List => Body::List(bulks(value).ok_or_else(nonsense)?),
        Kind::Set => Body::Set(bulks(value).ok_or_else(nonsense)?),
        Kind::Zset => Body::Zset(scores(pairs(bulks(value).ok_or_else(nonsense)?)).ok_or_else(nonsense)?),
        Kind::Stream => Body::Stream { entries: entries(value).ok_or_else(nonsense)?, last_id: StreamId::default() },
    };
    Ok(body)
}

/// A page of HSCAN, SSCAN or ZSCAN: the next cursor and the elements.
pub(super) fn scan_page(endpoint: &Endpoint, kind: Kind, value: Value) -> Result<(Bytes, Body)> {
    if let Value::Array(parts) = value
        && let Ok([cursor, elements]) = <[Value; 2]>::try_from(parts)
        && let Some(cursor) = bulk(cursor)
    {
        return Ok((cursor, body(endpoint, kind, elements)?));
    }
    Err(endpoint.answered(&format!("a scan of a {kind}"), "something else than a page"))
}

/// What XINFO STREAM says of a stream.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct StreamInfo {
    /// The last id that it has given out.
    pub(super) last_id: StreamId,
    /// The id of the entry that a Pika takes for the first one, and trims from.
    pub(super) first_id: StreamId,
}

/// The answer to XINFO STREAM; `None` for a missing stream.
pub(super) fn stream_info(value: Value) -> Option<StreamInfo> {
    let Value::Array(fields) = value else { return None };
    let (mut info, mut fields) = (StreamInfo::default(), fields.into_iter());
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let place = match &bulk(name)?[..] {
            b"last-generated-id" => &mut info.last_id,
            b"recorded-first-entry-id" => &mut info.first_id,
            _ => continue,
        };
        *place = std::str::from_utf8(&bulk(value)?).ok()?.parse().ok()?;
    }
    Some(info)
}

/// A text or number; `None` for anything else. A nil is an empty text.
pub(super) fn bulk(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        Value::SimpleString(text) => Some(text.into()),
        Value::Okay => Some("OK".into()),
        Value::Int(number) => Some(number.to_string().into()),
        Value::Nil => Some(Bytes::new()),
        _ => None,
    }
}

/// A whole number; 0 for what is not there.
pub(super) fn integer(endpoint: &Endpoint, command: &str, value: Value) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(number),
        Value::Nil => Ok(0),
        Value::ServerError(error) => Err(endpoint.answered(command, error_text(&error))),
        other => Err(endpoint.answered(command, format!("{other:?}"))),
    }
}

/// The entries of XRANGE.
pub(super) fn entries(value: Value) -> Option<Vec<StreamEntry>> {
    let list = match value {
        Value::Array(list) => list,
        Value::Nil => return Some(Vec::new()),
        _ => return None,
    };
    list.into_iter()
        .map(|entry| {
            let Value::Array(parts) = entry else { return None };
            let [id, fields] = <[Value; 2]>::try_from(parts).ok()?;
            let id = std::str::from_utf8(&bulk(id)?).ok()?.parse().ok()?;
            Some(StreamEntry { id, fields: bulks(fields)? })
        })
        .collect()
}

/// The type that TYPE names; `None` for a missing key.
///
/// # Errors
/// [`Error::Reply`] for a type that no Pika 4.0 and no plain Redis has.
pub(super) fn kind(endpoint: &Endpoint, value: Value) -> Result<Option<Kind>, Error> {
    let name = match value {
        Value::SimpleString(name) => name,
        Value::BulkString(name) => String::from_utf8_lossy(&name).into_owned(),
        other => return Err(endpoint.answered("TYPE", format!("{other:?}"))),
    };
    Ok(Some(match name.as_str() {
        "string" => Kind::String,
        "hash" => Kind::Hash,
        "list" => Kind::List,
        "set" => Kind::Set,
        "zset" => Kind::Zset,
        "stream" | "streams" => Kind::Stream,
        "none" => return Ok(None),
        _ => return Err(endpoint.answered("TYPE", name)),
    }))
}

fn bulks(value: Value) -> Option<Vec<Bytes>> {
    match value {
        Value::Array(values) => values.into_iter().map(bulk).collect(),
        Value::Nil => Some(Vec::new()),
        _ => None,
    }
}

fn pairs(flat: Vec<Bytes>) -> Option<Vec<(Bytes, Bytes)>> {
    let mut pairs = Vec::with_capacity(flat.len() / 2);
    let mut flat = flat.into_iter();
    while let Some(first) = flat.next() {
        pairs.push((first, flat.next()?));
    }
    Some(pairs)
}

fn scores(pairs: Option<Vec<(Bytes, Bytes)>>) -> Option<Vec<(Bytes, f64)>> {
    pairs?.into_iter().map(|(member, score)| Some((member, score_of(&score)?))).collect()
}

/// A score from its text.
pub(super) fn score_of(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
