// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where the clients are that are served, for CLIENT LIST.
#[derive(Default, Debug)]
pub(super) struct Clients {
    served: Mutex<BTreeSet<String>>,
}

impl Clients {
    /// One more.
    pub(super) fn enter(&self, address: &str) {
        self.lock().insert(address.to_owned());
    }

    /// One is gone.
    pub(super) fn leave(&self, address: &str) {
        self.lock().remove(address);
    }

    /// All of them.
    pub(super) fn list(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // Plain data: whoever panicked with it has not left it half done.
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
