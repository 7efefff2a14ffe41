// SPDX-License-Identifier: Apache-2.0
//! What the program shows of a real server's files is what that server answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use bytes::{Bytes, BytesMut};
use replication::Command;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use crate::harness::{CommandLine, Outcome, copy_tree, fixtures, unbase64};

#[test]
fn a_checkpoint_shows_what_the_server_answered() {
    let (mut keys, summary) = checkpoint();
    let expected = fixture("expected-at-bgsave.json");
    let answers = expected["keys"].as_array().unwrap();
    // The server says that an emptied stream exists, and so does the checkpoint; deleted and expired keys are gone.
    for answer in answers {
        let show = &answer["show"];
        let found = keys.remove(answer["key"].as_str().unwrap()).unwrap_or_else(|| panic!("{show} is missing"));
        let kind = match answer["type"].as_str().unwrap() {
            "streams" => "stream",
            _ if answer["hll_count"].is_u64() => "hyperloglog",
            kind => kind,
        };
        assert_eq!((&found["type"], &found["slot"]), (&kind.into(), &answer["slot"]), "{show}");
        assert_eq!(in_order(kind, &found["value"]), in_order(kind, &answer["value"]), "{show}");
        assert_expiry(kind, &found["expire_at_ms"], answer);
    }
    assert!(keys.is_empty(), "these are no keys of the server: {:?}", keys.keys());
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(count("keys"), answers.len() as u64);
    assert_eq!(count("internal"), expected["internal"].as_array().unwrap().len() as u64);
    assert_eq!(count("corrupt_names"), 0);
    assert!(count("skipped_expired") + count("skipped_stale") > 0, "{summary}");
    assert_eq!(summary["findings"], json!({}));
}

#[test]
fn slots_cut_a_checkpoint_without_a_rest() {
    let (all, _) = checkpoint();
    let mut parts = BTreeMap::new();
    for slots in ["0-299", "300,301-766", "767-1023"] {
        let (part, _) = shown(&["inspect", "checkpoint", &dump(), "--json", "--slots", slots]);
        assert!(!part.is_empty());
        parts.extend(part);
    }
    assert_eq!(parts, all);
}

#[test]
fn a_log_shows_every_record_of_it() {
    let shown = binlog(&[]);
    let records = fs::read_to_string(fixtures().join("binlog-decoded.jsonl")).unwrap();
    let records: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((shown.len(), records.len()), (1680, 1680));
    for (line, record) in shown.iter().zip(&records) {
        let place = |name: &str| json!(format!("{}:{}", record["file"], record[name]));
        assert_eq!((&line["start"], &line["offset"]), (&place("start"), &place("end")));
        assert_eq!((&line["logic_id"], &line["time"]), (&record["logic_id"], &record["exec_time"]), "{record}");
        let args = line["command"].as_array().unwrap().iter().map(|arg| Bytes::from(unbase64(arg.as_str().unwrap())));
        let mut content = BytesMut::new();
        Command::new(args).encode(&mut content);
        assert_eq!(content.len(), record["content_bytes"], "{record}");
        assert_eq!(hex(&Sha1::digest(&content)), record["content_sha1"], "{record}");
        assert_eq!(line.get("unknown"), None, "{line}");
    }
}

/// What a mover reads again after the dump is all that has changed since, but for what the server never logged.
#[test]
fn every_difference_after_the_dump_is_in_the_log() {
    let mut named = BTreeSet::new();
    for line in binlog(&["--from", "1:212177"]) {
        let change = line["change"].clone();
        let changes = if let Value::Array(several) = change { several } else { vec![change] };
        named.extend(changes.iter().filter_map(|change| Some(change["key"].as_str()?.to_owned())));
    }
    let (before, after) = (states("expected-at-bgsave.json"), states("expected-after.json"));
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing: Vec<&String> = keys.into_iter().filter(|key| before.get(*key) != after.get(*key)).collect();
    assert!(differing.len() > 80, "{}", differing.len());
    let unnamed: Vec<String> = differing
        .into_iter()
        .filter(|key| !named.contains(*key))
        .map(|key| String::from_utf8(unbase64(key)).unwrap())
        .collect();
    assert_eq!(unnamed, UNLOGGED);
}

#[test]
fn damage_is_named_and_ends_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    copy_tree(&fixtures(), dir.path());
    let path = |part: &str| dir.path().join(part).into_os_string().into_string().unwrap();
    let (dump, log) = (path("dump/20261122/db0"), path("log/log_db0"));
    let refused = |args: &[&str], parts: &[&str]| {
        let outcome = CommandLine::new(&[&["inspect"], args].concat()).run();
        assert_eq!(outcome.code, 1, "{args:?}: {outcome:?}");
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        for part in parts {
            assert!(outcome.stderr.contains(part), "it does not name `{part}`: {}", outcome.stderr);
        }
    };
    refused(&["checkpoint", &dump, "--instances", "4"], &[&dump, "holds 3 instances, not 4"]);
    refused(&["checkpoint", &dump, "--slot-count", "512"], &[&dump]);
    refused(&["checkpoint", &log], &[&log, "`info`"]);
    refused(&["binlog", &dump], &[&dump]);
    refused(&["binlog", &log, "--from", "1:212178"], &["write2file1"]);
    refused(&["binlog", &log, "--from", "7:0"], &["7:0"]);

    let cut = |file: &str, length: u64| {
        let file = fs::OpenOptions::new().write(true).open(file).unwrap();
        file.set_len(length).unwrap();
    };
    cut(&format!("{log}/write2file1"), 300_000);
    refused(&["binlog", &log, "--json"], &["write2file1", "at byte"]);
    cut(&format!("{log}/manifest"), 20);
    refused(&["binlog", &log], &["manifest", "cut short"]);
    cut(&format!("{dump}/2/000079.sst"), 1000);
    refused(&["checkpoint", &dump, "--json"], &[&format!("{dump}/2")]);
    fs::remove_dir_all(format!("{dump}/1")).unwrap();
    refused(&["checkpoint", &dump], &[&dump]);
    fs::remove_file(format!("{dump}/info")).unwrap();
    refused(&["checkpoint", &dump], &[&dump]);
}

/// Commands that change a key and leave no trace in the log.
const UNLOGGED: [&str; 1] = ["w:geostore"];

fn checkpoint() -> (BTreeMap<String, Value>, Value) {
    shown(&["inspect", "checkpoint", &dump(), "--instances", "3", "--json"])
}

fn dump() -> String {
    fixtures().join("dump/20261122/db0").into_os_string().into_string().unwrap()
}

/// The keys, each of them once, and the summary behind them.
fn shown(args: &[&str]) -> (BTreeMap<String, Value>, Value) {
    let mut lines = lines(&CommandLine::new(args).run());
    let summary = lines.pop().unwrap()["summary"].take();
    let mut keys = BTreeMap::new();
    for line in lines {
        let twice = keys.insert(line["key"].as_str().unwrap().to_owned(), line);
        assert_eq!(twice, None, "a key is shown twice");
    }
    (keys, summary)
}

fn binlog(more: &[&str]) -> Vec<Value> {
    let dir = fixtures().join("log/log_db0").into_os_string().into_string().unwrap();
    lines(&CommandLine::new(&[&["inspect", "binlog", &dir, "--json"], more].concat()).run())
}

fn lines(outcome: &Outcome) -> Vec<Value> {
    outcome.assert_done();
    outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What each key was: its value, and its expiry where that is exact.
fn states(name: &str) -> BTreeMap<String, (Value, bool)> {
    let expected = fixture(name);
    let state = |key: &Value| {
        let is_mortal = key["pttl"].as_i64().unwrap() > 0;
        (key["key"].as_str().unwrap().to_owned(), (key["value"].clone(), is_mortal))
    };
    expected["keys"].as_array().unwrap().iter().map(state).collect()
}

fn assert_expiry(kind: &str, found: &Value, answer: &Value) {
    let show = &answer["show"];
    // For a stream the server answers 0: it has none.
    if kind == "stream" || answer["pttl"].as_i64().unwrap() <= 0 {
        return assert_eq!(found, &Value::Null, "{show}");
    }
    let at = found.as_u64().unwrap_or_else(|| panic!("{show} has no expiry"));
    match answer["expire_at_ms_exact"].as_u64() {
        Some(exact) => assert_eq!(at, exact, "{show}"),
        None => {
            let about = answer["expire_at_ms_approx"].as_u64().unwrap();
            assert!(at.abs_diff(about) < 1000, "{show} expires at {at}, not at {about}");
        }
    }
}

/// Where order is nothing, that of the texts; scores are numbers.
fn in_order(kind: &str, value: &Value) -> Vec<String> {
    let element = |element: &Value| match kind {
        "zset" => format!("{} {:?}", element[0], element[1].as_str().unwrap().parse::<f64>().unwrap()),
        _ => element.to_string(),
    };
    let Value::Array(elements) = value else { return vec![value.to_string()] };
    let mut elements: Vec<String> = elements.iter().map(element).collect();
    if matches!(kind, "hash" | "set" | "zset") {
        elements.sort();
    }
    elements
}

fn fixture(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixtures().join(name)).unwrap()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
