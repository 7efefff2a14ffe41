// SPDX-License-Identifier: Apache-2.0
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lru::LruCache;
use replication::{Extent, ListStep};
use snapshot::Kind;

/// Keys of which changes need not be read whole.
///
/// A key may stand here only while it had no expiry at its last whole read: one with an expiry may go and come back
/// between two reads while the log shows only the element that came back, and the old elements would survive. What
/// falls out of the memory is read whole, so its bound costs time, never correctness. It is of one process: whoever goes
/// on after a loss begins with an empty one.
#[derive(Debug)]
pub struct Known {
    memory: Mutex<Memory>,
    whole_reads: AtomicU64,
}

#[derive(Debug)]
struct Memory {
    /// Collections that may be read by element.
    big: LruCache<Bytes, Big>,
    /// Lists of which the target has exactly the state of a place in the log, all steps behind it still to come. Those
    /// that are gone since stay: a list without elements is no list.
    lists: LruCache<Bytes, Exact>,
}

#[derive(Debug)]
struct Big {
    kind: Kind,
    /// About how many it has.
    elements: usize,
    /// Whether a stream, when it is trimmed, loses its first entries and no others: a Pika 4.0 that has lost the newest entry
    /// by XDEL takes another one for the first.
    knows_first_entry: bool,
}

/// How a list came to be exact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Exact {
    /// Its next step may be done, whatever it is.
    Certainly,
    /// It is as in the checkpoint, but for the pop of a client that had waited: Pika does it without the lock that a
    /// checkpoint takes, so it may be in the checkpoint and its entry behind.
    ButForAServedPop,
}

impl Known {
    /// An empty memory.
    pub fn new() -> Self {
        let memory = Memory { big: LruCache::new(CAPACITY), lists: LruCache::new(CAPACITY) };
        Self { memory: Mutex::new(memory), whole_reads: AtomicU64::new(0) }
    }

    /// Remembers a key of `elements` elements after a whole read, if reading it by element is allowed and worth it. A list
    /// that was read live is of no known place in the log.
    pub fn learn(&self, key: &Bytes, kind: Kind, elements: usize, expires: bool) {
        if elements > SMALL_MAX {
            self.whole_reads.fetch_add(1, Ordering::Relaxed);
        }
        let mut memory = self.lock();
        memory.lists.pop(key);
        memory.learn(key, kind, elements, expires);
    }

    /// Remembers a key as the checkpoint has it, which is its state at the checkpoint's place in the log.
    pub fn learn_copied(&self, key: &Bytes, kind: Kind, elements: usize, expires: bool) {
        let is_exact = kind == Kind::List && !expires && key.len() <= KEY_MAX;
        if !is_exact && elements <= SMALL_MAX {
            // It comes here once, so there is nothing to forget.
            return;
        }
        let mut memory = self.lock();
        match is_exact {
            // A client that waits finds an empty list, so a pop is in doubt only while little has been pushed since. The
            // comparison of both sides, which comes before any switch, would show it if so much had been.
            true if elements > SERVED_MAX => drop(memory.lists.put(key.clone(), Exact::Certainly)),
            true => drop(memory.lists.put(key.clone(), Exact::ButForAServedPop)),
            false => memory.learn(key, kind, elements, expires),
        }
    }

    /// Remembers a list that is at the target as it was at a place in the log, and has no expiry.
    pub fn learn_exact(&self, list: &Bytes) {
        if list.len() <= KEY_MAX {
            self.lock().lists.put(list.clone(), Exact::Certainly);
        }
    }

    /// Whether the target's list becomes the source's by doing the steps that begin with this one.
    pub fn may_step(&self, list: &Bytes, first: &ListStep) -> bool {
        let mut memory = self.lock();
        let Some(exact) = memory.lists.get_mut(list) else { return false };
        let is_served = matches!(first, ListStep::Pop { may_be_served: true, .. });
        !(is_served && *exact == Exact::ButForAServedPop) && {
            // Nothing comes between a pop that was served and its entry.
            *exact = Exact::Certainly;
            true
        }
    }

    /// Whether the target has exactly a state of this list.
    pub fn is_exact(&self, list: &Bytes) -> bool {
        self.lock().lists.contains(list)
    }

    /// Forgets a key: its next read is a whole one.
    pub fn forget(&self, key: &Bytes) {
        let mut memory = self.lock();
        memory.big.pop(key);
        memory.lists.pop(key);
    }

    /// Forgets all lists: the source was flushed, and a flush is not logged where it happened.
    pub fn forget_lists(&self) {
        self.lock().lists.clear();
    }

    /// The type of a key of which so many elements may be read instead of all.
    pub fn kind(&self, key: &Bytes, elements: usize) -> Option<Kind> {
        let mut memory = self.lock();
        let big = memory.big.get(key)?;
        (elements <= ELEMENTS_ALWAYS || elements <= big.elements / 4).then_some(big.kind)
    }

    /// Remembers that a stream, which was just read whole, takes its first entry for the first.
    pub fn learn_first_entry(&self, stream: &Bytes) {
        self.set_first_entry(stream, true);
    }

    /// Remembers that entries of a stream were deleted by their ids: until it is read whole again, nobody knows from where it
    /// is trimmed.
    pub fn doubt_first_entry(&self, stream: &Bytes) {
        self.set_first_entry(stream, false);
    }

    /// Whether all that is trimmed from this stream are its first entries.
    pub fn knows_first_entry(&self, stream: &Bytes) -> bool {
        self.lock().big.get(stream).is_some_and(|big| big.knows_first_entry)
    }

    fn set_first_entry(&self, stream: &Bytes, is_known: bool) {
        if let Some(big) = self.lock().big.get_mut(stream) {
            big.knows_first_entry = is_known;
        }
    }

    /// Whether whoever reads so much of this key asks the target as well, which must have all that was sent before then.
    pub fn needs_target(&self, key: &Bytes, extent: &Extent) -> bool {
        match extent {
            Extent::Cut { cut, .. } if cut.is_open() => true,
            Extent::Elements(elements) | Extent::Cut { elements, .. } => {
                self.kind(key, elements.len()) == Some(Kind::Stream)
            }
            Extent::Whole | Extent::Value { .. } | Extent::Steps(_) => false,
        }
    }

    /// How many big collections had to be read whole.
    pub fn whole_reads(&self) -> u64 {
        self.whole_reads.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // No code panics while it holds the lock, and a poisoned cache is still a cache.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn learn(&mut self, key: &Bytes, kind: Kind, elements: usize, expires: bool) {
        let by_element = matches!(kind, Kind::Hash | Kind::Set | Kind::Zset | Kind::Stream);
        match by_element && !expires && elements > SMALL_MAX && key.len() <= KEY_MAX {
            true => drop(self.big.put(key.clone(), Big { kind, elements, knows_first_entry: false })),
            false => drop(self.big.pop(key)),
        }
    }
}

impl Default for Known {
    fn default() -> Self {
        Self::new()
    }
}

/// Up to so many elements a whole read costs no more than a few single ones.
const SMALL_MAX: usize = 64;

/// So many elements are read one by one however big the key is.
const ELEMENTS_ALWAYS: usize = 512;

/// More elements than are pushed onto a list while a client that waits for the first one is being served.
const SERVED_MAX: usize = 4096;

/// Of each sort. A few megabytes at usual key lengths.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("it is not zero");

/// Longer names are not remembered: with this many bytes each, both sorts together hold 64 MB.
const KEY_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use replication::ListEnd;

    use super::*;

    fn pop(may_be_served: bool) -> ListStep {
        ListStep::Pop { end: ListEnd::Head, count: 1, may_be_served }
    }

    #[test]
    fn only_a_list_of_a_known_place_may_be_stepped_on() {
        let (known, key) = (Known::new(), Bytes::from("l"));
        assert!(!known.may_step(&key, &pop(false)));
        known.learn_copied(&key, Kind::List, 10, true);
        assert!(!known.may_step(&key, &pop(false)), "it expires");
        known.learn_copied(&key, Kind::List, 10, false);
        assert!(known.may_step(&key, &pop(false)));
        known.learn(&key, Kind::List, 10, false);
        assert!(!known.may_step(&key, &pop(false)), "it was read live");
        known.learn_exact(&key);
        assert!(known.may_step(&key, &pop(true)));
        known.forget_lists();
        assert!(!known.may_step(&key, &pop(false)));
    }

    #[test]
    fn a_pop_that_may_be_in_the_checkpoint_is_in_doubt_only_as_the_first_step() {
        let (known, key) = (Known::new(), Bytes::from("l"));
        known.learn_copied(&key, Kind::List, 10, false);
        assert!(!known.may_step(&key, &pop(true)));
        assert!(known.may_step(&key, &pop(false)));
        assert!(known.may_step(&key, &pop(true)));
        known.learn_copied(&key, Kind::List, usize::MAX, false);
        assert!(known.may_step(&key, &pop(true)));
    }

    #[test]
    fn many_elements_of_a_bigger_key_are_still_elements() {
        let (known, key) = (Known::new(), Bytes::from("h"));
        known.learn(&key, Kind::Hash, 1000, false);
        assert_eq!((known.kind(&key, 512), known.kind(&key, 513)), (Some(Kind::Hash), None));
        known.learn(&key, Kind::Hash, 4000, false);
        assert_eq!((known.kind(&key, 1000), known.kind(&key, 1001)), (Some(Kind::Hash), None));
        assert_eq!(known.whole_reads(), 2);
    }
}
