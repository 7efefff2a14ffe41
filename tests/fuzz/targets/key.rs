// SPDX-License-Identifier: Apache-2.0
//! The key of a row of any column family.

use snapshot::format::{
    DataKey, ListKey, ScoreKey, StreamKey, data_key, data_prefix, list_key, meta_key, score_key, split_meta_key,
    stream_key,
};

pub(crate) fn check(row: &[u8]) {
    if let Ok(name) = split_meta_key(row) {
        same(row, &meta_key(&name.unescaped()));
    }
    if let Ok(DataKey { key, version, element }) = DataKey::decode(row) {
        let key = key.unescaped();
        let again = data_key(&key, version, element);
        assert!(again.starts_with(&data_prefix(&key, version)));
        same(row, &again);
    }
    if let Ok(ListKey { key, version, index }) = ListKey::decode(row) {
        same(row, &list_key(&key.unescaped(), version, index));
    }
    if let Ok(ScoreKey { key, version, score, member }) = ScoreKey::decode(row) {
        same(row, &score_key(&key.unescaped(), version, score, member));
    }
    if let Ok(StreamKey { key, version, id }) = StreamKey::decode(row) {
        same(row, &stream_key(&key.unescaped(), version, id));
    }
    // Every byte string is a name.
    let named = meta_key(row);
    assert_eq!(split_meta_key(&named).unwrap().unescaped(), row);
}

/// A row that could be taken apart is put together again, but for the bytes at both ends that mean nothing.
fn same(row: &[u8], again: &[u8]) {
    assert_eq!(row.len(), again.len());
    assert_eq!(row[HEAD..row.len() - RESERVE], again[HEAD..again.len() - RESERVE]);
}

const HEAD: usize = 8;
const RESERVE: usize = 16;
