// SPDX-License-Identifier: Apache-2.0

/// What an element weighs, about, as far as has been seen: no question of a server tells it beforehand.
///
/// It rises at once and falls slowly, and begins high. So a reader's memory can be taken by surprise only where small
/// elements are followed by huge ones, and then only once: by as many as are read at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    element: usize,
}

impl Estimate {
    pub(super) fn new() -> Self {
        Self { element: FIRST_SIZE }
    }

    /// What so many elements weigh.
    pub(super) fn weight(&self, elements: usize) -> usize {
        elements.saturating_mul(self.element)
    }

    /// How many elements are no more than `size`, one at least.
    pub(super) fn elements(&self, size: usize) -> usize {
        (size / self.element).max(1)
    }

    /// Learns that so many elements weighed so much.
    pub(super) fn learn(&mut self, elements: usize, size: usize) {
        if elements == 0 {
            return;
        }
        let seen = size / elements + ELEMENT_OVERHEAD;
        self.element = match seen > self.element {
            true => seen,
            false => self.element - (self.element - seen) / 2,
        };
    }
}

/// Before anything has been seen.
const FIRST_SIZE: usize = 4 << 10;

/// What an element takes in memory beside its bytes.
const ELEMENT_OVERHEAD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_at_once_and_falls_slowly() {
        let mut estimate = Estimate::new();
        assert_eq!(estimate.elements(1 << 20), 256);
        estimate.learn(1, 1 << 20);
        assert_eq!(estimate.elements(1 << 20), 1);
        assert!(estimate.weight(2) > 2 << 20);
        for _ in 0..30 {
            estimate.learn(10, 1000);
        }
        assert!(estimate.elements(1 << 20) > 5000, "{estimate:?}");
    }
}
