// SPDX-License-Identifier: Apache-2.0
//! Writes as bytes.
//!
//! ```text
//!  batch  := write*
//!  write  := 1 piece | 2 patch | 3 bytes | 4 steps             3 is a removed key
//!  piece  := bytes part[1] (0 | 1 millis[8]) body              key, 0 whole 1 first 2 middle 3 last, expiry
//!  patch  := bytes body count bytes*                           key, elements to set, elements that are gone
//!  steps  := bytes count step*                                 key, what was done to a list
//!  step   := 0 end flag count bytes*                           push, perhaps onto an existing list only
//!          | 1 end flag number                                 pop, perhaps for a client that had waited
//!          | 2 number bytes                                    set
//!          | 3 flag bytes bytes                                insert, perhaps behind the pivot
//!          | 4 number bytes                                    remove
//!          | 5 number number                                   trim
//!  end    := 0 head | 1 tail, in a byte
//!  flag   := 0 | 1, in a byte
//!  number := eight bytes
//!  body   := 0 bytes                                           string
//!          | 1 bytes                                           registers of a HyperLogLog
//!          | 2 count (bytes bytes)*                            hash
//!          | 3 count bytes*                                    list
//!          | 4 count bytes*                                    set
//!          | 5 count (bytes score[8])*                         sorted set
//!          | 6 id count (id count bytes*)*                     stream: its last id, its entries
//!  id     := millis[8] sequence[8]
//!  bytes  := count byte*
//!  count  := seven bits a byte, the low ones first; the high bit says that more follow
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use replication::{ListEnd, ListStep};
use snapshot::{Body, Part, Piece, StreamId};

use crate::batch::{Batch, Patch, Steps, Write};

/// A batch as bytes, in parts: what is large is not copied.
#[derive(Debug)]
pub(super) struct Encoded {
    /// The bytes in order.
    pub(super) parts: Vec<Bytes>,
    /// How many there are.
    pub(super) size: usize,
}

/// Encodes a batch. Slices of `large` bytes or more become parts of their own.
pub(super) fn encode(batch: &Batch, large: usize) -> Encoded {
    let capacity = match batch.size() < large.saturating_mul(2) {
        true => batch.size() + batch.size() / 8,
        false => large,
    };
    let mut encoder = Encoder { parts: Vec::new(), size: 0, open: BytesMut::with_capacity(capacity), large };
    batch.writes().iter().for_each(|write| encoder.write(write));
    encoder.close();
    Encoded { parts: encoder.parts, size: encoder.size }
}

struct Encoder {
    parts: Vec<Bytes>,
    size: usize,
    open: BytesMut,
    large: usize,
}

impl Encoder {
    fn write(&mut self, write: &Write) {
        match write {
            Write::Piece(piece) => {
                self.open.put_u8(PIECE);
                self.piece(piece);
            }
            Write::Patch(patch) => {
                self.open.put_u8(PATCH);
                self.patch(patch);
            }
            Write::Remove(key) => {
                self.open.put_u8(REMOVE);
                self.bytes(key);
            }
            Write::Steps(Steps { key, steps }) => {
                self.open.put_u8(STEPS);
                self.bytes(key);
                self.count(steps.len());
                steps.iter().for_each(|step| self.step(step));
            }
        }
    }

    fn step(&mut self, step: &ListStep) {
        match step {
            ListStep::Push { end, elements, onto_existing } => {
                self.open.put_slice(&[PUSH, self::end(*end), u8::from(*onto_existing)]);
                self.all(elements);
            }
            ListStep::Pop { end, count, may_be_served } => {
                self.open.put_slice(&[POP, self::end(*end), u8::from(*may_be_served)]);
                self.open.put_u64_le(*count);
            }
            ListStep::Set { index, element } => {
                self.open.put_u8(SET_ELEMENT);
                self.open.put_i64_le(*index);
                self.bytes(element);
            }
            ListStep::Insert { after, pivot, element } => {
                self.open.put_slice(&[INSERT, u8::from(*after)]);
                self.bytes(pivot);
                self.bytes(element);
            }
            ListStep::Remove { count, element } => {
                self.open.put_u8(REMOVE_ELEMENT);
                self.open.put_i64_le(*count);
                self.bytes(element);
            }
            ListStep::Trim { first, last } => {
                self.open.put_u8(TRIM);
                self.open.put_i64_le(*first);
                self.open.put_i64_le(*last);
            }
        }
    }

    fn piece(&mut self, piece: &Piece) {
        self.bytes(&piece.key);
        self.open.put_u8(part(piece.part));
        match piece.expire_at {
            Some(at) => {
                self.open.put_u8(1);
                self.open.put_u64_le(at.0);
            }
            None => self.open.put_u8(0),
        }
        self.body(&piece.body);
    }

    fn patch(&mut self, patch: &Patch) {
        self.bytes(&patch.key);
        self.body(&patch.set);
        self.all(&patch.remove);
    }

    fn body(&mut self, body: &Body) {
        match body {
            Body::String(value) => {
                self.open.put_u8(STRING);
                self.bytes(value);
            }
            Body::HyperLogLog(registers) => {
                self.open.put_u8(HYPERLOGLOG);
                self.bytes(registers);
            }
            Body::Hash(fields) => {
                self.open.put_u8(HASH);
                self.count(fields.len());
                for (field, value) in fields {
                    self.bytes(field);
                    self.bytes(value);
                }
            }
            Body::List(elements) => {
                self.open.put_u8(LIST);
                self.all(elements);
            }
            Body::Set(members) => {
                self.open.put_u8(SET);
                self.all(members);
            }
            Body::Zset(members) => {
                self.open.put_u8(ZSET);
                self.count(members.len());
                for (member, score) in members {
                    self.bytes(member);
                    self.open.put_u64_le(score.to_bits());
                }
            }
            Body::Stream { entries, last_id } => {
                self.open.put_u8(STREAM);
                self.id(*last_id);
                self.count(entries.len());
                for entry in entries {
                    self.id(entry.id);
                    self.all(&entry.fields);
                }
            }
        }
    }

    fn all(&mut self, elements: &[Bytes]) {
        self.count(elements.len());
        elements.iter().for_each(|element| self.bytes(element));
    }

    fn id(&mut self, id: StreamId) {
        self.open.put_u64_le(id.millis);
        self.open.put_u64_le(id.sequence);
    }

    fn bytes(&mut self, bytes: &Bytes) {
        self.count(bytes.len());
        if bytes.len() < self.large {
            self.open.put_slice(bytes);
        } else {
            self.close();
            self.size += bytes.len();
            self.parts.push(bytes.clone());
        }
    }

    fn count(&mut self, count: usize) {
        let mut left = count as u64;
        while left >= 0x80 {
            self.open.put_u8(left as u8 | 0x80);
            left >>= 7;
        }
        self.open.put_u8(left as u8);
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.size += self.open.len();
            self.parts.push(self.open.split().freeze());
        }
    }
}

const fn part(part: Part) -> u8 {
    match part {
        Part::Whole => 0,
        Part::First => 1,
        Part::Middle => 2,
        Part::Last => 3,
    }
}

const fn end(end: ListEnd) -> u8 {
    match end {
        ListEnd::Head => 0,
        ListEnd::Tail => 1,
    }
}

pub(super) const PIECE: u8 = 1;
pub(super) const PATCH: u8 = 2;
pub(super) const REMOVE: u8 = 3;
pub(super) const STEPS: u8 = 4;

pub(super) const PUSH: u8 = 0;
pub(super) const POP: u8 = 1;
pub(super) const SET_ELEMENT: u8 = 2;
pub(super) const INSERT: u8 = 3;
pub(super) const REMOVE_ELEMENT: u8 = 4;
pub(super) const TRIM: u8 = 5;

pub(super) const STRING: u8 = 0;
pub(super) const HYPERLOGLOG: u8 = 1;
pub(super) const HASH: u8 = 2;
pub(super) const LIST: u8 = 3;
pub(super) const SET: u8 = 4;
pub(super) const ZSET: u8 = 5;
pub(super) const STREAM: u8 = 6;
