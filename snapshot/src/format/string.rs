// SPDX-License-Identifier: Apache-2.0
//! Values of strings.
//!
//! ```text
//! 00 │ value n │ flags 1 │ reserve 15 │ ctime 8 │ etime 8
//! ```
//!
//! The flag `80` marks a HyperLogLog. Its ctime is in milliseconds but lacks the bit that says so.

use super::meta::{TAG_STRING, ValueError};
use super::time::{decode_time, encode_time, nonzero, take_time};
use super::{RESERVE, take_u64};
use crate::UnixMillis;

/// The value of a string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StringValue<'a> {
    /// The user's value, or the registers of a HyperLogLog.
    pub value: &'a [u8],
    /// Whether it is a HyperLogLog.
    pub hyperloglog: bool,
    /// When it was written; informational.
    pub created: Option<UnixMillis>,
    /// When it expires.
    pub expire_at: Option<UnixMillis>,
}

impl<'a> StringValue<'a> {
    /// The value's row.
    pub fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(1 + self.value.len() + SUFFIX);
        row.push(TAG_STRING);
        row.extend_from_slice(self.value);
        match self.hyperloglog {
            true => {
                row.push(FLAG_HYPERLOGLOG);
                row.extend_from_slice(&[0; RESERVE - 1]);
                row.extend_from_slice(&self.created.map_or(0, |at| at.0).to_le_bytes());
            }
            false => {
                row.extend_from_slice(&[0; RESERVE]);
                row.extend_from_slice(&encode_time(self.created));
            }
        }
        row.extend_from_slice(&encode_time(self.expire_at));
        row
    }

    pub(super) fn decode(stored: &'a [u8]) -> Result<Self, ValueError> {
        let fault = ValueError::Size { length: stored.len() };
        let (body, suffix) = stored.split_last_chunk::<SUFFIX>().ok_or(fault)?;
        let (_tag, value) = body.split_first().ok_or(fault)?;
        let hyperloglog = suffix[0] & FLAG_HYPERLOGLOG != 0;
        let mut times = &suffix[RESERVE..];
        let created = take_u64(&mut times).ok_or(fault)?;
        let created = if hyperloglog { nonzero(created) } else { decode_time(created) };
        let expire_at = take_time(&mut times).ok_or(fault)?;
        Ok(Self { value, hyperloglog, created, expire_at })
    }
}

/// What follows the value: the reserve and two times.
const SUFFIX: usize = RESERVE + 16;

const FLAG_HYPERLOGLOG: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::super::Meta;
    use super::super::testing::{VERSION, bytes, hex};
    use super::*;
    use proptest::prelude::*;

    const RESERVED: &str = "00000000000000000000000000000000";
    const NOW: UnixMillis = UnixMillis(VERSION.0);

    fn hello(created: UnixMillis, expire_at: Option<UnixMillis>) -> StringValue<'static> {
        StringValue { value: b"hello", hyperloglog: false, created: Some(created), expire_at }
    }

    #[test]
    fn strings_of_the_reference() {
        let stored = hex(&format!("00 68656c6c6f {RESERVED} 7b6db90992010080 0000000000000000"));
        assert_eq!(hello(NOW, None).encode(), stored);
        assert_eq!(Meta::decode(&stored), Ok(Meta::String(hello(NOW, None))));

        let stored = hex(&format!("00 68656c6c6f {RESERVED} 7b6db90992010080 db57ba0992010080"));
        let expiring = hello(NOW, Some(UnixMillis(NOW.0 + 60_000)));
        assert_eq!(expiring.encode(), stored);
        assert_eq!(Meta::decode(&stored), Ok(Meta::String(expiring)));

        let empty = hex("00 80000000000000000000000000000000 7b6db90992010000 0000000000000000");
        let hyperloglog = StringValue { value: b"", hyperloglog: true, created: Some(NOW), expire_at: None };
        assert_eq!(hyperloglog.encode(), empty);
        assert_eq!(Meta::decode(&empty), Ok(Meta::String(hyperloglog)));
    }

    #[test]
    fn reads_the_seconds_of_pika_4_0_0() {
        let stored = hex(&format!("00 68656c6c6f {RESERVED} 20f6eb6600000000 5cf6eb6600000000"));
        let expected = hello(UnixMillis(1_726_740_000_000), Some(UnixMillis(1_726_740_060_000)));
        assert_eq!(Meta::decode(&stored), Ok(Meta::String(expected)));
    }

    proptest! {
        #[test]
        fn round_trips(value in bytes(), hyperloglog: bool, created in 1..1u64 << 63, expire_at in 0..1u64 << 63) {
            let expire_at = nonzero(expire_at);
            let string = StringValue { value: &value, hyperloglog, created: nonzero(created), expire_at };
            let stored = string.encode();
            prop_assert_eq!(Meta::decode(&stored), Ok(Meta::String(string)));
        }
    }
}
