// SPDX-License-Identifier: Apache-2.0
//! Commands for sets.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use replication::Command;
use snapshot::format::{BaseKind, BaseMeta, Column, DataKey, SetValue, data_key, meta_key};

use super::call::{Answer, Call, Done, Logged};
use super::cursor::{Page, ScanOptions};
use super::fault::{Fault, Result};
use super::number;
use super::random::Minimal;
use super::reply::Reply;

/// What the names of the server's slot index begin with. A client's SADD to one is not logged.
pub(super) const SLOT_INDEX: [&str; 2] = ["_internal:slotkey:4migrate:", "_internal:slottag:4migrate:"];

/// SADD.
pub(super) fn sadd(call: &Call<'_>) -> Answer {
    let reply = Reply::count(add(call, call.key(), &call.args[2..])?);
    let is_index = SLOT_INDEX.iter().any(|prefix| call.key().starts_with(prefix.as_bytes()));
    Ok(Done::logged(reply, if is_index { Logged::Nothing } else { Logged::Verbatim }))
}

/// SREM.
pub(super) fn srem(call: &Call<'_>) -> Answer {
    Ok(Reply::count(remove(call, call.key(), &call.args[2..])?).into())
}

/// SPOP, logged as a `srem`. It always answers an array.
///
/// The server seeds its choice with the second of the clock, so in the same second it takes the same places.
pub(super) fn spop(call: &Call<'_>) -> Answer {
    let count = match call.args.len() {
        2 => 1,
        3 => number::integer(&call.args[2]).filter(|&count| count > 0).ok_or_else(|| Fault::err("spop"))?,
        _ => return Err(Fault::wrong_number("spop")),
    };
    let Some(mut meta) = live(call, call.key())? else {
        return Ok(Done::logged(Reply::Null, Logged::Nothing));
    };
    let all = members(call, call.key(), &meta)?;
    let size = usize::try_from(meta.count).unwrap_or(0);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut batch = call.data().batch(call.key());
    let popped: Vec<Bytes> = if size < count {
        batch.delete(Column::Default, meta_key(call.key()));
        all
    } else {
        let mut engine = Minimal::seeded(call.now.0 / 1000);
        let mut places = BTreeSet::new();
        while places.len() < count {
            places.insert(engine.next() as usize % size);
        }
        meta.count -= i32::try_from(count).unwrap_or(meta.count);
        batch.put(Column::Default, meta_key(call.key()), meta.encode());
        places.into_iter().filter_map(|place| all.get(place).cloned()).collect()
    };
    popped.iter().for_each(|member| batch.delete(Column::Set, data_key(call.key(), meta.version, member)));
    call.data().write(batch)?;
    let head = [Bytes::from_static(b"srem"), call.key().clone()];
    let log = Logged::Rewritten(vec![Command::new(head.into_iter().chain(popped.iter().cloned()))]);
    Ok(Done::logged(Reply::bulks(popped), log))
}

/// SMOVE, logged as a `srem` and a `sadd` when it applied.
pub(super) fn smove(call: &Call<'_>) -> Answer {
    let (source, target, member) = (call.key(), &call.args[2], &call.args[3]);
    if !contains(call, source, member)? {
        return Ok(Done::logged(Reply::Integer(0), Logged::Nothing));
    }
    remove(call, source, std::slice::from_ref(member))?;
    add(call, target, std::slice::from_ref(member))?;
    let log = vec![
        Command::new([Bytes::from_static(b"srem"), source.clone(), member.clone()]),
        Command::new([Bytes::from_static(b"sadd"), target.clone(), member.clone()]),
    ];
    Ok(Done::logged(Reply::Integer(1), Logged::Rewritten(log)))
}

/// SCARD.
pub(super) fn scard(call: &Call<'_>) -> Answer {
    Ok(Reply::Integer(live(call, call.key())?.map_or(0, |meta| i64::from(meta.count))).into())
}

/// SMEMBERS.
pub(super) fn smembers(call: &Call<'_>) -> Answer {
    Ok(Reply::bulks(members_of(call, call.key())?).into())
}

/// SISMEMBER.
pub(super) fn sismember(call: &Call<'_>) -> Answer {
    Ok(Reply::Integer(i64::from(contains(call, call.key(), &call.args[2])?)).into())
}

/// SRANDMEMBER; a negative count may give a member more than once.
pub(super) fn srandmember(call: &Call<'_>) -> Answer {
    let count = random_count(call)?;
    Ok(chosen(members_of(call, call.key())?, count).into())
}

/// How many members SRANDMEMBER is to choose; none is one, and not in an array.
pub(super) fn random_count(call: &Call<'_>) -> Result<Option<i64>> {
    match call.args.len() {
        2 => Ok(None),
        3 => Ok(Some(call.integer(2)?)),
        _ => Err(Fault::wrong_number("srandmember")),
    }
}

/// The answer of SRANDMEMBER of these members.
pub(super) fn chosen(mut all: Vec<Bytes>, count: Option<i64>) -> Reply {
    let some = |all: &[Bytes]| all[rand::random_range(0..all.len())].clone();
    match count {
        _ if all.is_empty() => Reply::Array(Vec::new()),
        None => Reply::Bulk(some(&all)),
        Some(count @ ..0) => {
            let count = count.unsigned_abs().min(RANDOM_MAX);
            Reply::bulks((0..count).map(|_| some(&all)))
        }
        Some(count) => {
            let count = all.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            for place in 0..count {
                let other = rand::random_range(place..all.len());
                all.swap(place, other);
            }
            all.truncate(count);
            Reply::bulks(all)
        }
    }
}

/// SSCAN, which gives the long error line for a wrong type.
pub(super) fn sscan(call: &Call<'_>) -> Answer {
    let options = ScanOptions::parse(call, Fault::wrong_number("sscan"))?;
    let Some(meta) = live(call, call.key()).map_err(Fault::verbose)? else {
        return Ok(Page::empty().reply().into());
    };
    Ok(options.page(call, Column::Set, meta.version, |member, _| Ok(vec![member]))?.reply().into())
}

/// SUNION. Like SINTER and SDIFF it only reads and is logged all the same.
pub(super) fn sunion(call: &Call<'_>) -> Answer {
    Ok(Reply::bulks(union(call, &call.args[1..])?).into())
}

/// SINTER.
pub(super) fn sinter(call: &Call<'_>) -> Answer {
    Ok(Reply::bulks(intersection(call, &call.args[1..])?).into())
}

/// SDIFF.
pub(super) fn sdiff(call: &Call<'_>) -> Answer {
    Ok(Reply::bulks(difference(call, &call.args[1..])?).into())
}

/// SUNIONSTORE, which replaces a target of any type. Like SINTERSTORE and SDIFFSTORE it is logged as a `del` and
/// `sadd`s of the result, also when it fails.
pub(super) fn sunionstore(call: &Call<'_>) -> Answer {
    store(call, union(call, &call.args[2..]), true)
}

/// SINTERSTORE, which replaces only a set.
pub(super) fn sinterstore(call: &Call<'_>) -> Answer {
    store(call, intersection(call, &call.args[2..]), false)
}

/// SDIFFSTORE, which replaces only a set.
pub(super) fn sdiffstore(call: &Call<'_>) -> Answer {
    store(call, difference(call, &call.args[2..]), false)
}

fn store(call: &Call<'_>, result: Result<Vec<Bytes>>, any_type: bool) -> Answer {
    let target = call.key();
    let mut log = vec![Command::new([Bytes::from_static(b"del"), target.clone()])];
    let members = match result {
        Ok(members) => members,
        Err(fault) => return Ok(Done::logged(fault.reply(), Logged::Rewritten(log))),
    };
    log.extend(in_chunks(b"sadd", target, members.iter().map(|member| [member.clone()])));
    let put = || {
        if !any_type {
            live(call, target)?;
        }
        call.data().delete(target, call.now)?;
        add(call, target, &members)
    };
    let reply = put().map_or_else(Fault::reply, |_| Reply::count(members.len()));
    Ok(Done::logged(reply, Logged::Rewritten(log)))
}

/// Commands that put in all these elements, each of about 128 KiB.
pub(super) fn in_chunks<const N: usize>(
    name: &'static [u8],
    key: &Bytes,
    elements: impl IntoIterator<Item = [Bytes; N]>,
) -> Vec<Command> {
    let head = || vec![Bytes::from_static(name), key.clone()];
    let mut commands = Vec::new();
    let (mut args, mut size) = (head(), 0);
    for element in elements {
        if size >= CHUNK_BYTES {
            commands.push(Command::new(std::mem::replace(&mut args, head())));
            size = 0;
        }
        size += element.iter().map(Bytes::len).sum::<usize>();
        args.extend(element);
    }
    if args.len() > 2 {
        commands.push(Command::new(args));
    }
    commands
}

const CHUNK_BYTES: usize = 128 << 10;
const RANDOM_MAX: u64 = 1 << 20;

fn union(call: &Call<'_>, keys: &[Bytes]) -> Result<Vec<Bytes>> {
    let mut union = BTreeSet::new();
    for key in keys {
        union.extend(members_of(call, key)?);
    }
    Ok(union.into_iter().collect())
}

fn intersection(call: &Call<'_>, keys: &[Bytes]) -> Result<Vec<Bytes>> {
    let mut common = members_of(call, &keys[0])?;
    if common.is_empty() {
        return Ok(common);
    }
    for key in &keys[1..] {
        let others: HashSet<Bytes> = members_of(call, key)?.into_iter().collect();
        common.retain(|member| others.contains(member));
    }
    Ok(common)
}

fn difference(call: &Call<'_>, keys: &[Bytes]) -> Result<Vec<Bytes>> {
    let mut rest = members_of(call, &keys[0])?;
    if rest.is_empty() {
        return Ok(rest);
    }
    for key in &keys[1..] {
        let others: HashSet<Bytes> = members_of(call, key)?.into_iter().collect();
        rest.retain(|member| !others.contains(member));
    }
    Ok(rest)
}

/// Puts members in and tells how many are new.
fn add(call: &Call<'_>, key: &Bytes, members: &[Bytes]) -> Result<usize> {
    let (mut meta, lived) = call.data().base_to_fill(key, BaseKind::Set, call.now)?;
    let mut batch = call.data().batch(key);
    let mut seen = HashSet::new();
    let mut added = 0;
    for member in members.iter().filter(|member| seen.insert(*member)) {
        let row = data_key(key, meta.version, member);
        if !lived || call.data().get(key, Column::Set, &row)?.is_none() {
            batch.put(Column::Set, row, SetValue { created: Some(call.now) }.encode());
            added += 1;
        }
    }
    // A result without members leaves a meta row that counts none.
    if added > 0 || !lived {
        let too_big = || Fault::err("Invalid argument: set size overflow");
        meta.count = i32::try_from(added).ok().and_then(|added| meta.count.checked_add(added)).ok_or_else(too_big)?;
        batch.put(Column::Default, meta_key(key), meta.encode());
        call.data().write(batch)?;
    }
    Ok(added)
}

/// Takes members out and tells how many were there.
fn remove(call: &Call<'_>, key: &Bytes, members: &[Bytes]) -> Result<usize> {
    let Some(mut meta) = live(call, key)? else {
        return Ok(0);
    };
    let mut batch = call.data().batch(key);
    let mut seen = HashSet::new();
    let mut removed = 0;
    for member in members.iter().filter(|member| seen.insert(*member)) {
        let row = data_key(key, meta.version, member);
        if call.data().get(key, Column::Set, &row)?.is_some() {
            batch.delete(Column::Set, row);
            removed += 1;
        }
    }
    meta.count -= removed;
    batch.put(Column::Default, meta_key(key), meta.encode());
    call.data().write(batch)?;
    Ok(removed as usize)
}

fn live(call: &Call<'_>, key: &Bytes) -> Result<Option<BaseMeta>> {
    call.data().base(key, BaseKind::Set, call.now)
}

fn contains(call: &Call<'_>, key: &Bytes, member: &[u8]) -> Result<bool> {
    let Some(meta) = live(call, key)? else {
        return Ok(false);
    };
    Ok(call.data().get(key, Column::Set, &data_key(key, meta.version, member))?.is_some())
}

fn members_of(call: &Call<'_>, key: &Bytes) -> Result<Vec<Bytes>> {
    match live(call, key)? {
        Some(meta) => members(call, key, &meta),
        None => Ok(Vec::new()),
    }
}

/// The members of a set.
pub(super) fn members(call: &Call<'_>, key: &[u8], meta: &BaseMeta) -> Result<Vec<Bytes>> {
    let mut members = Vec::new();
    call.data().scan(key, Column::Set, meta.version, None, |row, _| {
        members.push(Bytes::copy_from_slice(DataKey::decode(row)?.element));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(members)
}
