// SPDX-License-Identifier: Apache-2.0
//! What differs between the collections when their rows are read.

use bytes::Bytes;

use super::arena::Arena;
use super::finding::{Fault, RowError};
use crate::format::{
    BaseMeta, Column, HashValue, ListMeta, ListValue, SetValue, StreamMeta, Version, ZsetValue, decode_id,
    decode_index, entry_fields,
};
use crate::piece::{Body, StreamEntry, StreamId, UnixMillis};

/// A living collection while its rows are read.
pub(super) trait Collection {
    /// Where its rows stand.
    const COLUMN: Column;
    /// One of its elements.
    type Element;

    /// The incarnation whose rows count.
    fn version(&self) -> Version;

    /// When it expires.
    fn expire_at(&self) -> Option<UnixMillis>;

    /// How many elements the server counted.
    fn count(&self) -> i64;

    /// What the key of the first row has behind the version; nothing when all rows of the version count.
    fn first(&self) -> Option<[u8; 8]> {
        None
    }

    /// The element in a row: `element` is its part of the key. `None` when the row does not count.
    fn read(&mut self, element: &[u8], value: &[u8], arena: &mut Arena) -> Result<Option<Self::Element>, RowError>;

    /// The bytes of memory that an element takes.
    fn weight(element: &Self::Element) -> usize;

    /// A piece of these elements.
    fn body(&self, elements: Vec<Self::Element>) -> Body;

    /// Reports what is wrong, now that all `rows` are read and there was at least one.
    fn check(&self, rows: u64, mut report: impl FnMut(Fault)) {
        if u64::try_from(self.count()) != Ok(rows) {
            report(Fault::CountMismatch { count: self.count(), rows });
        }
    }
}

pub(super) struct Hash(pub(super) BaseMeta);

impl Collection for Hash {
    const COLUMN: Column = Column::Hash;
    type Element = (Bytes, Bytes);

    fn version(&self) -> Version {
        self.0.version
    }

    fn expire_at(&self) -> Option<UnixMillis> {
        self.0.expire_at
    }

    fn count(&self) -> i64 {
        self.0.count.into()
    }

    fn read(&mut self, field: &[u8], value: &[u8], arena: &mut Arena) -> Result<Option<(Bytes, Bytes)>, RowError> {
        Ok(Some((arena.copy(field), arena.copy(HashValue::decode(value).value))))
    }

    fn weight((field, value): &(Bytes, Bytes)) -> usize {
        2 * HANDLE + field.len() + value.len()
    }

    fn body(&self, elements: Vec<(Bytes, Bytes)>) -> Body {
        Body::Hash(elements)
    }
}

pub(super) struct Set(pub(super) BaseMeta);

impl Collection for Set {
    const COLUMN: Column = Column::Set;
    type Element = Bytes;

    fn version(&self) -> Version {
        self.0.version
    }

    fn expire_at(&self) -> Option<UnixMillis> {
        self.0.expire_at
    }

    fn count(&self) -> i64 {
        self.0.count.into()
    }

    fn read(&mut self, member: &[u8], value: &[u8], arena: &mut Arena) -> Result<Option<Bytes>, RowError> {
        SetValue::decode(value)?;
        Ok(Some(arena.copy(member)))
    }

    fn weight(member: &Bytes) -> usize {
        HANDLE + member.len()
    }

    fn body(&self, elements: Vec<Bytes>) -> Body {
        Body::Set(elements)
    }
}

pub(super) struct Zset {
    meta: BaseMeta,
    nans: u64,
}

impl Zset {
    pub(super) fn new(meta: BaseMeta) -> Self {
        Self { meta, nans: 0 }
    }
}

impl Collection for Zset {
    const COLUMN: Column = Column::Zset;
    type Element = (Bytes, f64);

    fn version(&self) -> Version {
        self.meta.version
    }

    fn expire_at(&self) -> Option<UnixMillis> {
        self.meta.expire_at
    }

    fn count(&self) -> i64 {
        self.meta.count.into()
    }

    fn read(&mut self, member: &[u8], value: &[u8], arena: &mut Arena) -> Result<Option<(Bytes, f64)>, RowError> {
        let ZsetValue { score, .. } = ZsetValue::decode(value)?;
        self.nans += u64::from(score.is_nan());
        Ok(Some((arena.copy(member), score)))
    }

    fn weight((member, _): &(Bytes, f64)) -> usize {
        size_of::<(Bytes, f64)>() + member.len()
    }

    fn body(&self, elements: Vec<(Bytes, f64)>) -> Body {
        Body::Zset(elements)
    }

    fn check(&self, rows: u64, mut report: impl FnMut(Fault)) {
        if u64::try_from(self.count()) != Ok(rows) {
            report(Fault::CountMismatch { count: self.count(), rows });
        }
        if self.nans > 0 {
            report(Fault::NanScore { members: self.nans });
        }
    }
}

pub(super) struct List {
    meta: ListMeta,
    /// The index that must come next.
    next: u64,
    missing: u64,
}

impl List {
    pub(super) fn new(meta: ListMeta) -> Self {
        Self { meta, next: meta.left.saturating_add(1), missing: 0 }
    }
}

impl Collection for List {
    const COLUMN: Column = Column::List;
    type Element = Bytes;

    fn version(&self) -> Version {
        self.meta.version
    }

    fn expire_at(&self) -> Option<UnixMillis> {
        self.meta.expire_at
    }

    fn count(&self) -> i64 {
        i64::try_from(self.meta.count).unwrap_or(i64::MAX)
    }

    fn first(&self) -> Option<[u8; 8]> {
        Some(self.next.to_le_bytes())
    }

    fn read(&mut self, index: &[u8], value: &[u8], arena: &mut Arena) -> Result<Option<Bytes>, RowError> {
        let index = decode_index(index)?;
        if index <= self.meta.left || index >= self.meta.right {
            return Ok(None);
        }
        let ListValue { value, .. } = ListValue::decode(value)?;
        self.missing += index.saturating_sub(self.next);
        self.next = index + 1;
        Ok(Some(arena.copy(value)))
    }

    fn weight(value: &Bytes) -> usize {
        HANDLE + value.len()
    }

    fn body(&self, elements: Vec<Bytes>) -> Body {
        Body::List(elements)
    }

    fn check(&self, rows: u64, mut report: impl FnMut(Fault)) {
        if self.meta.count != rows {
            report(Fault::CountMismatch { count: self.count(), rows });
        }
        let missing = self.missing.saturating_add(self.meta.right.saturating_sub(self.next));
        if missing > 0 {
            report(Fault::ListGap { missing });
        }
    }
}

pub(super) struct Stream {
    meta: StreamMeta,
    /// The greater of what the meta row says and of what was read: the server's clock may have gone back.
    last_id: StreamId,
}

impl Stream {
    pub(super) fn new(meta: StreamMeta) -> Self {
        Self { meta, last_id: meta.last_id }
    }
}

impl Collection for Stream {
    const COLUMN: Column = Column::Stream;
    type Element = StreamEntry;

    fn version(&self) -> Version {
        self.meta.version
    }

    fn expire_at(&self) -> Option<UnixMillis> {
        None
    }

    fn count(&self) -> i64 {
        self.meta.length.into()
    }

    fn read(&mut self, id: &[u8], value: &[u8], arena: &mut Arena) -> Result<Option<StreamEntry>, RowError> {
        let id = decode_id(id)?;
        let fields = entry_fields(value)?.map(|field| arena.copy(field)).collect();
        self.last_id = self.last_id.max(id);
        Ok(Some(StreamEntry { id, fields }))
    }

    fn weight(entry: &StreamEntry) -> usize {
        size_of::<StreamEntry>() + entry.fields.iter().map(|field| HANDLE + field.len()).sum::<usize>()
    }

    fn body(&self, entries: Vec<StreamEntry>) -> Body {
        Body::Stream { entries, last_id: self.last_id }
    }

    fn check(&self, rows: u64, mut report: impl FnMut(Fault)) {
        if u64::try_from(self.count()) != Ok(rows) {
            report(Fault::StreamLength { length: self.count(), rows });
        }
    }
}

/// The memory of an element beside its bytes.
const HANDLE: usize = size_of::<Bytes>();
