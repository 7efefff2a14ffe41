// SPDX-License-Identifier: Apache-2.0
//! Our reader, writer and table of commands against what a real Pika 4.0.1 wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use replication::binlog::{Item, Manifest, Tail, Writer, file_path, first_file};
use replication::{BinlogOffset, Change, Effect, Extent, Renames};
use serde_json::Value;
use sha1::{Digest as _, Sha1};

use crate::{commands, encoded};

/// `binlog-file-size` of the server that wrote the log.
const FILE_SIZE: u64 = 512 << 10;

/// The BGSAVE's position in the log.
const CUT: BinlogOffset = BinlogOffset::new(1, 212_177);

#[test]
fn every_field_of_every_record_is_read() {
    let items = items_from(BinlogOffset::new(first_file(&log_dir()).unwrap(), 0));
    let text = fs::read_to_string(fixture("binlog-decoded.jsonl")).unwrap();
    let expected: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((items.len(), expected.len()), (1680, 1680));
    for (item, expected) in items.iter().zip(&expected) {
        let number = |name: &str| expected[name].as_u64().unwrap();
        let short = |name: &str| u32::try_from(number(name)).unwrap();
        let content = encoded(&commands(std::slice::from_ref(item))[0]);
        assert_eq!(item.start, BinlogOffset::new(short("file"), number("start")));
        assert_eq!(item.end, BinlogOffset::new(short("file"), number("end")));
        assert_eq!((item.logic_id, item.time.0, item.term), (number("logic_id"), short("exec_time"), short("term")));
        assert_eq!(item.header, BinlogOffset::new(short("hdr_filenum"), number("hdr_offset")));
        assert_eq!(content.len() as u64, number("content_bytes"), "at {}", item.start);
        assert_eq!(hex(&Sha1::digest(&content)), expected["content_sha1"].as_str().unwrap(), "at {}", item.start);
    }
}

#[test]
fn the_manifest_and_the_cut_agree_with_the_server() {
    let meta = json("meta.json");
    let manifest = Manifest::read(&log_dir()).unwrap();
    assert_eq!(manifest.end.file as u64, meta["binlog_end"]["filenum"].as_u64().unwrap());
    assert_eq!(manifest.end.position, meta["binlog_end"]["offset"].as_u64().unwrap());
    assert_eq!(manifest.logic_id, meta["binlog_end"]["logic_id"].as_u64().unwrap());
    assert_eq!(manifest.term, 0);
    let first = &items_from(CUT)[0];
    assert_eq!(first.start, CUT);
    assert_eq!(first.logic_id, meta["binlog_at_bgsave"]["logic_id"].as_u64().unwrap() + 1);
}

/// Every offset of every item resumes there, and no other offset of the small last file does.
#[test]
fn only_ends_of_items_are_taken_for_them() {
    let items = items_from(BinlogOffset::new(0, 0));
    for (index, item) in items.iter().enumerate().step_by(7) {
        let mut tail = Tail::open(log_dir(), item.end).unwrap();
        assert_eq!(tail.next().unwrap().as_ref(), items.get(index + 1));
    }
    let ends: BTreeSet<u64> = items.iter().filter(|item| item.end.file == 2).map(|item| item.end.position).collect();
    for position in (1..3006).filter(|position| !ends.contains(position)) {
        let mut tail = Tail::open(log_dir(), BinlogOffset::new(2, position)).unwrap();
        assert!(tail.next().is_err(), "2:{position} is no boundary");
    }
}

/// Byte-identical after a clean stop: all three files and the manifest. (On this server the second hand never moved
/// between the item's time and its fragments' times; Pika takes them apart, so elsewhere they may differ by one.)
#[test]
fn our_writer_writes_what_pika_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), FILE_SIZE).unwrap();
    let items = items_from(BinlogOffset::new(0, 0));
    for (item, command) in items.iter().zip(commands(&items)) {
        assert_eq!(writer.append(&command, item.time).unwrap(), item.end);
        assert_eq!(writer.logic_id(), item.logic_id);
    }
    writer.close().unwrap();
    for path in (0..3).map(|number| file_path(&log_dir(), number)).chain([log_dir().join("manifest")]) {
        let name = path.file_name().unwrap();
        assert!(fs::read(&path).unwrap() == fs::read(dir.path().join(name)).unwrap(), "{name:?} differs");
    }
}

/// Where the log says that a key changed, that change is all there is: a whole key, or the very elements that differ.
/// The unlogged cases are named. Expiry is another one, but no key of the fixture expired between the two readings.
#[test]
fn what_differs_after_the_cut_is_told_by_the_log() {
    let (before, after) = (keys(&json("expected-at-bgsave.json")), keys(&json("expected-after.json")));
    let told = changes_after_the_cut();
    let mut unlogged = Vec::new();
    let mut differing = 0;
    for key in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let differences = differences(before.get(key), after.get(key));
        differing += usize::from(differences != Differences::None);
        match (differences, told.get(key)) {
            (Differences::None, _) | (_, Some(None)) => {}
            (Differences::Elements(elements), Some(Some(told))) => {
                assert!(elements.is_subset(told), "{}", String::from_utf8_lossy(key));
            }
            (Differences::Whole, Some(Some(_))) => panic!("only elements of {}", String::from_utf8_lossy(key)),
            (_, None) => unlogged.push(String::from_utf8_lossy(key).into_owned()),
        }
    }
    assert_eq!(unlogged, ["w:geostore"], "GEORADIUS ... STORE is not logged");
    assert_eq!(differing, 91);
}

/// The server logged nothing that the table does not know.
#[test]
fn every_logged_command_is_known() {
    for item in items_from(BinlogOffset::new(0, 0)) {
        match Effect::of_item(&item, &Renames::default()) {
            Effect::Changes(changes) => assert_eq!(changes.len(), 1, "at {}", item.start),
            Effect::Ignored => {
                let command = &commands(std::slice::from_ref(&item))[0];
                assert!(["SUNION", "SINTER", "SDIFF"].iter().any(|name| command.is(name)), "at {}", item.start);
            }
            Effect::Unknown(_) => panic!("unknown at {}", item.start),
        }
    }
}

/// What the log after the cut says of each key: `None` for all of it, or the elements.
fn changes_after_the_cut() -> BTreeMap<Vec<u8>, Option<BTreeSet<Vec<u8>>>> {
    let mut told: BTreeMap<Vec<u8>, Option<BTreeSet<Vec<u8>>>> = BTreeMap::new();
    for item in items_from(CUT) {
        let Effect::Changes(changes) = Effect::of_item(&item, &Renames::default()) else { continue };
        for change in changes {
            let Change::Key { key, extent } = change else { panic!("this log has no flush") };
            let known = told.entry(key.to_vec()).or_insert_with(|| Some(BTreeSet::new()));
            match extent {
                Extent::Whole | Extent::Value { .. } | Extent::Steps(_) | Extent::Cut { .. } => *known = None,
                Extent::Elements(elements) => {
                    known.iter_mut().for_each(|known| known.extend(elements.iter().map(|element| element.to_vec())));
                }
            }
        }
    }
    told
}

/// Lists that nothing but steps changed are, after these steps, what the server has: from the dump to the end of the log,
/// and from nothing to the dump.
#[test]
fn the_steps_of_lists_lead_to_what_the_server_has() {
    let lists = |name: &str| -> BTreeMap<Vec<u8>, Vec<Bytes>> {
        let keys = keys(&json(name)).into_iter().filter(|(_, key)| key["type"] == "list");
        keys.map(|(name, key)| {
            let elements = key["value"].as_array().unwrap().iter();
            (name, elements.map(|element| bytes(element).into()).collect())
        })
        .collect()
    };
    let (at_cut, after) = (lists("expected-at-bgsave.json"), lists("expected-after.json"));
    let start = BinlogOffset::new(first_file(&log_dir()).unwrap(), 0);
    for (from, until, before, expected) in
        [(start, CUT, BTreeMap::new(), &at_cut), (CUT, BinlogOffset::new(u32::MAX, 0), at_cut.clone(), &after)]
    {
        let (mut replayed, mut inexact, mut steps_done) = (before, BTreeSet::new(), 0);
        for item in items_from(from).iter().take_while(|item| item.end <= until) {
            let Effect::Changes(changes) = Effect::of_item(item, &Renames::default()) else { continue };
            for change in changes {
                match change {
                    Change::Key { key, extent: Extent::Steps(steps) } => {
                        let list = replayed.entry(key.to_vec()).or_default();
                        steps.iter().for_each(|step| step.apply(list));
                        steps_done += steps.len();
                    }
                    Change::Key { key, .. } => drop(inexact.insert(key.to_vec())),
                    Change::All | Change::Anything => panic!("this log has no flush"),
                }
            }
        }
        assert!(steps_done > 10, "{steps_done} steps");
        replayed.retain(|key, list| !inexact.contains(key) && !list.is_empty());
        let expected: BTreeMap<_, _> = expected.clone().into_iter().filter(|(key, _)| !inexact.contains(key)).collect();
        assert!(expected.len() > 5, "{} lists", expected.len());
        assert_eq!(replayed, expected);
    }
}

#[derive(PartialEq)]
enum Differences {
    None,
    Elements(BTreeSet<Vec<u8>>),
    Whole,
}

fn differences(before: Option<&Value>, after: Option<&Value>) -> Differences {
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) if before["type"] == after["type"] && same_expiry(before, after) => (before, after),
        // A key that comes or goes does so by its elements, unless it is of a type without.
        (Some(one), None) | (None, Some(one)) => match elements(one) {
            Some(elements) if one["expire_at_ms_approx"].is_null() => {
                return Differences::Elements(elements.into_keys().collect());
            }
            _ => return Differences::Whole,
        },
        _ => return Differences::Whole,
    };
    if before["value"] == after["value"] {
        return Differences::None;
    }
    match (elements(before), elements(after)) {
        (Some(before), Some(after)) => {
            let all = before.keys().chain(after.keys());
            Differences::Elements(all.filter(|&element| before.get(element) != after.get(element)).cloned().collect())
        }
        _ => Differences::Whole,
    }
}

/// The elements of a value with what belongs to each; `None` for strings and lists, which have none.
fn elements(key: &Value) -> Option<BTreeMap<Vec<u8>, Value>> {
    let entries = key["value"].as_array();
    let element = |entry: &Value| match key["type"].as_str().unwrap() {
        "set" => (bytes(entry), Value::Null),
        "hash" | "zset" => (bytes(&entry[0]), entry[1].clone()),
        "streams" => (entry[0].as_str().unwrap().as_bytes().to_vec(), entry[1].clone()),
        other => panic!("type {other}"),
    };
    match key["type"].as_str().unwrap() {
        "string" | "list" => None,
        _ => Some(entries.unwrap().iter().map(element).collect()),
    }
}

/// Expiries were computed from readings, a second apart at most. The server answers nonsense for those of streams.
fn same_expiry(before: &Value, after: &Value) -> bool {
    match (before["expire_at_ms_approx"].as_i64(), after["expire_at_ms_approx"].as_i64()) {
        (Some(before), Some(after)) => (before - after).abs() < 1000,
        (before, after) => before == after,
    }
}

fn keys(reading: &Value) -> BTreeMap<Vec<u8>, Value> {
    reading["keys"].as_array().unwrap().iter().map(|key| (bytes(&key["key"]), key.clone())).collect()
}

fn bytes(base64: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(base64.as_str().unwrap()).unwrap()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pika-4.0.1").join(name)
}

pub(crate) fn log_dir() -> PathBuf {
    fixture("log/log_db0")
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture(name)).unwrap()).unwrap()
}

fn items_from(from: BinlogOffset) -> Vec<Item> {
    let mut tail = Tail::open(log_dir(), from).unwrap();
    let items = std::iter::from_fn(|| tail.next().unwrap()).collect();
    assert_eq!(tail.position(), tail.end().unwrap());
    items
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
