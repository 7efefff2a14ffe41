// SPDX-License-Identifier: Apache-2.0
//! Which keys two sides have, in a memory that does not grow with them.
//!
//! Each key falls into one of many cells by its hash. A cell holds the sum of the hashes of the keys that one side has, less
//! that of the keys of the other: where it is zero both have the same ones, and elsewhere the few keys of that cell must be
//! asked about. With 64 bits two different sets look alike once in 10^19 cells.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// The keys of two sides. Any thread may add to it.
#[derive(Debug)]
pub(super) struct Census {
    cells: Box<[AtomicU64]>,
}

impl Census {
    /// One for about so many keys in so many bytes at most.
    pub(super) fn new(keys: u64, memory: usize) -> Self {
        let most = (memory / size_of::<AtomicU64>()).max(CELLS_MIN);
        let cells = usize::try_from(keys).unwrap_or(usize::MAX).clamp(CELLS_MIN, most);
        Self { cells: (0..cells).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The source has this key.
    pub(super) fn source_has(&self, key: KeyHash) {
        // Sums alone are read, and only after whoever added to them has ended.
        self.cell(key).fetch_add(key.0, Ordering::Relaxed);
    }

    /// The target has this key.
    pub(super) fn target_has(&self, key: KeyHash) {
        self.cell(key).fetch_sub(key.0, Ordering::Relaxed);
    }

    /// Whether both sides have the same keys.
    pub(super) fn is_even(&self) -> bool {
        self.cells.iter().all(|cell| cell.load(Ordering::Relaxed) == 0)
    }

    /// Whether both sides have the same keys where this one belongs.
    pub(super) fn is_even_at(&self, key: KeyHash) -> bool {
        self.cell(key).load(Ordering::Relaxed) == 0
    }

    fn cell(&self, key: KeyHash) -> &AtomicU64 {
        let index = (u128::from(key.0) * self.cells.len() as u128) >> u64::BITS;
        &self.cells[index as usize]
    }
}

/// The hash of a key's name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct KeyHash(u64);

impl KeyHash {
    pub(super) fn of(key: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// Whether it lies in a part of all hashes that is as large as `part` beside `whole`.
    pub(super) fn is_within(self, part: u64, whole: u64) -> bool {
        // By other bits than those that choose the cell.
        let share = u128::from(self.0.reverse_bits()) * u128::from(whole);
        share >> u64::BITS < u128::from(part)
    }
}

/// Fewer would save nothing.
const CELLS_MIN: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u32) -> KeyHash {
        KeyHash::of(format!("key:{number}").as_bytes())
    }

    #[test]
    fn what_one_side_has_is_seen_where_it_belongs() {
        let census = Census::new(5000, 1 << 20);
        (0..5000).for_each(|number| census.source_has(hash(number)));
        (0..5000).rev().for_each(|number| census.target_has(hash(number)));
        assert!(census.is_even());
        census.target_has(hash(5000));
        census.source_has(hash(5001));
        assert!(!census.is_even() && !census.is_even_at(hash(5000)) && !census.is_even_at(hash(5001)));
        let others = (0..5000).filter(|number| !census.is_even_at(hash(*number))).count();
        assert!(others < 20, "{others}");
    }

    #[test]
    fn memory_bounds_the_cells() {
        assert_eq!(Census::new(u64::MAX, 1 << 20).cells.len(), 1 << 17);
        assert_eq!(Census::new(0, 0).cells.len(), CELLS_MIN);
    }

    #[test]
    fn a_part_of_all_hashes_is_an_even_sample() {
        let chosen = (0..100_000).filter(|number| hash(*number).is_within(1000, 100_000)).count();
        assert!((800..1200).contains(&chosen), "{chosen}");
        assert!((0..1000).all(|number| hash(number).is_within(7, 7)));
    }
}
