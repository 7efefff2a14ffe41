// SPDX-License-Identifier: Apache-2.0
//! KEYS and SCAN.
//!
//! The server goes through the types one after the other, and within a type through the keys of all instances in their
//! order. Deleted, emptied and expired keys are left out, streams without entries too.

use std::ops::ControlFlow;

use bytes::Bytes;
use replication::Command;
use snapshot::format::{Column, Meta, meta_key, split_meta_key};

use super::call::{Answer, Call, Done, Logged, is_word};
use super::cursor::Place;
use super::data::type_name;
use super::fault::{Fault, Result};
use super::glob;
use super::number;
use super::reply::Reply;

/// KEYS, with a type behind the pattern if one is wanted.
pub(super) fn keys(call: &Call<'_>) -> Answer {
    let types = match call.args {
        [_, _] => &TYPES[..],
        [_, _, name] => std::slice::from_ref(type_named(name, &TYPES)?),
        _ => return Err(Fault::SYNTAX),
    };
    let mut all = Vec::new();
    for wanted in types {
        let (found, _) = find(call, wanted, &call.args[1], &[], usize::MAX)?;
        all.extend(found.into_iter().map(Reply::Bulk));
    }
    Ok(Reply::Array(all).into())
}

/// SCAN with MATCH, COUNT and TYPE. Of the types it does not know `stream`.
pub(super) fn scan(call: &Call<'_>) -> Answer {
    let cursor = u64::try_from(call.integer(1)?).unwrap_or(0);
    let (mut pattern, mut count, mut types) = (Bytes::from_static(b"*"), 10, &TYPES[..]);
    let mut rest = call.args[2..].iter();
    while let Some(option) = rest.next() {
        let value = rest.next().ok_or(Fault::SYNTAX)?;
        if is_word(option, "match") {
            pattern = value.clone();
        } else if is_word(option, "count") {
            let given = number::integer(value).filter(|&count| count > 0).ok_or(Fault::NOT_INTEGER)?;
            count = usize::try_from(given).unwrap_or(usize::MAX);
        } else if is_word(option, "type") {
            types = std::slice::from_ref(type_named(value, &TYPES[..5])?);
        } else {
            return Err(Fault::SYNTAX);
        }
    }
    let place = call.core.cursors.find(cursor);
    let start = place.and_then(|place| Some((types.iter().position(|name| place.scope == *name)?, place.next)));
    let (first, mut from) = start.unwrap_or((0, Bytes::new()));
    let mut keys = Vec::new();
    let mut next = None;
    for wanted in &types[first..] {
        let (found, more) = find(call, wanted, &pattern, &from, count - keys.len())?;
        keys.extend(found.into_iter().map(Reply::Bulk));
        from = Bytes::new();
        if let Some(key) = more {
            next = Some(Place { scope: Bytes::from_static(wanted.as_bytes()), next: key });
            break;
        }
    }
    let cursor = next.map_or(0, |place| call.core.cursors.remember(place));
    Ok(Reply::Array(vec![Reply::text(cursor.to_string()), Reply::Array(keys)]).into())
}

/// PKPATTERNMATCHDEL: deletes up to a number of keys that match, and logs a `del` for each. It locks none of them, and
/// what is cached of them stays.
pub(super) fn pkpatternmatchdel(call: &Call<'_>) -> Answer {
    let mut limit = BATCH_MAX;
    if call.args.len() > 2 {
        let wanted = call.integer(2)?;
        limit =
            usize::try_from(wanted).ok().filter(|limit| (1..=BATCH_MAX).contains(limit)).ok_or(Fault::NOT_INTEGER)?;
    }
    let mut doomed = Vec::new();
    for instance in 0..call.data().store.instances() {
        let mut fault = Ok(());
        call.data().store.scan_from(instance, Column::Default, &[], |row, value| {
            if doomed.len() == limit {
                return ControlFlow::Break(());
            }
            match matching(call, &call.args[1], row, value) {
                Ok(key) => doomed.extend(key),
                Err(error) => fault = Err(error),
            }
            if fault.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        fault?;
    }
    for key in &doomed {
        call.data().delete(key, call.now)?;
    }
    let reply = Reply::count(doomed.len());
    let log = doomed.into_iter().map(|key| Command::new([Bytes::from_static(b"del"), key])).collect();
    Ok(Done::logged(reply, Logged::Rewritten(log)))
}

/// The key of a row, if it matches and lives.
fn matching(call: &Call<'_>, pattern: &[u8], row: &[u8], value: &[u8]) -> Result<Option<Bytes>> {
    let key = split_meta_key(row)?.unescaped();
    let meta = Meta::decode(value)?;
    let is_wanted = glob::matches(pattern, &key) && !meta.is_empty() && !meta.is_expired(call.now);
    Ok(is_wanted.then(|| Bytes::copy_from_slice(&key)))
}

/// The server deletes no more at a time.
const BATCH_MAX: usize = 100;

/// The types in the server's order, by the names that TYPE gives them.
const TYPES: [&str; 6] = ["string", "hash", "set", "list", "zset", "streams"];

fn type_named<'a>(name: &[u8], types: &'a [&'static str]) -> Result<&'a &'static str> {
    let plain = |known: &str| is_word(name, known) || (known == "streams" && is_word(name, "stream"));
    types.iter().find(|known| plain(known)).ok_or(Fault::SYNTAX)
}

/// Up to `limit` living keys of a type from the key `from` on, in order, and the one behind them.
fn find(
    call: &Call<'_>,
    wanted: &str,
    pattern: &[u8],
    from: &[u8],
    limit: usize,
) -> Result<(Vec<Bytes>, Option<Bytes>)> {
    let start = meta_key(from.max(glob::literal_prefix(pattern)));
    let enough = limit.saturating_add(1);
    let mut keys = Vec::new();
    for instance in 0..call.data().store.instances() {
        let mut found = 0;
        let mut fault = Ok(());
        call.data().store.scan_from(instance, Column::Default, &start, |row, value| {
            match take(call, wanted, pattern, row, value) {
                Ok(Some(key)) => {
                    keys.push(key);
                    found += 1;
                }
                Ok(None) => {}
                Err(error) => fault = Err(error),
            }
            if fault.is_ok() && found < enough { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        fault?;
    }
    keys.sort();
    let next = keys.get(limit).cloned();
    keys.truncate(limit);
    Ok((keys, next))
}

/// The key of a row, if it is one of those wanted.
fn take(call: &Call<'_>, wanted: &str, pattern: &[u8], row: &[u8], value: &[u8]) -> Result<Option<Bytes>> {
    let key = split_meta_key(row)?.unescaped();
    if !glob::matches(pattern, &key) {
        return Ok(None);
    }
    let meta = Meta::decode(value)?;
    let is_wanted = type_name(&meta) == wanted && !meta.is_empty() && !meta.is_expired(call.now);
    Ok(is_wanted.then(|| Bytes::copy_from_slice(&key)))
}
