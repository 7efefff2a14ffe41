// SPDX-License-Identifier: Apache-2.0
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use replication::SlotCount;

/// How far the copy has come, so that the log can be followed at the same time.
///
/// A change of a key that the copy has passed may go to the target: the copy's older value is in the key's lane before it.
/// A change of a key that is still to come must wait, or the copy would put the older value over the newer one.
#[derive(Debug)]
pub(super) struct Reach {
    instances: Vec<Mutex<Place>>,
    slot_count: SlotCount,
}

/// Where the scan of one instance is: it takes the keys in their order.
#[derive(Debug)]
enum Place {
    Start,
    /// Every key up to this one has been handed to the line.
    UpTo(Bytes),
    End,
}

impl Reach {
    pub(super) fn new(instances: usize, slot_count: SlotCount) -> Self {
        Self { instances: (0..instances).map(|_| Mutex::new(Place::Start)).collect(), slot_count }
    }

    /// Every key of the instance up to `key` has been handed to the line: not only pushed, but flushed.
    pub(super) fn passed(&self, instance: usize, key: &Bytes) {
        // A copy: a slice would keep the chunk that it was read in.
        *self.place(instance) = Place::UpTo(Bytes::copy_from_slice(key));
    }

    /// All keys of the instance have been.
    pub(super) fn ended(&self, instance: usize) {
        *self.place(instance) = Place::End;
    }

    /// Whether the copy has nothing more to say about `key`.
    pub(super) fn has_passed(&self, key: &[u8]) -> bool {
        let instance = self.slot_count.slot_of(key).instance(self.instances.len());
        match &*self.place(instance) {
            Place::Start => false,
            Place::UpTo(last) => key <= &last[..],
            Place::End => true,
        }
    }

    /// Whether the copy has nothing more to say at all.
    pub(super) fn is_over(&self) -> bool {
        (0..self.instances.len()).all(|instance| matches!(*self.place(instance), Place::End))
    }

    fn place(&self, instance: usize) -> MutexGuard<'_, Place> {
        // Plain data: whoever panicked with it has not left it half done.
        self.instances[instance].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_passed_in_its_own_instance() {
        let reach = Reach::new(2, SlotCount::CODIS);
        let instance = |key: &str| SlotCount::CODIS.slot_of(key.as_bytes()).instance(2);
        let keys: Vec<String> = (0..100).map(|number| format!("{number:02}")).collect();
        assert!(keys.iter().all(|key| !reach.has_passed(key.as_bytes())));
        reach.passed(0, &"50".into());
        for key in &keys {
            assert_eq!(reach.has_passed(key.as_bytes()), instance(key) == 0 && &key[..] <= "50", "{key}");
        }
        reach.ended(1);
        assert!(!reach.is_over());
        assert!(keys.iter().all(|key| instance(key) == 0 || reach.has_passed(key.as_bytes())));
        reach.ended(0);
        assert!(reach.is_over());
    }
}
