// SPDX-License-Identifier: Apache-2.0
//! Cursors: where a SCAN, HSCAN, SSCAN or ZSCAN goes on.
//!
//! A cursor is a number under which the node remembers a place. It remembers the last few thousand; one that it has
//! forgotten, or that it never gave out, starts again from the beginning, as on the server. Unlike there, no two scans
//! ever share a cursor.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use lru::LruCache;
use snapshot::format::{Column, DataKey, Version, data_key};

use super::call::{Call, is_word};
use super::fault::{Fault, Result};
use super::glob;
use super::number;
use super::reply::Reply;

/// The places that a node remembers.
pub(super) struct Cursors {
    places: Mutex<Places>,
}

struct Places {
    next: u64,
    known: LruCache<u64, Place>,
}

/// Where a scan goes on.
#[derive(Clone)]
pub(super) struct Place {
    /// Of which scan: the key of a collection, or the type that a scan of keys has come to.
    pub(super) scope: Bytes,
    /// The first element or key not yet given.
    pub(super) next: Bytes,
}

impl Cursors {
    pub(super) fn new() -> Self {
        let known = LruCache::new(NonZeroUsize::new(PLACES).expect("there is room for some"));
        Self { places: Mutex::new(Places { next: 1, known }) }
    }

    /// The place of a cursor.
    pub(super) fn find(&self, cursor: u64) -> Option<Place> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).known.get(&cursor).cloned()
    }

    /// A cursor for a place.
    pub(super) fn remember(&self, place: Place) -> u64 {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let cursor = places.next;
        places.next += 1;
        places.known.put(cursor, place);
        cursor
    }
}

const PLACES: usize = 5000;

/// The arguments of HSCAN, SSCAN and ZSCAN.
pub(super) struct ScanOptions {
    cursor: u64,
    pattern: Bytes,
    count: usize,
}

/// A part of a collection.
pub(super) struct Page {
    cursor: u64,
    items: Vec<Bytes>,
}

impl ScanOptions {
    /// Reads them; `bad_cursor` is the answer to a cursor that is no number.
    pub(super) fn parse(call: &Call<'_>, bad_cursor: Fault) -> Result<Self> {
        let Some(cursor) = number::integer(&call.args[2]) else {
            return Err(bad_cursor);
        };
        // A cursor below zero has no place, and so begins anew.
        let cursor = u64::try_from(cursor).unwrap_or(0);
        let mut options = Self { cursor, pattern: Bytes::from_static(b"*"), count: 10 };
        let mut rest = call.args[3..].iter();
        while let Some(option) = rest.next() {
            let value = rest.next().ok_or(Fault::SYNTAX)?;
            if is_word(option, "match") {
                options.pattern = value.clone();
            } else if is_word(option, "count") {
                let count = number::integer(value).ok_or(Fault::NOT_INTEGER)?;
                options.count = usize::try_from(count).map_err(|_| Fault::SYNTAX)?;
            } else {
                return Err(Fault::SYNTAX);
            }
        }
        Ok(options)
    }

    /// Reads a page. `items` makes what is answered of an element and its row's value.
    pub(super) fn page(
        &self,
        call: &Call<'_>,
        column: Column,
        version: Version,
        items: impl Fn(Bytes, &[u8]) -> Result<Vec<Bytes>>,
    ) -> Result<Page> {
        let key = call.key();
        let place = call.core.cursors.find(self.cursor).filter(|place| place.scope == *key);
        let from = place.map(|place| data_key(key, version, &place.next));
        let mut page = Page::empty();
        let mut next = None;
        let mut left = self.count;
        call.data().scan(key, column, version, from.as_deref(), |row, value| {
            let element = Bytes::copy_from_slice(DataKey::decode(row)?.element);
            if left == 0 {
                next = Some(element);
                return Ok(ControlFlow::Break(()));
            }
            left -= 1;
            if glob::matches(&self.pattern, &element) {
                page.items.extend(items(element, value)?);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if let Some(next) = next {
            // The key's slice would keep the whole request in memory.
            page.cursor = call.core.cursors.remember(Place { scope: Bytes::copy_from_slice(key), next });
        }
        Ok(page)
    }
}

impl Page {
    /// The end of a collection that is not there.
    pub(super) fn empty() -> Self {
        Self { cursor: 0, items: Vec::new() }
    }

    /// The answer: a cursor, which is 0 at the end, and the elements.
    pub(super) fn reply(self) -> Reply {
        Reply::Array(vec![Reply::text(self.cursor.to_string()), Reply::bulks(self.items)])
    }
}
