// SPDX-License-Identifier: Apache-2.0
//! Every key of the slots, compared in both directions while the log is followed.
//!
//! The keys of a checkpoint are compared with the target without asking the source ([`bulk`]). What is not as it was there,
//! and what the log names since, is read live on both sides: it may have changed a moment ago, so what still differs is
//! compared again after catching up. What then differs without a change in the log was written past the log, or went wrong
//! on its way. It is read again at the source, and compared once more; a difference that is still there stops the job.
//!
//! On a way back from another machine there is no checkpoint: then all keys are read live on both sides ([`live`]).
//!
//! Without a move there is no log that explains anything, and nothing is repaired: [`alone`].

mod alone;
mod bulk;
mod census;
mod comparison;
mod difference;
mod digest;
mod elements;
mod extra;
mod live;
mod mode;
mod reverify;
mod settling;
mod sides;
mod suspects;
mod tally;

pub use alone::Verification;
pub use mode::VerifyMode;
pub(super) use reverify::Reverify;
pub use tally::{KeyDifference, VerificationReport};

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use replication::binlog::Tail;
use replication::{BinlogOffset, Change, Effect, SlotSet};
use snapshot::{Checkpoint, Findings};
use tracing::debug;

use self::bulk::{Bulk, Judged};
use self::census::{Census, KeyHash};
use self::comparison::Comparison;
use self::difference::{Difference, Differing, examples};
use self::extra::{Extra, counted};
use self::settling::Settling;
use crate::flow::{Control, Throttle};
use crate::job::copy::{cannot_move, sort_findings};
use crate::job::follow::Follower;
use crate::job::journal::Found;
use crate::job::plan::Plan;
use crate::job::{Job, JobOptions, VerifyReport};
use crate::sink::Target;
use crate::{Error, Result};

/// A comparison of both sides while a follower brings what changes to the target.
pub(super) struct Verify<'a> {
    both: Comparison<'a>,
    from: BinlogOffset,
    job: &'a Job,
    throttle: Arc<Throttle>,
    report: VerifyReport,
    suspects: Settling,
}

impl<'a> Verify<'a> {
    /// A comparison by a checkpoint that stands at `from` in the log, or without one, where the log ends there. Unlogged
    /// writes that came to the source behind that place are not seen.
    pub(super) async fn new(
        plan: &'a Plan,
        from: BinlogOffset,
        checkpoint: Option<Arc<Checkpoint>>,
        slots: &SlotSet,
        job: &'a Job,
        throttle: &Arc<Throttle>,
    ) -> Result<Self> {
        let Job { options, control, progress, .. } = job;
        Ok(Self {
            both: Comparison::new(plan, checkpoint.as_ref(), slots, options, control, progress, throttle).await?,
            from,
            job,
            throttle: Arc::clone(throttle),
            report: VerifyReport::new(options.verify),
            suspects: Settling::default(),
        })
    }

    /// Compares everything, repairs what can be, and returns when both sides are equal; and what compares them again.
    pub(super) async fn run(mut self, follower: &mut Follower) -> Result<(VerifyReport, Reverify<'a>)> {
        let begin = Instant::now();
        // From now on the target is at least as new as the checkpoint, as far as the log tells: its files may hold more than
        // what stands before its place in the log.
        let end = follower.end().await?;
        follower.drain(self.both.slots(), end.max(self.from)).await?;
        let extra = match self.both.bulk() {
            Some(bulk) => follower.alongside(Box::pin(self.checkpoint_keys(bulk))).await?,
            None => follower.alongside(Box::pin(self.live_keys())).await?,
        };
        debug!(keys = self.both.keys, suspects = self.suspects.len(), "compared the keys that were there");
        // What changes from here on is not compared any more.
        follower.noted().gather();
        let (log, end) = (follower.log_from(self.from)?, follower.position());
        follower.alongside(Box::pin(self.other_keys(log, end, extra))).await?;
        let restarted = self.job.journal.read(|state| state.source_restarted);
        self.suspects.resolve(&mut self.both.sides, follower, restarted, &mut self.report).await?;
        let (sample, Comparison { keys, bytes, sides, .. }) = (self.both.sample(), self.both);
        let report = VerifyReport { keys, bytes, seconds: begin.elapsed().as_secs_f64(), ..self.report };
        Ok((report, Reverify::new(self.job, sides, sample, &self.throttle)))
    }

    /// Compares the keys of the checkpoint with the target; those that are not the same are looked at closer. The target's
    /// keys are counted meanwhile.
    async fn checkpoint_keys(&mut self, bulk: Bulk) -> Result<Option<Extra>> {
        let extra = self.both.extra();
        let (sender, judged) = flume::bounded(JUDGED_AHEAD);
        let look = async {
            while let Some(doubtful) = self.both.doubtful(&judged).await {
                self.look_closer(&doubtful).await?;
            }
            Ok(())
        };
        let (findings, (), extra) = tokio::try_join!(bulk.run(sender), look, counted(extra))?;
        self.found(&findings)?;
        Ok(extra)
    }

    /// What is wrong in this checkpoint, which may have come since the copy.
    fn found(&mut self, findings: &Findings) -> Result<()> {
        let Found { noted, unmovable } = sort_findings(findings, &self.job.options);
        if !unmovable.is_empty() {
            return Err(cannot_move(&unmovable));
        }
        self.report.findings = noted;
        Ok(())
    }

    /// Compares keys that were not there yet; the log names those that changed since, up to `end`.
    async fn other_keys(&mut self, log: Tail, end: BinlogOffset, extra: Option<Extra>) -> Result<()> {
        self.logged_keys(log, end).await?;
        debug!(keys = self.both.keys, suspects = self.suspects.len(), "compared the keys of the log");
        if let Some(mut only) = self.both.only_at_target(extra).await? {
            while let Some(keys) = only.next().await? {
                for key in keys {
                    self.suspects.suspect(Differing { key, how: Difference::Extra })?;
                }
            }
        }
        debug!(suspects = self.suspects.len(), "looked for keys that only the target has");
        // Keys that only the source has stand in the checkpoint, or in the log behind it.
        Ok(())
    }

    /// Keys that changed since the checkpoint: some of them are not in it.
    async fn logged_keys(&mut self, mut log: Tail, end: BinlogOffset) -> Result<()> {
        let names = self.job.source.names.clone();
        let mut seen = HashSet::new();
        let mut chunk = Vec::with_capacity(CHUNK_KEYS);
        while log.position() < end {
            let Some(item) = log.next()? else { break };
            let (Effect::Changes(changes) | Effect::Unknown(changes)) = Effect::of_item(&item, names.renames()) else {
                continue;
            };
            for change in changes {
                // The follower has answered what names no key: it has read this part of the log before.
                let Change::Key { key, .. } = change else { continue };
                if !self.both.is_wanted(&key) || !seen.insert(KeyHash::of(&key)) {
                    continue;
                }
                chunk.push(Bytes::copy_from_slice(&key));
                if chunk.len() == CHUNK_KEYS {
                    self.chunk(std::mem::take(&mut chunk)).await?;
                }
                // Forgetting what was seen costs a second comparison, never a missed one.
                if seen.len() == SEEN_MAX {
                    seen.clear();
                }
            }
        }
        self.chunk(chunk).await
    }

    /// Compares a chunk of keys that the checkpoint does not tell of.
    async fn chunk(&mut self, keys: Vec<Bytes>) -> Result<()> {
        self.look_closer(&keys).await?;
        self.both.compared(keys.len());
        Ok(())
    }

    /// Compares keys as both sides have them now; what differs becomes a suspect.
    async fn look_closer(&mut self, keys: &[Bytes]) -> Result<()> {
        let differing = self.both.sides.compare(keys).await?;
        differing.into_iter().try_for_each(|differing| self.suspects.suspect(differing))
    }
}

/// Compares a checkpoint with a target that nobody writes to, as a job does it: for whoever measures it.
///
/// # Errors
/// What stopped the scan or a connection.
#[doc(hidden)]
pub async fn verify(checkpoint: &Arc<Checkpoint>, options: &JobOptions, target: &Target) -> Result<VerifyReport> {
    let begin = Instant::now();
    let (control, throttle) = (Control::new(), Arc::new(Throttle::new(options.rate)));
    let expected = checkpoint.estimated_keys(options.slots.len());
    let census = Arc::new(census_of(expected, options));
    let bulk = bulk(checkpoint, options, target, &throttle, &control, &census);
    let (sender, judged) = flume::bounded(JUDGED_AHEAD);
    let mut report = VerifyReport::new(options.verify);
    let count = async {
        while let Ok(Judged { keys, bytes, differing }) = judged.recv_async().await {
            report.keys += keys;
            report.bytes += bytes;
            report.mismatches += differing.len() as u64;
            report.differences.extend(differing.iter().map(|key| key.escape_ascii().to_string()));
        }
        Ok(())
    };
    let mut extra = Extra {
        target: target.clone(),
        slots: options.slots.clone(),
        slot_count: options.slot_count,
        census: Arc::clone(&census),
        gate: control.gate(),
    };
    tokio::try_join!(bulk.run(sender), count, extra.count())?;
    if !census.is_even() {
        let (mut scan, mut keys) = (target.key_scan().await?, Vec::new());
        while extra.uneven(&mut scan, &mut keys).await? {}
        report.extra = keys.len() as u64;
    }
    report.seconds = begin.elapsed().as_secs_f64();
    Ok(report)
}

fn bulk(
    checkpoint: &Arc<Checkpoint>,
    options: &JobOptions,
    target: &Target,
    throttle: &Arc<Throttle>,
    control: &Control,
    census: &Arc<Census>,
) -> Bulk {
    Bulk {
        target: target.clone(),
        checkpoint: Arc::clone(checkpoint),
        slots: options.slots.clone(),
        sample: sample(options.verify, checkpoint.estimated_keys(options.slots.len())),
        lanes: options.lanes,
        memory: options.line_memory(),
        throttle: Arc::clone(throttle),
        gate: control.gate(),
        census: Arc::clone(census),
    }
}

/// A sixteenth of the memory; less where there are fewer keys.
fn census_of(keys: u64, options: &JobOptions) -> Census {
    Census::new(keys, usize::try_from(options.memory.as_u64() / 16).unwrap_or(usize::MAX))
}

fn sample(mode: VerifyMode, keys: u64) -> Option<(u64, u64)> {
    match mode {
        VerifyMode::Sample(wanted) => Some((wanted.get(), keys)),
        VerifyMode::Full | VerifyMode::Off => None,
    }
}

fn differs(differing: &[Differing]) -> Error {
    Error::Differs { count: differing.len() as u64, examples: examples(differing).join("; ") }
}

const CHUNK_KEYS: usize = 1024;

/// Judgements that wait to be looked at.
const JUDGED_AHEAD: usize = 64;

const SETTLE_ATTEMPTS: u32 = 6;
const SETTLE_PAUSE: Duration = Duration::from_millis(300);

/// More suspects than this are no accident; it bounds the memory for them.
const SUSPECTS_MAX: usize = 100_000;

/// Hashes of keys that were compared already: 8 MB.
const SEEN_MAX: usize = 1 << 20;
