// SPDX-License-Identifier: Apache-2.0
//! The on-disk layout of Pika 4.0, byte by byte: encode and decode.
//!
//! Everything is a pure function of bytes; nothing here knows RocksDB or a file. Decoders borrow from the row and never
//! panic: bytes that do not fit give a [`KeyError`] or a [`ValueError`].
//!
//! | Module | Holds |
//! |---|---|
//! | `key` | escaping of user keys, the keys of meta and data rows |
//! | `meta` | values of the column family `default`: the meta row of every collection, and which type a row is |
//! | `string` | the values of strings and HyperLogLogs, which stand in `default` too |
//! | `time` | creation and expiry times |
//! | `data` | values of the data column families: fields, members, elements, stream entries |
//! | `comparator` | the two orders that are not bytewise |
//! | `column` | the seven column families |
//!
//! Integers are little-endian, except for stream ids inside keys. Offsets and the exact sizes stand beside each codec.
//! Source of the layout: `src/storage/src/*_format.h`, `pika_stream_meta_value.h` and `custom_comparator.h` of Pika
//! 4.0.1.

mod column;
mod comparator;
mod data;
mod key;
mod meta;
mod string;
mod time;

pub use column::Column;
pub use comparator::{LIST_COMPARATOR, SCORE_COMPARATOR, compare_list_keys, compare_score_keys};
pub use data::{EntryFields, HashValue, ListValue, SetValue, ZsetValue, encode_entry, entry_fields};
pub use key::{
    DataKey, EscapedKey, KeyError, LIST_INDEX_START, ListKey, ScoreKey, StreamKey, data_key, data_prefix, list_key,
    meta_key, score_key, split_meta_key, stream_key,
};
pub use meta::{BaseKind, BaseMeta, ListMeta, Meta, StreamMeta, ValueError, Version};
pub use string::StringValue;

/// Unused zero bytes at the start of every key.
const KEY_HEAD: usize = 8;
/// Unused bytes at the end of every key, and in most values.
const RESERVE: usize = 16;

/// Takes a number of `N` bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// Takes a little-endian `u64` off the front.
fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_le_bytes)
}

#[cfg(test)]
mod testing {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::Version;

    /// The version of the reference's vectors.
    pub(super) const VERSION: Version = Version(1_726_740_000_123);

    /// The bytes of a hex text with spaces.
    pub(super) fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
        let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    /// Short byte strings that often hold the bytes that escaping is about.
    pub(super) fn bytes() -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![Just(0), Just(1), Just(0xff), any::<u8>()], 0..30)
    }
}
