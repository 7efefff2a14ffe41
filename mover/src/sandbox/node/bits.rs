// SPDX-License-Identifier: Apache-2.0
//! Commands for the bits of strings.

use bytes::Bytes;

use super::call::{Answer, Call, Done, Logged, is_word};
use super::fault::{Fault, Result};
use super::number;
use super::reply::Reply;

/// SETBIT.
pub(super) fn setbit(call: &Call<'_>) -> Answer {
    let offset = bit_offset(call)?;
    let on = match call.args[3].as_ref() {
        b"0" => false,
        b"1" => true,
        _ => return Err(Fault::err("bit is not an integer or out of range")),
    };
    let old = call.data().string(call.key(), call.now)?;
    let (value, expire_at) = old.map_or((Bytes::new(), None), |old| (old.value, old.expire_at));
    let before = bit(&value, offset);
    // A bit that is as it should be is not written, so no key is made for a zero.
    if before != on {
        let mut value = value.to_vec();
        let byte = offset / 8;
        value.resize(value.len().max(byte + 1), 0);
        value[byte] ^= mask(offset);
        call.data().set(call.key(), &value, expire_at, call.now)?;
    }
    Ok(Reply::Integer(i64::from(before)).into())
}

/// GETBIT.
pub(super) fn getbit(call: &Call<'_>) -> Answer {
    let offset = bit_offset(call)?;
    let value = call.data().string(call.key(), call.now)?;
    Ok(Reply::Integer(i64::from(value.is_some_and(|string| bit(&string.value, offset)))).into())
}

/// BITCOUNT, of all or of a range of bytes.
pub(super) fn bitcount(call: &Call<'_>) -> Answer {
    let range = count_range(call)?;
    let value = call.data().string(call.key(), call.now)?.map_or_else(Bytes::new, |string| string.value);
    Ok(Reply::count(count(&value, range)).into())
}

/// The first and last byte that BITCOUNT is for, if not for all.
pub(super) fn count_range(call: &Call<'_>) -> Result<Option<(i64, i64)>> {
    match call.args.len() {
        2 => Ok(None),
        4 => Ok(Some((call.integer(2)?, call.integer(3)?))),
        _ => Err(Fault::SYNTAX),
    }
}

/// How many bits are set in a range of bytes.
pub(super) fn count(value: &[u8], range: Option<(i64, i64)>) -> usize {
    let size = value.len() as i64;
    let (start, end) = range.map_or((0, size - 1), |(start, end)| {
        let from_end = |index: i64| if index < 0 { size.saturating_add(index).max(0) } else { index };
        (from_end(start), from_end(end).min(size - 1))
    });
    let part = if start > end { &[] } else { &value[start as usize..=end as usize] };
    part.iter().map(|byte| byte.count_ones() as usize).sum()
}

/// BITPOS, of all, of what follows a byte, or of a range of bytes.
pub(super) fn bitpos(call: &Call<'_>) -> Answer {
    let wanted = match call.integer(2)? {
        0 => false,
        1 => true,
        _ => return Err(Fault::err("The bit argument must be 1 or 0.")),
    };
    let (start, end) = match call.args.len() {
        3 => (0, -1),
        4 => (call.integer(3)?, -1),
        5 => (call.integer(3)?, call.integer(4)?),
        _ => return Err(Fault::SYNTAX),
    };
    let Some(string) = call.data().string(call.key(), call.now)? else {
        return Ok(Reply::Integer(if wanted { -1 } else { 0 }).into());
    };
    let size = string.value.len() as i64;
    let from_end = |index: i64| if index < 0 { size.saturating_add(index).max(0) } else { index };
    let (start, end) = (from_end(start), from_end(end).min(size - 1));
    let mut bits = start.saturating_mul(8)..end.saturating_add(1).saturating_mul(8);
    let found = bits.find(|&offset| bit(&string.value, offset as usize) == wanted);
    Ok(Reply::Integer(found.unwrap_or(-1)).into())
}

/// BITOP, logged as a plain `set` of the result, and when it fails as one of nothing.
pub(super) fn bitop(call: &Call<'_>) -> Answer {
    let operation = &call.args[1];
    let known = ["and", "or", "xor", "not"].iter().any(|word| is_word(operation, word));
    if !known {
        return Err(Fault::SYNTAX);
    }
    if is_word(operation, "not") && call.args.len() != 4 {
        return Err(Fault::err("BITOP NOT must be called with a single source key."));
    }
    if call.args.len() < 4 || call.args.len() >= KEYS_MAX {
        return Err(Fault::wrong_number("bitop"));
    }
    let destination = &call.args[2];
    let logged = |value: Bytes| Logged::as_command([Bytes::from_static(b"set"), destination.clone(), value]);
    match combined(call) {
        Ok(value) => {
            call.data().set(destination, &value, None, call.now)?;
            Ok(Done::logged(Reply::count(value.len()), logged(value.into())))
        }
        Err(fault) => Ok(Done::logged(fault.reply(), logged(Bytes::new()))),
    }
}

fn combined(call: &Call<'_>) -> Result<Vec<u8>> {
    let mut sources = Vec::with_capacity(call.args.len() - 3);
    for key in &call.args[3..] {
        sources.push(call.data().string(key, call.now)?.map_or_else(Bytes::new, |string| string.value));
    }
    let size = sources.iter().map(Bytes::len).max().unwrap_or(0);
    let combine = |left: u8, right: u8| match call.args[1].to_ascii_lowercase().as_slice() {
        b"and" => left & right,
        b"or" => left | right,
        _ => left ^ right,
    };
    let byte = |source: &Bytes, index: usize| source.get(index).copied().unwrap_or(0);
    let value = (0..size).map(|index| {
        let first = byte(&sources[0], index);
        sources[1..].iter().fold(first, |left, source| combine(left, byte(source, index)))
    });
    Ok(match is_word(&call.args[1], "not") {
        true => value.map(|byte| !byte).collect(),
        false => value.collect(),
    })
}

/// The server sets no bit behind these.
const OFFSET_MAX: usize = 1 << 21;

/// The server takes no more arguments than these less one.
const KEYS_MAX: usize = 12_800;

fn bit_offset(call: &Call<'_>) -> Result<usize> {
    let offset = number::integer(&call.args[2]).and_then(|offset| usize::try_from(offset).ok());
    offset
        .filter(|&offset| offset < OFFSET_MAX || is_word(&call.args[0], "getbit"))
        .ok_or_else(|| Fault::err("bit offset is not an integer or out of range"))
}

fn bit(value: &[u8], offset: usize) -> bool {
    value.get(offset / 8).is_some_and(|byte| byte & mask(offset) != 0)
}

fn mask(offset: usize) -> u8 {
    0x80 >> (offset % 8)
}
