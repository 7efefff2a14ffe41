// SPDX-License-Identifier: Apache-2.0
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lru::LruCache;
use snapshot::Kind;

/// Big keys that may be re-read by element.
///
/// A key may stand here only while it had no expiry at its last whole read: one with an expiry may go and come back
/// between two reads while the log shows only the element that came back, and the old elements would survive. What
/// falls out of the cache is read whole, so its bound costs time, never correctness.
#[derive(Debug)]
pub struct Known {
    keys: Mutex<LruCache<Bytes, Kind>>,
}

impl Known {
    /// An empty memory.
    pub fn new() -> Self {
        Self { keys: Mutex::new(LruCache::new(CAPACITY)) }
    }

    /// Remembers a key of `elements` elements after a whole read, if reading it by element is allowed and worth it.
    pub fn learn(&self, key: &Bytes, kind: Kind, elements: usize, expires: bool) {
        let by_element = matches!(kind, Kind::Hash | Kind::Set | Kind::Zset | Kind::Stream);
        let mut keys = self.lock();
        match by_element && !expires && elements > SMALL_MAX {
            true => drop(keys.put(key.clone(), kind)),
            false => drop(keys.pop(key)),
        }
    }

    /// Forgets a key: its next read is a whole one.
    pub fn forget(&self, key: &Bytes) {
        self.lock().pop(key);
    }

    /// The type of a key that may be read by element.
    pub fn kind(&self, key: &Bytes) -> Option<Kind> {
        self.lock().get(key).copied()
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Bytes, Kind>> {
        // No code panics while it holds the lock, and a poisoned cache is still a cache.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Known {
    fn default() -> Self {
        Self::new()
    }
}

/// Up to so many elements a whole read costs no more than a few single ones.
const SMALL_MAX: usize = 64;

/// A few megabytes at usual key lengths.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("it is not zero");
