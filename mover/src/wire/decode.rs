// SPDX-License-Identifier: Apache-2.0
//! Writes out of bytes: all of them, or an error. What is read points into the bytes it came from.

use bytes::{Buf, Bytes};
use replication::{ListEnd, ListStep};
use snapshot::{Body, Part, Piece, StreamEntry, StreamId, UnixMillis};

use super::encode::{HASH, HYPERLOGLOG, LIST, PATCH, PIECE, REMOVE, SET, STEPS, STREAM, STRING, ZSET};
use super::encode::{INSERT, POP, PUSH, REMOVE_ELEMENT, SET_ELEMENT, TRIM};
use super::error::{Error, Result, malformed};
use crate::batch::{Batch, Patch, Steps, Write};

/// Decodes a whole batch. Its writes and elements themselves, and those of the user's bytes that are small and so copied
/// when they become commands, take `limit` bytes at most; how many they do is given back too.
pub(super) fn decode(input: Bytes, limit: usize, is_counted: bool) -> Result<(Batch, usize)> {
    let mut decoder = Decoder { input, room: limit };
    let mut batch = Batch::new(is_counted);
    while decoder.input.has_remaining() {
        batch.push(decoder.write()?);
    }
    Ok((batch, limit - decoder.room))
}

struct Decoder {
    input: Bytes,
    /// What elements may still take. An empty one is a byte here and some dozens in memory.
    room: usize,
}

impl Decoder {
    fn write(&mut self) -> Result<Write> {
        self.take_room::<Write>()?;
        match self.byte()? {
            PIECE => self.piece().map(Write::Piece),
            PATCH => self.patch().map(Write::Patch),
            REMOVE => self.bytes().map(Write::Remove),
            STEPS => Ok(Write::Steps(Steps { key: self.bytes()?, steps: self.many(Self::step)? })),
            _ => Err(malformed("a write of no kind that there is")),
        }
    }

    fn piece(&mut self) -> Result<Piece> {
        let key = self.bytes()?;
        let part = match self.byte()? {
            0 => Part::Whole,
            1 => Part::First,
            2 => Part::Middle,
            3 => Part::Last,
            _ => return Err(malformed("a piece that is nowhere in its key")),
        };
        let expire_at = match self.byte()? {
            0 => None,
            1 => Some(UnixMillis(self.long()?)),
            _ => return Err(malformed("a piece that expires in no way that there is")),
        };
        Ok(Piece { key, part, expire_at, body: self.body()? })
    }

    fn patch(&mut self) -> Result<Patch> {
        let (key, set) = (self.bytes()?, self.body()?);
        // What has no elements of its own is always sent whole, and no command could patch it.
        match set {
            Body::Hash(_) | Body::Set(_) | Body::Zset(_) | Body::Stream { .. } => {}
            Body::String(_) | Body::HyperLogLog(_) | Body::List(_) => {
                return Err(malformed("a patch of a key that has no elements to patch"));
            }
        }
        Ok(Patch { key, set, remove: self.many(Self::bytes)? })
    }

    fn step(&mut self) -> Result<ListStep> {
        Ok(match self.byte()? {
            PUSH => {
                let (end, onto_existing) = (self.end()?, self.flag()?);
                ListStep::Push { end, elements: self.many(Self::bytes)?, onto_existing }
            }
            POP => {
                let (end, may_be_served) = (self.end()?, self.flag()?);
                ListStep::Pop { end, count: self.long()?, may_be_served }
            }
            SET_ELEMENT => ListStep::Set { index: self.number()?, element: self.bytes()? },
            INSERT => ListStep::Insert { after: self.flag()?, pivot: self.bytes()?, element: self.bytes()? },
            REMOVE_ELEMENT => ListStep::Remove { count: self.number()?, element: self.bytes()? },
            TRIM => ListStep::Trim { first: self.number()?, last: self.number()? },
            _ => return Err(malformed("a step of no kind that there is")),
        })
    }

    fn end(&mut self) -> Result<ListEnd> {
        match self.flag()? {
            false => Ok(ListEnd::Head),
            true => Ok(ListEnd::Tail),
        }
    }

    fn flag(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(malformed("neither yes nor no")),
        }
    }

    fn body(&mut self) -> Result<Body> {
        Ok(match self.byte()? {
            STRING => Body::String(self.bytes()?),
            HYPERLOGLOG => Body::HyperLogLog(self.bytes()?),
            HASH => Body::Hash(self.many(|own| Ok((own.bytes()?, own.bytes()?)))?),
            LIST => Body::List(self.many(Self::bytes)?),
            SET => Body::Set(self.many(Self::bytes)?),
            ZSET => Body::Zset(self.many(|own| Ok((own.bytes()?, f64::from_bits(own.long()?))))?),
            STREAM => {
                let last_id = self.id()?;
                let entries = self.many(|own| Ok(StreamEntry { id: own.id()?, fields: own.many(Self::bytes)? }))?;
                Body::Stream { entries, last_id }
            }
            _ => return Err(malformed("a key of no type that there is")),
        })
    }

    fn many<T>(&mut self, one: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.count()?;
        if count > self.input.remaining() as u64 {
            return Err(malformed("more elements than bytes"));
        }
        // No larger than what is there can fill, whatever the count says.
        let mut elements = Vec::with_capacity((count as usize).min(ELEMENTS_AT_ONCE));
        for _ in 0..count {
            self.take_room::<T>()?;
            elements.push(one(self)?);
        }
        Ok(elements)
    }

    fn take_room<T>(&mut self) -> Result<()> {
        self.take_bytes(size_of::<T>())
    }

    fn take_bytes(&mut self, bytes: usize) -> Result<()> {
        self.room = self.room.checked_sub(bytes).ok_or(malformed("more small elements than may be in a batch"))?;
        Ok(())
    }

    fn id(&mut self) -> Result<StreamId> {
        Ok(StreamId::new(self.long()?, self.long()?))
    }

    fn bytes(&mut self) -> Result<Bytes> {
        let count = self.count()?;
        if count > self.input.remaining() as u64 {
            return Err(malformed("a length beyond the end"));
        }
        let count = count as usize;
        if count < SMALL {
            self.take_bytes(count)?;
        }
        Ok(self.input.split_to(count))
    }

    fn long(&mut self) -> Result<u64> {
        self.input.try_get_u64_le().map_err(|_| malformed("a number beyond the end"))
    }

    fn number(&mut self) -> Result<i64> {
        Ok(self.long()?.cast_signed())
    }

    fn byte(&mut self) -> Result<u8> {
        self.input.try_get_u8().map_err(|_| malformed("it ends too early"))
    }

    fn count(&mut self) -> Result<u64> {
        let mut count = 0u64;
        for shift in (0..=MAX_SHIFT).step_by(7) {
            let byte = self.byte()?;
            count |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // One form for each number, so that what was decoded encodes to the same bytes.
                let is_shortest = byte != 0 || shift == 0;
                return if is_shortest { Ok(count) } else { Err(malformed("a number that is longer than it need be")) };
            }
        }
        Err(Error::Malformed { what: "a number that has no end" })
    }
}

/// Counts have 35 bits: more than any frame has bytes.
const MAX_SHIFT: u32 = 28;

/// What is larger is not copied any more.
const SMALL: usize = 4 << 10;

/// Elements for which room is made before they are seen.
const ELEMENTS_AT_ONCE: usize = 512;

#[cfg(test)]
mod tests {
    use super::super::encode::encode;
    use super::super::tests::{batch, writes};
    use super::*;
    use proptest::prelude::*;

    fn bytes_of(batch: &Batch, large: usize) -> Bytes {
        let encoded = encode(batch, large);
        let whole: Vec<u8> = encoded.parts.concat();
        assert_eq!(whole.len(), encoded.size);
        whole.into()
    }

    proptest! {
        #[test]
        fn writes_round_trip(writes in writes(), large in 1usize..64) {
            let batch = batch(writes);
            let bytes = bytes_of(&batch, large);
            let (back, _) = decode(bytes.clone(), 1 << 20, false).unwrap();
            // By their bytes: a score that is no number equals nothing.
            prop_assert_eq!(bytes_of(&back, usize::MAX), bytes);
            prop_assert_eq!(back.size(), batch.size());
        }

        #[test]
        fn what_is_cut_short_is_refused(writes in writes()) {
            let last = writes.last().cloned();
            let bytes = bytes_of(&batch(writes), usize::MAX);
            let tail = last.map_or(0, |write| bytes_of(&batch(vec![write]), usize::MAX).len());
            for length in bytes.len() - tail + 1..bytes.len() {
                prop_assert!(decode(bytes.slice(..length), 1 << 20, false).is_err());
            }
        }

        #[test]
        fn whatever_comes_is_no_panic(bytes: Vec<u8>) {
            if let Ok((batch, _)) = decode(bytes.clone().into(), 1 << 20, false) {
                prop_assert_eq!(bytes_of(&batch, usize::MAX), bytes);
            }
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let cases: [&[u8]; 10] = [
            &[9],                                             // no such write
            &[REMOVE, 5, b'k'],                               // beyond the end
            &[REMOVE, 0x80, 0x00],                            // longer than it need be
            &[REMOVE, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], // no end
            &[PIECE, 1, b'k', 9, 0, STRING, 0],               // no such part
            &[PIECE, 1, b'k', 0, 0, 7, 0],                    // no such type
            &[PIECE, 1, b'k', 0, 0, LIST, 200, 200, 1, 0],    // more elements than bytes
            &[PATCH, 1, b'k', STRING, 1, b'v', 0],            // nothing to patch
            &[STEPS, 1, b'k', 1, PUSH, 2, 0, 0],              // no such end
            &[STEPS, 1, b'k', 1, 6],                          // no such step
        ];
        for case in cases {
            assert!(decode(Bytes::from_static(case), 1 << 20, false).is_err(), "{case:?}");
        }
    }

    #[test]
    fn many_empty_elements_find_no_room() {
        let mut bytes = vec![PIECE, 1, b'k', 0, 0, SET, 0xff, 0x7f];
        bytes.resize(bytes.len() + 0x3fff, 0);
        let (_, taken) = decode(bytes.clone().into(), 1 << 20, false).unwrap();
        assert!(taken >= 0x3fff * size_of::<Bytes>(), "{taken}");
        assert!(decode(bytes.into(), 1 << 16, false).is_err());
    }
}
