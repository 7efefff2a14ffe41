// SPDX-License-Identifier: Apache-2.0
//! The copy of one key.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use snapshot::UnixMillis;

use super::zset::Zset;

/// The copy of one key and when it expires, which need not be when the key does.
pub(super) struct Cached {
    pub(super) value: Value,
    pub(super) expire_at: Option<UnixMillis>,
    /// Bytes counted when all of the value was last looked at, and what was added since.
    measured: usize,
    grown: usize,
}

/// A copied value.
pub(super) enum Value {
    String(Bytes),
    Hash(BTreeMap<Bytes, Bytes>),
    List(VecDeque<Bytes>),
    Set(BTreeSet<Bytes>),
    Zset(Zset),
}

impl Cached {
    pub(super) fn new(value: Value, expire_at: Option<UnixMillis>) -> Self {
        Self { measured: value.bytes(), value, expire_at, grown: 0 }
    }

    pub(super) fn is_expired(&self, now: UnixMillis) -> bool {
        self.expire_at.is_some_and(|at| at <= now)
    }

    /// About how many bytes of memory it takes.
    pub(super) fn weight(&self) -> usize {
        self.measured + self.grown
    }

    /// Counts a change of at most so many bytes. The value is measured again only when it may have doubled.
    pub(super) fn grow(&mut self, bytes: usize) {
        self.grown += bytes;
        if self.grown > self.measured + ELEMENT_BYTES {
            self.measured = self.value.bytes();
            self.grown = 0;
        }
    }
}

impl Value {
    /// The string, if it is one.
    pub(super) fn string(&self) -> Option<&Bytes> {
        match self {
            Self::String(string) => Some(string),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub(super) fn string_mut(&mut self) -> Option<&mut Bytes> {
        match self {
            Self::String(string) => Some(string),
            _ => None,
        }
    }

    /// The hash, if it is one.
    pub(super) fn hash(&self) -> Option<&BTreeMap<Bytes, Bytes>> {
        match self {
            Self::Hash(hash) => Some(hash),
            _ => None,
        }
    }

    /// The hash, if it is one.
    pub(super) fn hash_mut(&mut self) -> Option<&mut BTreeMap<Bytes, Bytes>> {
        match self {
            Self::Hash(hash) => Some(hash),
            _ => None,
        }
    }

    /// The list, if it is one.
    pub(super) fn list(&self) -> Option<&VecDeque<Bytes>> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// The list, if it is one.
    pub(super) fn list_mut(&mut self) -> Option<&mut VecDeque<Bytes>> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// The set, if it is one.
    pub(super) fn set(&self) -> Option<&BTreeSet<Bytes>> {
        match self {
            Self::Set(set) => Some(set),
            _ => None,
        }
    }

    /// The set, if it is one.
    pub(super) fn set_mut(&mut self) -> Option<&mut BTreeSet<Bytes>> {
        match self {
            Self::Set(set) => Some(set),
            _ => None,
        }
    }

    /// The sorted set, if it is one.
    pub(super) fn zset(&self) -> Option<&Zset> {
        match self {
            Self::Zset(zset) => Some(zset),
            _ => None,
        }
    }

    /// The sorted set, if it is one.
    pub(super) fn zset_mut(&mut self) -> Option<&mut Zset> {
        match self {
            Self::Zset(zset) => Some(zset),
            _ => None,
        }
    }

    /// Whether it is a collection without elements.
    pub(super) fn is_emptied(&self) -> bool {
        match self {
            Self::String(_) => false,
            Self::Hash(hash) => hash.is_empty(),
            Self::List(list) => list.is_empty(),
            Self::Set(set) => set.is_empty(),
            Self::Zset(zset) => zset.len() == 0,
        }
    }

    fn bytes(&self) -> usize {
        let all = |sizes: &mut dyn Iterator<Item = usize>| sizes.map(|size| size + ELEMENT_BYTES).sum::<usize>();
        let elements = match self {
            Self::String(string) => string.len(),
            Self::Hash(hash) => all(&mut hash.iter().map(|(field, value)| field.len() + value.len())),
            Self::List(list) => all(&mut list.iter().map(Bytes::len)),
            Self::Set(set) => all(&mut set.iter().map(Bytes::len)),
            Self::Zset(zset) => all(&mut zset.members().iter().map(|(member, _)| member.len())),
        };
        elements + ELEMENT_BYTES
    }
}

/// About what an element or a key takes beside its bytes.
const ELEMENT_BYTES: usize = 64;
