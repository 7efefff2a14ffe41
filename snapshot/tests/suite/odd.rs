// SPDX-License-Identifier: Apache-2.0
//! Rows that disagree: each kind is found and counted, and only what nobody can read is left out.

use std::collections::BTreeMap;

use bytes::Bytes;
use replication::{SlotCount, SlotSet};
use snapshot::format::{
    BaseKind, BaseMeta, Column, LIST_INDEX_START, ListMeta, ListValue, Version, data_key, list_key, meta_key,
};
use snapshot::{Body, Fault, FaultKind, ScanRequest, Store, StreamEntry, StreamId, Summary, UnixMillis};

use crate::harness::{self, Keys, everything, scan};
use crate::writer::{instance, meta_row, put, write_key, write_rows};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const VERSION: Version = Version(1_700_000_000_000);

/// Writes rows, saves and scans them.
fn scanned(request: &ScanRequest, write: impl FnOnce(&Store)) -> (Keys, Summary) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("live"), 2).unwrap();
    write(&store);
    let dump = dir.path().join("dump");
    store.checkpoint(&dump).unwrap();
    harness::info().write(&dump).unwrap();
    scan(&dump, request).unwrap()
}

fn members(names: &[&'static str]) -> Body {
    Body::Set(names.iter().map(|&name| Bytes::from(name)).collect())
}

fn base(kind: BaseKind, count: i32) -> Vec<u8> {
    BaseMeta { kind, count, version: VERSION, created: None, expire_at: None }.encode()
}

/// The kinds that were found, each with the key it was found in.
fn kinds(summary: &Summary) -> BTreeMap<FaultKind, Bytes> {
    summary.findings.kept().iter().map(|finding| (finding.fault.kind(), finding.key.clone())).collect()
}

#[test]
fn counts_that_are_wrong() {
    let (keys, summary) = scanned(&everything(NOW), |store| {
        write_rows(store, b"s", VERSION, &members(&["a", "b"]));
        put(store, instance(store, b"s"), Column::Default, &meta_key(b"s"), &base(BaseKind::Set, -3));
        put(store, instance(store, b"none"), Column::Default, &meta_key(b"none"), &base(BaseKind::Hash, 7));
    });
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[&b"s"[..]].body, members(&["a", "b"]));
    let faults: Vec<_> = summary.findings.kept().iter().map(|finding| finding.fault.clone()).collect();
    assert!(faults.contains(&Fault::CountMismatch { count: -3, rows: 2 }), "{faults:?}");
    assert!(faults.contains(&Fault::EmptyCollection { count: 7 }), "{faults:?}");
}

#[test]
fn a_list_with_a_gap_and_rows_outside() {
    let (keys, summary) = scanned(&everything(NOW), |store| {
        let at = instance(store, b"l");
        let left = LIST_INDEX_START - 1;
        for index in [left, left + 1, left + 4, left + 6, left + 7] {
            let value = ListValue { value: &[u8::try_from(index - left).unwrap()], created: None }.encode();
            put(store, at, Column::List, &list_key(b"l", VERSION, index), &value);
        }
        let meta = ListMeta { count: 5, version: VERSION, left, right: left + 6, created: None, expire_at: None };
        put(store, at, Column::Default, &meta_key(b"l"), &meta.encode());
    });
    assert_eq!(keys[&b"l"[..]].body, Body::List(vec![Bytes::from_static(&[1]), Bytes::from_static(&[4])]));
    let faults: Vec<_> = summary.findings.kept().iter().map(|finding| finding.fault.clone()).collect();
    assert_eq!(faults, [Fault::CountMismatch { count: 5, rows: 2 }, Fault::ListGap { missing: 3 }]);
}

#[test]
fn scores_that_are_no_numbers_are_handed_out() {
    let (keys, summary) = scanned(&everything(NOW), |store| {
        let body = Body::Zset(vec![("a".into(), f64::NAN), ("b".into(), 1.0)]);
        write_key(store, b"z", VERSION, &body, None);
    });
    let Body::Zset(found) = &keys[&b"z"[..]].body else { panic!("no sorted set") };
    assert!(found[0].1.is_nan() && found[1] == ("b".into(), 1.0));
    assert_eq!(kinds(&summary), [(FaultKind::NanScore, "z".into())].into());
}

#[test]
fn streams_that_disagree() {
    let entry = |sequence| StreamEntry { id: StreamId::new(1, sequence), fields: vec!["f".into(), "v".into()] };
    let last_id = StreamId::new(1, 1);
    let body = Body::Stream { entries: vec![entry(1), entry(2)], last_id };
    let (keys, summary) = scanned(&everything(NOW), |store| {
        write_rows(store, b"ghosts", Version(2), &body);
        let short = Body::Stream { entries: vec![entry(1)], last_id };
        put(
            store,
            instance(store, b"ghosts"),
            Column::Default,
            &meta_key(b"ghosts"),
            &meta_row(&short, Version(2), None),
        );
        write_rows(store, b"hidden", Version(2), &body);
        let none = Body::Stream { entries: vec![], last_id };
        put(
            store,
            instance(store, b"hidden"),
            Column::Default,
            &meta_key(b"hidden"),
            &meta_row(&none, Version(2), None),
        );
    });
    // The clock of the server went back: the greatest id is that of a row.
    let expected = Body::Stream { entries: vec![entry(1), entry(2)], last_id: StreamId::new(1, 2) };
    assert_eq!(keys.into_values().map(|key| key.body).collect::<Vec<_>>(), [expected]);
    let found = [(FaultKind::StreamLength, "ghosts".into()), (FaultKind::RowsOfEmptyStream, "hidden".into())];
    assert_eq!(kinds(&summary), found.into());
    assert_eq!(summary.skipped_stale, 1);
}

#[test]
fn rows_of_no_known_form_are_left_out() {
    let (keys, summary) = scanned(&everything(NOW), |store| {
        let at = |key: &[u8]| instance(store, key);
        put(store, at(b"unknown"), Column::Default, &meta_key(b"unknown"), &[7; 45]);
        put(store, at(b"short"), Column::Default, &meta_key(b"short"), &[1; 44]);
        write_key(store, b"h", VERSION, &Body::Hash(vec![("f".into(), "v".into())]), None);
        // As Pika 4.0.0 wrote numbers.
        put(store, at(b"h"), Column::Hash, &data_key(b"h", VERSION, b"n"), b"42");
        put(store, at(b"h"), Column::Default, &meta_key(b"h"), &base(BaseKind::Hash, 2));
        write_key(store, b"s", VERSION, &members(&["a"]), None);
        put(store, at(b"s"), Column::Set, &data_key(b"s", VERSION, b"b"), b"odd");
        let elsewhere = 1 - at(b"far");
        put(store, elsewhere, Column::Default, &meta_key(b"far"), &meta_row(&Body::String("v".into()), VERSION, None));
    });
    assert_eq!(keys.keys().collect::<Vec<_>>(), [&b"h"[..], b"s"]);
    assert_eq!(keys[&b"h"[..]].body, Body::Hash(vec![("f".into(), "v".into()), ("n".into(), "42".into())]));
    assert_eq!(keys[&b"s"[..]].body, members(&["a"]));
    let found = [
        (FaultKind::UnknownType, "unknown".into()),
        (FaultKind::BadValue, "short".into()),
        (FaultKind::BadRow, "s".into()),
        (FaultKind::WrongInstance, "far".into()),
    ];
    assert_eq!(kinds(&summary), found.into());
    assert!(summary.findings.counts().all(|(kind, count)| kind.leaves_out() && count == 1));
    assert!(summary.findings.kept().iter().all(|finding| !finding.to_string().is_empty()));
}

#[test]
fn internal_sets_are_left_out_and_nothing_else() {
    let (keys, summary) = scanned(&everything(NOW), |store| {
        for name in ["_internal:slotkey:4migrate:5", "_internal:slottag:4migrate:99"] {
            write_key(store, name.as_bytes(), VERSION, &members(&["kfoo"]), None);
        }
        write_key(store, b"_internal:slotkey:5", VERSION, &members(&["m"]), None);
        write_key(store, b"_internal:slotkey:4migrate:6", VERSION, &Body::String("a user's".into()), None);
    });
    assert_eq!(keys.keys().collect::<Vec<_>>(), [&b"_internal:slotkey:4migrate:6"[..], b"_internal:slotkey:5"]);
    assert_eq!(summary.internal, 2);
}

#[test]
fn a_big_key_comes_in_bounded_pieces_over_stale_rows() {
    let fields = |generation: &str| -> Vec<(Bytes, Bytes)> {
        (0..50_000).map(|number| (format!("{number:05}").into(), format!("{generation}{number}").into())).collect()
    };
    let request = ScanRequest { piece_size: 10_000, ..everything(NOW) };
    let (keys, summary) = scanned(&request, |store| {
        write_rows(store, b"big", Version(VERSION.0 - 1), &Body::Hash(fields("old")));
        write_key(store, b"big", VERSION, &Body::Hash(fields("new")), None);
        write_rows(store, b"big", Version(VERSION.0 + 1), &Body::Hash(fields("ghost")));
        write_key(store, b"next", VERSION, &Body::Hash(fields("next")), None);
    });
    assert_eq!(keys[&b"big"[..]].body, Body::Hash(fields("new")));
    assert_eq!(keys[&b"next"[..]].body, Body::Hash(fields("next")));
    assert!(summary.findings.is_empty());
    // The old rows of 100,000 were jumped over.
    assert!(summary.rows < 100_010, "{}", summary.rows);
}

#[test]
fn a_few_slots_are_found_among_many() {
    let slots: SlotSet = [SlotCount::CODIS.slot_of(b"{tag}1")].into_iter().collect();
    let (keys, summary) = scanned(&ScanRequest { slots, ..everything(NOW) }, |store| {
        for number in 0..500 {
            let name = format!("{{tag{}}}{number}", if number % 100 == 0 { "" } else { "x" });
            write_key(store, name.as_bytes(), VERSION, &Body::Hash(vec![("f".into(), "v".into())]), None);
        }
    });
    assert_eq!(keys.len(), 5);
    assert_eq!(summary.keys, 5);
}

#[test]
fn keys_that_lived_when_the_dump_was_complete_are_told_from_those_that_did_not() {
    let now = UnixMillis::now();
    let (later, earlier) = (Some(UnixMillis(now.0 + 60_000)), Some(UnixMillis(now.0 - 60_000)));
    let (keys, summary) = scanned(&everything(UnixMillis(now.0 + 120_000)), |store| {
        write_key(store, b"lived", VERSION, &Body::String("v".into()), later);
        write_key(store, b"lived as well", VERSION, &members(&["m"]), later);
        write_key(store, b"dead", VERSION, &Body::String("v".into()), earlier);
        write_key(store, b"_internal:slotkey:4migrate:5", VERSION, &members(&["kfoo"]), later);
        let emptied = meta_row(&members(&[]), VERSION, later);
        put(store, instance(store, b"emptied"), Column::Default, &meta_key(b"emptied"), &emptied);
        let without_entries = Body::Stream { entries: vec![], last_id: StreamId::new(1, 1) };
        write_key(store, b"stream", VERSION, &without_entries, None);
        write_key(store, b"lives", VERSION, &Body::String("v".into()), None);
    });
    assert_eq!(keys.keys().collect::<Vec<_>>(), [&b"lives"[..], b"stream"]);
    assert_eq!((summary.keys, summary.without_entries), (2, 1));
    assert_eq!((summary.skipped_expired, summary.expired_since), (5, 2));
}
