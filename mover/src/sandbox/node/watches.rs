// SPDX-License-Identifier: Apache-2.0
//! Which sessions watch which keys.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// The watched keys of all sessions.
#[derive(Default)]
pub(super) struct Watches {
    /// How many there are, so that nobody takes the lock when there are none.
    count: AtomicUsize,
    keys: Mutex<HashMap<Bytes, Vec<Arc<AtomicBool>>>>,
}

/// What one session watches, until it is dropped.
pub(super) struct Watched {
    touched: Arc<AtomicBool>,
    keys: Vec<Bytes>,
}

impl Watched {
    pub(super) fn new() -> Self {
        Self { touched: Arc::new(AtomicBool::new(false)), keys: Vec::new() }
    }

    /// Whether anybody has written to one of the keys, or tried to.
    pub(super) fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Acquire)
    }
}

impl Watches {
    /// Adds keys to those that a session watches.
    pub(super) fn add(&self, watched: &mut Watched, keys: &[Bytes]) {
        let mut all = self.lock();
        for key in keys {
            // A slice of the request would keep all of it in memory.
            let key = Bytes::copy_from_slice(key);
            all.entry(key.clone()).or_default().push(watched.touched.clone());
            watched.keys.push(key);
        }
        self.count.store(all.len(), Ordering::Release);
    }

    /// Ends a session's watch.
    pub(super) fn remove(&self, watched: &Watched) {
        if watched.keys.is_empty() {
            return;
        }
        let mut all = self.lock();
        for key in &watched.keys {
            if let Some(sessions) = all.get_mut(key) {
                sessions.retain(|session| !Arc::ptr_eq(session, &watched.touched));
                if sessions.is_empty() {
                    all.remove(key);
                }
            }
        }
        self.count.store(all.len(), Ordering::Release);
    }

    /// Tells those who watch one of these keys that it is written to.
    pub(super) fn touch(&self, keys: &[&Bytes]) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let all = self.lock();
        let sessions = keys.iter().filter_map(|key| all.get(*key)).flatten();
        sessions.for_each(|session| session.store(true, Ordering::Release));
    }

    /// Tells everyone who watches anything.
    pub(super) fn touch_all(&self) {
        self.lock().values().flatten().for_each(|session| session.store(true, Ordering::Release));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, Vec<Arc<AtomicBool>>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
