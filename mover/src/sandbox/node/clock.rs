// SPDX-License-Identifier: Apache-2.0
use std::sync::atomic::{AtomicU64, Ordering};

use snapshot::UnixMillis;

/// The node's clock: that of the system, unless a test has stopped it.
#[derive(Default)]
pub(super) struct Clock {
    /// The time at which it stands still; zero while it runs.
    stopped_at: AtomicU64,
}

impl Clock {
    pub(super) fn now(&self) -> UnixMillis {
        match self.stopped_at.load(Ordering::Relaxed) {
            0 => UnixMillis::now(),
            stopped => UnixMillis(stopped),
        }
    }

    /// Stops it at `time`.
    #[cfg(test)]
    pub(super) fn stop_at(&self, time: UnixMillis) {
        self.stopped_at.store(time.0, Ordering::Relaxed);
    }
}
