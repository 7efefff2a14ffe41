// SPDX-License-Identifier: Apache-2.0
//! Commands for lists.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use bytes::Bytes;
use replication::Command;
use snapshot::format::{Column, ListKey, ListMeta, ListValue, list_key, meta_key};

use super::call::{Answer, Call, Done, Logged, is_word};
use super::fault::{Fault, Result};
use super::number;
use super::reply::Reply;

/// An end of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The head, on the left.
    Left,
    /// The tail, on the right.
    Right,
}

/// LPUSH.
pub(super) fn lpush(call: &Call<'_>) -> Answer {
    Ok(Reply::count(push(call, call.key(), &call.args[2..], End::Left)?).into())
}

/// RPUSH.
pub(super) fn rpush(call: &Call<'_>) -> Answer {
    Ok(Reply::count(push(call, call.key(), &call.args[2..], End::Right)?).into())
}

/// LPUSHX.
pub(super) fn lpushx(call: &Call<'_>) -> Answer {
    push_if_present(call, End::Left)
}

/// RPUSHX.
pub(super) fn rpushx(call: &Call<'_>) -> Answer {
    push_if_present(call, End::Right)
}

fn push_if_present(call: &Call<'_>, end: End) -> Answer {
    match live(call)? {
        Some(_) => Ok(Reply::count(push(call, call.key(), &call.args[2..], end)?).into()),
        None => Ok(Reply::Integer(0).into()),
    }
}

/// LPOP, of one or of several.
pub(super) fn lpop(call: &Call<'_>) -> Answer {
    pop_command(call, "lpop", End::Left)
}

/// RPOP, of one or of several.
pub(super) fn rpop(call: &Call<'_>) -> Answer {
    pop_command(call, "rpop", End::Right)
}

/// One element is answered as a string even where a count was given. The server has no answer at all to a count of
/// zero; here it is an empty array.
fn pop_command(call: &Call<'_>, name: &str, end: End) -> Answer {
    let count = match call.args.len() {
        2 => 1,
        3 => number::integer(&call.args[2]).ok_or_else(|| Fault::err(name))?,
        _ => return Err(Fault::wrong_number(name)),
    };
    let count = usize::try_from(count).map_err(|_| Fault::SYNTAX)?;
    let Some(mut elements) = pop(call, call.key(), count, end)? else {
        return Ok(Reply::Null.into());
    };
    Ok(match elements.len() {
        1 => Reply::Bulk(elements.remove(0)).into(),
        _ => Reply::bulks(elements).into(),
    })
}

/// RPOPLPUSH, logged as an RPOP and an LPUSH.
pub(super) fn rpoplpush(call: &Call<'_>) -> Answer {
    let (source, target) = (call.key(), &call.args[2]);
    let Some(meta) = live(call)? else {
        return Ok(Done::logged(Reply::Null, Logged::Nothing));
    };
    // A target of another type must be seen before anything is taken.
    call.data().list_to_fill(target, call.now)?;
    let last = elements(call, &meta, meta.right - 1..meta.right)?;
    let [element] = <[Bytes; 1]>::try_from(last).map_err(|_| Fault::err("NotFound: "))?;
    // A list of one element does not change by being turned around.
    if source != target || meta.count > 1 {
        pop(call, source, 1, End::Right)?;
        push(call, target, std::slice::from_ref(&element), End::Left)?;
    }
    let log = vec![
        Command::new([Bytes::from_static(b"RPOP"), source.clone()]),
        Command::new([Bytes::from_static(b"LPUSH"), target.clone(), element.clone()]),
    ];
    Ok(Done::logged(Reply::Bulk(element), Logged::Rewritten(log)))
}

/// Takes an element off the first of these lists that has one, and says what is logged: BLPOP and BRPOP.
pub(super) fn pop_first(call: &Call<'_>, keys: &[Bytes], end: End) -> Result<Option<Done>> {
    for key in keys {
        if let Some(element) = pop(call, key, 1, end)?.and_then(|mut elements| elements.pop()) {
            let name = if end == End::Left { "lpop" } else { "rpop" };
            let log = Logged::as_command([Bytes::from_static(name.as_bytes()), key.clone()]);
            return Ok(Some(Done::logged(Reply::bulks([key.clone(), element]), log)));
        }
    }
    Ok(None)
}

/// LLEN.
pub(super) fn llen(call: &Call<'_>) -> Answer {
    Ok(Reply::Integer(live(call)?.map_or(0, |meta| meta.count as i64)).into())
}

/// LINDEX.
pub(super) fn lindex(call: &Call<'_>) -> Answer {
    let index = call.integer(2)?;
    let Some(meta) = live(call)? else {
        return Ok(Reply::Null.into());
    };
    let at = place(&meta, index);
    let element = if inside(&meta).contains(&at) { elements(call, &meta, at..at + 1)?.pop() } else { None };
    Ok(Reply::bulk_or_null(element).into())
}

/// LRANGE.
pub(super) fn lrange(call: &Call<'_>) -> Answer {
    let (start, stop) = (call.integer(2)?, call.integer(3)?);
    let Some(meta) = live(call)? else {
        return Ok(Reply::Array(Vec::new()).into());
    };
    Ok(Reply::bulks(elements(call, &meta, range(&meta, start, stop))?).into())
}

/// LSET.
pub(super) fn lset(call: &Call<'_>) -> Answer {
    let index = call.integer(2)?;
    let meta = live(call)?.ok_or(Fault::NO_SUCH_KEY)?;
    let at = place(&meta, index);
    if !inside(&meta).contains(&at) {
        return Err(Fault::err("index out of range"));
    }
    let mut batch = call.data().batch(call.key());
    batch.put(Column::List, list_key(call.key(), meta.version, at), row(call, &call.args[3]));
    call.data().write(batch)?;
    Ok(Reply::OK.into())
}

/// LTRIM.
pub(super) fn ltrim(call: &Call<'_>) -> Answer {
    let (start, stop) = (call.integer(2)?, call.integer(3)?);
    let Some(mut meta) = live(call)? else {
        return Ok(Reply::OK.into());
    };
    let kept = range(&meta, start, stop);
    if kept.is_empty() {
        call.data().delete(call.key(), call.now)?;
        return Ok(Reply::OK.into());
    }
    let mut batch = call.data().batch(call.key());
    for index in (meta.left + 1..kept.start).chain(kept.end..meta.right) {
        batch.delete(Column::List, list_key(call.key(), meta.version, index));
    }
    (meta.left, meta.right, meta.count) = (kept.start - 1, kept.end, kept.end - kept.start);
    batch.put(Column::Default, meta_key(call.key()), meta.encode());
    call.data().write(batch)?;
    Ok(Reply::OK.into())
}

/// LREM: the elements between the removed ones and the nearer end move up.
pub(super) fn lrem(call: &Call<'_>) -> Answer {
    let count = call.integer(2)?;
    let Some(mut meta) = live(call)? else {
        return Ok(Reply::Integer(0).into());
    };
    let all = elements(call, &meta, inside(&meta))?;
    let equal = || all.iter().enumerate().filter(|(_, element)| **element == call.args[3]).map(|(index, _)| index);
    let limit = if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
    let found: Vec<usize> = if count < 0 { equal().rev().take(limit).collect() } else { equal().take(limit).collect() };
    let (Some(&first), Some(&last)) = (found.iter().min(), found.iter().max()) else {
        return Ok(Reply::Integer(0).into());
    };
    let gone: HashSet<usize> = found.iter().copied().collect();
    let removed = found.len() as u64;
    let kept = |part: Range<usize>| part.filter(|index| !gone.contains(index)).map(|index| &all[index]);
    let mut batch = call.data().batch(call.key());
    let mut put = |index: u64, element| batch.put(Column::List, list_key(call.key(), meta.version, index), element);
    let to_drop = if last < all.len() - first {
        let start = meta.left + 1 + removed;
        kept(0..last + 1).zip(start..).for_each(|(element, index)| put(index, row(call, element)));
        meta.left += removed;
        meta.left + 1 - removed..meta.left + 1
    } else {
        let start = meta.left + 1 + first as u64;
        kept(first..all.len()).zip(start..).for_each(|(element, index)| put(index, row(call, element)));
        meta.right -= removed;
        meta.right..meta.right + removed
    };
    to_drop.for_each(|index| batch.delete(Column::List, list_key(call.key(), meta.version, index)));
    meta.count -= removed;
    batch.put(Column::Default, meta_key(call.key()), meta.encode());
    call.data().write(batch)?;
    Ok(Reply::count(found.len()).into())
}

/// LINSERT: the elements between the new one and the nearer end move over.
pub(super) fn linsert(call: &Call<'_>) -> Answer {
    let after = match &call.args[2] {
        side if is_word(side, "before") => false,
        side if is_word(side, "after") => true,
        _ => return Err(Fault::SYNTAX),
    };
    let Some(mut meta) = live(call)? else {
        return Ok(Reply::Integer(0).into());
    };
    let all = elements(call, &meta, inside(&meta))?;
    let Some(pivot) = all.iter().position(|element| *element == call.args[3]) else {
        return Ok(Reply::Integer(-1).into());
    };
    let place = pivot + usize::from(after);
    let mut batch = call.data().batch(call.key());
    let mut put = |index: u64, element| batch.put(Column::List, list_key(call.key(), meta.version, index), element);
    let first = meta.left + 1;
    if meta.left + 1 + pivot as u64 <= meta.left + (meta.right - meta.left) / 2 {
        all[..place].iter().zip(meta.left..).for_each(|(element, index)| put(index, row(call, element)));
        put(meta.left + place as u64, row(call, &call.args[4]));
        meta.left -= 1;
    } else {
        let moved = first + place as u64;
        all[place..].iter().zip(moved + 1..).for_each(|(element, index)| put(index, row(call, element)));
        put(moved, row(call, &call.args[4]));
        meta.right += 1;
    }
    meta.count += 1;
    batch.put(Column::Default, meta_key(call.key()), meta.encode());
    call.data().write(batch)?;
    Ok(Reply::Integer(meta.count as i64).into())
}

/// Pushes one after the other and gives the new length.
fn push(call: &Call<'_>, key: &Bytes, elements: &[Bytes], end: End) -> Result<usize> {
    let mut meta = call.data().list_to_fill(key, call.now)?;
    let mut batch = call.data().batch(key);
    for element in elements {
        let index = match end {
            End::Left => meta.left,
            End::Right => meta.right,
        };
        match end {
            End::Left => meta.left -= 1,
            End::Right => meta.right += 1,
        }
        batch.put(Column::List, list_key(key, meta.version, index), row(call, element));
    }
    meta.count += elements.len() as u64;
    batch.put(Column::Default, meta_key(key), meta.encode());
    call.data().write(batch)?;
    Ok(meta.count as usize)
}

/// Takes up to `count` elements off an end; `None` when there is no list.
fn pop(call: &Call<'_>, key: &Bytes, count: usize, end: End) -> Result<Option<Vec<Bytes>>> {
    let Some(mut meta) = call.data().list(key, call.now)? else {
        return Ok(None);
    };
    let count = meta.count.min(count as u64);
    let taken = match end {
        End::Left => meta.left + 1..meta.left + 1 + count,
        End::Right => meta.right - count..meta.right,
    };
    let mut elements = elements_of(call, key, &meta, taken.clone())?;
    match end {
        End::Left => meta.left += count,
        End::Right => {
            meta.right -= count;
            elements.reverse();
        }
    }
    meta.count -= count;
    let mut batch = call.data().batch(key);
    taken.for_each(|index| batch.delete(Column::List, list_key(key, meta.version, index)));
    batch.put(Column::Default, meta_key(key), meta.encode());
    call.data().write(batch)?;
    Ok(Some(elements))
}

fn live(call: &Call<'_>) -> Result<Option<ListMeta>> {
    call.data().list(call.key(), call.now)
}

/// The indices of all elements.
fn inside(meta: &ListMeta) -> Range<u64> {
    meta.left + 1..meta.right
}

/// The index of the element at a place counted from the head, or backwards from the tail.
fn place(meta: &ListMeta, index: i64) -> u64 {
    let from = if index >= 0 { meta.left + 1 } else { meta.right };
    from.saturating_add_signed(index)
}

/// The indices of the elements from one place to another, both included.
fn range(meta: &ListMeta, start: i64, stop: i64) -> Range<u64> {
    let all = inside(meta);
    let start = place(meta, start).max(all.start);
    let end = place(meta, stop).saturating_add(1).min(all.end);
    if start < end { start..end } else { 0..0 }
}

/// All elements from head to tail.
pub(super) fn all(call: &Call<'_>, meta: &ListMeta) -> Result<Vec<Bytes>> {
    elements(call, meta, inside(meta))
}

/// The place of an element among `length`, counted from the head, or backwards from the tail.
pub(super) fn place_in(length: usize, index: i64) -> Option<usize> {
    let from = if index >= 0 { 0 } else { length as i64 };
    usize::try_from(from.saturating_add(index)).ok().filter(|&place| place < length)
}

/// The places from one to another, both included, among `length`.
pub(super) fn places(length: usize, start: i64, stop: i64) -> Range<usize> {
    let from_end = |index: i64| if index < 0 { index.saturating_add(length as i64) } else { index };
    let start = usize::try_from(from_end(start).max(0)).unwrap_or(usize::MAX);
    let end = usize::try_from(from_end(stop).saturating_add(1)).unwrap_or(0).min(length);
    if start < end { start..end } else { 0..0 }
}

fn elements(call: &Call<'_>, meta: &ListMeta, range: Range<u64>) -> Result<Vec<Bytes>> {
    elements_of(call, call.key(), meta, range)
}

fn elements_of(call: &Call<'_>, key: &[u8], meta: &ListMeta, range: Range<u64>) -> Result<Vec<Bytes>> {
    let mut elements = Vec::new();
    if range.is_empty() {
        return Ok(elements);
    }
    let from = list_key(key, meta.version, range.start);
    call.data().scan(key, Column::List, meta.version, Some(&from), |row, value| {
        if ListKey::decode(row)?.index >= range.end {
            return Ok(ControlFlow::Break(()));
        }
        elements.push(Bytes::copy_from_slice(ListValue::decode(value)?.value));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(elements)
}

fn row(call: &Call<'_>, element: &[u8]) -> Vec<u8> {
    ListValue { value: element, created: Some(call.now) }.encode()
}
