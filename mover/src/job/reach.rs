// SPDX-License-Identifier: Apache-2.0
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use replication::SlotCount;

use crate::job::journal::{At, Place};
use crate::record::Key;

/// How far the copy has come, so that the log can be followed at the same time.
///
/// A change of a key that the copy has passed may go to the target: the copy's older value is in the key's lane before it.
/// A change of a key that is still to come must wait, or the copy would put the older value over the newer one.
#[derive(Debug)]
pub(super) struct Reach {
    /// Where the scan of each instance is: it takes the keys in their order. What is behind has been handed to the line.
    instances: Vec<Mutex<Place>>,
    slot_count: SlotCount,
    /// Keys behind it that lived when the checkpoint was complete, also those that have expired since.
    lived: AtomicU64,
}

impl Reach {
    /// A copy that has come to these places, one for each instance.
    pub(super) fn at(places: Vec<Place>, slot_count: SlotCount) -> Self {
        Self { instances: places.into_iter().map(Mutex::new).collect(), slot_count, lived: AtomicU64::new(0) }
    }

    /// A copy that is to begin.
    pub(super) fn start(instances: usize, slot_count: SlotCount) -> Self {
        Self::at(vec![Place::default(); instances], slot_count)
    }

    /// Every key of the instance up to this place has been handed to the line: not only pushed, but flushed. So many keys
    /// and bytes came since the last place.
    pub(super) fn passed(&self, instance: usize, at: At, keys: u64, bytes: u64) {
        let mut place = self.place(instance);
        *place = Place { at, keys: place.keys + keys, bytes: place.bytes + bytes };
    }

    /// Adds keys behind it that lived when the checkpoint was complete.
    pub(super) fn add_lived(&self, keys: u64) {
        self.lived.fetch_add(keys, Ordering::Relaxed);
    }

    /// How many keys that this copy has passed lived when the checkpoint was complete.
    pub(super) fn lived(&self) -> u64 {
        self.lived.load(Ordering::Relaxed)
    }

    /// Where each instance is.
    pub(super) fn places(&self) -> Vec<Place> {
        (0..self.instances.len()).map(|instance| self.place(instance).clone()).collect()
    }

    /// Whether the copy has nothing more to say about `key`.
    pub(super) fn has_passed(&self, key: &[u8]) -> bool {
        let instance = self.slot_count.slot_of(key).instance(self.instances.len());
        match &self.place(instance).at {
            At::Start => false,
            At::Key(Key(last)) => key <= &last[..],
            At::End => true,
        }
    }

    fn place(&self, instance: usize) -> MutexGuard<'_, Place> {
        // Plain data: whoever panicked with it has not left it half done.
        self.instances[instance].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key as a place. It is copied: a slice would keep the chunk that it was read in.
pub(super) fn at(key: &Bytes) -> At {
    At::Key(Key(Bytes::copy_from_slice(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_passed_in_its_own_instance() {
        let reach = Reach::start(2, SlotCount::CODIS);
        let instance = |key: &str| SlotCount::CODIS.slot_of(key.as_bytes()).instance(2);
        let keys: Vec<String> = (0..100).map(|number| format!("{number:02}")).collect();
        assert!(keys.iter().all(|key| !reach.has_passed(key.as_bytes())));
        reach.passed(0, at(&"50".into()), 51, 510);
        for key in &keys {
            assert_eq!(reach.has_passed(key.as_bytes()), instance(key) == 0 && &key[..] <= "50", "{key}");
        }
        reach.passed(1, At::End, 7, 70);
        assert!(keys.iter().all(|key| instance(key) == 0 || reach.has_passed(key.as_bytes())));
        reach.passed(0, At::End, 49, 490);
        assert_eq!(reach.places()[0], Place { at: At::End, keys: 100, bytes: 1000 });
    }
}
