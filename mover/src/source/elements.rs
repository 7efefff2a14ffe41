// SPDX-License-Identifier: Apache-2.0
//! Reading some elements of big keys.

use bytes::Bytes;
use redis::{Pipeline, Value};
use snapshot::{Body, Kind};

use crate::Result;
use crate::batch::Patch;
use crate::dialect::Dialect;
use crate::endpoint::{Client, Endpoint};
use crate::source::inquiry::{Inquiry, Told};
use crate::source::reply::{self, Read};

/// Reads elements of hashes, sets and sorted sets. Keys whose type or expiry is not what it was are given back: they must
/// be read whole, for they may have been re-created in between. A key without elements is only looked at for that.
///
/// # Errors
/// As [`Client::ask_all`].
pub(super) async fn read(
    client: &mut Client,
    keys: Vec<(Bytes, Kind, Vec<Bytes>)>,
) -> Result<(Vec<Patch>, Vec<Bytes>)> {
    let mut inquiry = Inquiry::of(Dialect::Pika);
    for (key, kind, elements) in &keys {
        ask(inquiry.key().cmd("TYPE").arg(&key[..]).cmd("PTTL").arg(&key[..]), key, *kind, elements);
    }
    let told = inquiry.ask(client).await?;
    let endpoint = client.endpoint();
    let mut patches = Vec::with_capacity(keys.len());
    let mut changed = Vec::new();
    for ((key, kind, elements), mut told) in keys.into_iter().zip(told) {
        let found = reply::kind(endpoint, told.answer())?;
        let ttl = reply::integer(endpoint, "PTTL", told.answer())?;
        let same = found == Some(kind) && ttl == -1;
        match patch(endpoint, kind, elements, told)? {
            Read::Data((set, remove)) if same => patches.push(Patch { key, set, remove }),
            _ => changed.push(key),
        }
    }
    Ok((patches, changed))
}

fn ask(pipeline: &mut Pipeline, key: &Bytes, kind: Kind, elements: &[Bytes]) {
    if kind == Kind::Hash && !elements.is_empty() {
        pipeline.cmd("HMGET").arg(&key[..]);
        elements.iter().for_each(|field| {
            pipeline.arg(&field[..]);
        });
        return;
    }
    for element in elements {
        match kind {
            Kind::Set => pipeline.cmd("SISMEMBER").arg(&key[..]).arg(&element[..]),
            Kind::Zset => pipeline.cmd("ZSCORE").arg(&key[..]).arg(&element[..]),
            Kind::Hash | Kind::Stream | Kind::String | Kind::HyperLogLog | Kind::List => {
                unreachable!("a {kind} is not read by element here")
            }
        };
    }
}

/// What the answers say about the elements: those to set, and those to remove.
fn patch(endpoint: &Endpoint, kind: Kind, elements: Vec<Bytes>, answers: Told) -> Result<Read<(Body, Vec<Bytes>)>> {
    let mut values = Vec::with_capacity(elements.len());
    for answer in answers {
        match reply::read(endpoint, "a read of elements", answer)? {
            Read::TypeChanged => return Ok(Read::TypeChanged),
            Read::Data(Value::Array(fields)) if kind == Kind::Hash => values.extend(fields),
            Read::Data(value) => values.push(value),
        }
    }
    if values.len() != elements.len() {
        return Err(endpoint.answered("a read of elements", format!("{} of {}", values.len(), elements.len())));
    }
    let mut remove = Vec::new();
    let mut present = Vec::with_capacity(elements.len());
    for (element, value) in elements.into_iter().zip(values) {
        match is_missing(kind, &value) {
            true => remove.push(element),
            false => present.push((element, value)),
        }
    }
    let set = body(kind, present);
    let set = set.ok_or_else(|| endpoint.answered("a read of elements", "something else than elements"))?;
    Ok(Read::Data((set, remove)))
}

fn is_missing(kind: Kind, value: &Value) -> bool {
    match (kind, value) {
        (Kind::Set, Value::Int(member)) => *member == 0,
        (_, value) => *value == Value::Nil,
    }
}

fn body(kind: Kind, present: Vec<(Bytes, Value)>) -> Option<Body> {
    Some(match kind {
        Kind::Hash => Body::Hash(
            present.into_iter().map(|(field, value)| Some((field, reply::bulk(value)?))).collect::<Option<_>>()?,
        ),
        Kind::Set => Body::Set(present.into_iter().map(|(member, _)| member).collect()),
        Kind::Zset => {
            let score = |value| reply::score_of(&reply::bulk(value)?);
            Body::Zset(present.into_iter().map(|(member, value)| Some((member, score(value)?))).collect::<Option<_>>()?)
        }
        Kind::Stream | Kind::String | Kind::HyperLogLog | Kind::List => return None,
    })
}
