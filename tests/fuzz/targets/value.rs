// SPDX-License-Identifier: Apache-2.0
//! The value of a row of any column family.

use snapshot::format::{HashValue, ListValue, Meta, SetValue, ZsetValue, encode_entry, entry_fields};
use snapshot::{StreamId, UnixMillis, score_text};

pub(crate) fn check(stored: &[u8]) {
    if let Ok(meta) = Meta::decode(stored) {
        meta_value(&meta);
    }
    let hash = HashValue::decode(stored);
    if fits(hash.created) {
        assert_eq!(HashValue::decode(&hash.encode()), hash);
    }
    if let Ok(list) = ListValue::decode(stored)
        && fits(list.created)
    {
        assert_eq!(ListValue::decode(&list.encode()), Ok(list));
    }
    if let Ok(set) = SetValue::decode(stored)
        && fits(set.created)
    {
        assert_eq!(SetValue::decode(&set.encode()), Ok(set));
    }
    if let Ok(zset) = ZsetValue::decode(stored) {
        score(zset.score);
    }
    if let Ok(fields) = entry_fields(stored) {
        assert_eq!(fields.len() % 2, 0);
        assert_eq!(fields.len(), fields.clone().count());
        assert_eq!(encode_entry(fields), stored);
    }
    if let Ok(text) = std::str::from_utf8(stored)
        && let Ok(id) = text.parse::<StreamId>()
    {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

fn meta_value(meta: &Meta<'_>) {
    let again = match meta {
        Meta::String(string) if !string.hyperloglog && !fits(string.created) => return,
        Meta::String(string) => string.encode(),
        Meta::Base(base) if fits(base.created) => base.encode(),
        Meta::List(list) if fits(list.created) => list.encode(),
        Meta::Stream(stream) => stream.encode(),
        Meta::Base(_) | Meta::List(_) => return,
    };
    if fits(meta.expire_at()) {
        assert_eq!(Meta::decode(&again).as_ref(), Ok(meta));
    }
    // Both have an answer for everything.
    let _ = (meta.is_empty(), meta.is_expired(UnixMillis(u64::MAX)));
}

/// A score's text is read back to the same bits; a NaN has only one text.
fn score(score: f64) {
    let read: f64 = score_text(score).parse().unwrap();
    assert!(read.to_bits() == score.to_bits() || read.is_nan() && score.is_nan(), "{score}");
}

/// Whether there is a way to write this time: one bit says its unit.
fn fits(time: Option<UnixMillis>) -> bool {
    time.is_none_or(|time| time.0 < 1 << 63)
}
