// SPDX-License-Identifier: Apache-2.0
//! The dump of a real Pika 4.0.1 against what that server answered at the cut.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use replication::{BinlogOffset, Slot, SlotCount, SlotSet};
use serde_json::Value;
use snapshot::{Body, Checkpoint, FaultKind, Kind, ScanRequest, Store, UnixMillis, score_text};

use crate::harness::{self, Key, everything, scan};

/// The server's answers were read within this time, so an expiry that was computed from them is that far off at most.
const READING_MILLIS: u64 = 1000;

fn expected() -> Value {
    serde_json::from_slice(&fs::read(harness::fixtures().join("expected-at-bgsave.json")).unwrap()).unwrap()
}

fn taken_at(expected: &Value) -> UnixMillis {
    UnixMillis(expected["taken_at_ms"].as_u64().unwrap())
}

fn decoded(text: &Value) -> Vec<u8> {
    STANDARD.decode(text.as_str().unwrap()).unwrap()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

#[test]
fn every_key_is_what_the_server_answered() {
    let expected = expected();
    let (mut keys, summary) = scan(&harness::golden(), &everything(taken_at(&expected))).unwrap();
    for answer in array(&expected["keys"]) {
        let name = decoded(&answer["key"]);
        let shown = String::from_utf8_lossy(&name).into_owned();
        let key = keys.remove(&name).unwrap_or_else(|| panic!("{shown} is missing"));
        let slot = u64::from(SlotCount::CODIS.slot_of(&name).number());
        assert_eq!(answer["slot"].as_u64(), Some(slot), "{shown}");
        check_expiry(&shown, &key, answer);
        check_value(&shown, &key, answer);
    }
    assert!(keys.is_empty(), "keys that the server did not have: {:?}", keys.keys());
    assert_eq!(summary.internal, array(&expected["internal"]).len() as u64);
    // The server itself accepted these.
    let found: BTreeSet<_> = summary.findings.counts().map(|(kind, _)| kind).collect();
    assert!(found.iter().all(|kind| !kind.leaves_out()), "{:?}", summary.findings.kept());
    assert_eq!(summary.findings.count(FaultKind::CountMismatch), 0, "{:?}", summary.findings.kept());
    assert!(summary.skipped_stale > 0, "{summary:?}");
}

#[test]
fn how_many_keys_there_are_is_known_beforehand() {
    let checkpoint = Checkpoint::open(harness::golden(), SlotCount::CODIS, None).unwrap();
    let (keys, summary) = scan(&harness::golden(), &everything(taken_at(&expected()))).unwrap();
    let (keys, rows) = (keys.len() as u64, checkpoint.estimated_keys(1024));
    // Some are dead, and some are Pika's own.
    assert!(rows >= keys && rows <= keys + summary.skipped_stale + summary.internal + keys / 2, "{rows} of {keys}");
    let half = checkpoint.estimated_keys(512);
    assert!(half.abs_diff(rows / 2) <= 1, "{half} of {rows}");
}

fn check_expiry(shown: &str, key: &Key, answer: &Value) {
    let expire_at = key.expire_at.map(|at| at.0);
    if key.kind() == Kind::Stream {
        // The server answers a TTL of 0 for streams, which have none.
        assert_eq!(expire_at, None, "{shown}");
    } else if let Some(exact) = answer["expire_at_ms_exact"].as_u64() {
        assert_eq!(expire_at, Some(exact), "{shown}");
    } else {
        let near = answer["expire_at_ms_approx"].as_u64();
        assert_eq!(expire_at.is_some(), near.is_some(), "{shown}");
        let distance = expire_at.zip(near).map_or(0, |(at, near)| at.abs_diff(near));
        assert!(distance <= READING_MILLIS, "{shown}: {distance} ms");
    }
}

fn check_value(shown: &str, key: &Key, answer: &Value) {
    let value = &answer["value"];
    let kind = answer["type"].as_str().unwrap();
    let is_hyperloglog = answer["hll_count"].is_u64();
    match &key.body {
        Body::String(bytes) => assert!(kind == "string" && !is_hyperloglog && bytes == &decoded(value), "{shown}"),
        Body::HyperLogLog(bytes) => assert!(kind == "string" && is_hyperloglog && bytes == &decoded(value), "{shown}"),
        Body::Hash(fields) => {
            let want: Vec<_> = array(value).iter().map(|pair| (decoded(&pair[0]), decoded(&pair[1]))).collect();
            assert!(kind == "hash" && equal_sets(fields.iter().cloned().map(vec_pair), want), "{shown}");
        }
        Body::List(elements) => {
            let want: Vec<_> = array(value).iter().map(decoded).collect();
            assert!(kind == "list" && elements == &want, "{shown}");
        }
        Body::Set(members) => {
            let want: Vec<_> = array(value).iter().map(decoded).collect();
            assert!(kind == "set" && equal_sets(members.iter().map(|member| member.to_vec()), want), "{shown}");
        }
        Body::Zset(members) => {
            let text = |pair: &Value| (decoded(&pair[0]), pair[1].as_str().unwrap().to_owned());
            let want: Vec<_> = array(value).iter().map(text).collect();
            let got = members.iter().map(|(member, score)| (member.to_vec(), score_text(*score)));
            assert!(kind == "zset" && equal_sets(got, want), "{shown}: {members:?}");
        }
        Body::Stream { entries, last_id } => {
            let entry = |entry: &Value| {
                let fields: Vec<Bytes> = array(&entry[1]).iter().map(|field| decoded(field).into()).collect();
                (entry[0].as_str().unwrap().to_owned(), fields)
            };
            let want: Vec<_> = array(value).iter().map(entry).collect();
            let got: Vec<_> = entries.iter().map(|entry| (entry.id.to_string(), entry.fields.clone())).collect();
            assert!(kind == "streams" && got == want, "{shown}");
            assert!(entries.iter().all(|entry| entry.id <= *last_id), "{shown}");
        }
    }
}

fn vec_pair((field, value): (Bytes, Bytes)) -> (Vec<u8>, Vec<u8>) {
    (field.to_vec(), value.to_vec())
}

fn equal_sets<T: Ord>(got: impl Iterator<Item = T>, want: Vec<T>) -> bool {
    let (count, expected) = (want.len(), BTreeSet::from_iter(want));
    let got: Vec<T> = got.collect();
    got.len() == count && expected.len() == count && BTreeSet::from_iter(got) == expected
}

#[test]
fn nothing_in_the_directory_changes() {
    let before = harness::files(&harness::golden());
    let copy = harness::golden_copy();
    let copied = harness::files(copy.path());
    scan(copy.path(), &everything(UnixMillis::now())).unwrap();
    assert_eq!(harness::files(copy.path()), copied);
    scan(&harness::golden(), &everything(UnixMillis::now())).unwrap();
    assert_eq!(harness::files(&harness::golden()), before);
}

#[test]
fn info_is_where_the_binlog_was_cut() {
    let checkpoint = Checkpoint::open(harness::golden(), SlotCount::CODIS, Some(3)).unwrap();
    assert_eq!(checkpoint.info().offset, BinlogOffset::new(1, 212_177));
    assert_eq!((&*checkpoint.info().host, checkpoint.info().port), ("127.0.0.1", 9301));
}

#[test]
fn small_pieces_hold_the_same() {
    let now = taken_at(&expected());
    let (whole, _) = scan(&harness::golden(), &everything(now)).unwrap();
    for piece_size in [0, 100, 1000, 65_536] {
        let request = ScanRequest { piece_size, ..everything(now) };
        assert_eq!(scan(&harness::golden(), &request).unwrap().0, whole, "{piece_size}");
    }
}

#[test]
fn slots_add_up_to_the_whole() {
    let now = taken_at(&expected());
    let (mut whole, _) = scan(&harness::golden(), &everything(now)).unwrap();
    for residue in 0..7u16 {
        // A seventh is scanned sparsely, six sevenths densely.
        let slots: SlotSet = (0..1024).filter(|slot| slot % 7 == residue).map(Slot::new).collect();
        let (part, _) = scan(&harness::golden(), &ScanRequest { slots: slots.clone(), ..everything(now) }).unwrap();
        for (name, key) in part {
            assert!(slots.contains(SlotCount::CODIS.slot_of(&name)));
            assert_eq!(whole.remove(&name), Some(key));
        }
    }
    assert!(whole.is_empty());
}

#[test]
fn a_scan_goes_on_behind_any_key() {
    let checkpoint = Checkpoint::open(harness::golden(), SlotCount::CODIS, None).unwrap();
    let request = everything(taken_at(&expected()));
    for instance in 0..checkpoint.instances() {
        let keys_after = |after: Option<Bytes>, limit: usize| {
            let mut keys = Vec::new();
            let request = ScanRequest { after, ..request.clone() };
            let summary = checkpoint.scan(instance, &request, |piece| {
                keys.push(piece.key);
                if keys.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            assert_eq!(summary.unwrap().complete, keys.len() < limit);
            keys
        };
        let all = keys_after(None, usize::MAX);
        for at in (0..all.len()).step_by(7) {
            assert_eq!(keys_after(None, at + 1), all[..=at]);
            assert_eq!(keys_after(Some(all[at].clone()), usize::MAX), all[at + 1..]);
        }
    }
}

#[test]
fn a_copy_opens_for_writing_and_saves_the_same() {
    let now = taken_at(&expected());
    let copy = harness::golden_copy();
    let saved = tempfile::tempdir().unwrap();
    let store = Store::open(copy.path(), 3).unwrap();
    store.compact().unwrap();
    store.checkpoint(saved.path()).unwrap();
    harness::info().write(saved.path()).unwrap();
    let (keys, _) = scan(saved.path(), &everything(now)).unwrap();
    assert_eq!(keys, scan(&harness::golden(), &everything(now)).unwrap().0);
}

#[test]
fn threads_scan_side_by_side() {
    let checkpoint = Checkpoint::open(harness::golden(), SlotCount::CODIS, None).unwrap();
    let request = everything(taken_at(&expected()));
    let count = |instance| checkpoint.scan(instance, &request, |_| ControlFlow::Continue(())).unwrap().keys;
    let together: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|thread| scope.spawn(move || count(thread % 3))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(together, 2 * (0..3).map(count).sum::<u64>());
}
