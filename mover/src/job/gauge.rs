// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use replication::BinlogOffset;
use replication::binlog::Tail;

use crate::job::Progress;
use crate::job::convergence::{Convergence, Sample, Spent};
use crate::{Error, Result};

/// Measures how far the follower is and what its time goes to, tells it, and stops what cannot go on.
pub(super) struct Gauge {
    from: BinlogOffset,
    spool_max: u64,
    progress: Arc<Progress>,
    convergence: Convergence,
    since: Instant,
    log: Duration,
    at_source: AtSource,
    readers: u32,
}

/// The time that readers spend at the source, summed up over all of them.
#[derive(Clone, Default, Debug)]
pub(super) struct AtSource(Arc<AtomicU64>);

impl Gauge {
    /// For a log that is kept from `from` on.
    pub(super) fn new(from: BinlogOffset, spool_max: u64, progress: Arc<Progress>) -> Self {
        Self {
            from,
            spool_max,
            progress,
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

    /// The round has read the log up to now, and so many readers go to the source.
    pub(super) fn log_read(&mut self, readers: usize) {
        self.log = self.since.elapsed();
        self.readers = u32::try_from(readers).unwrap_or(u32::MAX).max(1);
    }

    /// Looks, in the middle of a round or at its end. Nothing is said of the rates while `held_back` by something else.
    ///
    /// # Errors
    /// [`Error::SpoolFull`] when more of the log must be kept than may be.
    pub(super) fn look(&mut self, tail: &mut Tail, changes: u64, held_back: bool) -> Result<()> {
        let (end, position) = (tail.end()?, tail.position());
        let (logged, lag) = (tail.length(self.from, end)?, tail.length(position, end)?);
        self.progress.followed(changes, lag);
        if logged > self.spool_max {
            return Err(Error::SpoolFull { size: logged, max: self.spool_max, lag });
        }
        let spent = self.lap();
        if held_back {
            self.convergence.forget();
        } else {
            let followed = logged.saturating_sub(lag);
            self.convergence.observe(Sample { at: Instant::now(), logged, followed, changes }, spent);
        }
        self.progress.rates(self.convergence.rates());
        self.progress.outrun(self.convergence.outrun().map(|outrun| outrun.to_string()));
        Ok(())
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
