// SPDX-License-Identifier: Apache-2.0
//! Blocks and the fragments in them.
//!
//! A file is a row of blocks of 64 KiB. An item is written as one fragment, or as several when it crosses blocks; a
//! fragment never does.
//!
//! ```text
//!   0        3           7      8
//!   +--------+-----------+------+------------------+
//!   | length |   time    | kind | payload (length) |      little-endian, no checksum
//!   +--------+-----------+------+------------------+
//!
//!   left in the block    what comes before the next item
//!   1..=7                zeros to the block's end
//!   8                    a first fragment without payload; the item goes on in the next block
//! ```

use bytes::{BufMut, BytesMut};

use super::record::UnixSeconds;
use crate::error::Fault;

/// Bytes of a block.
pub(crate) const BLOCK_SIZE: usize = 1 << 16;

/// Bytes of a fragment's header.
pub(crate) const HEADER_SIZE: usize = 8;

/// Which part of an item a fragment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Full,
    First,
    Middle,
    Last,
    /// Asterisks that stand for data the node does not have: a full sync began its log in the middle of a file.
    Filler,
}

/// The header of a fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// Bytes of payload.
    pub(crate) length: usize,
    pub(crate) time: UnixSeconds,
}

/// Bytes from `position` to the end of its block: 1 to [`BLOCK_SIZE`].
pub(crate) fn room(position: u64) -> usize {
    let within = usize::try_from(position % BLOCK_SIZE as u64).expect("a remainder of 2^16 fits");
    BLOCK_SIZE - within
}

impl Header {
    pub(crate) fn encode(self, out: &mut BytesMut) {
        let length = u32::try_from(self.length).expect("a fragment fits a block");
        out.put_slice(&length.to_le_bytes()[..3]);
        out.put_u32_le(self.time.0);
        out.put_u8(self.kind.code());
    }

    /// Reads the header of a fragment that has `room` bytes to the end of its block, header included.
    pub(crate) fn decode(bytes: [u8; HEADER_SIZE], room: usize) -> Result<Self, Fault> {
        let [l0, l1, l2, t0, t1, t2, t3, code] = bytes;
        let length = usize::from(l0) | usize::from(l1) << 8 | usize::from(l2) << 16;
        let kind =
            Kind::of(code).ok_or(if bytes == [0; HEADER_SIZE] { Fault::Zeros } else { Fault::Kind { kind: code } })?;
        let room = room - HEADER_SIZE;
        // An item goes on in the next block only because this one is full.
        let fits = match kind {
            Kind::First | Kind::Middle => length == room,
            Kind::Full | Kind::Last | Kind::Filler => length <= room,
        };
        match fits {
            true => Ok(Self { kind, length, time: UnixSeconds(u32::from_le_bytes([t0, t1, t2, t3])) }),
            false => Err(Fault::Length { length, room }),
        }
    }
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Full => 1,
            Self::First => 2,
            Self::Middle => 3,
            Self::Last => 4,
            Self::Filler => 6,
        }
    }

    fn of(code: u8) -> Option<Self> {
        [Self::Full, Self::First, Self::Middle, Self::Last, Self::Filler].into_iter().find(|kind| kind.code() == code)
    }
}

/// Appends `item` to `out` as it lies in a file from `position` on, what fills the block before it included.
pub(crate) fn put_item(out: &mut BytesMut, position: u64, item: &[u8], time: UnixSeconds) {
    let mut room = room(position);
    let mut rest = item;
    let mut begun = false;
    loop {
        if room < HEADER_SIZE {
            out.put_bytes(0, room);
            room = BLOCK_SIZE;
        }
        let length = rest.len().min(room - HEADER_SIZE);
        let (payload, behind) = rest.split_at(length);
        let kind = match (begun, behind.is_empty()) {
            (false, true) => Kind::Full,
            (false, false) => Kind::First,
            (true, false) => Kind::Middle,
            (true, true) => Kind::Last,
        };
        Header { kind, length, time }.encode(out);
        out.put_slice(payload);
        if behind.is_empty() {
            return;
        }
        (rest, room, begun) = (behind, BLOCK_SIZE, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: UnixSeconds = UnixSeconds(0x6740_57b0);

    #[test]
    fn headers_round_trip_and_garbage_is_told() {
        for (kind, length) in
            [(Kind::Full, 65), (Kind::First, 92), (Kind::Middle, 92), (Kind::Last, 1), (Kind::Filler, 0)]
        {
            let header = Header { kind, length, time: TIME };
            let mut out = BytesMut::new();
            header.encode(&mut out);
            let bytes: [u8; HEADER_SIZE] = out[..].try_into().unwrap();
            assert_eq!(Header::decode(bytes, 100), Ok(header));
        }
        assert_eq!(Header::decode([0; 8], 100), Err(Fault::Zeros));
        assert_eq!(Header::decode([1, 0, 0, 0, 0, 0, 0, 5], 100), Err(Fault::Kind { kind: 5 }));
        assert_eq!(Header::decode([93, 0, 0, 0, 0, 0, 0, 1], 100), Err(Fault::Length { length: 93, room: 92 }));
        assert_eq!(Header::decode([91, 0, 0, 0, 0, 0, 0, 2], 100), Err(Fault::Length { length: 91, room: 92 }));
    }

    #[test]
    fn fills_the_end_of_a_block_as_pika_does() {
        for left in 1..=9 {
            let mut out = BytesMut::new();
            put_item(&mut out, (BLOCK_SIZE - left) as u64, &[7; 40], TIME);
            let codes: Vec<u8> = match left {
                1..=7 => vec![out[left + 7]],
                _ => vec![out[7], out[left + 7]],
            };
            match left {
                1..=7 => assert!(out[..left].iter().all(|&byte| byte == 0) && codes == [1] && out.len() == left + 48),
                8 => assert!(out[..3] == [0; 3] && codes == [2, 4] && out.len() == 56),
                _ => assert!(out[..3] == [1, 0, 0] && codes == [2, 4] && out.len() == 56),
            }
        }
    }
}
