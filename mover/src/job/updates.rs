// SPDX-License-Identifier: Apache-2.0
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;

use crate::job::progress::Turn;
use crate::job::{Progress, Status};

/// A job's [`Status`] as a stream: at once, at each change of the phase, and every so long in between.
///
/// It ends when the job has ended, also when that failed or was dropped; the last item is the status at that end. Whoever
/// reads slowly misses items, never the newest one, and holds nothing back. Dropping the stream does nothing to the job.
///
/// It is a [`Stream`] for whoever has combinators at hand; [`next`](Self::next) needs none.
#[derive(Debug)]
pub struct Updates {
    progress: Arc<Progress>,
    turns: WatchStream<Turn>,
    ticks: Interval,
    ended: bool,
}

impl Updates {
    pub(super) fn new(progress: Arc<Progress>, every: Duration) -> Self {
        let turns = WatchStream::new(progress.turns());
        let mut ticks = interval(every.clamp(SHORTEST, LONGEST));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { progress, turns, ticks, ended: false }
    }

    /// The next status, or `None` once the job has ended and its last status was given.
    pub async fn next(&mut self) -> Option<Status> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Updates {
    type Item = Status;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Status>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.turns).poll_next(context) {
            Poll::Ready(turn) => {
                this.ended = turn.is_none_or(|turn| turn.ended);
                this.ticks.reset();
            }
            Poll::Pending => {
                ready!(this.ticks.poll_tick(context));
            }
        }
        Poll::Ready(Some(this.progress.status()))
    }
}

/// Below, a watcher would do nothing else than watch.
const SHORTEST: Duration = Duration::from_millis(1);

/// So long that no job sees its end, and still a time that a clock can be set to.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Phase;

    fn progress() -> Arc<Progress> {
        Arc::new(Progress::new(3))
    }

    async fn phase(updates: &mut Updates) -> Option<Phase> {
        tokio::time::timeout(HANG, updates.next()).await.unwrap().map(|status| status.phase)
    }

    #[tokio::test]
    async fn every_phase_is_told_at_once_and_done_is_the_last() {
        let progress = progress();
        let mut updates = Updates::new(Arc::clone(&progress), Duration::MAX);
        assert_eq!(phase(&mut updates).await, Some(Phase::Plan));
        for next in [Phase::Copy, Phase::Cutover, Phase::Done] {
            progress.enter(next);
            assert_eq!(phase(&mut updates).await, Some(next));
        }
        progress.end();
        assert_eq!(phase(&mut updates).await, None);
        assert_eq!(phase(&mut updates).await, None);
        let mut late = Updates::new(progress, Duration::MAX);
        assert_eq!((phase(&mut late).await, phase(&mut late).await), (Some(Phase::Done), None));
    }

    #[tokio::test]
    async fn a_job_that_failed_ends_it_where_it_was() {
        let progress = progress();
        let mut updates = Updates::new(Arc::clone(&progress), Duration::MAX);
        assert_eq!(phase(&mut updates).await, Some(Phase::Plan));
        progress.enter(Phase::Copy);
        progress.enter(Phase::Verify);
        progress.end();
        assert_eq!((phase(&mut updates).await, phase(&mut updates).await), (Some(Phase::Verify), None));
    }

    #[tokio::test]
    async fn in_between_it_is_told_every_so_long() {
        let every = Duration::from_millis(10);
        let mut updates = Updates::new(progress(), every);
        assert_eq!(phase(&mut updates).await, Some(Phase::Plan));
        let begin = std::time::Instant::now();
        for _ in 0..3 {
            assert_eq!(phase(&mut updates).await, Some(Phase::Plan));
        }
        assert!(begin.elapsed() >= every * 2, "{:?}", begin.elapsed());
    }

    /// Far more than any of the above may take.
    const HANG: Duration = Duration::from_secs(60);
}
