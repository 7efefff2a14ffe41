// SPDX-License-Identifier: Apache-2.0
//! Values of the data column families. None of them expires on its own.
//!
//! ```text
//! hash, list   value n │ reserve 16 │ ctime 8
//! set          reserve 16 │ ctime 8                  24 bytes
//! zset         score 8 │ reserve 16 │ ctime 8        32 bytes
//! zset index   reserve 16 │ ctime 8                  24 bytes, as in a set
//! stream       (length u32 │ bytes)*                 fields and values in turn, no suffix
//! ```
//!
//! Pika 4.0.0 could write the value of a hash without its suffix: it is then a number of at most 20 digits.

use super::meta::ValueError;
use super::time::{decode_time, encode_time};
use super::{RESERVE, take, take_u64};
use crate::UnixMillis;

/// The value of a field of a hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashValue<'a> {
    /// The user's value.
    pub value: &'a [u8],
    /// When it was written; informational.
    pub created: Option<UnixMillis>,
}

impl<'a> HashValue<'a> {
    /// The value's row.
    pub fn encode(&self) -> Vec<u8> {
        suffixed(self.value, self.created)
    }

    /// Takes the value's row apart; every row is one.
    pub fn decode(stored: &'a [u8]) -> Self {
        let (value, created) = split_suffix(stored).unwrap_or((stored, None));
        Self { value, created }
    }
}

/// The value of an element of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListValue<'a> {
    /// The user's value.
    pub value: &'a [u8],
    /// When it was written; informational.
    pub created: Option<UnixMillis>,
}

impl<'a> ListValue<'a> {
    /// The value's row.
    pub fn encode(&self) -> Vec<u8> {
        suffixed(self.value, self.created)
    }

    /// Takes the value's row apart.
    ///
    /// # Errors
    ///
    /// It is too short to be one.
    pub fn decode(stored: &'a [u8]) -> Result<Self, ValueError> {
        let (value, created) = split_suffix(stored).ok_or(ValueError::Size { length: stored.len() })?;
        Ok(Self { value, created })
    }
}

/// The value of a member of a set, or of a row in the score index: nothing of the user's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetValue {
    /// When it was written; informational.
    pub created: Option<UnixMillis>,
}

impl SetValue {
    /// The value's row.
    pub fn encode(&self) -> Vec<u8> {
        suffixed(&[], self.created)
    }

    /// Takes the value's row apart.
    ///
    /// # Errors
    ///
    /// Its size is another.
    pub fn decode(stored: &[u8]) -> Result<Self, ValueError> {
        match split_suffix(stored) {
            Some(([], created)) => Ok(Self { created }),
            _ => Err(ValueError::Size { length: stored.len() }),
        }
    }
}

/// The value of a member of a sorted set.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ZsetValue {
    /// The score; any double, the server even accepts a NaN.
    pub score: f64,
    /// When it was written; informational.
    pub created: Option<UnixMillis>,
}

impl ZsetValue {
    /// The value's row.
    pub fn encode(&self) -> Vec<u8> {
        suffixed(&self.score.to_bits().to_le_bytes(), self.created)
    }

    /// Takes the value's row apart.
    ///
    /// # Errors
    ///
    /// Its size is another.
    pub fn decode(stored: &[u8]) -> Result<Self, ValueError> {
        let fault = ValueError::Size { length: stored.len() };
        let (mut score, created) = split_suffix(stored).ok_or(fault)?;
        let bits = take_u64(&mut score).filter(|_| score.is_empty()).ok_or(fault)?;
        Ok(Self { score: f64::from_bits(bits), created })
    }
}

/// The value of an entry of a stream, from its fields and values in turn.
///
/// # Panics
///
/// Never for what fits a RESP command: a field or value of 4 GiB or more has no length here.
pub fn encode_entry<F: AsRef<[u8]>>(fields: impl IntoIterator<Item = F>) -> Vec<u8> {
    let mut row = Vec::new();
    for field in fields {
        let field = field.as_ref();
        let length = u32::try_from(field.len()).expect("RESP limits an argument to 512 MiB");
        row.extend_from_slice(&length.to_le_bytes());
        row.extend_from_slice(field);
    }
    row
}

/// The fields and values of an entry of a stream in turn.
///
/// # Errors
///
/// The row does not hold whole pairs of them, checked before the first is handed out.
pub fn entry_fields(stored: &[u8]) -> Result<EntryFields<'_>, ValueError> {
    let mut count = 0;
    let mut rest = stored;
    while !rest.is_empty() {
        let at = stored.len() - rest.len();
        take_field(&mut rest).ok_or(ValueError::Entry { at })?;
        count += 1;
    }
    match count % 2 {
        0 => Ok(EntryFields { rest: stored, count }),
        _ => Err(ValueError::Entry { at: stored.len() }),
    }
}

/// The fields and values of an entry of a stream in turn; see [`entry_fields`].
#[derive(Clone, Debug)]
pub struct EntryFields<'a> {
    rest: &'a [u8],
    count: usize,
}

impl<'a> Iterator for EntryFields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let field = take_field(&mut self.rest)?;
        self.count -= 1;
        Some(field)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for EntryFields<'_> {}

const SUFFIX: usize = RESERVE + 8;

fn suffixed(value: &[u8], created: Option<UnixMillis>) -> Vec<u8> {
    let mut row = Vec::with_capacity(value.len() + SUFFIX);
    row.extend_from_slice(value);
    row.extend_from_slice(&[0; RESERVE]);
    row.extend_from_slice(&encode_time(created));
    row
}

fn split_suffix(stored: &[u8]) -> Option<(&[u8], Option<UnixMillis>)> {
    let (body, created) = stored.split_last_chunk::<8>()?;
    let (value, _reserve) = body.split_last_chunk::<RESERVE>()?;
    Some((value, decode_time(u64::from_le_bytes(*created))))
}

fn take_field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut after = *rest;
    let length = usize::try_from(take(&mut after).map(u32::from_le_bytes)?).ok()?;
    let (field, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{VERSION, bytes, hex};
    use super::*;
    use proptest::prelude::*;

    const NOW: Option<UnixMillis> = Some(UnixMillis(VERSION.0));
    const SUFFIX_HEX: &str = "00000000000000000000000000000000 7b6db90992010080";

    #[test]
    fn values_of_the_reference() {
        let list = hex(&format!("61 {SUFFIX_HEX}"));
        assert_eq!(ListValue { value: b"a", created: NOW }.encode(), list);
        assert_eq!(ListValue::decode(&list), Ok(ListValue { value: b"a", created: NOW }));
        assert_eq!(HashValue::decode(&list), HashValue { value: b"a", created: NOW });

        for (score, bits) in [
            (1.5, "000000000000f83f"),
            (-1.5, "000000000000f8bf"),
            (-0.0, "0000000000000080"),
            (f64::INFINITY, "000000000000f07f"),
            (f64::NEG_INFINITY, "000000000000f0ff"),
        ] {
            let zset = hex(&format!("{bits} {SUFFIX_HEX}"));
            assert_eq!(ZsetValue { score, created: NOW }.encode(), zset);
            assert_eq!(ZsetValue::decode(&zset).map(|value| value.score.to_bits()), Ok(score.to_bits()));
        }

        let entry = hex("07000000 6d657373616765 02000000 6869");
        assert_eq!(encode_entry(["message", "hi"]), entry);
        let fields: Vec<_> = entry_fields(&entry).unwrap().collect();
        assert_eq!(fields, [&b"message"[..], b"hi"]);
    }

    #[test]
    fn a_hash_value_of_pika_4_0_0_has_no_suffix() {
        let stored = b"-9223372036854775808";
        assert_eq!(HashValue::decode(stored), HashValue { value: stored, created: None });
    }

    #[test]
    fn sizes_are_exact() {
        for length in 0..24 {
            assert_eq!(ListValue::decode(&vec![0; length]), Err(ValueError::Size { length }));
        }
        for length in (0..40).filter(|&length| length != 24) {
            assert_eq!(SetValue::decode(&vec![0; length]), Err(ValueError::Size { length }));
        }
        for length in (0..40).filter(|&length| length != 32) {
            assert_eq!(ZsetValue::decode(&vec![0; length]), Err(ValueError::Size { length }));
        }
    }

    #[test]
    fn entries_hold_whole_pairs() {
        let fault = |stored: &[u8]| entry_fields(stored).map(|fields| fields.count);
        assert_eq!(fault(&[]), Ok(0));
        assert_eq!(fault(&hex("01000000")), Err(ValueError::Entry { at: 0 }));
        assert_eq!(fault(&hex("01000000 61")), Err(ValueError::Entry { at: 5 }));
        assert_eq!(fault(&hex("01000000 61 01000000")), Err(ValueError::Entry { at: 5 }));
        assert_eq!(fault(&hex("01000000 61 00000000 ff")), Err(ValueError::Entry { at: 9 }));
    }

    proptest! {
        #[test]
        fn values_round_trip(value in bytes(), bits: u64, created in 1..1u64 << 63) {
            let created = Some(UnixMillis(created));
            let hash = HashValue { value: &value, created };
            let stored = hash.encode();
            prop_assert_eq!(HashValue::decode(&stored), hash);
            let set = SetValue { created };
            prop_assert_eq!(SetValue::decode(&set.encode()), Ok(set));
            let zset = ZsetValue { score: f64::from_bits(bits), created }.encode();
            prop_assert_eq!(ZsetValue::decode(&zset).map(|value| value.score.to_bits()), Ok(bits));
        }

        #[test]
        fn entries_round_trip(pairs in proptest::collection::vec((bytes(), bytes()), 0..6)) {
            let fields: Vec<_> = pairs.into_iter().flat_map(|(field, value)| [field, value]).collect();
            let stored = encode_entry(&fields);
            let decoded = entry_fields(&stored).expect("own entry");
            prop_assert_eq!(decoded.len(), fields.len());
            prop_assert!(decoded.eq(fields.iter().map(|field| &field[..])));
        }

        #[test]
        fn garbage_never_panics(stored in bytes()) {
            let _ = HashValue::decode(&stored);
            if let Ok(fields) = entry_fields(&stored) {
                prop_assert_eq!(fields.len(), fields.count());
            }
        }
    }
}
