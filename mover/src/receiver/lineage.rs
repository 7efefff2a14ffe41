// SPDX-License-Identifier: Apache-2.0
//! Attempts of one job: a later one ends those before it, and what they have sent is done or never will be.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The sessions of all jobs.
#[derive(Default, Debug)]
pub(super) struct Lineage {
    sessions: Mutex<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    job: u64,
    /// Its connection to the target, as that sees it.
    connection: String,
    end: watch::Sender<bool>,
}

/// A session among them, as long as it lives.
#[derive(Debug)]
pub(super) struct Place(watch::Receiver<bool>);

impl Lineage {
    /// One more.
    pub(super) fn enter(&self, job: u64, connection: String) -> Place {
        let (end, place) = watch::channel(false);
        let mut sessions = self.lock();
        sessions.push(Entry { job, connection, end });
        // What a session that has ended had sent may not be done yet, so it is remembered for long.
        if sessions.len() > KEPT_MAX
            && let Some(oldest) = sessions.iter().position(|entry| entry.end.is_closed())
        {
            sessions.remove(oldest);
        }
        Place(place)
    }

    /// Ends all sessions of other attempts at this job, which are earlier ones: one process at a time works on it. Waits until they have, and gives their connections to the target.
    pub(super) async fn end_earlier(&self, job: u64) -> Vec<String> {
        let earlier: Vec<(String, watch::Sender<bool>)> = self
            .lock()
            .iter()
            .filter(|entry| entry.job >> 32 == job >> 32 && entry.job != job)
            .map(|entry| (entry.connection.clone(), entry.end.clone()))
            .collect();
        for (_, end) in &earlier {
            end.send_replace(true);
        }
        let mut connections = Vec::with_capacity(earlier.len());
        for (connection, end) in earlier {
            end.closed().await;
            connections.push(connection);
        }
        connections
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        // Plain data: whoever panicked with it has not left it half done.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until a later attempt takes over.
    pub(super) async fn lost(&mut self) {
        // Without the other end nobody takes over any more.
        if self.0.wait_for(|end| *end).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Sessions of which is known where they were; far more than a receiver has in a minute.
const KEPT_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_later_attempt_ends_those_before_it_and_no_other_job() {
        let lineage = Arc::new(Lineage::default());
        let job = |name: u64, attempt: u64| name << 32 | attempt;
        let mut first = lineage.enter(job(1, 1), "a".to_owned());
        let mut other = lineage.enter(job(2, 1), "b".to_owned());
        assert_eq!(lineage.end_earlier(job(1, 1)).await, [""; 0], "lanes of one attempt live beside each other");
        let ending = tokio::spawn({
            let lineage = Arc::clone(&lineage);
            async move { lineage.end_earlier(job(1, 2)).await }
        });
        first.lost().await;
        assert!(!ending.is_finished(), "it waits until the session is gone");
        drop(first);
        assert_eq!(ending.await.unwrap(), ["a"]);
        assert!(tokio::time::timeout(Duration::from_millis(20), other.lost()).await.is_err());
        assert_eq!(lineage.end_earlier(job(1, 3)).await, ["a"], "the target may still be at what it had sent");
    }
}
