// SPDX-License-Identifier: Apache-2.0
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::batch::KeyCounts;
use crate::{Error, Result};

/// How far each lane has come: the target has answered everything up to here.
#[derive(Debug)]
pub struct Watermark {
    lanes: Vec<Lane>,
    keys_sent: AtomicU64,
    keys: AtomicU64,
    bytes: AtomicU64,
    created: AtomicU64,
    deleted: AtomicU64,
    unclear: AtomicU64,
    moved: Notify,
}

#[derive(Default, Debug)]
struct Lane {
    sent: AtomicU64,
    landed: AtomicU64,
    ended: AtomicU64,
}

/// A point in the line: all batches that were sent before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark(Vec<u64>);

/// What has landed so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Landed {
    /// Keys whose last piece has been answered.
    pub keys: u64,
    /// Bytes of user data in them.
    pub bytes: u64,
    /// What the batches that are counted have done to the number of keys.
    pub counts: KeyCounts,
}

impl Watermark {
    pub(super) fn new(lanes: usize) -> Self {
        let lanes = (0..lanes).map(|_| Lane::default()).collect();
        let zero = || AtomicU64::new(0);
        Self {
            lanes,
            keys_sent: zero(),
            keys: zero(),
            bytes: zero(),
            created: zero(),
            deleted: zero(),
            unclear: zero(),
            moved: Notify::new(),
        }
    }

    /// Everything that whoever calls this has sent up to now.
    pub fn mark(&self) -> Mark {
        Mark(self.lanes.iter().map(|lane| lane.sent.load(Ordering::Acquire)).collect())
    }

    /// Waits until the target has answered everything before `mark`.
    ///
    /// # Errors
    /// [`Error::LineStopped`] when a lane has ended before it got there.
    pub async fn reached(&self, mark: &Mark) -> Result<()> {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // Registered before the look, so that no landing between look and wait is missed.
            moved.as_mut().enable();
            match self.stands(mark) {
                Some(true) => return Ok(()),
                Some(false) => moved.await,
                None => return Err(Error::LineStopped),
            }
        }
    }

    /// Whether the target has answered everything before `mark`.
    pub fn has_reached(&self, mark: &Mark) -> bool {
        self.stands(mark) == Some(true)
    }

    /// What has landed so far.
    pub fn landed(&self) -> Landed {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let counts =
            KeyCounts { created: read(&self.created), deleted: read(&self.deleted), unclear: read(&self.unclear) };
        Landed { keys: read(&self.keys), bytes: read(&self.bytes), counts }
    }

    /// Keys that were sent so far.
    pub fn keys_sent(&self) -> u64 {
        self.keys_sent.load(Ordering::Relaxed)
    }

    /// A batch that completes so many keys is sent.
    pub(super) fn sent(&self, lane: usize, keys: u64) {
        self.keys_sent.fetch_add(keys, Ordering::Relaxed);
        self.lanes[lane].sent.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn advance(&self, lane: usize, keys: u64, bytes: u64, counts: KeyCounts) {
        self.keys.fetch_add(keys, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.created.fetch_add(counts.created, Ordering::Relaxed);
        self.deleted.fetch_add(counts.deleted, Ordering::Relaxed);
        self.unclear.fetch_add(counts.unclear, Ordering::Relaxed);
        self.lanes[lane].landed.fetch_add(1, Ordering::AcqRel);
        self.moved.notify_waiters();
    }

    /// Counts keys that were deleted at the target past the line.
    pub fn count_deleted(&self, keys: u64) {
        self.deleted.fetch_add(keys, Ordering::Relaxed);
    }

    pub(super) fn end(&self, lane: usize) {
        self.lanes[lane].ended.store(1, Ordering::Release);
        self.moved.notify_waiters();
    }

    /// Whether the mark is reached; `None` when it never will be.
    fn stands(&self, mark: &Mark) -> Option<bool> {
        let mut reached = true;
        for (lane, sent) in self.lanes.iter().zip(&mark.0) {
            let ended = lane.ended.load(Ordering::Acquire) == 1;
            if lane.landed.load(Ordering::Acquire) < *sent {
                if ended {
                    return None;
                }
                reached = false;
            }
        }
        Some(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_mark_is_reached_when_every_lane_has_passed_it() {
        let watermark = Arc::new(Watermark::new(2));
        watermark.sent(0, 1);
        watermark.sent(1, 2);
        let mark = watermark.mark();
        let waiting = tokio::spawn({
            let (watermark, mark) = (Arc::clone(&watermark), mark.clone());
            async move { watermark.reached(&mark).await }
        });
        let counts = KeyCounts { created: 1, ..KeyCounts::default() };
        watermark.advance(0, 1, 10, counts);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        watermark.advance(1, 2, 20, counts);
        waiting.await.unwrap().unwrap();
        let counts = KeyCounts { created: 2, ..counts };
        assert_eq!((watermark.landed(), watermark.keys_sent()), (Landed { keys: 3, bytes: 30, counts }, 3));
    }

    #[tokio::test]
    async fn a_lane_that_ended_early_is_an_error() {
        let watermark = Watermark::new(1);
        watermark.sent(0, 1);
        let mark = watermark.mark();
        watermark.end(0);
        assert!(matches!(watermark.reached(&mark).await, Err(Error::LineStopped)));
    }
}
