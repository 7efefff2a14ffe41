// SPDX-License-Identifier: Apache-2.0
//! Hot keys that all writers count up. The model needs no order among them: every reply is unique, and in the end the
//! value is the number of acknowledged increments.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::expected::Expected;

#[derive(Debug)]
pub(super) struct Counter {
    pub(super) key: Bytes,
    sent: AtomicI64,
    acknowledged: AtomicI64,
    /// One bit for each value told.
    told: Mutex<Vec<u64>>,
}

impl Counter {
    /// At zero, that is without a key.
    pub(super) fn new(key: Bytes) -> Self {
        Self { key, sent: AtomicI64::new(0), acknowledged: AtomicI64::new(0), told: Mutex::new(Vec::new()) }
    }

    /// Before an increment is sent.
    pub(super) fn send(&self) {
        self.sent.fetch_add(1, Ordering::SeqCst);
    }

    /// After an increment was answered with this value: what it should have been, if it cannot be right.
    pub(super) fn acknowledge(&self, value: i64) -> Result<(), Expected> {
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
        let sent = self.sent.load(Ordering::SeqCst);
        let possible = Expected::Untold(sent);
        let Some(bit) = usize::try_from(value - 1).ok().filter(|_| value <= sent) else {
            return Err(possible);
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() <= bit / 64 {
            told.resize(bit / 64 + 1, 0);
        }
        let word = &mut told[bit / 64];
        let mask = 1 << (bit % 64);
        let new = *word & mask == 0;
        *word |= mask;
        match new {
            true => Ok(()),
            false => Err(possible),
        }
    }

    /// The least value it can have now.
    pub(super) fn least(&self) -> i64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// The greatest value it can have now: with all increments that were sent and not answered.
    pub(super) fn greatest(&self) -> i64 {
        self.sent.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_told_once() {
        let counter = Counter::new(Bytes::from("c"));
        for _ in 0..3 {
            counter.send();
        }
        assert_eq!(counter.acknowledge(2), Ok(()));
        assert_eq!(counter.acknowledge(1), Ok(()));
        assert_eq!(counter.acknowledge(2), Err(Expected::Untold(3)));
        assert_eq!(counter.acknowledge(4), Err(Expected::Untold(3)));
        assert_eq!(counter.acknowledge(0), Err(Expected::Untold(3)));
    }
}
