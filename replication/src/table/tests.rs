// SPDX-License-Identifier: Apache-2.0
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
        Change::Anything => "**".to_owned(),
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
            inside.extend(cut.is_deleted_by_id.then(|| "-".to_owned()));
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
        ("XDEL x 5-1 6-0", "x(5-1 6-0 -)"),
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
    expect(&[("LPUSH k a b", "k[1]"), ("rpop k", "k[1]"), ("LINSERT k BEFORE a b", "k[1]"), ("LTRIM k 0 9", "k[1]")]);
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
    let both = Cut { low: Some(2.0), ..Cut::default() }
        .and(Cut { low: Some(3.0), high: Some(9.0), ..Cut::BY_ID })
        .and(Cut::HIGH);
    assert_eq!(both, Cut { low: Some(3.0), high: Some(9.0), is_deleted_by_id: true });
    assert!(both.is_open() && !Cut::BY_ID.is_open());
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
        ("SWAPDB 0 1", "**"),
        ("PKPATTERNMATCHDEL a*", "**"),
        ("slotscleanup 1 2", "**"),
    ]);
}

/// With as many arguments as Pika asks for at least.
#[test]
fn every_write_of_pika_is_known() {
    for command in WRITES {
        let name = command.split(' ').next().unwrap();
        for command in [command.to_owned(), command.replacen(name, &name.to_ascii_uppercase(), 1)] {
            let effect = Effect::of(&Command::new(command.split(' ').map(str::to_owned)));
            assert!(!matches!(effect, Effect::Unknown(_)), "{command}");
        }
    }
    assert_eq!(WRITES.len(), 79);
}

/// The commands that Pika 4.0.1 flags as writes.
const WRITES: [&str; 79] = [
    "append k v",
    "bitop and d k",
    "blpop k 0",
    "brpop k 0",
    "clearcache",
    "clearreplicationid",
    "decr k",
    "decrby k 1",
    "del k",
    "delvx k v",
    "dummy",
    "exec",
    "expire k 1",
    "expireat k 1",
    "flushall",
    "flushdb",
    "geoadd k 0 0 m",
    "getset k v",
    "hdel k f",
    "hincrby k f 1",
    "hincrbyfloat k f 1",
    "hmset k f v",
    "hset k f v",
    "hsetnx k f v",
    "incr k",
    "incrby k 1",
    "incrbyfloat k 1",
    "linsert k before a b",
    "lpop k",
    "lpush k v",
    "lpushx k v",
    "lrem k 0 v",
    "lset k 0 v",
    "ltrim k 0 1",
    "mset k v",
    "msetnx k v",
    "padding x",
    "persist k",
    "pexpire k 1",
    "pexpireat k 1",
    "pfadd k",
    "pfmerge k",
    "pkpatternmatchdel *",
    "pksetexat k 1 v",
    "psetex k 1 v",
    "rpop k",
    "rpoplpush k l",
    "rpush k v",
    "rpushx k v",
    "sadd k m",
    "sdiff k",
    "sdiffstore d k",
    "set k v",
    "setbit k 0 1",
    "setex k 1 v",
    "setnx k v",
    "setrange k 0 v",
    "sinter k",
    "sinterstore d k",
    "slotsmgrt-exec-wrapper k get",
    "smove k l m",
    "spop k",
    "srem k m",
    "sunion k",
    "sunionstore d k",
    "unlink k",
    "xadd k * f v",
    "xdel k 1-0",
    "xtrim k maxlen 1",
    "zadd k 1 m",
    "zincrby k 1 m",
    "zinterstore d 1 k",
    "zpopmax k",
    "zpopmin k",
    "zrem k m",
    "zremrangebylex k - +",
    "zremrangebyrank k 0 1",
    "zremrangebyscore k 0 1",
    "zunionstore d 1 k",
];

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
        let command = Command::new([name.to_owned()].into_iter().chain(args.clone()));
        let (Effect::Changes(changes) | Effect::Unknown(changes)) = Effect::of(&command) else {
            return Ok(());
        };
        if args.is_empty() {
            prop_assert_eq!(changes, [Change::Anything]);
            return Ok(());
        }
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
        ("NEWCOMMAND k v k", "?k v"),
        ("NEWCOMMAND", "?**"),
        ("NEWCOMMAND _internal:slotkey:4migrate:7 k", "?k"),
        ("SET", "?**"),
        ("DEL", "?**"),
        ("MSET k", "?k"),
        ("BLPOP", "?**"),
        ("LMPOP 3 k l", "?3 k l"),
        ("LMPOP 99999999999999999999 k", "?99999999999999999999 k"),
        ("GEORADIUS g 0 0 1 km STORE", "?g 0 1 km STORE"),
        (long.as_str(), "?k"),
    ]);
    assert_eq!(Effect::of(&Command::new(Vec::<&str>::new())), Effect::Unknown(vec![Change::Anything]));
}
