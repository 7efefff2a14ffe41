// SPDX-License-Identifier: Apache-2.0
//! Keys of rows.
//!
//! ```text
//! meta, string    0×8 │ user key, escaped │ 00 00 │ 0×16
//! field, member   0×8 │ user key, escaped │ 00 00 │ version 8 │ field or member │ 0×16
//! list element    0×8 │ user key, escaped │ 00 00 │ version 8 │ index 8 │ 0×16
//! zset by score   0×8 │ user key, escaped │ 00 00 │ version 8 │ score 8 │ member │ 0×16
//! stream entry    0×8 │ user key, escaped │ 00 00 │ version 8 │ millis 8 BE │ sequence 8 BE │ 0×16
//! ```
//!
//! Escaping turns each `00` of the user key into `00 01`, so `00 00` ends it and the order of user keys is kept.
//!
//! Pika 4.0 has a bug here: of a key with a `00` whose last byte is not `00`, it drops what stands behind the last `00`
//! and appends as many undefined bytes to the row's key instead. Such a *damaged name* cannot be read back by anyone.
//! We never write one, and [`split_meta_key`] tells them apart by those excess bytes.

use std::borrow::Cow;

use super::meta::Version;
use super::{KEY_HEAD, RESERVE, take, take_u64};
use crate::StreamId;

/// Where the list indices of a new list lie: `LPUSH` goes down from one below it, `RPUSH` up from it.
pub const LIST_INDEX_START: u64 = 1 << 63;

/// What ends an escaped user key.
const TERMINATOR: [u8; 2] = [0, 0];

/// The key of a string or of the meta row of a collection.
pub fn meta_key(key: &[u8]) -> Vec<u8> {
    finished(start(key, 0))
}

/// What the keys of all data rows of one incarnation of a collection begin with.
pub fn data_prefix(key: &[u8], version: Version) -> Vec<u8> {
    versioned(key, version, 0)
}

/// The key of a field of a hash or of a member of a set or sorted set.
pub fn data_key(key: &[u8], version: Version, element: &[u8]) -> Vec<u8> {
    let mut row = versioned(key, version, element.len());
    row.extend_from_slice(element);
    finished(row)
}

/// The key of an element of a list.
pub fn list_key(key: &[u8], version: Version, index: u64) -> Vec<u8> {
    data_key(key, version, &index.to_le_bytes())
}

/// The key of a member in the score index of a sorted set.
pub fn score_key(key: &[u8], version: Version, score: f64, member: &[u8]) -> Vec<u8> {
    let mut row = versioned(key, version, 8 + member.len());
    row.extend_from_slice(&score.to_bits().to_le_bytes());
    row.extend_from_slice(member);
    finished(row)
}

/// The key of an entry of a stream.
pub fn stream_key(key: &[u8], version: Version, id: StreamId) -> Vec<u8> {
    let mut row = versioned(key, version, 16);
    row.extend_from_slice(&id.millis.to_be_bytes());
    row.extend_from_slice(&id.sequence.to_be_bytes());
    finished(row)
}

/// The user key in the key of a row of the column family `default`.
///
/// # Errors
///
/// The row's key is no such key; [`KeyError::DamagedName`] where the server lost a part of the name.
pub fn split_meta_key(row: &[u8]) -> Result<EscapedKey<'_>, KeyError> {
    // Nearly all names hold no `00`: then the first one found must be the terminator, and nothing needs unescaping.
    if let Some((head, [0, 0, tail @ ..])) = row.split_last_chunk::<{ RESERVE + 2 }>()
        && *tail == [0; RESERVE]
        && let Some(name) = head.get(KEY_HEAD..)
        && !name.contains(&0)
    {
        return Ok(EscapedKey { bytes: name, plain: true });
    }
    let (name, rest) = split_name(row)?;
    match rest.len().checked_sub(RESERVE) {
        None => Err(KeyError::Short),
        Some(0) if *rest == [0; RESERVE] => Ok(name),
        // A healthy tail is all zero, so other bytes in it belong to the damage too.
        Some(excess) => Err(KeyError::DamagedName { excess }),
    }
}

/// A user key as it stands in rows: escaped, without the terminator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EscapedKey<'a> {
    bytes: &'a [u8],
    plain: bool,
}

impl<'a> EscapedKey<'a> {
    /// The user's key; borrowed unless it holds a `00`.
    pub fn unescaped(self) -> Cow<'a, [u8]> {
        if self.plain {
            return Cow::Borrowed(self.bytes);
        }
        let mut key = Vec::with_capacity(self.bytes.len());
        let mut bytes = self.bytes.iter();
        while let Some(&byte) = bytes.next() {
            key.push(byte);
            if byte == 0 {
                // The `01` that `split_name` has checked.
                bytes.next();
            }
        }
        Cow::Owned(key)
    }
}

/// The key of a field or member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataKey<'a> {
    /// The user's key.
    pub key: EscapedKey<'a>,
    /// The incarnation it belongs to.
    pub version: Version,
    /// The field or member.
    pub element: &'a [u8],
}

impl<'a> DataKey<'a> {
    /// Takes the key of a row of [`Column::Hash`](super::Column::Hash), `Set` or `Zset` apart.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn decode(row: &'a [u8]) -> Result<Self, KeyError> {
        let (key, mut rest) = split_name(row)?;
        let version = Version(take_u64(&mut rest).ok_or(KeyError::Short)?);
        let element = rest.len().checked_sub(RESERVE).and_then(|end| rest.get(..end)).ok_or(KeyError::Short)?;
        Ok(Self { key, version, element })
    }
}

/// The key of an element of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListKey<'a> {
    /// The user's key.
    pub key: EscapedKey<'a>,
    /// The incarnation it belongs to.
    pub version: Version,
    /// Its place: elements stand in ascending order around [`LIST_INDEX_START`].
    pub index: u64,
}

impl<'a> ListKey<'a> {
    /// Takes the key of a row of [`Column::List`](super::Column::List) apart.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn decode(row: &'a [u8]) -> Result<Self, KeyError> {
        let DataKey { key, version, element } = DataKey::decode(row)?;
        Ok(Self { key, version, index: u64::from_le_bytes(exact(element)?) })
    }
}

/// The key of a member in the score index of a sorted set.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ScoreKey<'a> {
    /// The user's key.
    pub key: EscapedKey<'a>,
    /// The incarnation it belongs to.
    pub version: Version,
    /// The score.
    pub score: f64,
    /// The member.
    pub member: &'a [u8],
}

impl<'a> ScoreKey<'a> {
    /// Takes the key of a row of [`Column::ZsetScore`](super::Column::ZsetScore) apart.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn decode(row: &'a [u8]) -> Result<Self, KeyError> {
        let DataKey { key, version, element: mut member } = DataKey::decode(row)?;
        let score = f64::from_bits(take_u64(&mut member).ok_or(KeyError::Short)?);
        Ok(Self { key, version, score, member })
    }
}

/// The key of an entry of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamKey<'a> {
    /// The user's key.
    pub key: EscapedKey<'a>,
    /// The incarnation it belongs to.
    pub version: Version,
    /// The entry's id.
    pub id: StreamId,
}

impl<'a> StreamKey<'a> {
    /// Takes the key of a row of [`Column::Stream`](super::Column::Stream) apart.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn decode(row: &'a [u8]) -> Result<Self, KeyError> {
        let DataKey { key, version, element } = DataKey::decode(row)?;
        let mut id: &[u8] = &exact::<16>(element)?;
        let millis = take(&mut id).map(u64::from_be_bytes).ok_or(KeyError::Short)?;
        let sequence = take(&mut id).map(u64::from_be_bytes).ok_or(KeyError::Short)?;
        Ok(Self { key, version, id: StreamId { millis, sequence } })
    }
}

/// Why the key of a row cannot be taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// It ends before its parts do.
    #[error("the row's key is too short")]
    Short,
    /// No `00 00` ends the user key.
    #[error("the user key has no end")]
    Unterminated,
    /// A `00` in the user key is followed by neither `00` nor `01`.
    #[error("the user key is not escaped at byte {at}")]
    Unescaped {
        /// The place of the `00` in the row's key.
        at: usize,
    },
    /// The server lost the end of the name behind a `00`.
    #[error("the server has lost the last {excess} bytes of the name")]
    DamagedName {
        /// How many bytes are lost; none when only the unused bytes at the end are not zero.
        excess: usize,
    },
    /// The element has not the one size it can have.
    #[error("the element's part of the row's key has {length} bytes, not {expected}")]
    ElementSize {
        /// The size it must have.
        expected: usize,
        /// The size it has.
        length: usize,
    },
}

/// Splits the key of a row behind the terminator of its user key.
fn split_name(row: &[u8]) -> Result<(EscapedKey<'_>, &[u8]), KeyError> {
    let body = row.get(KEY_HEAD..).ok_or(KeyError::Short)?;
    let mut plain = true;
    let mut from = 0;
    loop {
        let zero = from + body[from..].iter().position(|&byte| byte == 0).ok_or(KeyError::Unterminated)?;
        match body.get(zero + 1) {
            Some(0) => return Ok((EscapedKey { bytes: &body[..zero], plain }, &body[zero + TERMINATOR.len()..])),
            Some(1) => plain = false,
            Some(_) => return Err(KeyError::Unescaped { at: KEY_HEAD + zero }),
            None => return Err(KeyError::Unterminated),
        }
        from = zero + 2;
    }
}

fn exact<const N: usize>(element: &[u8]) -> Result<[u8; N], KeyError> {
    element.try_into().map_err(|_| KeyError::ElementSize { expected: N, length: element.len() })
}

/// The head, the escaped user key and its terminator, with room for `extra` bytes and the tail.
fn start(key: &[u8], extra: usize) -> Vec<u8> {
    let zeros = key.iter().filter(|&&byte| byte == 0).count();
    let mut row = Vec::with_capacity(KEY_HEAD + key.len() + zeros + TERMINATOR.len() + extra + RESERVE);
    row.extend_from_slice(&[0; KEY_HEAD]);
    for &byte in key {
        row.push(byte);
        if byte == 0 {
            row.push(1);
        }
    }
    row.extend_from_slice(&TERMINATOR);
    row
}

fn versioned(key: &[u8], version: Version, extra: usize) -> Vec<u8> {
    let mut row = start(key, 8 + extra);
    row.extend_from_slice(&version.0.to_le_bytes());
    row
}

fn finished(mut row: Vec<u8>) -> Vec<u8> {
    row.extend_from_slice(&[0; RESERVE]);
    row
}

#[cfg(test)]
mod tests {
    use super::super::testing::{VERSION, bytes, hex};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn meta_keys_of_the_reference() {
        let vectors: [(&[u8], &str); 6] = [
            (b"", "0000"),
            (b"foo", "666f6f 0000"),
            (b"a\0", "610001 0000"),
            (b"\0\0", "00010001 0000"),
            (b"a\0bc\0", "61000162630001 0000"),
            (b"a\0b", "61000162 0000"),
        ];
        for (key, middle) in vectors {
            let row = [&[0; 8][..], &hex(middle), &[0; 16]].concat();
            assert_eq!(meta_key(key), row, "{key:?}");
            assert_eq!(split_meta_key(&row).map(|name| name.unescaped().into_owned()), Ok(key.to_vec()));
        }
    }

    #[test]
    fn data_keys_of_the_reference() {
        let row = |middle: &str| [&[0; 8][..], &hex(middle), &[0; 16]].concat();
        assert_eq!(data_key(b"foo", VERSION, b"bar"), row("666f6f0000 7b6db90992010000 626172"));
        assert_eq!(list_key(b"l", VERSION, LIST_INDEX_START), row("6c0000 7b6db90992010000 0000000000000080"));
        assert_eq!(score_key(b"z", VERSION, 1.5, b"m"), row("7a0000 7b6db90992010000 000000000000f83f 6d"));
        let id = StreamId::new(1526919030474, 55);
        let expected = row("730000 0200000000000000 00000163837766ca 0000000000000037");
        assert_eq!(stream_key(b"s", Version(2), id), expected);
    }

    #[test]
    fn tells_damaged_names() {
        // `a\0b` as the server writes it: the `b` is gone and one undefined byte follows.
        let damaged = hex("0000000000000000 6100010000 00000000000000000000000000000000 5a");
        assert_eq!(split_meta_key(&damaged), Err(KeyError::DamagedName { excess: 1 }));
        let by_chance_zero = hex("0000000000000000 6100010000 00000000000000000000000000000000 00");
        assert_eq!(split_meta_key(&by_chance_zero), Err(KeyError::DamagedName { excess: 1 }));
        let mut tail = meta_key(b"foo");
        *tail.last_mut().unwrap() = 1;
        assert_eq!(split_meta_key(&tail), Err(KeyError::DamagedName { excess: 0 }));
    }

    #[test]
    fn rejects_what_is_no_key() {
        assert_eq!(split_meta_key(b""), Err(KeyError::Short));
        assert_eq!(split_meta_key(&hex("0000000000000000 6162")), Err(KeyError::Unterminated));
        assert_eq!(split_meta_key(&hex("0000000000000000 6100")), Err(KeyError::Unterminated));
        assert_eq!(split_meta_key(&hex("0000000000000000 610007 0000")), Err(KeyError::Unescaped { at: 9 }));
        assert_eq!(split_meta_key(&hex("0000000000000000 610000 00")), Err(KeyError::Short));
        let set = data_key(b"k", VERSION, b"member");
        assert_eq!(ListKey::decode(&set), Err(KeyError::ElementSize { expected: 8, length: 6 }));
        assert_eq!(StreamKey::decode(&set), Err(KeyError::ElementSize { expected: 16, length: 6 }));
        assert_eq!(DataKey::decode(&meta_key(b"k")), Err(KeyError::Short));
    }

    proptest! {
        #[test]
        fn meta_keys_round_trip(key in bytes(), other in bytes()) {
            let row = meta_key(&key);
            let name = split_meta_key(&row).expect("own key");
            prop_assert_eq!(&name.unescaped()[..], &key[..]);
            prop_assert_eq!(row.cmp(&meta_key(&other)), key.cmp(&other));
        }

        #[test]
        fn data_keys_round_trip(key in bytes(), version: u64, element in bytes(), score: f64, index: u64, sequence: u64) {
            let version = Version(version);
            let row = data_key(&key, version, &element);
            prop_assert!(row.starts_with(&data_prefix(&key, version)));
            let decoded = DataKey::decode(&row).expect("own key");
            prop_assert_eq!(&decoded.key.unescaped()[..], &key[..]);
            prop_assert_eq!((decoded.version, decoded.element), (version, &element[..]));

            let row = list_key(&key, version, index);
            let decoded = ListKey::decode(&row).expect("own key");
            prop_assert_eq!((decoded.version, decoded.index), (version, index));

            let row = score_key(&key, version, score, &element);
            let decoded = ScoreKey::decode(&row).expect("own key");
            prop_assert_eq!((decoded.score.to_bits(), decoded.member), (score.to_bits(), &element[..]));

            let id = StreamId::new(index, sequence);
            let row = stream_key(&key, version, id);
            let decoded = StreamKey::decode(&row).expect("own key");
            prop_assert_eq!((&decoded.key.unescaped()[..], decoded.id), (&key[..], id));
        }

        #[test]
        fn garbage_never_panics(row in bytes()) {
            let _ = split_meta_key(&row);
            let _ = ListKey::decode(&row);
            let _ = ScoreKey::decode(&row);
            let _ = StreamKey::decode(&row);
        }
    }
}
