// SPDX-License-Identifier: Apache-2.0
//! The rows of a node: which key lives, and how one is begun anew.
//!
//! Where the comments say *stale*, they mean what the server means by it: expired, or a collection without elements.
//! Every stream counts as stale for the commands of other types, so those replace a stream that is in use.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use replication::SlotCount;
use snapshot::format::{
    BaseKind, BaseMeta, Column, LIST_INDEX_START, ListMeta, Meta, StreamMeta, StringValue, Version, data_prefix,
    meta_key,
};
use snapshot::{Batch, Store, StreamId, UnixMillis};

use super::fault::{Fault, Result, WrongType};

/// The rows of a node.
pub(super) struct Data {
    pub(super) store: Arc<Store>,
    slots: SlotCount,
    /// Whether writes are made; if not, they are forgotten.
    writes: bool,
}

/// What the column family `default` holds for a key.
pub(super) enum Row {
    String(StringRow),
    Base(BaseMeta),
    List(ListMeta),
    Stream(StreamMeta),
}

/// A string and its expiry.
pub(super) struct StringRow {
    pub(super) value: Bytes,
    pub(super) hyperloglog: bool,
    pub(super) expire_at: Option<UnixMillis>,
}

impl Data {
    pub(super) fn new(store: Store, slots: SlotCount) -> Self {
        Self { store: Arc::new(store), slots, writes: true }
    }

    /// The same rows, for a command that is only to show what it would do: its writes are forgotten.
    pub(super) fn rehearsal(&self) -> Self {
        Self { store: Arc::clone(&self.store), slots: self.slots, writes: false }
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> SlotCount {
        self.slots
    }

    /// The instance that holds a key.
    pub(super) fn instance(&self, key: &[u8]) -> usize {
        self.slots.slot_of(key).instance(self.store.instances())
    }

    /// What there is for a key, alive or not.
    pub(super) fn row(&self, key: &[u8]) -> Result<Option<Row>> {
        let Some(stored) = self.get(key, Column::Default, &meta_key(key))? else {
            return Ok(None);
        };
        let meta = Meta::decode(&stored)?;
        Ok(Some(Row::from(meta)))
    }

    /// The string of a key, if it lives.
    pub(super) fn string(&self, key: &Bytes, now: UnixMillis) -> Result<Option<StringRow>> {
        match self.row(key)? {
            Some(row) if row.is_stale(now) => Ok(None),
            Some(Row::String(string)) => Ok(Some(string)),
            Some(other) => Err(wrong_type(key, "string", &other)),
            None => Ok(None),
        }
    }

    /// The meta row of a hash, set or sorted set, if it lives.
    pub(super) fn base(&self, key: &Bytes, kind: BaseKind, now: UnixMillis) -> Result<Option<BaseMeta>> {
        match self.row(key)? {
            Some(row) if row.is_stale(now) => Ok(None),
            Some(Row::Base(base)) if base.kind == kind => Ok(Some(base)),
            Some(other) => Err(wrong_type(key, kind_name(kind), &other)),
            None => Ok(None),
        }
    }

    /// The meta row to go on with when elements are to be put in, and whether it lived before.
    pub(super) fn base_to_fill(&self, key: &Bytes, kind: BaseKind, now: UnixMillis) -> Result<(BaseMeta, bool)> {
        let fresh = |version, created| BaseMeta { kind, count: 0, version, created, expire_at: None };
        match self.row(key)? {
            Some(Row::Base(base)) if base.kind == kind => match is_dead(base.count == 0, base.expire_at, now) {
                true => Ok((fresh(Version::renewed(Some(base.version), now), None), false)),
                false => Ok((base, true)),
            },
            Some(other) if !other.is_stale(now) => Err(wrong_type(key, kind_name(kind), &other)),
            _ => Ok((fresh(Version::renewed(None, now), Some(now)), false)),
        }
    }

    /// The meta row of a list, if it lives.
    pub(super) fn list(&self, key: &Bytes, now: UnixMillis) -> Result<Option<ListMeta>> {
        match self.row(key)? {
            Some(row) if row.is_stale(now) => Ok(None),
            Some(Row::List(list)) => Ok(Some(list)),
            Some(other) => Err(wrong_type(key, "list", &other)),
            None => Ok(None),
        }
    }

    /// The meta row to go on with when elements are to be pushed.
    pub(super) fn list_to_fill(&self, key: &Bytes, now: UnixMillis) -> Result<ListMeta> {
        match self.row(key)? {
            Some(Row::List(list)) => match is_dead(list.count == 0, list.expire_at, now) {
                true => Ok(empty_list(Version::renewed(Some(list.version), now), None)),
                false => Ok(list),
            },
            Some(other) if !other.is_stale(now) => Err(wrong_type(key, "list", &other)),
            _ => Ok(empty_list(Version::renewed(None, now), Some(now))),
        }
    }

    /// The meta row of a stream, even of a deleted or emptied one.
    pub(super) fn stream(&self, key: &Bytes, now: UnixMillis) -> Result<Option<StreamMeta>> {
        match self.row(key)? {
            Some(Row::Stream(stream)) => Ok(Some(stream)),
            Some(other) if !other.is_stale(now) => Err(wrong_type(key, "streams", &other)),
            _ => Ok(None),
        }
    }

    /// Deletes a key as the server does, by a meta row without elements where it is a collection. `false` when it was
    /// not there.
    pub(super) fn delete(&self, key: &Bytes, now: UnixMillis) -> Result<bool> {
        let Some(row) = self.row(key)?.filter(|row| !row.is_gone(now)) else {
            return Ok(false);
        };
        let mut batch = self.batch(key);
        match row.deleted(now) {
            Some(row) => batch.put(Column::Default, meta_key(key), row),
            None => batch.delete(Column::Default, meta_key(key)),
        }
        self.write(batch)?;
        Ok(true)
    }

    /// Writes a string over whatever there was.
    pub(super) fn set(&self, key: &[u8], value: &[u8], expire_at: Option<UnixMillis>, now: UnixMillis) -> Result<()> {
        self.put_string(key, StringValue { value, hyperloglog: false, created: Some(now), expire_at })
    }

    /// Writes a string or HyperLogLog over whatever there was.
    pub(super) fn put_string(&self, key: &[u8], string: StringValue<'_>) -> Result<()> {
        let mut batch = self.batch(key);
        batch.put(Column::Default, meta_key(key), string.encode());
        self.write(batch)
    }

    /// A row in the instance of `key`.
    pub(super) fn get(&self, key: &[u8], column: Column, row: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.store.get(self.instance(key), column, row)?)
    }

    /// The rows of one incarnation of a collection, those before the row `from` left out.
    pub(super) fn scan(
        &self,
        key: &[u8],
        column: Column,
        version: Version,
        from: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut fault = Ok(());
        self.store.scan_prefix(self.instance(key), column, &data_prefix(key, version), from, |row, value| {
            visit(row, value).unwrap_or_else(|error| {
                fault = Err(error);
                ControlFlow::Break(())
            })
        })?;
        fault
    }

    /// A batch of changes in the instance of `key`.
    pub(super) fn batch(&self, key: &[u8]) -> Batch<'_> {
        self.store.batch(self.instance(key))
    }

    /// Makes the changes of a batch, all or none.
    pub(super) fn write(&self, batch: Batch<'_>) -> Result<()> {
        match self.writes {
            true => Ok(batch.commit()?),
            false => Ok(()),
        }
    }
}

impl Row {
    /// Its type as `TYPE` names it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::Base(base) => kind_name(base.kind),
            Self::List(_) => "list",
            Self::Stream(_) => "streams",
        }
    }

    /// When it expires.
    pub(super) fn expire_at(&self) -> Option<UnixMillis> {
        match self {
            Self::String(string) => string.expire_at,
            Self::Base(base) => base.expire_at,
            Self::List(list) => list.expire_at,
            Self::Stream(_) => None,
        }
    }

    /// Whether commands of another type take it for missing.
    pub(super) fn is_stale(&self, now: UnixMillis) -> bool {
        matches!(self, Self::Stream(_)) || self.is_gone(now)
    }

    /// Whether commands of its own type take it for missing.
    pub(super) fn is_gone(&self, now: UnixMillis) -> bool {
        let empty = match self {
            Self::String(_) => false,
            Self::Base(base) => base.count == 0,
            Self::List(list) => list.count == 0,
            Self::Stream(stream) => stream.length == 0,
        };
        is_dead(empty, self.expire_at(), now)
    }

    /// What is left in the store of a deleted key.
    pub(super) fn deleted(&self, now: UnixMillis) -> Option<Vec<u8>> {
        match self {
            Self::String(_) => None,
            Self::Base(base) => {
                let version = Version::renewed(Some(base.version), now);
                let deleted = BaseMeta { count: 0, version, created: None, expire_at: None, kind: base.kind };
                Some(deleted.encode())
            }
            Self::List(list) => Some(empty_list(Version::renewed(Some(list.version), now), None).encode()),
            Self::Stream(stream) => Some(empty_stream(stream.version).encode()),
        }
    }

    /// The row with another expiry; `None` where there can be none.
    pub(super) fn with_expiry(&self, expire_at: Option<UnixMillis>, now: UnixMillis) -> Option<Vec<u8>> {
        match self {
            Self::String(string) => {
                let StringRow { value, hyperloglog, .. } = string;
                let created = Some(now);
                Some(StringValue { value, hyperloglog: *hyperloglog, created, expire_at }.encode())
            }
            Self::Base(base) => Some(BaseMeta { expire_at, ..*base }.encode()),
            Self::List(list) => Some(ListMeta { expire_at, ..*list }.encode()),
            Self::Stream(_) => None,
        }
    }
}

impl From<Meta<'_>> for Row {
    fn from(meta: Meta<'_>) -> Self {
        match meta {
            Meta::String(StringValue { value, hyperloglog, expire_at, .. }) => {
                Self::String(StringRow { value: Bytes::copy_from_slice(value), hyperloglog, expire_at })
            }
            Meta::Base(base) => Self::Base(base),
            Meta::List(list) => Self::List(list),
            Meta::Stream(stream) => Self::Stream(stream),
        }
    }
}

/// A stream of the next incarnation, without entries.
pub(super) fn empty_stream(before: Version) -> StreamMeta {
    let none = StreamId::default();
    let version = Version(before.0 + 1);
    StreamMeta { added: 0, first_id: none, last_id: none, deleted_id_max: none, length: 0, version }
}

fn empty_list(version: Version, created: Option<UnixMillis>) -> ListMeta {
    ListMeta { count: 0, version, left: LIST_INDEX_START - 1, right: LIST_INDEX_START, created, expire_at: None }
}

fn is_dead(empty: bool, expire_at: Option<UnixMillis>, now: UnixMillis) -> bool {
    empty || expire_at.is_some_and(|expire_at| expire_at < now)
}

fn kind_name(kind: BaseKind) -> &'static str {
    match kind {
        BaseKind::Hash => "hash",
        BaseKind::Set => "set",
        BaseKind::Zset => "zset",
    }
}

/// The type of a meta row as `TYPE` names it.
pub(super) fn type_name(meta: &Meta<'_>) -> &'static str {
    match meta {
        Meta::String(_) => "string",
        Meta::Base(base) => kind_name(base.kind),
        Meta::List(_) => "list",
        Meta::Stream(_) => "streams",
    }
}

fn wrong_type(key: &Bytes, expected: &'static str, found: &Row) -> Fault {
    Fault::WrongType(WrongType { key: key.clone(), expected, found: found.type_name() })
}
