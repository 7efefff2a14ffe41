// SPDX-License-Identifier: Apache-2.0
//! A process of the sandbox that stands still, as after SIGSTOP: the system still takes its connections and its bytes, but
//! nothing is done with them until it goes on.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Whether a process of the sandbox goes on. Its parts ask at each step that someone else could see.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    halted: AtomicBool,
    woken: Notify,
}

impl Pulse {
    /// Lets every part stand still at its next step.
    pub(crate) fn halt(&self) {
        self.halted.store(true, Ordering::SeqCst);
    }

    /// Lets every part go on where it stands.
    pub(crate) fn wake(&self) {
        self.halted.store(false, Ordering::SeqCst);
        self.woken.notify_waiters();
    }

    /// Returns when the process goes on, most often at once.
    pub(crate) async fn beat(&self) {
        while self.is_halted() {
            // Made before the second look, so that no wake-up between look and wait is missed.
            let woken = self.woken.notified();
            if self.is_halted() {
                woken.await;
            }
        }
    }

    fn is_halted(&self) -> bool {
        self.halted.load(Ordering::SeqCst)
    }
}
