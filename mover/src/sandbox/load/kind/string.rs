// SPDX-License-Identifier: Apache-2.0
//! Strings: values, numbers, bitmaps.

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use super::super::expected::Expected;
use super::{Question, Request, Scale, blob, text};

/// The bytes; `None` where there is no key, which is not the same as an empty string.
#[derive(Clone, Default, Debug)]
pub(in super::super) struct Value(Option<Vec<u8>>);

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self(Some(bytes.to_vec()))
    }
}

impl Value {
    pub(super) fn is_absent(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn whole(&self) -> Vec<Question> {
        vec![(Operation::Get.request(), Expected::Bulk(self.bytes()))]
    }

    /// No read of a string passes the cache by.
    pub(super) fn whole_past_cache(&self) -> Option<Vec<Question>> {
        None
    }

    fn bytes(&self) -> Option<Bytes> {
        self.0.as_ref().map(|bytes| Bytes::copy_from_slice(bytes))
    }

    /// The number the key counts with; 0 where there is no key.
    fn number(&self) -> Option<i64> {
        let Some(bytes) = &self.0 else {
            return Some(0);
        };
        let number: i64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
        // Only as a node itself writes it, and far from an overflow.
        (number.abs() < 1 << 50 && number.to_string().as_bytes() == bytes).then_some(number)
    }
}

#[derive(Clone, Debug)]
pub(in super::super) enum Operation {
    Get,
    StrLen,
    Incr,
    IncrBy(i64),
    Append(Bytes),
    SetRange(usize, Bytes),
    SetBit(usize, bool),
}

impl Operation {
    pub(super) fn choose(value: &Value, rng: &mut StdRng, _scale: Scale) -> Self {
        let choice = rng.random_range(0..10);
        if value.number().is_some() && choice < 5 {
            return match choice {
                0..=2 => Self::Incr,
                _ => Self::IncrBy(rng.random_range(-1000..=1000)),
            };
        }
        let long = value.0.as_ref().is_some_and(|bytes| bytes.len() > LENGTH_MAX);
        match choice {
            5 | 6 if !long => Self::Append(blob(rng)),
            7 => Self::SetRange(rng.random_range(0..LENGTH_MAX), without_nul(blob(rng))),
            8 => {
                let bit = rng.random_range(0..LENGTH_MAX * 8);
                // Pika takes a cleared bit behind the end for no change, where Redis grows the string.
                let inside = value.0.as_ref().is_some_and(|bytes| bit / 8 < bytes.len());
                Self::SetBit(bit, !inside || rng.random())
            }
            9 => Self::StrLen,
            _ => Self::Get,
        }
    }

    /// A read that has a node cache the string.
    pub(super) fn fill_cache(_scale: Scale) -> Option<Self> {
        Some(Self::Get)
    }

    pub(super) fn scan() -> Option<Self> {
        None
    }

    pub(super) fn request(&self) -> Request {
        match self {
            Self::Get => Request::new("GET", []),
            Self::StrLen => Request::new("STRLEN", []),
            Self::Incr => Request::new("INCR", []),
            Self::IncrBy(step) => Request::new("INCRBY", [text(step)]),
            Self::Append(tail) => Request::new("APPEND", [tail.clone()]),
            Self::SetRange(at, part) => Request::new("SETRANGE", [text(at), part.clone()]),
            Self::SetBit(bit, on) => Request::new("SETBIT", [text(bit), text(u8::from(*on))]),
        }
    }

    pub(super) fn apply(&self, value: &mut Value) -> Expected {
        match self {
            Self::Get => Expected::Bulk(value.bytes()),
            Self::StrLen => Expected::count(value.0.as_ref().map_or(0, Vec::len)),
            Self::Incr => Self::IncrBy(1).apply(value),
            Self::IncrBy(step) => {
                let Some(number) = value.number() else {
                    return Expected::Error;
                };
                value.0 = Some((number + step).to_string().into_bytes());
                Expected::Integer(number + step)
            }
            Self::Append(tail) => {
                let bytes = value.0.get_or_insert_default();
                bytes.extend_from_slice(tail);
                Expected::count(bytes.len())
            }
            Self::SetRange(at, part) => {
                let bytes = grown(value, at + part.len());
                bytes[*at..at + part.len()].copy_from_slice(part);
                Expected::count(bytes.len())
            }
            Self::SetBit(bit, on) => {
                let byte = &mut grown(value, bit / 8 + 1)[bit / 8];
                let mask = 0x80 >> (bit % 8);
                let before = *byte & mask != 0;
                *byte = if *on { *byte | mask } else { *byte & !mask };
                Expected::Integer(i64::from(before))
            }
        }
    }
}

/// Pika's SETRANGE ends at the first NUL of its value.
fn without_nul(bytes: Bytes) -> Bytes {
    bytes.iter().map(|byte| (*byte).max(1)).collect()
}

/// The bytes, with zeros up to `length`.
fn grown(value: &mut Value, length: usize) -> &mut Vec<u8> {
    let bytes = value.0.get_or_insert_default();
    bytes.resize(bytes.len().max(length), 0);
    bytes
}

const LENGTH_MAX: usize = 256;
