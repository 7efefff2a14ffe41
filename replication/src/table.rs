// SPDX-License-Identifier: Apache-2.0
//! The table of commands: which keys, and which elements of them, a logged command touches.
//!
//! Pika 4.0 logs one key per entry, always in the first argument. The forms with several keys are those of other
//! versions and of Redis; they cost nothing and keep a foreign log from being misread.
//!
//! What the 79 commands that Pika 4.0.1 flags as writes leave in its log. A command that ends without an error is logged,
//! also when it changed nothing; *as sent* keeps the client's spelling of the name, and its other name where the command is
//! renamed. All other names below are written by Pika itself, under any renames.
//!
//! | Command | Entries |
//! |---|---|
//! | GETSET SETRANGE SETBIT DECR DECRBY DELVX PERSIST EXPIREAT PEXPIREAT PKSETEXAT PFADD | as sent |
//! | SET | as sent; `pksetexat key time value` with EX or PX and no condition |
//! | SETNX | `setnx key value` |
//! | SETEX PSETEX | `pksetexat key time value` |
//! | INCR INCRBY INCRBYFLOAT APPEND | `pksetexat key time value` with the result |
//! | EXPIRE, PEXPIRE | `expireat key time`, `pexpireat key time` |
//! | MSET MSETNX | `set key value` for each pair |
//! | DEL UNLINK | its name as sent, once for each key |
//! | BITOP PFMERGE | `set key result`, also when it failed |
//! | HSET HMSET HSETNX HDEL HINCRBY HINCRBYFLOAT | as sent |
//! | LPUSH RPUSH LPUSHX RPUSHX LPOP RPOP LINSERT LREM LSET LTRIM | as sent |
//! | BLPOP, BRPOP | `lpop key`, `rpop key`, by another thread for a client that had to wait |
//! | RPOPLPUSH | `RPOP key` and `LPUSH key element` |
//! | SADD SREM | as sent; nothing for SADD to the set of a slot |
//! | SPOP | `srem key member ...` |
//! | SMOVE | `srem key member` and `sadd key member` |
//! | SUNIONSTORE SINTERSTORE SDIFFSTORE | `del key` and `sadd key member ...`, also when it failed |
//! | SUNION SINTER SDIFF | as sent, although they are reads |
//! | ZADD ZINCRBY ZREM ZPOPMIN ZPOPMAX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREMRANGEBYLEX GEOADD | as sent |
//! | ZUNIONSTORE ZINTERSTORE | `del key` and `zadd key score member ...`, also when it failed |
//! | XADD | as sent, with the full id |
//! | XDEL XTRIM | as sent |
//! | FLUSHDB | as sent, never with an argument |
//! | FLUSHALL | `flushdb` in the log of each database |
//! | EXEC | what each of its commands leaves, but nothing of FLUSHDB and FLUSHALL |
//! | PKPATTERNMATCHDEL | `del key` for each deleted key; nothing when it ends with an error, whatever it deleted by then |
//! | SLOTSMGRT-EXEC-WRAPPER | as sent, with a command that was not executed |
//! | CLEARCACHE CLEARREPLICATIONID | as sent |
//! | PADDING DUMMY | nothing with a meaning |
//!
//! Of commands that are flagged as reads, the slot migrations log `DEL key` for each key that they move, and SLOTSCLEANUP
//! `DEL` of the sets of its slots, but nothing of the keys that it deletes. GEORADIUS ... STORE logs nothing.

use std::collections::HashSet;

use bytes::Bytes;

use crate::{Change, Cut, Extent, ListStep};

/// What the command of this name touches, nothing for one that changes nothing. `None` when it is not in the table or lacks
/// its key. The arguments begin with the name as it was logged, which may be another one.
pub(crate) fn changes(name: &[u8], args: &[Bytes]) -> Option<Vec<Change>> {
    let key = |at: usize| args.get(at).cloned().map(Change::whole);
    match shape(name)? {
        Shape::Nothing => Some(Vec::new()),
        Shape::All => Some(vec![Change::All]),
        Shape::Anything => Some(vec![Change::Anything]),
        Shape::Key(at) => Some(vec![key(at)?]),
        Shape::TwoKeys => Some(vec![key(1)?, key(2)?]),
        Shape::Keys => keys(args.get(1..)?),
        Shape::KeysAndTimeout => keys(args.get(1..args.len() - 1)?),
        Shape::KeysWithValues => values(args.get(1..)?),
        Shape::CountedKeys(at) => {
            let count = std::str::from_utf8(args.get(at)?).ok()?.parse().ok()?;
            keys(args.get(at + 1..)?.get(..count)?)
        }
        Shape::Stored => {
            let is_store = |arg: &Bytes| is_one_of(arg, &["STORE", "STOREDIST"]);
            let places = args.iter().enumerate().skip(2).filter(|(_, arg)| is_store(arg));
            places.map(|(at, _)| key(at + 1)).collect()
        }
        Shape::MovedMember => match args {
            [_, source, target, member] => {
                let elements = || Extent::Elements(vec![member.clone()]);
                Some([source, target].map(|key| Change::Key { key: key.clone(), extent: elements() }).into())
            }
            _ => Some(vec![key(1)?, key(2)?]),
        },
        Shape::Value(length) => {
            let extent = args.get(2..).and_then(length).map_or(Extent::Whole, |length| Extent::Value { length });
            Some(vec![Change::Key { key: args.get(1)?.clone(), extent }])
        }
        Shape::Elements(elements) => {
            let extent = args.get(2..).and_then(elements).and_then(distinct).map_or(Extent::Whole, Extent::Elements);
            Some(vec![Change::Key { key: args.get(1)?.clone(), extent }])
        }
        Shape::Cut(cut) => {
            let extent = match args.get(2..).and_then(cut) {
                Some((elements, cut)) if cut == Cut::default() => Extent::Elements(elements),
                Some((elements, cut)) => Extent::Cut { elements, cut },
                None => Extent::Whole,
            };
            Some(vec![Change::Key { key: args.get(1)?.clone(), extent }])
        }
        Shape::List => {
            let step = args.get(2..).and_then(|rest| ListStep::of(name, rest));
            let extent = step.map_or(Extent::Whole, |step| Extent::Steps(vec![step]));
            Some(vec![Change::Key { key: args.get(1)?.clone(), extent }])
        }
    }
}

/// What a command that is not in the table may touch: each argument as a whole key, and without any the whole database.
pub(crate) fn guess(args: &[Bytes]) -> Vec<Change> {
    let keys = args.get(1..).and_then(keys);
    keys.unwrap_or_else(|| vec![Change::Anything])
}

/// Whether the table has a command of this name.
pub(crate) fn is_known(name: &[u8]) -> bool {
    shape(name).is_some()
}

/// Where a command's keys and elements are among its arguments.
enum Shape {
    /// It changes nothing.
    Nothing,
    /// It deletes every key.
    All,
    /// It changes keys that it does not name.
    Anything,
    /// All of the key at this argument.
    Key(usize),
    /// All of the keys at arguments one and two.
    TwoKeys,
    /// Keys only.
    Keys,
    /// Keys, and a time-out behind them.
    KeysAndTimeout,
    /// Keys, each with a value.
    KeysWithValues,
    /// A number of keys at this argument, and the keys behind it.
    CountedKeys(usize),
    /// A read, but for the key behind its option STORE.
    Stored,
    /// Source, target, member.
    MovedMember,
    /// The string at argument one; the function says how long it may be, from what is behind the key.
    Value(fn(&[Bytes]) -> Option<usize>),
    /// Some elements of the key at argument one; the function finds them behind the key, if it can.
    Elements(fn(&[Bytes]) -> Option<Vec<Bytes>>),
    /// Some elements of the key at argument one, and unnamed ones at its ends.
    Cut(fn(&[Bytes]) -> Option<Cuttings>),
    /// A step of the list at argument one.
    List,
}

/// Elements that are named, and where others went.
type Cuttings = (Vec<Bytes>, Cut);

fn shape(name: &[u8]) -> Option<Shape> {
    let mut upper = [0; NAME_MAX];
    let upper = upper.get_mut(..name.len())?;
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    Some(match std::str::from_utf8(upper).ok()? {
        // Reads that Pika flags as writes, and what concerns only the node that executes it. The wrapper's inner
        // command was not executed. What runs inside of a transaction is logged by itself.
        "SUNION" | "SINTER" | "SDIFF" | "SLOTSMGRT-EXEC-WRAPPER" | "TOUCH" | "PUBLISH" => Shape::Nothing,
        "CLEARCACHE" | "CLEARREPLICATIONID" | "DUMMY" | "PADDING" | "SELECT" | "PING" => Shape::Nothing,
        "MULTI" | "EXEC" | "DISCARD" => Shape::Nothing,

        "FLUSHDB" | "FLUSHALL" => Shape::All,
        // Pika 4.0 logs none of these by its name.
        "SWAPDB" | "PKPATTERNMATCHDEL" | "SLOTSCLEANUP" => Shape::Anything,

        "SET" | "SETNX" | "GETSET" => Shape::Value(|rest| Some(rest.first()?.len())),
        "SETEX" | "PSETEX" | "PKSETEXAT" => Shape::Value(|rest| Some(rest.get(1)?.len())),
        "INCR" | "INCRBY" | "INCRBYFLOAT" | "DECR" | "DECRBY" => Shape::Value(|_| Some(NUMBER_LENGTH)),
        "GETDEL" | "GETEX" | "APPEND" | "SETRANGE" | "SETBIT" | "BITFIELD" => Shape::Key(1),
        "DELVX" | "SETVX" | "PFADD" | "PFMERGE" | "RESTORE" | "MOVE" => Shape::Key(1),
        "EXPIRE" | "PEXPIRE" | "EXPIREAT" | "PEXPIREAT" | "PERSIST" => Shape::Key(1),
        "LPUSH" | "RPUSH" | "LPUSHX" | "RPUSHX" | "LPOP" | "RPOP" => Shape::List,
        "LSET" | "LREM" | "LTRIM" | "LINSERT" => Shape::List,
        "SPOP" | "SUNIONSTORE" | "SINTERSTORE" | "SDIFFSTORE" | "XSETID" => Shape::Key(1),
        // Where it begins is no score, so its members lie anywhere.
        "ZREMRANGEBYLEX" => Shape::Key(1),
        "ZUNIONSTORE" | "ZINTERSTORE" | "ZDIFFSTORE" | "ZRANGESTORE" | "GEOSEARCHSTORE" => Shape::Key(1),
        "BITOP" | "COPY" => Shape::Key(2),
        "SLOTSMGRTONE" | "SLOTSMGRTTAGONE" => Shape::Key(4),

        "RENAME" | "RENAMENX" | "RPOPLPUSH" | "BRPOPLPUSH" | "LMOVE" | "BLMOVE" => Shape::TwoKeys,
        "DEL" | "UNLINK" => Shape::Keys,
        "BLPOP" | "BRPOP" | "BZPOPMIN" | "BZPOPMAX" => Shape::KeysAndTimeout,
        "MSET" | "MSETNX" => Shape::KeysWithValues,
        "LMPOP" | "ZMPOP" => Shape::CountedKeys(1),
        "BLMPOP" | "BZMPOP" => Shape::CountedKeys(2),
        "GEORADIUS" | "GEORADIUSBYMEMBER" | "SORT" => Shape::Stored,
        "SMOVE" => Shape::MovedMember,

        "HSET" | "HMSET" | "HSETNX" | "HINCRBY" | "HINCRBYFLOAT" => Shape::Elements(fields),
        "HDEL" | "SADD" | "SREM" | "ZREM" => Shape::Elements(|rest| Some(rest.to_vec())),
        "ZADD" | "ZINCRBY" => Shape::Elements(scored),
        "GEOADD" => Shape::Elements(placed),
        "XADD" => Shape::Cut(added),
        "XDEL" => Shape::Cut(|rest| Some((deleted(rest)?, Cut::BY_ID))),
        "XTRIM" => Shape::Cut(|_| Some((Vec::new(), Cut::LOW))),
        "ZPOPMIN" => Shape::Cut(|_| Some((Vec::new(), Cut::LOW))),
        "ZPOPMAX" => Shape::Cut(|_| Some((Vec::new(), Cut::HIGH))),
        "ZREMRANGEBYRANK" => Shape::Cut(|rest| Some((Vec::new(), ranks(rest)?))),
        "ZREMRANGEBYSCORE" => Shape::Cut(|rest| Some((Vec::new(), scores(rest)?))),
        _ => return None,
    })
}

/// No name in the table is longer.
const NAME_MAX: usize = 32;

/// Most numbers are no longer. Those that are cost their reader a second look.
const NUMBER_LENGTH: usize = 24;

fn keys<'a>(keys: impl IntoIterator<Item = &'a Bytes>) -> Option<Vec<Change>> {
    let keys = distinct(keys.into_iter().cloned().collect())?;
    Some(keys.into_iter().map(Change::whole).collect())
}

/// `key value [key value ...]`
fn values(rest: &[Bytes]) -> Option<Vec<Change>> {
    let (pairs, rest) = rest.as_chunks();
    let change = |[key, value]: &[Bytes; 2]| {
        let extent = Extent::Value { length: value.len() };
        Change::Key { key: key.clone(), extent }
    };
    (rest.is_empty() && !pairs.is_empty()).then(|| pairs.iter().map(change).collect())
}

/// Each one once, in their order; `None` when there are none.
fn distinct(mut elements: Vec<Bytes>) -> Option<Vec<Bytes>> {
    let mut seen = HashSet::with_capacity(elements.len());
    elements.retain(|element| seen.insert(element.clone()));
    (!elements.is_empty()).then_some(elements)
}

/// `field value [field value ...]`
fn fields(rest: &[Bytes]) -> Option<Vec<Bytes>> {
    let (pairs, rest) = rest.as_chunks();
    rest.is_empty().then(|| pairs.iter().map(|[field, _]| field.clone()).collect())
}

/// `[NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]`
fn scored(rest: &[Bytes]) -> Option<Vec<Bytes>> {
    let (pairs, rest) = behind_options(rest, &["NX", "XX", "GT", "LT", "CH", "INCR"]).as_chunks();
    let is_sound = rest.is_empty() && pairs.iter().all(|[score, _]| is_number(score));
    is_sound.then(|| pairs.iter().map(|[_, member]| member.clone()).collect())
}

/// `[NX | XX] [CH] longitude latitude member [longitude latitude member ...]`
fn placed(rest: &[Bytes]) -> Option<Vec<Bytes>> {
    let (triples, rest) = behind_options(rest, &["NX", "XX", "CH"]).as_chunks();
    let is_sound =
        rest.is_empty() && triples.iter().all(|[longitude, latitude, _]| is_number(longitude) && is_number(latitude));
    is_sound.then(|| triples.iter().map(|[_, _, member]| member.clone()).collect())
}

/// `[NOMKSTREAM] [MAXLEN | MINID [= | ~] threshold [LIMIT count]] id field value [field value ...]`: with a threshold any
/// number of the first entries may have gone.
fn added(rest: &[Bytes]) -> Option<Cuttings> {
    let mut rest = behind_options(rest, &["NOMKSTREAM"]);
    let mut cut = Cut::default();
    if is_one_of(rest.first()?, &["MAXLEN", "MINID"]) {
        cut = Cut::LOW;
        rest = behind_options(&rest[1..], &["=", "~"]).get(1..)?;
        if is_one_of(rest.first()?, &["LIMIT"]) {
            rest = rest.get(2..)?;
        }
        rest = behind_options(rest, &["NOMKSTREAM"]);
    }
    let (id, values) = rest.split_first()?;
    let is_sound = is_full_id(id) && !values.is_empty() && values.len() % 2 == 0;
    is_sound.then(|| (vec![id.clone()], cut))
}

/// `start stop` of ZREMRANGEBYRANK: what begins with the first rank or ends with the last one lies at an end.
fn ranks(rest: &[Bytes]) -> Option<Cut> {
    match rest {
        [start, _] if &start[..] == b"0" => Some(Cut::LOW),
        [_, stop] if &stop[..] == b"-1" => Some(Cut::HIGH),
        _ => None,
    }
}

/// `min max` of ZREMRANGEBYSCORE. Nearly always old scores go, so it is looked at from the low end on.
fn scores(rest: &[Bytes]) -> Option<Cut> {
    let [min, max] = rest else { return None };
    let bound = |text: &Bytes| std::str::from_utf8(text.strip_prefix(b"(").unwrap_or(text)).ok()?.parse::<f64>().ok();
    let (min, max) = (bound(min)?, bound(max)?);
    match (min.is_nan() || max.is_nan(), max == f64::INFINITY && min != f64::NEG_INFINITY) {
        (true, _) => None,
        (false, true) => Some(Cut { high: Some(max), ..Cut::default() }),
        (false, false) => Some(Cut { low: Some(min), ..Cut::default() }),
    }
}

/// `id [id ...]`
fn deleted(rest: &[Bytes]) -> Option<Vec<Bytes>> {
    rest.iter().all(|id| is_full_id(id)).then(|| rest.to_vec())
}

fn behind_options<'a>(rest: &'a [Bytes], options: &[&str]) -> &'a [Bytes] {
    let count = rest.iter().take_while(|arg| is_one_of(arg, options)).count();
    &rest[count..]
}

fn is_one_of(arg: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| arg.eq_ignore_ascii_case(word.as_bytes()))
}

fn is_number(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<f64>().is_ok())
}

/// Whether this is a stream id with both of its numbers, `1526919030474-55`.
fn is_full_id(text: &[u8]) -> bool {
    let is_integer = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok();
    let parts = std::str::from_utf8(text).ok().and_then(|text| text.split_once('-'));
    parts.is_some_and(|(milliseconds, sequence)| is_integer(milliseconds) && is_integer(sequence))
}

#[cfg(test)]
mod tests;
