// SPDX-License-Identifier: Apache-2.0
//! The table of commands: which keys, and which elements of them, a logged command touches.
//!
//! Pika 4.0 logs one key per entry, always in the first argument. The forms with several keys are those of other
//! versions and of Redis; they cost nothing and keep a foreign log from being misread.

use std::collections::HashSet;

use bytes::Bytes;

use crate::{Change, Command, Cut, Extent, ListStep};

/// What `command` touches, nothing for one that changes nothing. `None` when it is not in the table or lacks its key.
pub(crate) fn changes(command: &Command) -> Option<Vec<Change>> {
    let args = command.args();
    let key = |at: usize| args.get(at).cloned().map(Change::whole);
    match shape(command.name())? {
        Shape::Nothing => Some(Vec::new()),
        Shape::Everything => Some(vec![Change::All]),
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
            Some(places.filter_map(|(at, _)| key(at + 1)).collect())
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
            let step = args.get(2..).and_then(|rest| ListStep::of(command.name(), rest));
            let extent = step.map_or(Extent::Whole, |step| Extent::Steps(vec![step]));
            Some(vec![Change::Key { key: args.get(1)?.clone(), extent }])
        }
    }
}

/// Where a command's keys and elements are among its arguments.
enum Shape {
    /// It changes nothing.
    Nothing,
    /// It changes every key, or keys that it does not name.
    Everything,
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

        "FLUSHDB" | "FLUSHALL" | "SWAPDB" | "PKPATTERNMATCHDEL" | "SLOTSCLEANUP" => Shape::Everything,

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
        "XDEL" => Shape::Elements(deleted),
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
        (false, true) => Some(Cut { low: None, high: Some(max) }),
        (false, false) => Some(Cut { low: Some(min), high: None }),
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
mod tests {
    use proptest::prelude::*;

    use super::HashSet;
    use crate::{Change, Command, Cut, Effect, Extent};

    /// An effect in short: `key` is whole, `key=3` is a string of that length, `key(a b)` is elements, `*` is all, `?`
    /// stands before an unknown command.
    fn effect(text: &str) -> String {
        let command = Command::new(text.split(' ').map(str::to_owned));
        let (mark, changes) = match Effect::of(&command) {
            Effect::Ignored => return "-".to_owned(),
            Effect::Changes(changes) => ("", changes),
            Effect::Unknown(changes) => ("?", changes),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let show = |change: &Change| match change {
            Change::All => "*".to_owned(),
            Change::Key { key, extent: Extent::Whole } => text(key),
            Change::Key { key, extent: Extent::Value { length } } => format!("{}={length}", text(key)),
            Change::Key { key, extent: Extent::Elements(elements) } => {
                let elements: Vec<String> = elements.iter().map(|element| text(element)).collect();
                format!("{}({})", text(key), elements.join(" "))
            }
            Change::Key { key, extent: Extent::Cut { elements, cut } } => {
                let mut inside: Vec<String> = elements.iter().map(|element| text(element)).collect();
                inside.extend(cut.low.map(|score| format!(">{score}")));
                inside.extend(cut.high.map(|score| format!("<{score}")));
                format!("{}({})", text(key), inside.join(" "))
            }
            Change::Key { key, extent: Extent::Steps(steps) } => format!("{}[{}]", text(key), steps.len()),
        };
        format!("{mark}{}", changes.iter().map(show).collect::<Vec<_>>().join(" "))
    }

    #[track_caller]
    fn expect(cases: &[(&str, &str)]) {
        for (command, expected) in cases {
            assert_eq!(effect(command), *expected, "{command}");
        }
    }

    #[test]
    fn elements_are_found_and_named_once() {
        expect(&[
            ("HSET h f v", "h(f)"),
            ("hset h f 1 g 2 f 3", "h(f g)"),
            ("HMSET h f v g w", "h(f g)"),
            ("HSETNX h f v", "h(f)"),
            ("HINCRBYFLOAT h f 1.5", "h(f)"),
            ("HDEL h f g f", "h(f g)"),
            ("srem s m", "s(m)"),
            ("SADD s m n", "s(m n)"),
            ("SMOVE s t m", "s(m) t(m)"),
            ("zadd z 3.625 a inf b -inf nx 2e+17 a", "z(a b nx)"),
            ("ZADD z xx CH 1 a", "z(a)"),
            ("ZADD z NX GT INCR 1 a", "z(a)"),
            ("ZREM z a b", "z(a b)"),
            ("ZINCRBY z 2 a", "z(a)"),
            ("GEOADD g 2.3522 48.8566 Paris 0 0 nowhere", "g(Paris nowhere)"),
            ("GEOADD g NX CH 0 0 here", "g(here)"),
            ("XADD x 5-1 f v", "x(5-1)"),
            ("XADD x NOMKSTREAM 5-1 f v", "x(5-1)"),
            ("XDEL x 5-1 6-0", "x(5-1 6-0)"),
        ]);
    }

    #[test]
    fn what_is_not_in_the_form_is_the_whole_key() {
        expect(&[
            ("HSET h", "h"),
            ("HSET h f", "h"),
            ("HSET h f v g", "h"),
            ("SADD s", "s"),
            ("ZADD z NEW 1 a", "z"),
            ("ZADD z NEW OPTION 1 a", "z"),
            ("ZADD z NX", "z"),
            ("GEOADD g 0 0", "g"),
            ("GEOADD g 0 x m", "g"),
            ("SMOVE s t", "s t"),
            ("XADD x * f v", "x"),
            ("XADD x 5-* f v", "x"),
            ("XADD x 5 f v", "x"),
            ("XADD x MAXLEN ~ 50 5-* f v", "x"),
            ("XADD x MAXLEN", "x"),
            ("XADD x MAXLEN 5", "x"),
            ("XADD x MAXLEN = 5 LIMIT", "x"),
            ("ZREMRANGEBYRANK z 1 -2", "z"),
            ("ZREMRANGEBYSCORE z x 2", "z"),
            ("ZREMRANGEBYSCORE z 1", "z"),
            ("LPUSH l", "l"),
            ("LPOP l x", "l"),
            ("LINSERT l BESIDE a b", "l"),
            ("XADD x 5-1 f", "x"),
            ("XDEL x 5", "x"),
        ]);
    }

    #[test]
    fn lists_are_changed_in_steps() {
        expect(&[
            ("LPUSH k a b", "k[1]"),
            ("rpop k", "k[1]"),
            ("LINSERT k BEFORE a b", "k[1]"),
            ("LTRIM k 0 9", "k[1]"),
        ]);
    }

    #[test]
    fn ends_are_cut() {
        expect(&[
            ("XADD x MAXLEN ~ 50 5-1 f v", "x(5-1 >-inf)"),
            ("xadd x nomkstream minid = 4-0 LIMIT 10 5-1 f v", "x(5-1 >-inf)"),
            ("XADD x MAXLEN 50 NOMKSTREAM 5-1 f v", "x(5-1 >-inf)"),
            ("XTRIM x MAXLEN 10", "x(>-inf)"),
            ("ZPOPMIN z 2", "z(>-inf)"),
            ("ZPOPMAX z", "z(<inf)"),
            ("ZREMRANGEBYRANK z 0 -101", "z(>-inf)"),
            ("ZREMRANGEBYRANK z 100 -1", "z(<inf)"),
            ("ZREMRANGEBYSCORE z -inf (5", "z(>-inf)"),
            ("ZREMRANGEBYSCORE z (5 +inf", "z(<inf)"),
            ("ZREMRANGEBYSCORE z 1 2", "z(>1)"),
        ]);
        let both = Cut { low: Some(2.0), high: None }.and(Cut { low: Some(3.0), high: Some(9.0) }).and(Cut::HIGH);
        assert_eq!(both, Cut { low: Some(3.0), high: Some(9.0) });
    }

    #[test]
    fn the_length_of_a_string_is_told() {
        expect(&[
            ("SET k value", "k=5"),
            ("set k value EX 100", "k=5"),
            ("SETNX k v", "k=1"),
            ("GETSET k vv", "k=2"),
            ("SETEX k 100 vvv", "k=3"),
            ("pksetexat k 0 v", "k=1"),
            ("INCRBY k 5", "k=24"),
            ("MSET k v l ww", "k=1 l=2"),
            ("SET k", "k"),
            ("SETEX k 100", "k"),
        ]);
    }

    #[test]
    fn keys_are_found() {
        expect(&[
            ("APPEND k v", "k"),
            ("SETBIT k 1 1", "k"),
            ("expireat k 1795329537", "k"),
            ("PERSIST k", "k"),
            ("DELVX k v", "k"),
            ("SPOP k 2", "k"),
            ("ZREMRANGEBYLEX k [a [b", "k"),
            ("PFADD k a b", "k"),
            ("DEL k", "k"),
            ("UNLINK k l k", "k l"),
            ("RENAME k l", "k l"),
            ("RPOPLPUSH k l", "k l"),
            ("BLPOP k l 0", "k l"),
            ("LMPOP 2 k l LEFT", "k l"),
            ("BITOP AND dest k l", "dest"),
            ("sunionstore dest k l", "dest"),
            ("GEORADIUS g 0 0 1 km STORE dest", "dest"),
            ("GEORADIUS g 0 0 1 km", "-"),
            ("FLUSHDB", "*"),
            ("flushall", "*"),
        ]);
    }

    #[test]
    fn what_changes_nothing_is_ignored() {
        expect(&[
            ("SUNION a b", "-"),
            ("SLOTSMGRT-EXEC-WRAPPER k SET k v", "-"),
            ("PADDING xxx", "-"),
            ("DUMMY", "-"),
            ("DEL _internal:slotkey:4migrate:7", "-"),
            ("DEL _internal:slottag:4migrate:7 k", "k"),
            ("NEWCOMMAND _internal:slotkey:4migrate:7", "-"),
        ]);
    }

    proptest! {
        /// Whatever the arguments are, a known command's elements are among them, and each is there once.
        #[test]
        fn no_arguments_are_misread(
            name in prop::sample::select(vec![
                "HSET", "ZADD", "GEOADD", "XADD", "XDEL", "SMOVE", "DEL", "MSET", "BLPOP", "LMPOP", "BLMPOP", "SORT",
            ]),
            args in prop::collection::vec("NX|STORE|[0-3]|[0-9]-[0-9]|[a-c]{0,2}", 0..9),
        ) {
            let command = Command::new([name.to_owned()].into_iter().chain(args));
            let (Effect::Changes(changes) | Effect::Unknown(changes)) = Effect::of(&command) else {
                return Ok(());
            };
            for change in changes {
                let Change::Key { key, extent } = change else { panic!("not a flush") };
                prop_assert!(command.args()[1..].contains(&key));
                if let Extent::Elements(elements) = extent {
                    prop_assert!(!elements.is_empty());
                    prop_assert!(elements.iter().all(|element| command.args()[2..].contains(element)));
                    prop_assert!(elements.iter().collect::<HashSet<_>>().len() == elements.len());
                }
            }
        }
    }

    #[test]
    fn the_unknown_is_told() {
        let long = format!("{} k", "X".repeat(33));
        expect(&[
            ("NEWCOMMAND k v", "?k"),
            ("NEWCOMMAND", "?"),
            ("SET", "?"),
            ("DEL", "?"),
            ("BLPOP", "?"),
            ("LMPOP 3 k l", "?3"),
            ("LMPOP 99999999999999999999 k", "?99999999999999999999"),
            (long.as_str(), "?k"),
        ]);
        assert_eq!(Effect::of(&Command::new(Vec::<&str>::new())), Effect::Unknown(Vec::new()));
    }
}
