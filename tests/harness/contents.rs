// SPDX-License-Identifier: Apache-2.0
//! Everything that a server holds of its users, in a form in which two servers compare.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use redis::Value as Reply;
use snapshot::UnixMillis;

use super::Client;

/// Keys and what they hold. Empty streams are left out, as Pika's own SCAN does.
pub(crate) type Contents = BTreeMap<Vec<u8>, Entry>;

/// What a key holds.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    /// When it goes, in milliseconds since 1970: between these two, for asking takes time.
    pub(crate) expiry: Option<RangeInclusive<u64>>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    String(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    List(Vec<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Zset(BTreeMap<Vec<u8>, Score>),
    Stream(Vec<(String, Vec<Vec<u8>>)>),
}

/// A score: NaN equals itself, and -0 equals 0, for a Redis keeps both as the integer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score(f64);

impl Score {
    pub(crate) fn parse(text: &[u8]) -> Self {
        let text = std::str::from_utf8(text).unwrap();
        Self(text.parse().unwrap_or_else(|_| panic!("no score: {text}")))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.0.is_nan() && other.0.is_nan()
    }
}

/// Reads a whole server: what its database holds, so a Pika's cache is switched off meanwhile.
pub(crate) fn contents(client: &mut Client) -> Contents {
    let cache = client.call(["CONFIG", "GET", "cache-model"]).ok().and_then(|reply| match reply {
        Reply::Array(pair) => pair.into_iter().nth(1).map(bytes),
        _ => None,
    });
    let Some(before) = cache else { return read_all(client) };
    client.run("CONFIG SET cache-model 0");
    let contents = read_all(client);
    client.call([&b"CONFIG"[..], b"SET", b"cache-model", &before]).unwrap();
    contents
}

fn read_all(client: &mut Client) -> Contents {
    let mut contents = Contents::new();
    for key in keys(client) {
        let kind = match client.call([&b"TYPE"[..], &key]).unwrap() {
            Reply::SimpleString(kind) => kind,
            other => panic!("TYPE: {other:?}"),
        };
        let asked = UnixMillis::now().0;
        let ttl = match client.call([&b"PTTL"[..], &key]).unwrap() {
            Reply::Int(ttl) => u64::try_from(ttl).ok(),
            other => panic!("PTTL: {other:?}"),
        };
        let answered = UnixMillis::now().0;
        let value = value(client, &kind, &key);
        if value == Value::Stream(Vec::new()) {
            continue;
        }
        // A stream has none, whatever the server answers.
        let is_mortal = !matches!(value, Value::Stream(_));
        let expiry = ttl.filter(|_| is_mortal).map(|ttl| asked + ttl..=answered + ttl);
        contents.insert(key, Entry { value, expiry });
    }
    contents
}

/// Panics with the first keys that differ, unless both are the same and expiries are less than a second apart.
pub(crate) fn assert_same(one: &Contents, other: &Contents) {
    let differing = differences(one, other);
    let shown = &differing[..differing.len().min(10)];
    assert!(differing.is_empty(), "{} keys differ: {}", differing.len(), shown.join("; "));
}

/// The keys that differ, and how.
pub(crate) fn differences(one: &Contents, other: &Contents) -> Vec<String> {
    let keys: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    keys.into_iter()
        .filter_map(|key| {
            let fault = match (one.get(key), other.get(key)) {
                (Some(_), None) => "is only in the first".to_owned(),
                (None, Some(_)) => "is only in the second".to_owned(),
                (Some(one), Some(other)) => one.difference(other)?,
                (None, None) => return None,
            };
            Some(format!("`{}` {fault}", key.escape_ascii()))
        })
        .collect()
}

impl Entry {
    fn difference(&self, other: &Self) -> Option<String> {
        if self.value != other.value {
            return Some(format!("holds {:.300?} and {:.300?}", self.value, other.value));
        }
        let same = match (&self.expiry, &other.expiry) {
            (None, None) => true,
            (Some(one), Some(other)) => {
                one.start() <= &(other.end() + SECOND) && other.start() <= &(one.end() + SECOND)
            }
            _ => false,
        };
        (!same).then(|| format!("expires at {:?} and {:?}", self.expiry, other.expiry))
    }
}

fn keys(client: &mut Client) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    pages(
        client,
        |cursor| vec![b"SCAN".to_vec(), cursor, b"COUNT".to_vec(), b"500".to_vec()],
        |key| {
            if !replication::is_internal_key(&key) {
                found.insert(key);
            }
        },
    );
    found
}

fn value(client: &mut Client, kind: &str, key: &[u8]) -> Value {
    let mut all = |words: &[&str]| {
        let mut args = vec![words[0].as_bytes(), key];
        args.extend(words[1..].iter().map(|word| word.as_bytes()));
        client.call(args).unwrap_or_else(|error| panic!("{} of `{}`: {error}", words[0], key.escape_ascii()))
    };
    match kind {
        "string" => Value::String(bytes(all(&["GET"]))),
        "hash" => Value::Hash(pairs(all(&["HGETALL"])).collect()),
        "list" => Value::List(items(all(&["LRANGE", "0", "-1"])).map(bytes).collect()),
        "set" => Value::Set(items(all(&["SMEMBERS"])).map(bytes).collect()),
        "zset" => Value::Zset(scores(client, key)),
        "stream" | "streams" => Value::Stream(items(all(&["XRANGE", "-", "+"])).map(entry).collect()),
        other => panic!("`{}` is a {other}", key.escape_ascii()),
    }
}

/// By ZSCAN, for on a Pika ZRANGE loses members when a score is -inf.
fn scores(client: &mut Client, key: &[u8]) -> BTreeMap<Vec<u8>, Score> {
    let mut found = Vec::new();
    let command = |cursor| vec![b"ZSCAN".to_vec(), key.to_vec(), cursor, b"COUNT".to_vec(), b"1000".to_vec()];
    pages(client, command, |item| found.push(item));
    found.chunks(2).map(|pair| (pair[0].clone(), Score::parse(&pair[1]))).collect()
}

/// All pages of a scan.
fn pages(client: &mut Client, command: impl Fn(Vec<u8>) -> Vec<Vec<u8>>, mut each: impl FnMut(Vec<u8>)) {
    let mut cursor = b"0".to_vec();
    loop {
        let mut page = items(client.call(command(cursor)).unwrap());
        cursor = bytes(page.next().unwrap());
        items(page.next().unwrap()).map(bytes).for_each(&mut each);
        if cursor == b"0" {
            return;
        }
    }
}

fn entry(reply: Reply) -> (String, Vec<Vec<u8>>) {
    let mut parts = items(reply);
    let id = String::from_utf8(bytes(parts.next().unwrap())).unwrap();
    (id, items(parts.next().unwrap()).map(bytes).collect())
}

fn pairs(reply: Reply) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let mut flat = items(reply).map(bytes);
    std::iter::from_fn(move || Some((flat.next()?, flat.next().unwrap())))
}

fn items(reply: Reply) -> impl Iterator<Item = Reply> {
    match reply {
        Reply::Array(items) => items.into_iter(),
        other => panic!("no array: {other:?}"),
    }
}

fn bytes(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::BulkString(bytes) => bytes,
        other => panic!("no string: {other:?}"),
    }
}

/// What the issue allows expiries to differ by, in milliseconds.
const SECOND: u64 = 1000;
