// SPDX-License-Identifier: Apache-2.0
//! Writes the rows that a server writes.

use replication::SlotCount;
use snapshot::format::{
    BaseKind, BaseMeta, Column, HashValue, LIST_INDEX_START, ListMeta, ListValue, SetValue, StreamMeta, StringValue,
    Version, ZsetValue, data_key, encode_entry, list_key, meta_key, score_key, stream_key,
};
use snapshot::{Body, Store, StreamId, UnixMillis};

/// When everything was written.
const CREATED: Option<UnixMillis> = Some(UnixMillis(1_700_000_000_000));

/// The instance of a key.
pub(crate) fn instance(store: &Store, key: &[u8]) -> usize {
    SlotCount::CODIS.slot_of(key).instance(store.instances())
}

/// Writes a row as it is.
pub(crate) fn put(store: &Store, instance: usize, column: Column, key: &[u8], value: &[u8]) {
    let mut batch = store.batch(instance);
    batch.put(column, key, value);
    batch.commit().unwrap();
}

/// Writes the data rows of one incarnation of a key; a string has none.
pub(crate) fn write_rows(store: &Store, key: &[u8], version: Version, body: &Body) {
    let mut batch = store.batch(instance(store, key));
    let created = CREATED;
    match body {
        Body::String(_) | Body::HyperLogLog(_) => {}
        Body::Hash(fields) => {
            for (field, value) in fields {
                batch.put(Column::Hash, data_key(key, version, field), HashValue { value, created }.encode());
            }
        }
        Body::Set(members) => {
            for member in members {
                batch.put(Column::Set, data_key(key, version, member), SetValue { created }.encode());
            }
        }
        Body::Zset(members) => {
            for &(ref member, score) in members {
                batch.put(Column::Zset, data_key(key, version, member), ZsetValue { score, created }.encode());
                let index = score_key(key, version, score, member);
                batch.put(Column::ZsetScore, index, SetValue { created }.encode());
            }
        }
        Body::List(elements) => {
            for (index, value) in (left_of(elements.len()) + 1..).zip(elements) {
                batch.put(Column::List, list_key(key, version, index), ListValue { value, created }.encode());
            }
        }
        Body::Stream { entries, .. } => {
            for entry in entries {
                batch.put(Column::Stream, stream_key(key, version, entry.id), encode_entry(&entry.fields));
            }
        }
    }
    batch.commit().unwrap();
}

/// The row of `default` that makes `body` the living content of its key.
pub(crate) fn meta_row(body: &Body, version: Version, expire_at: Option<UnixMillis>) -> Vec<u8> {
    let created = CREATED;
    let base = |kind| {
        let count = i32::try_from(body.len()).unwrap();
        BaseMeta { kind, count, version, created, expire_at }.encode()
    };
    match body {
        Body::String(value) => StringValue { value, hyperloglog: false, created, expire_at }.encode(),
        Body::HyperLogLog(value) => StringValue { value, hyperloglog: true, created, expire_at }.encode(),
        Body::Hash(_) => base(BaseKind::Hash),
        Body::Set(_) => base(BaseKind::Set),
        Body::Zset(_) => base(BaseKind::Zset),
        Body::List(elements) => {
            let count = elements.len() as u64;
            let left = left_of(elements.len());
            ListMeta { count, version, left, right: left + count + 1, created, expire_at }.encode()
        }
        Body::Stream { entries, last_id } => StreamMeta {
            added: entries.len() as u64,
            first_id: entries.first().map(|entry| entry.id).unwrap_or_default(),
            last_id: *last_id,
            deleted_id_max: StreamId::default(),
            length: i32::try_from(entries.len()).unwrap(),
            version,
        }
        .encode(),
    }
}

/// Writes a key as a server does.
pub(crate) fn write_key(store: &Store, key: &[u8], version: Version, body: &Body, expire_at: Option<UnixMillis>) {
    write_rows(store, key, version, body);
    put(store, instance(store, key), Column::Default, &meta_key(key), &meta_row(body, version, expire_at));
}

/// As if a third of the elements had been pushed to the left.
fn left_of(count: usize) -> u64 {
    LIST_INDEX_START - 1 - count as u64 / 3
}
