// SPDX-License-Identifier: Apache-2.0
//! Commands about the server.

use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use snapshot::format::BaseKind;

use super::backup;
use super::call::{Answer, Call, Done, Logged};
use super::fault::Fault;
use super::number;
use super::reply::Reply;
use super::sets::SLOT_INDEX;

/// ECHO.
pub(super) fn echo(call: &Call<'_>) -> Answer {
    Ok(Reply::Bulk(call.args[1].clone()).into())
}

/// TIME: seconds and microseconds.
pub(super) fn time(_: &Call<'_>) -> Answer {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let parts = [since.as_secs().to_string(), since.subsec_micros().to_string()];
    Ok(Reply::Array(parts.map(Reply::text).to_vec()).into())
}

/// DBSIZE, which never worked.
pub(super) fn dbsize(_: &Call<'_>) -> Answer {
    Err(Fault::err("Get dbsize error"))
}

/// LASTSAVE.
pub(super) fn lastsave(call: &Call<'_>) -> Answer {
    Ok(Reply::Integer(call.core.last_save.load(Ordering::Acquire) as i64).into())
}

/// BGSAVE. A second one while the first is running does nothing, and answers the same.
pub(super) fn bgsave(call: &Call<'_>) -> Answer {
    match call.args {
        [_] => {}
        [_, database] if database.as_ref() == b"db0" => {}
        [_, other, ..] => return Err(Fault::err(format!("invalid DB for '{}'", String::from_utf8_lossy(other)))),
        [] => return Err(Fault::SYNTAX),
    }
    backup::request(call.core);
    Ok(Reply::Status("Background saving started").into())
}

/// SLOTSHASHKEY: the slot of each key.
pub(super) fn slotshashkey(call: &Call<'_>) -> Answer {
    let slot = |key: &Bytes| Reply::Integer(i64::from(call.data().slots().slot_of(key).number()));
    Ok(Reply::Array(call.args[1..].iter().map(slot).collect()).into())
}

/// SLOTSINFO: which slots the server's own index holds, and how many keys of each. The node never adds to that index.
pub(super) fn slotsinfo(call: &Call<'_>) -> Answer {
    let slots = i64::from(call.data().slots().get());
    let argument = |index: usize| call.args.get(index).map(|_| call.integer(index)).transpose();
    let begin = argument(1)?.unwrap_or(0);
    if !(0..slots).contains(&begin) {
        return Err(Fault::err(format!("invalid slot begin = {begin}")));
    }
    let count = argument(2)?.unwrap_or(slots);
    if count < 0 {
        return Err(Fault::err(format!("invalid slot count = {count}")));
    }
    if call.args.len() > 3 {
        return Err(Fault::wrong_number("slotsinfo"));
    }
    let mut found = Vec::new();
    for slot in begin..begin.saturating_add(count).min(slots) {
        let key = index_of(slot);
        if let Ok(Some(meta)) = call.data().base(&key, BaseKind::Set, call.now) {
            found.push(Reply::Array(vec![Reply::Integer(slot), Reply::Integer(i64::from(meta.count))]));
        }
    }
    Ok(Reply::Array(found).into())
}

/// SLOTSDEL: deletes parts of the server's own index, never a key of a user. It is not logged.
pub(super) fn slotsdel(call: &Call<'_>) -> Answer {
    let mut count = 0;
    for slot in &call.args[1..] {
        let slot = number::integer(slot).ok_or(Fault::NOT_INTEGER)?;
        count += usize::from(call.data().delete(&index_of(slot), call.now)?);
    }
    Ok(Done::logged(Reply::count(count), Logged::Nothing))
}

fn index_of(slot: i64) -> Bytes {
    Bytes::from(format!("{}{slot}", SLOT_INDEX[0]))
}
