// SPDX-License-Identifier: Apache-2.0
//! Every key of the slots, compared in both directions while the log is followed.
//!
//! The keys of a checkpoint are compared with the target without asking the source ([`bulk`]). What is not as it was there,
//! and what the log names since, is read live on both sides: it may have changed a moment ago, so what still differs is
//! compared again after catching up. What then differs without a change in the log was written past the log, or went wrong
//! on its way. It is read again at the source, and compared once more; a difference that is still there stops the job.

mod bulk;
mod census;
mod difference;
mod digest;
mod extra;
mod mode;

pub use mode::VerifyMode;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use replication::binlog::{Spool, Tail};
use replication::{BinlogOffset, Change, Effect, SlotSet};
use snapshot::Checkpoint;
use tracing::{debug, info, warn};

use self::bulk::{Bulk, Judged};
use self::census::{Census, KeyHash};
use self::difference::{Difference, Differing, examples};
use self::extra::Extra;
use crate::dialect::Dialect;
use crate::flow::{Control, Throttle};
use crate::job::follow::Follower;
use crate::job::plan::Plan;
use crate::job::{Job, JobOptions, Progress, VerifyReport};
use crate::sink::Target;
use crate::source::{Known, Reread, Strings};
use crate::{Error, Result};

/// A comparison of both sides.
pub(super) struct Verify<'a> {
    source: Reread,
    target_reread: Reread,
    target: Target,
    plan: &'a Plan,
    spool: &'a Spool,
    from: BinlogOffset,
    checkpoint: Arc<Checkpoint>,
    slots: SlotSet,
    job: &'a Job,
    throttle: Arc<Throttle>,
    /// How many keys of how many are compared.
    sample: Option<(u64, u64)>,
    report: VerifyReport,
    suspects: HashMap<Bytes, Difference>,
}

impl<'a> Verify<'a> {
    /// A comparison by a checkpoint that stands at `from` in the log. Unlogged writes that came to the source behind that
    /// place are not seen.
    pub(super) fn new(
        plan: &'a Plan,
        spool: &'a Spool,
        from: BinlogOffset,
        checkpoint: &Arc<Checkpoint>,
        slots: &SlotSet,
        job: &'a Job,
        throttle: &Arc<Throttle>,
    ) -> Self {
        // What is learnt here must not reach the follower: a read of the target is no read of the source.
        let unused = || Arc::new(Known::new());
        Self {
            source: Reread::new(plan.source.client(), Dialect::Pika, unused()).with_strings(Strings::Parts),
            target_reread: Reread::new(plan.target.client(), plan.target.dialect(), unused())
                .with_strings(Strings::Parts),
            target: plan.target.clone(),
            plan,
            spool,
            from,
            checkpoint: Arc::clone(checkpoint),
            slots: slots.clone(),
            job,
            throttle: Arc::clone(throttle),
            sample: sample(job.options.verify, expected_keys(checkpoint, slots, &job.progress)),
            report: VerifyReport::new(job.options.verify),
            suspects: HashMap::new(),
        }
    }

    /// Compares everything, repairs what can be, and returns when both sides are equal.
    pub(super) async fn run(mut self, follower: &mut Follower) -> Result<VerifyReport> {
        let begin = Instant::now();
        // From now on the target is at least as new as the checkpoint, as far as the log tells.
        follower.drain(&self.slots, self.from).await?;
        let expected = expected_keys(&self.checkpoint, &self.slots, &self.job.progress);
        let census = Arc::new(census_of(expected, &self.job.options));
        follower.alongside(self.checkpoint_keys(&census)).await?;
        debug!(keys = self.report.keys, suspects = self.suspects.len(), "compared the keys of the checkpoint");
        let end = follower.position();
        follower.alongside(self.other_keys(&census, end)).await?;
        let left = self.settle(follower, false).await?;
        if self.job.journal.read(|state| state.source_restarted) {
            // What a source has done that crashed before it could log it is explained by no later change of the same key,
            // which may be one of other elements.
            self.suspects.keys().for_each(|key| follower.repair(key));
        }
        if !left.is_empty() {
            let first = examples(&left);
            info!(keys = left.len(), ?first, "differ without a change in the log, reading them again");
            self.report.repaired = left.len() as u64;
            self.report.differences = first;
            left.iter().for_each(|differing| follower.repair(&differing.key));
            self.suspects = left.into_iter().map(Differing::into).collect();
            let left = self.settle(follower, true).await?;
            if !left.is_empty() {
                return Err(differs(&left));
            }
        }
        self.report.seconds = begin.elapsed().as_secs_f64();
        Ok(self.report)
    }

    /// Compares the keys of the checkpoint with the target; those that are not the same are looked at closer.
    async fn checkpoint_keys(&mut self, census: &Arc<Census>) -> Result<()> {
        let control = &self.job.control;
        let bulk = Bulk {
            // Some may have been switched already.
            slots: self.slots.clone(),
            sample: self.sample,
            ..bulk(&self.checkpoint, &self.job.options, &self.target, &self.throttle, control, census)
        };
        let (sender, judged) = flume::bounded(JUDGED_AHEAD);
        let look = async {
            let mut doubtful: Vec<Bytes> = Vec::new();
            while let Ok(first) = judged.recv_async().await {
                let mut next = Some(first);
                while let Some(Judged { keys, bytes, differing }) = next {
                    self.report.keys += keys;
                    self.report.bytes += bytes;
                    doubtful.extend(differing);
                    next = if doubtful.len() < CHUNK_KEYS { judged.try_recv().ok() } else { None };
                }
                self.job.progress.verified(self.report.keys);
                // One key may have come in several pieces.
                doubtful.sort_unstable();
                doubtful.dedup();
                self.look_closer(&std::mem::take(&mut doubtful)).await?;
            }
            Ok(())
        };
        tokio::try_join!(bulk.run(sender), look).map(|((), ())| ())
    }

    /// Compares keys that the checkpoint does not tell of; the log names those that changed since, up to `end`.
    async fn other_keys(&mut self, census: &Arc<Census>, end: BinlogOffset) -> Result<()> {
        self.logged_keys(end).await?;
        debug!(keys = self.report.keys, suspects = self.suspects.len(), "compared the keys of the log");
        if self.sample.is_none() {
            self.only_on_target(census).await?;
            debug!(suspects = self.suspects.len(), "looked for keys that only the target has");
        }
        // Keys that only the source has stand in the checkpoint, or in the log behind it.
        Ok(())
    }

    /// Keys that changed since the checkpoint: some of them are not in it.
    async fn logged_keys(&mut self, end: BinlogOffset) -> Result<()> {
        let mut tail = Tail::open_spooled(self.spool, self.from)?;
        let mut seen = HashSet::new();
        let mut chunk = Vec::with_capacity(CHUNK_KEYS);
        while tail.position() < end {
            let Some(item) = tail.next()? else { break };
            let (Effect::Changes(changes) | Effect::Unknown(changes)) = Effect::of_item(&item) else { continue };
            for change in changes {
                let Change::Key { key, .. } = change else { continue };
                if !self.is_ours(&key) || !self.is_chosen(&key) || !seen.insert(KeyHash::of(&key)) {
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

    /// Keys that the target has and the source has not become suspects.
    async fn only_on_target(&mut self, census: &Census) -> Result<()> {
        let (target, slots, gate) = (self.target.clone(), self.slots.clone(), self.job.control.gate());
        let slot_count = self.checkpoint.slots();
        let mut extra = Extra { target: &target, slots: &slots, slot_count, census, gate };
        if extra.count().await? {
            return Ok(());
        }
        let (mut source, mut scan, mut more) = (self.plan.source.client(), target.key_scan().await?, true);
        while more {
            let mut keys = Vec::new();
            more = extra.uneven(&mut scan, &mut keys).await?;
            for key in extra::absent(&mut source, keys).await? {
                self.suspect(Differing { key: key.into(), how: Difference::Extra })?;
            }
        }
        Ok(())
    }

    /// Compares a chunk of keys that the checkpoint does not tell of.
    async fn chunk(&mut self, keys: Vec<Bytes>) -> Result<()> {
        self.look_closer(&keys).await?;
        self.report.keys += keys.len() as u64;
        self.job.progress.verified(self.report.keys);
        Ok(())
    }

    /// Compares keys as both sides have them now; what differs becomes a suspect.
    async fn look_closer(&mut self, keys: &[Bytes]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let differing = self.compare(keys).await?;
        differing.into_iter().try_for_each(|differing| self.suspect(differing))
    }

    fn is_ours(&self, key: &[u8]) -> bool {
        self.slots.contains(self.checkpoint.slots().slot_of(key)) && !replication::is_internal_key(key)
    }

    fn is_chosen(&self, key: &[u8]) -> bool {
        self.sample.is_none_or(|(part, whole)| KeyHash::of(key).is_within(part, whole))
    }

    fn suspect(&mut self, Differing { key, how }: Differing) -> Result<()> {
        self.suspects.insert(key, how);
        match self.suspects.len() > SUSPECTS_MAX {
            true => {
                Err(differs(&std::mem::take(&mut self.suspects).into_iter().map(Differing::from).collect::<Vec<_>>()))
            }
            false => Ok(()),
        }
    }

    /// Compares the suspects again, each time after catching up, until they are equal or nothing but a difference is
    /// left. A key that changes all the time is as good as equal: the log explains it, and the drain will settle it.
    async fn settle(&mut self, follower: &mut Follower, repaired: bool) -> Result<Vec<Differing>> {
        let mut unexplained: Vec<Differing> = Vec::new();
        for attempt in 0..SETTLE_ATTEMPTS {
            if self.suspects.is_empty() {
                return Ok(Vec::new());
            }
            if attempt > 0 {
                // A target that keeps whole seconds may hold an expired key for up to one more.
                tokio::time::sleep(SETTLE_PAUSE).await;
            }
            follower.watch_changes();
            follower.drain(&self.slots, follower.end()?).await?;
            let mut differing = Vec::new();
            let suspects: Vec<Bytes> = self.suspects.keys().cloned().collect();
            for chunk in suspects.chunks(CHUNK_KEYS) {
                differing.extend(self.compare(chunk).await?);
            }
            follower.drain(&self.slots, follower.end()?).await?;
            let touched = follower.touched();
            unexplained = differing.iter().filter(|differing| !touched.contains(&differing.key)).cloned().collect();
            self.suspects = differing.into_iter().map(Differing::into).collect();
            if unexplained.is_empty() && attempt > 0 {
                break;
            }
        }
        if repaired && !unexplained.is_empty() {
            warn!(keys = unexplained.len(), "still differ after a repair");
        }
        Ok(unexplained)
    }

    /// Those of `keys` that are not the same on both sides.
    async fn compare(&mut self, keys: &[Bytes]) -> Result<Vec<Differing>> {
        let dialect = self.target.dialect();
        let ((source, source_again), (target, target_again)) = tokio::try_join!(
            digest::read(&mut self.source, dialect, keys),
            digest::read(&mut self.target_reread, dialect, keys),
        )?;
        let unsettled: HashSet<Bytes> = source_again.into_iter().chain(target_again).collect();
        let how = |key: &Bytes| match (source.get(key), target.get(key)) {
            (Some(source), Some(target)) => source.difference(target),
            (Some(_), None) => Some(Difference::Missing),
            (None, Some(_)) => Some(Difference::Extra),
            (None, None) => None,
        };
        let how = |key: &Bytes| how(key).or_else(|| unsettled.contains(key).then_some(Difference::Unsettled));
        Ok(keys.iter().filter_map(|key| Some(Differing { key: key.clone(), how: how(key)? })).collect())
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
    tokio::try_join!(bulk.run(sender), count)?;
    let gate = control.gate();
    let mut extra = Extra { target, slots: &options.slots, slot_count: options.slot_count, census: &census, gate };
    if !extra.count().await? {
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

/// About how many keys there are. A checkpoint knows nothing of those that stand in its logs yet, the copy has met them.
fn expected_keys(checkpoint: &Checkpoint, slots: &SlotSet, progress: &Progress) -> u64 {
    checkpoint.estimated_keys(slots.len()).max(progress.status().keys)
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
