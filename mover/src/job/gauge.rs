// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use replication::BinlogOffset;
use replication::binlog::Tail;

use crate::flow::Watermark;
use crate::job::Progress;
use crate::job::backlog::Backlog;
use crate::job::convergence::{Convergence, Sample, Spent};
use crate::{Error, Result};

/// Measures how far the follower is and what its time goes to, tells it, and stops what cannot go on.
pub(super) struct Gauge {
    from: BinlogOffset,
    spool_max: u64,
    progress: Arc<Progress>,
    watermark: Arc<Watermark>,
    /// Keys that will have been sent once the readers are done.
    to_send: u64,
    backlog: Backlog,
    convergence: Convergence,
    since: Instant,
    log: Duration,
    at_source: AtSource,
    readers: u32,
}

/// What the follower has done so far and has still to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// Changes that were read in the log.
    pub(super) changes: u64,
    /// Keys that wait to be read again.
    pub(super) dirty: u64,
    /// Whether the copy still keeps the follower waiting: nothing is said of its rates then.
    pub(super) is_held_back: bool,
}

/// The time that readers spend at the source, summed up over all of them.
#[derive(Clone, Default, Debug)]
pub(super) struct AtSource(Arc<AtomicU64>);

impl Gauge {
    /// For a log that is kept from `from` on.
    pub(super) fn new(from: BinlogOffset, spool_max: u64, progress: Arc<Progress>, watermark: Arc<Watermark>) -> Self {
        Self {
            from,
            spool_max,
            progress,
            watermark,
            to_send: 0,
            backlog: Backlog::default(),
            convergence: Convergence::new(),
            since: Instant::now(),
            log: Duration::ZERO,
            at_source: AtSource::default(),
            readers: 1,
        }
    }

    /// Where readers count their time.
    pub(super) fn at_source(&self) -> AtSource {
        self.at_source.clone()
    }

    /// A round begins.
    pub(super) fn begin(&mut self) {
        self.at_source.take();
        (self.since, self.log) = (Instant::now(), Duration::ZERO);
    }

    /// The round has read the log up to now, and goes to the source for so many keys.
    ///
    /// # Errors
    /// When the log cannot be looked at.
    pub(super) fn log_read(&mut self, tail: &mut Tail, work: Work, keys: usize) -> Result<()> {
        self.log = self.since.elapsed();
        self.to_send = self.watermark.keys_sent() + keys as u64;
        let position = tail.position();
        self.backlog.observe(tail.length(self.from, position)?, work.changes, self.keys_left(work));
        Ok(())
    }

    /// So many readers go to the source.
    pub(super) fn reads(&mut self, readers: usize) {
        self.readers = u32::try_from(readers).unwrap_or(u32::MAX).max(1);
    }

    /// The readers are done. Not every key that they were given was worth a write.
    pub(super) fn has_read(&mut self) {
        self.to_send = 0;
    }

    /// Looks, in the middle of a round or at its end.
    ///
    /// # Errors
    /// [`Error::SpoolFull`] when more of the log must be kept than may be.
    pub(super) fn look(&mut self, tail: &mut Tail, work: Work) -> Result<()> {
        let (end, position) = (tail.end()?, tail.position());
        let (logged, lag) = (tail.length(self.from, end)?, tail.length(position, end)?);
        self.progress.followed(work.changes, lag);
        if logged > self.spool_max {
            return Err(Error::SpoolFull { size: logged, max: self.spool_max, lag });
        }
        self.backlog.observe(logged.saturating_sub(lag), work.changes, self.keys_left(work));
        let spent = self.lap();
        if work.is_held_back {
            self.convergence.forget();
        } else {
            let (followed, changes) = (self.backlog.bytes(), self.backlog.changes());
            self.convergence.observe(Sample { at: Instant::now(), logged, followed, changes }, spent);
        }
        let outrun = self.convergence.outrun().map(|outrun| outrun.to_string());
        self.progress.converges(self.convergence.rates(), outrun);
        Ok(())
    }

    /// Keys that are not at the target. While the copy goes on nobody can tell its keys on the line from those that changed.
    fn keys_left(&self, work: Work) -> u64 {
        let sent = self.watermark.keys_sent().max(self.to_send);
        let on_the_line = if work.is_held_back { 0 } else { sent.saturating_sub(self.watermark.landed().keys) };
        work.dirty + on_the_line
    }

    /// What the time since the last look went to: what neither log nor source took, the line did.
    fn lap(&mut self) -> Spent {
        let (log, at_source) = (self.log, self.at_source.take());
        let rest = self.since.elapsed().saturating_sub(log);
        let source = rest.min(at_source / self.readers);
        (self.since, self.log) = (Instant::now(), Duration::ZERO);
        Spent { log, source, target: rest - source }
    }
}

impl AtSource {
    /// Waits for `read`, which waits for the source.
    pub(super) async fn count<T>(&self, read: impl Future<Output = T>) -> T {
        let begin = Instant::now();
        let outcome = read.await;
        let took = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(took, Ordering::Relaxed);
        outcome
    }

    fn take(&self) -> Duration {
        Duration::from_nanos(self.0.swap(0, Ordering::Relaxed))
    }
}
