// SPDX-License-Identifier: Apache-2.0
//! Commands that see a key as a whole, whatever its type.

use bytes::Bytes;

use super::super::entry::{Entry, Expiry, Window};
use super::super::expected::Expected;
use super::{Request, Value, text};

#[derive(Clone, Debug)]
pub(in super::super) enum Operation {
    Set(Bytes),
    SetEx(Bytes, u32),
    SetNx(Bytes),
    Del,
    Unlink,
    Expire(u32),
    Persist,
    Ttl,
}

impl Operation {
    pub(super) fn request(&self) -> Request {
        match self {
            Self::Set(value) => Request::new("SET", [value.clone()]),
            Self::SetEx(value, seconds) => {
                Request::new("SET", [value.clone(), Bytes::from_static(b"EX"), text(seconds)])
            }
            Self::SetNx(value) => Request::new("SETNX", [value.clone()]),
            Self::Del => Request::new("DEL", []),
            Self::Unlink => Request::new("UNLINK", []),
            Self::Expire(seconds) => Request::new("EXPIRE", [text(seconds)]),
            Self::Persist => Request::new("PERSIST", []),
            // Not TTL: a Pika answers that from its cache, a thousand times too long for a hash.
            Self::Ttl => Request::new("PTTL", []),
        }
    }

    pub(in super::super) fn apply(&self, entry: &mut Entry, window: Window) -> Expected {
        let exists = i64::from(entry.value.is_some());
        match self {
            Self::Set(value) => {
                *entry = Entry::of(Value::string(value));
                Expected::Ok
            }
            Self::SetEx(value, seconds) => {
                *entry = Entry::of(Value::string(value));
                entry.expiry = Some(Expiry::after(*seconds, window));
                Expected::Ok
            }
            Self::SetNx(value) => {
                if entry.value.is_none() {
                    *entry = Entry::of(Value::string(value));
                }
                Expected::Integer(1 - exists)
            }
            Self::Del | Self::Unlink => {
                *entry = Entry::deleted(entry.value.take());
                Expected::Integer(exists)
            }
            Self::Expire(seconds) => {
                if entry.value.is_some() {
                    entry.expiry = Some(Expiry::after(*seconds, window));
                }
                Expected::Integer(exists)
            }
            Self::Persist => Expected::Integer(i64::from(entry.expiry.take().is_some())),
            Self::Ttl => match entry.expiry {
                Some(expiry) => Expected::Expiry(expiry),
                None if exists == 0 => Expected::Anything,
                None => Expected::Integer(-1),
            },
        }
    }
}
