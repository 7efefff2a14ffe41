// SPDX-License-Identifier: Apache-2.0
//! Commands for HyperLogLogs, which are strings with a flag.

use bytes::Bytes;
use snapshot::format::StringValue;

use super::call::{Answer, Call, Done, Logged};
use super::data::Row;
use super::fault::{Fault, Result};
use super::registers::Registers;
use super::reply::Reply;

/// PFADD, which takes the expiry away and writes even when nothing changed.
pub(super) fn pfadd(call: &Call<'_>) -> Answer {
    let elements = &call.args[2..];
    check_count(elements.len())?;
    let old = stored(call, call.key())?;
    let is_new = old.is_none();
    // Without an element the server stores no registers at all.
    if elements.is_empty() {
        let old_estimate = Registers::decode(&old.unwrap_or_default()).estimate();
        put(call, call.key(), &[])?;
        return Ok(Reply::Integer(i64::from(is_new || old_estimate != 0)).into());
    }
    let mut registers = Registers::decode(&old.unwrap_or_default());
    let before = registers.estimate();
    elements.iter().for_each(|element| registers.add(element));
    let changed = registers.estimate() != before;
    put(call, call.key(), &registers.to_bytes())?;
    Ok(Reply::Integer(i64::from(changed)).into())
}

/// PFCOUNT, of the union of all keys.
pub(super) fn pfcount(call: &Call<'_>) -> Answer {
    check_count(call.args.len() - 1)?;
    let mut union = Registers::new();
    for (index, key) in call.args[1..].iter().enumerate() {
        if let Some(registers) = stored(call, key)? {
            match index {
                0 => union = Registers::decode(&registers),
                _ => union.merge(&Registers::decode(&registers)),
            }
        }
    }
    Ok(Reply::Integer(union.estimate()).into())
}

/// PFMERGE, logged as a plain `set`, which loses the flag where it is replayed; when it fails it logs one of nothing.
pub(super) fn pfmerge(call: &Call<'_>) -> Answer {
    let logged = |value| Logged::as_command([Bytes::from_static(b"set"), call.key().clone(), value]);
    match merged(call) {
        Ok(value) => {
            put(call, call.key(), &value)?;
            Ok(Done::logged(Reply::OK, logged(value)))
        }
        Err(fault) => Ok(Done::logged(fault.reply(), logged(Bytes::new()))),
    }
}

fn merged(call: &Call<'_>) -> Result<Bytes> {
    check_count(call.args.len() - 1)?;
    // A destination of another type is no error to the server: it is overwritten.
    let first = match stored(call, call.key()) {
        Err(Fault::Refused(_)) => Bytes::new(),
        found => found?.unwrap_or_default(),
    };
    let mut union = Registers::decode(&first);
    let mut result = first;
    for key in &call.args[2..] {
        if let Some(registers) = stored(call, key)? {
            union.merge(&Registers::decode(&registers));
            result = union.to_bytes();
        }
    }
    Ok(result)
}

/// The registers of a key, as stored.
fn stored(call: &Call<'_>, key: &Bytes) -> Result<Option<Bytes>> {
    match call.data().row(key)? {
        Some(Row::String(string)) if !string.hyperloglog => {
            Err(wrong_type(key, ",expect type: hyperloglog get type: string"))
        }
        Some(Row::String(string)) => {
            let expired = string.expire_at.is_some_and(|at| at < call.now);
            Ok((!expired).then_some(string.value))
        }
        Some(other) if !other.is_stale(call.now) => {
            Err(wrong_type(key, &format!(", expect type: hyperloglog get type: {}", other.type_name())))
        }
        _ => Ok(None),
    }
}

/// The error line with the raw name of the key.
fn wrong_type(key: &[u8], types: &str) -> Fault {
    Fault::err([b"Invalid argument: WRONGTYPE, key: ", key, types.as_bytes()].concat())
}

fn put(call: &Call<'_>, key: &[u8], registers: &[u8]) -> Result<()> {
    let created = Some(call.now);
    call.data().put_string(key, StringValue { value: registers, hyperloglog: true, created, expire_at: None })
}

fn check_count(count: usize) -> Result<()> {
    match count < COUNT_MAX {
        true => Ok(()),
        false => Err(Fault::err("Invalid argument: Invalid the number of key")),
    }
}

/// The server takes fewer elements or keys than these at a time.
const COUNT_MAX: usize = 255;
