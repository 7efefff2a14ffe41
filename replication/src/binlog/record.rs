// SPDX-License-Identifier: Apache-2.0
//! One item of the log.
//!
//! ```text
//!   0      2           6      10         18     22        30      34
//!   +------+-----------+------+----------+------+---------+--------+---------+
//!   | type | exec time | term | logic id | file | offset  | length | content |      little-endian
//!   | u16  |    u32    | u32  |   u64    | u32  |   u64   |  u32   | length  |
//!   +------+-----------+------+----------+------+---------+--------+---------+
//!      1     seconds      0     +1 each   \_ end of the item before _/
//! ```

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::Fault;
use crate::{BinlogOffset, Command};

/// Seconds since 1970 as the log stores them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct UnixSeconds(pub u32);

impl UnixSeconds {
    /// The present second. A clock outside of 1970 to 2106 is taken as the nearer end.
    pub fn now() -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self(u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

/// One item of the log: a command and where it stands.
///
/// The content's slices keep a whole 64 KiB block in memory: who keeps a key for long must copy it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// Where it starts: the end of the item before, or the start of its file.
    pub start: BinlogOffset,
    /// The position just behind it, which is how Pika names an item everywhere.
    pub end: BinlogOffset,
    /// When the server appended it; zero marks an item that is not to be executed.
    pub time: UnixSeconds,
    /// The term of Pika's consensus code; zero on an ordinary master.
    pub term: u32,
    /// Its running number, without gaps over all files.
    pub logic_id: u64,
    /// The start as the item stores it. In the first item of a file it still names the end of the file before.
    pub header: BinlogOffset,
    /// What was logged.
    pub content: Content,
}

/// What an item holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// A command.
    Command(Command),
    /// Room taken up on purpose, by the `PADDING` command.
    Padding,
}

/// The fixed fields of an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fields {
    pub(crate) time: UnixSeconds,
    pub(crate) term: u32,
    pub(crate) logic_id: u64,
    pub(crate) header: BinlogOffset,
}

/// Bytes of an item before its content.
pub(crate) const ITEM_HEADER_SIZE: usize = 34;

impl Fields {
    /// Appends an item of these fields to `out`. `None`, with `out` as it was, when the content exceeds 4 GiB.
    pub(crate) fn encode(self, content: &[u8], out: &mut BytesMut) -> Option<()> {
        let length = u32::try_from(content.len()).ok()?;
        out.put_u16_le(ITEM_TYPE);
        out.put_u32_le(self.time.0);
        out.put_u32_le(self.term);
        out.put_u64_le(self.logic_id);
        out.put_u32_le(self.header.file);
        out.put_u64_le(self.header.position);
        out.put_u32_le(length);
        out.put_slice(content);
        Some(())
    }

    /// Splits a joined item into its fields and its content.
    pub(crate) fn decode(mut item: Bytes) -> Result<(Self, Bytes), Fault> {
        if item.len() < ITEM_HEADER_SIZE {
            return Err(Fault::ItemLength { claimed: 0, found: item.len() as u64 });
        }
        let found = item.get_u16_le();
        if found != ITEM_TYPE {
            return Err(Fault::ItemType { found });
        }
        let fields = Self {
            time: UnixSeconds(item.get_u32_le()),
            term: item.get_u32_le(),
            logic_id: item.get_u64_le(),
            header: BinlogOffset::new(item.get_u32_le(), item.get_u64_le()),
        };
        let claimed = u64::from(item.get_u32_le());
        match claimed == item.len() as u64 {
            true => Ok((fields, item)),
            false => Err(Fault::ItemLength { claimed, found: item.len() as u64 }),
        }
    }
}

impl Content {
    pub(crate) fn decode(content: Bytes) -> Result<Self, Fault> {
        match is_padding(&content) {
            true => Ok(Self::Padding),
            false => Command::decode(content).map(Self::Command).map_err(Fault::Command),
        }
    }
}

/// The content that Pika logs for `PADDING` with an argument of `length` bytes: a whole item inside the item, with all
/// fields zero. Nothing at all when the length has more than five digits.
pub(crate) fn padding(length: usize) -> BytesMut {
    let mut out = BytesMut::new();
    if length <= 99_999 {
        let mut content = BytesMut::from(PADDING_START);
        content.put_slice(format!("${length:05}\r\n").as_bytes());
        content.put_bytes(b'*', length);
        content.put_slice(b"\r\n");
        let nothing = Fields { time: UnixSeconds(0), term: 0, logic_id: 0, header: BinlogOffset::default() };
        nothing.encode(&content, &mut out).expect("padding is below 4 GiB");
    }
    out
}

fn is_padding(content: &Bytes) -> bool {
    if content.first() == Some(&b'*') {
        return false;
    }
    content.is_empty()
        || Fields::decode(content.clone())
            .is_ok_and(|(fields, inner)| fields.time.0 == 0 && inner.starts_with(PADDING_START))
}

const ITEM_TYPE: u16 = 1;
const PADDING_START: &[u8] = b"*2\r\n$7\r\npadding\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        Fields { time: UnixSeconds(0x6740_57b0), term: 0, logic_id: 1, header: BinlogOffset::new(0, 0) }
    }

    #[test]
    fn fields_round_trip_and_lies_are_told() {
        let mut out = BytesMut::new();
        fields().encode(b"*0\r\n", &mut out).unwrap();
        let item = out.freeze();
        assert_eq!(Fields::decode(item.clone()), Ok((fields(), Bytes::from_static(b"*0\r\n"))));
        assert_eq!(Fields::decode(item.slice(..33)), Err(Fault::ItemLength { claimed: 0, found: 33 }));
        assert_eq!(Fields::decode(item.slice(..37)), Err(Fault::ItemLength { claimed: 4, found: 3 }));
        assert!(matches!(Fields::decode(item.slice(1..)), Err(Fault::ItemType { .. })));
    }

    #[test]
    fn padding_is_a_nested_item() {
        for length in [0, 1, 99_999, 100_000] {
            assert_eq!(Content::decode(padding(length).freeze()), Ok(Content::Padding), "{length}");
        }
        let mut broken = padding(5);
        broken[34] = b'?';
        assert!(matches!(Content::decode(broken.freeze()), Err(Fault::Command(_))));
    }
}
