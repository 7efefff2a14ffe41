// SPDX-License-Identifier: Apache-2.0
//! Random keys with random pasts, written, saved and scanned: what comes out is what lives.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use replication::{Slot, SlotCount, SlotSet};
use snapshot::format::{Column, Version, meta_key};
use snapshot::{Body, FaultKind, ScanRequest, Store, StreamEntry, StreamId, UnixMillis};

use crate::harness::{self, Key, Keys, scan};
use crate::writer::{meta_row, put, write_key, write_rows};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// What became of an incarnation of a key.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    Lives,
    /// Lives up to and including this many milliseconds from now.
    Expires(u64),
    /// Was over this many milliseconds ago.
    Expired(u64),
    /// Deleted; compaction has not taken the rows yet.
    Deleted,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Lives),
        1 => prop_oneof![Just(0), 1..1u64 << 40].prop_map(Fate::Expires),
        1 => (1..1u64 << 40).prop_map(Fate::Expired),
        1 => Just(Fate::Deleted),
    ]
}

fn bytes() -> impl Strategy<Value = Bytes> {
    let short = vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..12);
    prop_oneof![8 => short, 1 => vec(any::<u8>(), 0..600)].prop_map(Bytes::from)
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0u8), Just(1), Just(b'{'), Just(b'}'), Just(b'a'), any::<u8>()], 0..6)
}

fn body() -> impl Strategy<Value = Body> {
    const MANY: std::ops::Range<usize> = 1..40;
    let entry = (any::<(u64, u64)>(), vec((bytes(), bytes()), 0..3)).prop_map(|((millis, sequence), pairs)| {
        let fields = pairs.into_iter().flat_map(|(field, value)| [field, value]).collect();
        StreamEntry { id: StreamId { millis, sequence }, fields }
    });
    let stream = (vec(entry, MANY), any::<(u64, u64)>()).prop_map(|(entries, (millis, sequence))| {
        let entries: BTreeMap<_, _> = entries.into_iter().map(|entry| (entry.id, entry)).collect();
        let greatest = entries.keys().next_back().copied().unwrap_or_default();
        let last_id = greatest.max(StreamId { millis, sequence });
        Body::Stream { entries: entries.into_values().collect(), last_id }
    });
    let score = prop_oneof![Just(f64::NEG_INFINITY), Just(-0.0), any::<f64>().prop_filter("NaN", |it| !it.is_nan())];
    prop_oneof![
        bytes().prop_map(Body::String),
        bytes().prop_map(Body::HyperLogLog),
        btree_map(bytes(), bytes(), MANY).prop_map(|fields| Body::Hash(fields.into_iter().collect())),
        vec(bytes(), MANY).prop_map(Body::List),
        btree_set(bytes(), MANY).prop_map(|members| Body::Set(members.into_iter().collect())),
        btree_map(bytes(), score, MANY).prop_map(|members| Body::Zset(members.into_iter().collect())),
        stream,
    ]
}

/// A key with everything that it ever was.
type History = Vec<(Body, Fate)>;

fn write_history(store: &Store, key: &[u8], history: &History) -> Option<Key> {
    let mut living = None;
    for (age, (body, fate)) in history.iter().enumerate() {
        // Bytewise order is not numeric order here, so that stale rows stand on both sides.
        let version = Version(250 + 3 * age as u64);
        let expire_at = match fate {
            Fate::Lives | Fate::Deleted => None,
            Fate::Expires(after) => Some(UnixMillis(NOW.0 + after)),
            Fate::Expired(before) => Some(UnixMillis(NOW.0 - before)),
        };
        let expire_at = expire_at.filter(|_| !matches!(body, Body::Stream { .. }));
        write_key(store, key, version, body, expire_at);
        living = match fate {
            Fate::Deleted => None,
            Fate::Expired(_) if expire_at.is_some() => None,
            _ => Some(Key { expire_at, body: body.clone() }),
        };
        if *fate == Fate::Deleted {
            delete(store, key, version, body);
        }
    }
    living
}

fn delete(store: &Store, key: &[u8], version: Version, body: &Body) {
    let instance = crate::writer::instance(store, key);
    let emptied = match body {
        Body::String(_) | Body::HyperLogLog(_) => {
            let mut batch = store.batch(instance);
            batch.delete(Column::Default, meta_key(key));
            return batch.commit().unwrap();
        }
        // The rows of a stream are deleted at once, since its version does not change.
        Body::Stream { .. } => Body::Stream { entries: Vec::new(), last_id: StreamId::default() },
        Body::Hash(_) => Body::Hash(Vec::new()),
        Body::List(_) => Body::List(Vec::new()),
        Body::Set(_) => Body::Set(Vec::new()),
        Body::Zset(_) => Body::Zset(Vec::new()),
    };
    put(store, instance, Column::Default, &meta_key(key), &meta_row(&emptied, Version(version.0 + 1), None));
}

/// Scores as bits: the two zeros differ.
fn normal(keys: Keys) -> BTreeMap<Vec<u8>, (Option<UnixMillis>, String)> {
    let text = |mut body: Body| {
        match &mut body {
            Body::Hash(fields) => fields.sort(),
            Body::Set(members) => members.sort(),
            Body::Zset(members) => members.sort_by(|a, b| a.0.cmp(&b.0)),
            Body::String(_) | Body::HyperLogLog(_) | Body::List(_) | Body::Stream { .. } => {}
        }
        format!("{body:?}")
    };
    keys.into_iter().map(|(name, key)| (name, (key.expire_at, text(key.body)))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_scan_finds_what_lives(
        histories in btree_map(name(), vec((body(), fate()), 1..4), 1..24),
        ghosts in vec((name(), body()), 0..6),
        damaged in btree_set((name(), vec(any::<u8>(), 1..30)), 0..4),
        piece_size in prop_oneof![Just(0usize), 1..2000usize, Just(1 << 20)],
        slots in prop_oneof![Just(0..1024u16), (0..512u16, 512..1024u16).prop_map(|(from, to)| from..to)],
        instances in 1..4usize,
        compacted: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("live"), instances).unwrap();
        let slots: SlotSet = slots.map(Slot::new).collect();
        let mut expected = Keys::new();
        for (name, history) in &histories {
            let living = write_history(&store, name, history);
            if slots.contains(SlotCount::CODIS.slot_of(name)) {
                expected.extend(living.map(|key| (name.clone(), key)));
            }
        }
        // Rows of a greater version, and rows without a meta row.
        for (name, body) in &ghosts {
            write_rows(&store, name, Version(9_000_000), body);
        }
        for (name, garbage) in &damaged {
            let row = [meta_key(name), garbage.clone()].concat();
            put(&store, garbage.len() % instances, Column::Default, &row, &meta_row(&Body::String(Bytes::new()), Version(0), None));
        }
        if compacted {
            store.compact().unwrap();
        }
        let dump = dir.path().join("dump");
        store.checkpoint(&dump).unwrap();
        harness::info().write(&dump).unwrap();

        let request = ScanRequest { slots, piece_size, now: NOW, after: None };
        let (keys, summary) = scan(&dump, &request).unwrap();
        prop_assert_eq!(normal(keys), normal(expected));
        let rows: BTreeSet<_> = damaged.iter().map(|(name, garbage)| [meta_key(name), garbage.clone()].concat()).collect();
        prop_assert_eq!(summary.findings.count(FaultKind::CorruptName), rows.len() as u64);
        prop_assert_eq!(summary.findings.counts().map(|(_, count)| count).sum::<u64>(), rows.len() as u64, "{:?}", summary.findings.kept());
    }
}
