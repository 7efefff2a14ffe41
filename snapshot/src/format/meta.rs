// SPDX-License-Identifier: Apache-2.0
//! Values of the column family `default`. The first byte tells the type; sizes are exact, except for strings.
//!
//! ```text
//! string         00 │ value n │ reserve 16 │ ctime 8 │ etime 8
//! hash set zset  01 02 04 │ count i32 │ version 8 │ reserve 16 │ ctime 8 │ etime 8                             45 bytes
//! list           03 │ count 8 │ version 8 │ left 8 │ pad 8 │ right 8 │ pad 8 │ reserve 16 │ ctime 8 │ etime 8   81 bytes
//! stream         05 │ groups 4 │ added 8 │ first 16 │ last 16 │ greatest deleted 16 │ length i32 │ version 8   73 bytes
//! ```
//!
//! The pads of a list are undefined memory.

use super::string::StringValue;
use super::time::{encode_time, take_time};
use super::{RESERVE, take, take_u64};
use crate::{StreamId, UnixMillis};

/// Which incarnation of a collection a row belongs to: rows of another version than the meta row's are dead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Version(pub u64);

impl Version {
    /// The version of a collection that is created, re-created or deleted now; `before` is that of its old meta row.
    ///
    /// Streams count theirs up by one instead.
    pub fn renewed(before: Option<Self>, now: UnixMillis) -> Self {
        match before {
            Some(Self(before)) if before >= now.0 => Self(before.saturating_add(1)),
            _ => Self(now.0),
        }
    }
}

/// A value of the column family `default`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meta<'a> {
    /// A string or HyperLogLog with its content.
    String(StringValue<'a>),
    /// The meta row of a hash, set or sorted set.
    Base(BaseMeta),
    /// The meta row of a list.
    List(ListMeta),
    /// The meta row of a stream.
    Stream(StreamMeta),
}

impl<'a> Meta<'a> {
    /// Takes a value apart by its type byte.
    ///
    /// # Errors
    ///
    /// The type is unknown, or the size is not that of the type.
    pub fn decode(stored: &'a [u8]) -> Result<Self, ValueError> {
        match stored.first().copied() {
            Some(TAG_STRING) => StringValue::decode(stored).map(Self::String),
            Some(TAG_HASH | TAG_SET | TAG_ZSET) => BaseMeta::decode(stored).map(Self::Base),
            Some(TAG_LIST) => ListMeta::decode(stored).map(Self::List),
            Some(TAG_STREAM) => StreamMeta::decode(stored).map(Self::Stream),
            Some(tag) => Err(ValueError::UnknownType { tag }),
            None => Err(ValueError::Size { length: 0 }),
        }
    }

    /// When the key expires.
    pub fn expire_at(&self) -> Option<UnixMillis> {
        match self {
            Self::String(string) => string.expire_at,
            Self::Base(base) => base.expire_at,
            Self::List(list) => list.expire_at,
            Self::Stream(_) => None,
        }
    }

    /// Whether its time is over. At the very millisecond of its expiry a key still lives.
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        self.expire_at().is_some_and(|expire_at| expire_at < now)
    }

    /// Whether it is the meta row of a deleted or emptied collection.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::String(_) => false,
            Self::Base(base) => base.count == 0,
            Self::List(list) => list.count == 0,
            Self::Stream(stream) => stream.length == 0,
        }
    }
}

/// Which collection a [`BaseMeta`] describes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BaseKind {
    /// A hash.
    Hash,
    /// A set.
    Set,
    /// A sorted set.
    Zset,
}

/// The meta row of a hash, set or sorted set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BaseMeta {
    /// Which of them it is.
    pub kind: BaseKind,
    /// How many elements the server counted; zero after a deletion. The rows are the truth.
    pub count: i32,
    /// The living incarnation.
    pub version: Version,
    /// When it was written; informational.
    pub created: Option<UnixMillis>,
    /// When it expires.
    pub expire_at: Option<UnixMillis>,
}

impl BaseMeta {
    /// The meta row.
    pub fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(BASE_SIZE);
        row.push(match self.kind {
            BaseKind::Hash => TAG_HASH,
            BaseKind::Set => TAG_SET,
            BaseKind::Zset => TAG_ZSET,
        });
        row.extend_from_slice(&self.count.to_le_bytes());
        row.extend_from_slice(&self.version.0.to_le_bytes());
        row.extend_from_slice(&[0; RESERVE]);
        row.extend_from_slice(&encode_time(self.created));
        row.extend_from_slice(&encode_time(self.expire_at));
        row
    }

    fn decode(stored: &[u8]) -> Result<Self, ValueError> {
        let fields = |mut rest: &[u8]| {
            let kind = match take(&mut rest)? {
                [TAG_HASH] => BaseKind::Hash,
                [TAG_SET] => BaseKind::Set,
                _ => BaseKind::Zset,
            };
            let count = take(&mut rest).map(i32::from_le_bytes)?;
            let version = Version(take_u64(&mut rest)?);
            take::<RESERVE>(&mut rest)?;
            let created = take_time(&mut rest)?;
            let expire_at = take_time(&mut rest)?;
            rest.is_empty().then_some(Self { kind, count, version, created, expire_at })
        };
        fields(stored).ok_or(ValueError::Size { length: stored.len() })
    }
}

/// The meta row of a list. Its elements lie strictly between `left` and `right`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListMeta {
    /// How many elements the server counted; zero after a deletion.
    pub count: u64,
    /// The living incarnation.
    pub version: Version,
    /// The index that the next `LPUSH` takes; [`LIST_INDEX_START`](super::LIST_INDEX_START)` - 1` at first.
    pub left: u64,
    /// The index that the next `RPUSH` takes; [`LIST_INDEX_START`](super::LIST_INDEX_START) at first.
    pub right: u64,
    /// When it was written; informational.
    pub created: Option<UnixMillis>,
    /// When it expires.
    pub expire_at: Option<UnixMillis>,
}

impl ListMeta {
    /// The meta row.
    pub fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(LIST_SIZE);
        row.push(TAG_LIST);
        row.extend_from_slice(&self.count.to_le_bytes());
        row.extend_from_slice(&self.version.0.to_le_bytes());
        row.extend_from_slice(&self.left.to_le_bytes());
        row.extend_from_slice(&[0; 8]);
        row.extend_from_slice(&self.right.to_le_bytes());
        row.extend_from_slice(&[0; 8]);
        row.extend_from_slice(&[0; RESERVE]);
        row.extend_from_slice(&encode_time(self.created));
        row.extend_from_slice(&encode_time(self.expire_at));
        row
    }

    fn decode(stored: &[u8]) -> Result<Self, ValueError> {
        let fields = |mut rest: &[u8]| {
            take::<1>(&mut rest)?;
            let count = take_u64(&mut rest)?;
            let version = Version(take_u64(&mut rest)?);
            let left = take_u64(&mut rest)?;
            take::<8>(&mut rest)?;
            let right = take_u64(&mut rest)?;
            take::<8>(&mut rest)?;
            take::<RESERVE>(&mut rest)?;
            let created = take_time(&mut rest)?;
            let expire_at = take_time(&mut rest)?;
            rest.is_empty().then_some(Self { count, version, left, right, created, expire_at })
        };
        fields(stored).ok_or(ValueError::Size { length: stored.len() })
    }
}

/// The meta row of a stream. Streams never expire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamMeta {
    /// How many entries were ever added.
    pub added: u64,
    /// The first entry. Unreliable: the server overwrites it when the last entry is deleted.
    pub first_id: StreamId,
    /// The id that the last `XADD` gave out.
    pub last_id: StreamId,
    /// The greatest id that was deleted.
    pub deleted_id_max: StreamId,
    /// How many entries the server counted; zero means that the key is gone. The rows are the truth.
    pub length: i32,
    /// The living incarnation: a small counter, 2 for a new stream.
    pub version: Version,
}

impl StreamMeta {
    /// The meta row.
    pub fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(STREAM_SIZE);
        row.push(TAG_STREAM);
        row.extend_from_slice(&[0; 4]);
        row.extend_from_slice(&self.added.to_le_bytes());
        for id in [self.first_id, self.last_id, self.deleted_id_max] {
            row.extend_from_slice(&id.millis.to_le_bytes());
            row.extend_from_slice(&id.sequence.to_le_bytes());
        }
        row.extend_from_slice(&self.length.to_le_bytes());
        row.extend_from_slice(&self.version.0.to_le_bytes());
        row
    }

    fn decode(stored: &[u8]) -> Result<Self, ValueError> {
        let fields = |mut rest: &[u8]| {
            take::<1>(&mut rest)?;
            take::<4>(&mut rest)?;
            let added = take_u64(&mut rest)?;
            let first_id = take_id(&mut rest)?;
            let last_id = take_id(&mut rest)?;
            let deleted_id_max = take_id(&mut rest)?;
            let length = take(&mut rest).map(i32::from_le_bytes)?;
            let version = Version(take_u64(&mut rest)?);
            rest.is_empty().then_some(Self { added, first_id, last_id, deleted_id_max, length, version })
        };
        fields(stored).ok_or(ValueError::Size { length: stored.len() })
    }
}

/// Why a value cannot be taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ValueError {
    /// The type byte is none of the six.
    #[error("the type {tag} is unknown")]
    UnknownType {
        /// The byte.
        tag: u8,
    },
    /// The size is not that of the type.
    #[error("{length} bytes are not the size of a value of its type")]
    Size {
        /// The size it has.
        length: usize,
    },
    /// The fields and values of a stream entry do not fill its row in pairs.
    #[error("the stream entry breaks off at byte {at}")]
    Entry {
        /// Where the field or value would begin that is not complete.
        at: usize,
    },
}

pub(super) const TAG_STRING: u8 = 0;
const TAG_HASH: u8 = 1;
const TAG_SET: u8 = 2;
const TAG_LIST: u8 = 3;
const TAG_ZSET: u8 = 4;
const TAG_STREAM: u8 = 5;

const BASE_SIZE: usize = 45;
const LIST_SIZE: usize = 81;
const STREAM_SIZE: usize = 73;

fn take_id(bytes: &mut &[u8]) -> Option<StreamId> {
    Some(StreamId { millis: take_u64(bytes)?, sequence: take_u64(bytes)? })
}

#[cfg(test)]
mod tests {
    use super::super::LIST_INDEX_START;
    use super::super::testing::{VERSION, hex};
    use super::*;
    use proptest::prelude::*;

    const NOW: UnixMillis = UnixMillis(VERSION.0);

    fn base(kind: BaseKind, count: i32) -> BaseMeta {
        BaseMeta { kind, count, version: VERSION, created: Some(NOW), expire_at: None }
    }

    #[test]
    fn metas_of_the_reference() {
        let reserve = "00000000000000000000000000000000";
        let hash = hex(&format!("01 02000000 7b6db90992010000 {reserve} 7b6db90992010080 0000000000000000"));
        assert_eq!(base(BaseKind::Hash, 2).encode(), hash);
        assert_eq!(Meta::decode(&hash), Ok(Meta::Base(base(BaseKind::Hash, 2))));

        let zset = hex(&format!("04 01000000 7b6db90992010000 {reserve} 7b6db90992010080 db57ba0992010080"));
        let expiring = BaseMeta { expire_at: Some(UnixMillis(NOW.0 + 60_000)), ..base(BaseKind::Zset, 1) };
        assert_eq!(expiring.encode(), zset);
        assert_eq!(Meta::decode(&zset), Ok(Meta::Base(expiring)));

        // The pads hold whatever was in memory.
        let list = hex(&format!(
            "03 0300000000000000 7b6db90992010000 ffffffffffffff7f a1a2a3a4a5a6a7a8 0300000000000080 b1b2b3b4b5b6b7b8 \
             {reserve} 7b6db90992010080 0000000000000000"
        ));
        let (left, right) = (LIST_INDEX_START - 1, LIST_INDEX_START + 3);
        let pushed = ListMeta { count: 3, version: VERSION, left, right, created: Some(NOW), expire_at: None };
        assert_eq!(Meta::decode(&list), Ok(Meta::List(pushed)));

        let stream = hex(&format!(
            "05 00000000 0200000000000000 ca66778363010000 3700000000000000 ca66778363010000 3800000000000000 {reserve} \
             02000000 0200000000000000"
        ));
        let added = StreamMeta {
            added: 2,
            first_id: StreamId::new(1526919030474, 55),
            last_id: StreamId::new(1526919030474, 56),
            deleted_id_max: StreamId::default(),
            length: 2,
            version: Version(2),
        };
        assert_eq!(added.encode(), stream);
        assert_eq!(Meta::decode(&stream), Ok(Meta::Stream(added)));
    }

    #[test]
    fn sizes_are_exact() {
        assert_eq!(Meta::decode(&[]), Err(ValueError::Size { length: 0 }));
        assert_eq!(Meta::decode(&[6; 45]), Err(ValueError::UnknownType { tag: 6 }));
        for (tag, size) in [(1, 45), (2, 45), (3, 81), (4, 45), (5, 73)] {
            for length in (1..size).chain([size + 1]) {
                assert_eq!(Meta::decode(&vec![tag; length]), Err(ValueError::Size { length }), "type {tag}");
            }
            assert!(Meta::decode(&vec![tag; size]).is_ok(), "type {tag}");
        }
        assert_eq!(Meta::decode(&[0; 32]), Err(ValueError::Size { length: 32 }));
    }

    #[test]
    fn a_key_lives_until_its_millisecond_has_passed() {
        let meta = Meta::Base(BaseMeta { expire_at: Some(NOW), ..base(BaseKind::Set, 1) });
        assert!(!meta.is_expired(NOW));
        assert!(meta.is_expired(UnixMillis(NOW.0 + 1)));
        assert!(Meta::Base(base(BaseKind::Set, 0)).is_empty());
    }

    #[test]
    fn versions_only_grow() {
        assert_eq!(Version::renewed(None, NOW), VERSION);
        assert_eq!(Version::renewed(Some(Version(5)), NOW), VERSION);
        assert_eq!(Version::renewed(Some(VERSION), NOW), Version(VERSION.0 + 1));
    }

    proptest! {
        #[test]
        fn metas_round_trip(count: i32, wide: u64, version: u64, index: u64, at in 1..1u64 << 63, later in 1..1u64 << 63) {
            let (version, created, expire_at) = (Version(version), Some(UnixMillis(at)), Some(UnixMillis(later)));
            for kind in [BaseKind::Hash, BaseKind::Set, BaseKind::Zset] {
                let meta = BaseMeta { kind, count, version, created, expire_at };
                let stored = meta.encode();
            prop_assert_eq!(Meta::decode(&stored), Ok(Meta::Base(meta)));
            }
            let list = ListMeta { count: wide, version, left: index, right: at, created, expire_at };
            let stored = list.encode();
            prop_assert_eq!(Meta::decode(&stored), Ok(Meta::List(list)));
            let id = |millis| StreamId::new(millis, index);
            let (first_id, last_id, deleted_id_max) = (id(1), id(at), id(later));
            let stream = StreamMeta { added: wide, first_id, last_id, deleted_id_max, length: count, version };
            let stored = stream.encode();
            prop_assert_eq!(Meta::decode(&stored), Ok(Meta::Stream(stream)));
        }

        #[test]
        fn garbage_never_panics(stored in proptest::collection::vec(any::<u8>(), 0..100), tag in 0u8..7) {
            let _ = Meta::decode(&stored);
            let _ = Meta::decode(&[&[tag][..], &stored].concat());
        }
    }
}
