// SPDX-License-Identifier: Apache-2.0
//! Record locks: one writer per key at a time.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Locks shared by all keys of a node. Two keys may share one; nobody waits for a lock for longer than a command takes.
pub(super) struct RecordLocks {
    hasher: RandomState,
    stripes: Vec<Mutex<()>>,
}

impl RecordLocks {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), stripes: (0..STRIPES).map(|_| Mutex::new(())).collect() }
    }

    /// Locks all these keys, in an order that two callers can never take against each other.
    pub(super) fn lock(&self, keys: &[&Bytes]) -> Vec<MutexGuard<'_, ()>> {
        let mut stripes: Vec<usize> = keys.iter().map(|key| self.stripe(key)).collect();
        stripes.sort_unstable();
        stripes.dedup();
        // The lock guards no data of its own, so one that a panic poisoned is as good as any other.
        stripes.into_iter().map(|stripe| self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    fn stripe(&self, key: &[u8]) -> usize {
        self.hasher.hash_one(key) as usize % STRIPES
    }
}

const STRIPES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_named_twice_is_locked_once() {
        let locks = RecordLocks::new();
        let key = Bytes::from("a");
        assert_eq!(locks.lock(&[&key, &key]).len(), 1);
        assert_eq!(locks.lock(&[]).len(), 0);
    }
}
