// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot::{Receiver, Sender, channel};

/// The clients that are served, for CLIENT LIST and CLIENT KILL.
#[derive(Default, Debug)]
pub(super) struct Clients {
    served: Mutex<BTreeMap<String, Sender<()>>>,
}

impl Clients {
    /// One more. What is given back ends when it is to be served no more.
    pub(super) fn enter(&self, address: &str) -> Receiver<()> {
        let (sender, killed) = channel();
        self.lock().insert(address.to_owned(), sender);
        killed
    }

    /// One is gone.
    pub(super) fn leave(&self, address: &str) {
        self.lock().remove(address);
    }

    /// Where they all are.
    pub(super) fn list(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Serves one no more; whether there was such a one.
    pub(super) fn kill(&self, address: &str) -> bool {
        // It leaves by itself once its command is done.
        let kill = |sender: &mut Sender<()>| std::mem::replace(sender, channel().0).send(()).is_ok();
        self.lock().get_mut(address).is_some_and(kill)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Sender<()>>> {
        // Plain data: whoever panicked with it has not left it half done.
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
