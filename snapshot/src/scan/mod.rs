// SPDX-License-Identifier: Apache-2.0
//! One pass over the keys of an instance.
//!
//! The rows of all column families are in the order of the user keys, so `default` is merged with the data column
//! families: each has a cursor that only moves forward.
//!
//! ```text
//! default         a:string  b:hash          c:hash (other slot)  d:list   f:hash ▶
//! hash_data_cf              b/f1 b/f2 b/f3  c/f1 c/f2 …                   f/f1 ▶
//! list_data_cf                                                   d/0 d/1 ▶
//! ```
//!
//! Rows of collections that are not wanted are stepped or jumped over when the next wanted one comes.

mod arena;
mod collection;
mod finding;
mod summary;

use std::ops::ControlFlow;

use bytes::Bytes;
use replication::{SlotCount, SlotSet, is_internal_key};

use self::arena::Arena;
use self::collection::{Collection, Hash, List, Set, Stream, Zset};
pub use self::finding::{Fault, FaultKind, Finding, Findings, RowError};
pub use self::summary::Summary;
use crate::error::Result;
use crate::format::{
    BaseKind, BaseMeta, Column, Meta, StreamMeta, StringValue, ValueError, Version, data_tail_start, meta_key,
    split_element, split_meta_key,
};
use crate::instance::{Access, Cursor, Instance};
use crate::piece::{Body, Part, Piece, StreamId, UnixMillis};

/// What a scan looks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanRequest {
    /// The wanted slots.
    pub slots: SlotSet,
    /// The bytes of memory that a piece may take, its elements' handles included. An element that is bigger is a piece of
    /// its own.
    pub piece_size: usize,
    /// What counts as now: keys that expired before it are left out.
    pub now: UnixMillis,
    /// The key to go on behind; `None` starts at the first one.
    pub after: Option<Bytes>,
}

impl ScanRequest {
    /// All keys of `slots` that live now, in pieces of 1 MiB.
    pub fn new(slots: SlotSet) -> Self {
        Self { slots, piece_size: 1 << 20, now: UnixMillis::now(), after: None }
    }
}

/// Which instance of how many is scanned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) instance: usize,
    pub(crate) instances: usize,
    pub(crate) slots: SlotCount,
    /// When the dump was complete.
    pub(crate) taken: UnixMillis,
}

/// See [`Checkpoint::scan`](crate::Checkpoint::scan).
pub(crate) fn run(
    instance: &Instance,
    place: Place,
    request: &ScanRequest,
    visit: impl FnMut(Piece) -> ControlFlow<()>,
) -> Result<Summary> {
    let wanted_half = request.slots.len() * 2 >= usize::from(place.slots.get());
    let access = if wanted_half { Access::Dense } else { Access::Sparse };
    let mut keys = instance.cursor(Column::Default, Access::Dense);
    let data = Column::ALL.map(|column| instance.cursor(column, access));
    let mut scan =
        Scan { place, request, data, target: Vec::new(), arena: Arena::new(), summary: Summary::default(), visit };
    let after = request.after.as_deref().map(meta_key);
    keys.advance_to(after.as_deref().unwrap_or_default());
    while let Some((row, value)) = keys.row()? {
        if after.as_deref() != Some(row) && scan.key(row, value)?.is_break() {
            return Ok(scan.summary);
        }
        keys.advance();
    }
    scan.summary.complete = true;
    Ok(scan.summary)
}

struct Scan<'a, V> {
    place: Place,
    request: &'a ScanRequest,
    /// By the number of the column. The one of `default` is not used: the pass over the keys has its own.
    data: [Cursor<'a>; Column::ALL.len()],
    /// The key of the first row of a collection; kept for its memory.
    target: Vec<u8>,
    arena: Arena,
    summary: Summary,
    visit: V,
}

impl<V: FnMut(Piece) -> ControlFlow<()>> Scan<'_, V> {
    /// Takes a row of `default`.
    fn key(&mut self, row: &[u8], value: &[u8]) -> Result<ControlFlow<()>> {
        self.summary.rows += 1;
        let key = match split_meta_key(row) {
            Ok(name) => name.unescaped(),
            Err(why) => return Ok(self.fault(row, Fault::CorruptName(why))),
        };
        let Place { instance, instances, slots, taken } = self.place;
        let slot = slots.slot_of(&key);
        if slot.instance(instances) != instance {
            return Ok(self.fault(&key, Fault::WrongInstance { slot, instance }));
        }
        if !self.request.slots.contains(slot) {
            return Ok(ControlFlow::Continue(()));
        }
        let meta = match Meta::decode(value) {
            Ok(meta) => meta,
            Err(ValueError::UnknownType { tag }) => return Ok(self.fault(&key, Fault::UnknownType { tag })),
            Err(why) => return Ok(self.fault(&key, Fault::BadValue(why))),
        };
        if meta.is_expired(self.request.now) {
            let lived = !meta.is_empty() && !meta.is_expired(taken) && !is_index(&key, &meta);
            self.summary.skipped_expired += 1;
            self.summary.expired_since += u64::from(lived);
            return Ok(ControlFlow::Continue(()));
        }
        if meta.is_empty() {
            return self.empty(&key, row, &meta);
        }
        if is_index(&key, &meta) {
            self.summary.internal += 1;
            return Ok(ControlFlow::Continue(()));
        }
        self.living(&key, row, meta)
    }

    fn living(&mut self, key: &[u8], row: &[u8], meta: Meta<'_>) -> Result<ControlFlow<()>> {
        match meta {
            Meta::String(string) => Ok(self.string(key, &string)),
            Meta::Base(meta @ BaseMeta { kind: BaseKind::Hash, .. }) => self.collection(key, row, Hash(meta)),
            Meta::Base(meta @ BaseMeta { kind: BaseKind::Set, .. }) => self.collection(key, row, Set(meta)),
            Meta::Base(meta @ BaseMeta { kind: BaseKind::Zset, .. }) => self.collection(key, row, Zset::new(meta)),
            Meta::List(meta) => self.collection(key, row, List::new(meta)),
            Meta::Stream(meta) => self.collection(key, row, Stream::new(meta)),
        }
    }

    /// A deleted or emptied collection: nothing is handed out, but for a stream that was emptied by XDEL. Clients still
    /// see that one, without entries; a deleted stream has forgotten its last id.
    fn empty(&mut self, key: &[u8], row: &[u8], meta: &Meta<'_>) -> Result<ControlFlow<()>> {
        if let Meta::Stream(StreamMeta { version, last_id, .. }) = meta {
            self.target_rows(row, *version);
            let cursor = &mut self.data[Column::Stream as usize];
            cursor.advance_to(&self.target);
            if cursor.row()?.is_some_and(|(row, _)| row.starts_with(&self.target)) {
                self.summary.skipped_stale += 1;
                return Ok(self.fault(key, Fault::RowsOfEmptyStream));
            }
            if *last_id != StreamId::default() {
                self.summary.without_entries += 1;
                let body = Body::Stream { entries: Vec::new(), last_id: *last_id };
                let piece = Piece { key: self.arena.copy(key), part: Part::Whole, expire_at: None, body };
                return Ok(hand_out(&mut self.summary, &mut self.visit, piece));
            }
        }
        self.summary.skipped_stale += 1;
        Ok(ControlFlow::Continue(()))
    }

    fn string(&mut self, key: &[u8], string: &StringValue<'_>) -> ControlFlow<()> {
        let key = self.arena.copy(key);
        let value = self.arena.copy(string.value);
        let body = if string.hyperloglog { Body::HyperLogLog(value) } else { Body::String(value) };
        hand_out(
            &mut self.summary,
            &mut self.visit,
            Piece { key, part: Part::Whole, expire_at: string.expire_at, body },
        )
    }

    /// Hands out a collection in pieces. A full piece waits until one more element has come, so that the last piece is
    /// known to be the last.
    fn collection<C: Collection>(&mut self, key: &[u8], row: &[u8], mut from: C) -> Result<ControlFlow<()>> {
        self.target_rows(row, from.version());
        let prefix_length = self.target.len();
        self.target.extend(from.first().into_iter().flatten());
        let prefix = &self.target[..prefix_length];
        let cursor = &mut self.data[C::COLUMN as usize];
        cursor.advance_to(&self.target);

        let key = self.arena.copy(key);
        let expire_at = from.expire_at();
        let room = self.request.piece_size.saturating_sub(key.len());
        let mut elements = Vec::new();
        let (mut weight, mut rows, mut has_begun) = (0usize, 0u64, false);
        while let Some((row, value)) = cursor.row()?
            && let Some(rest) = row.strip_prefix(prefix)
        {
            self.summary.rows += 1;
            let element = split_element(rest).map_err(RowError::from);
            match element.and_then(|element| from.read(element, value, &mut self.arena)) {
                Ok(Some(element)) => {
                    rows += 1;
                    let more = C::weight(&element);
                    if weight + more > room && !elements.is_empty() {
                        let part = if has_begun { Part::Middle } else { Part::First };
                        has_begun = true;
                        let body = from.body(std::mem::take(&mut elements));
                        let piece = Piece { key: key.clone(), part, expire_at, body };
                        if hand_out(&mut self.summary, &mut self.visit, piece).is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                        weight = 0;
                    }
                    weight += more;
                    elements.push(element);
                }
                Ok(None) => {}
                Err(why) => self.summary.findings.add(&key, Fault::BadRow { column: C::COLUMN, why }),
            }
            cursor.advance();
        }
        if elements.is_empty() {
            return Ok(self.fault(&key, Fault::EmptyCollection { count: from.count() }));
        }
        from.check(rows, |fault| self.summary.findings.add(&key, fault));
        let part = if has_begun { Part::Last } else { Part::Whole };
        let body = from.body(elements);
        Ok(hand_out(&mut self.summary, &mut self.visit, Piece { key, part, expire_at, body }))
    }

    /// Makes `target` what the keys of all rows of a collection begin with, from the key of its meta row.
    fn target_rows(&mut self, row: &[u8], version: Version) {
        self.target.clear();
        self.target.extend_from_slice(&row[..data_tail_start(row)]);
        self.target.extend_from_slice(&version.0.to_le_bytes());
    }

    fn fault(&mut self, key: &[u8], fault: Fault) -> ControlFlow<()> {
        self.summary.findings.add(key, fault);
        ControlFlow::Continue(())
    }
}

/// Whether it is one of the server's own sets of slot keys.
fn is_index(key: &[u8], meta: &Meta<'_>) -> bool {
    matches!(meta, Meta::Base(BaseMeta { kind: BaseKind::Set, .. })) && is_internal_key(key)
}

fn hand_out(summary: &mut Summary, visit: &mut impl FnMut(Piece) -> ControlFlow<()>, piece: Piece) -> ControlFlow<()> {
    summary.add(&piece);
    visit(piece)
}
