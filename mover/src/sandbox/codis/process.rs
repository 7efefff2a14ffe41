// SPDX-License-Identifier: Apache-2.0
//! One process of the cluster, as far as it can be killed and stopped: its tasks, its pulse and its end.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::sandbox::pulse::Pulse;

/// A process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    /// Its number, another one for each process of the sandbox.
    pub(super) pid: i64,
    /// When it was started, in the form that Go prints.
    pub(super) start_time: String,
    pulse: Arc<Pulse>,
    tasks: Mutex<JoinSet<()>>,
    ended: watch::Sender<bool>,
}

impl Process {
    /// One that runs, without tasks.
    pub(super) fn start() -> Arc<Self> {
        static STARTED: AtomicI64 = AtomicI64::new(0);
        let pid = i64::from(std::process::id()) + STARTED.fetch_add(1, Ordering::Relaxed);
        let (pulse, tasks, ended) = (Arc::default(), Mutex::default(), watch::Sender::new(false));
        Arc::new(Self { pid, start_time: go_time(), pulse, tasks, ended })
    }

    /// Runs a task until the process ends; nothing in a process that has.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.lock();
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the sandbox's Codis failed");
            }
        }
        if !self.has_ended() {
            tasks.spawn(task);
        }
    }

    /// Whether it goes on or stands still.
    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Whether it was killed.
    pub(super) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Returns when the process ends.
    pub(super) fn end(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut ended = self.ended.subscribe();
        async move {
            // An error says that the process itself is gone.
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }

    /// Ends every task where it stands. It must not be called from one of them.
    pub(super) async fn kill(&self) {
        self.ended.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.lock());
        tasks.shutdown().await;
    }

    /// The same without waiting.
    pub(super) fn abandon(&self) {
        self.ended.send_replace(true);
        drop(std::mem::take(&mut *self.lock()));
    }

    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.ended.send_replace(true);
    }
}

/// The seconds of the Unix clock.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// As `2026-11-22 06:30:23.186567711 +0000 UTC m=+0.004452086`.
fn go_time() -> String {
    let now = humantime::format_rfc3339_nanos(SystemTime::now()).to_string();
    format!("{} +0000 UTC m=+0.004452086", now.replace('T', " ").trim_end_matches('Z'))
}
