// SPDX-License-Identifier: Apache-2.0
//! Whoever wants to do something at an exact step of a request: restart a proxy, kill a process, lose an answer.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::BoxFuture;

/// Which server a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The dashboard.
    Dashboard,
    /// A proxy, by its index.
    Proxy(usize),
}

/// Where a request is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// It has been read and nothing else.
    Before,
    /// All that it asks for is done, and it has not been answered.
    After,
}

/// A request at a step of its way.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// Which server it is for.
    pub place: Place,
    /// `GET` or `PUT`.
    pub method: String,
    /// As it was sent, the digest in it.
    pub path: String,
    /// As it was sent.
    pub body: Bytes,
    /// The step.
    pub moment: Moment,
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// It goes on.
    Continue,
    /// It ends here, unhandled or unanswered, and its connection is closed.
    DropConnection,
}

type Callback = Arc<dyn Fn(Event) -> BoxFuture<'static, Action> + Send + Sync>;

/// Where the callback of a cluster is kept.
#[derive(Default)]
pub(super) struct Interceptor {
    callback: Mutex<Option<Callback>>,
}

impl Interceptor {
    /// From now on each request is shown to this one, or to nobody.
    pub(super) fn set(&self, callback: Option<Callback>) {
        *self.callback.lock().unwrap_or_else(PoisonError::into_inner) = callback;
    }

    /// What is to become of a request. The callback runs as a task of its own: it may kill the process that asks.
    pub(super) async fn ask(&self, event: impl FnOnce() -> Event) -> Action {
        let callback = self.callback.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(callback) = callback else { return Action::Continue };
        match tokio::spawn(callback(event())).await {
            Ok(action) => action,
            Err(error) => {
                tracing::error!(%error, "the interceptor failed");
                Action::Continue
            }
        }
    }
}

impl fmt::Debug for Interceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interceptor").finish_non_exhaustive()
    }
}
