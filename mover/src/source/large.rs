// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Large strings, which travel whole, are read one at a time by all readers that share this: a few of them at once would be
/// all the memory there is.
#[derive(Clone, Debug)]
pub struct LargeStrings {
    turn: Arc<Semaphore>,
}

/// Leave to read one. The string is somebody else's to account for once this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl LargeStrings {
    /// Nobody may read one yet.
    pub fn later() -> Self {
        Self { turn: Arc::new(Semaphore::new(0)) }
    }

    /// From now on they may be read. To be said once.
    pub fn now(&self) {
        self.turn.add_permits(1);
    }

    /// A turn, if nobody else has it.
    pub(super) fn turn(&self) -> Option<Turn> {
        let permit = Arc::clone(&self.turn).try_acquire_owned().ok()?;
        Some(Turn { _permit: permit })
    }
}

/// What counts as large: as much as the usual reads of all readers take together.
pub(super) const LARGE_MIN: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_its_turn_and_the_others_come_later() {
        let strings = LargeStrings::later();
        let other = strings.clone();
        assert!(strings.turn().is_none());
        other.now();
        let turn = strings.turn();
        assert!(turn.is_some() && other.turn().is_none());
        drop(turn);
        assert!(other.turn().is_some());
    }
}
