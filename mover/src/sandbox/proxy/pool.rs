// SPDX-License-Identifier: Apache-2.0
//! The nodes that a proxy has connections to: those that some slot is served by, and no others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::task::JoinSet;

use super::backend::{Backend, Node};
use crate::sandbox::pulse::Pulse;

/// The backends by their address. It does not keep them: whoever routes to one does.
#[derive(Debug)]
pub(super) struct Pool {
    pulse: Arc<Pulse>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    backends: HashMap<Arc<str>, Weak<Backend>>,
    lanes: JoinSet<()>,
}

impl Pool {
    /// Without any.
    pub(super) fn new(pulse: Arc<Pulse>) -> Self {
        Self { pulse, state: Mutex::default() }
    }

    /// The backend at this address, a new one where nobody routes there yet.
    pub(super) fn join(&self, node: &Node) -> Arc<Backend> {
        let mut state = self.lock();
        if let Some(backend) = state.backends.get(&node.addr).and_then(Weak::upgrade) {
            return backend;
        }
        // The connections of backends that nobody used any more.
        while state.lanes.try_join_next().is_some() {}
        state.backends.retain(|_, backend| backend.strong_count() > 0);
        let backend = Backend::start(node, &self.pulse, &mut state.lanes);
        state.backends.insert(Arc::clone(&node.addr), Arc::downgrade(&backend));
        backend
    }

    /// The backend at this address, if any slot is served from there.
    pub(super) fn find(&self, addr: &str) -> Option<Arc<Backend>> {
        self.lock().backends.get(addr).and_then(Weak::upgrade)
    }

    /// Ends every connection and forgets what is on its way.
    pub(super) async fn stop(&self) {
        let mut lanes = std::mem::take(&mut self.lock().lanes);
        lanes.shutdown().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
