// SPDX-License-Identifier: Apache-2.0
//! Every key of the slots, compared in both directions while the log is followed.
//!
//! The keys are those of the checkpoint, those that the log names since, and those that the target has. Both sides are
//! read live, so a key may differ because it changed a moment ago: it is compared again after catching up. What then
//! differs without a change in the log was written past the log. It is read again at the source, and compared once
//! more; a difference that is still there stops the job.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::Value;
use replication::binlog::{Spool, Tail};
use replication::{BinlogOffset, Change, Effect, SlotCount, SlotSet};
use snapshot::{Checkpoint, ScanRequest};
use tracing::{debug, info, warn};

use crate::dialect::Dialect;
use crate::endpoint::Client;
use crate::job::follow::Follower;
use crate::job::plan::Plan;
use crate::job::{Progress, VerifyReport, digest};
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
    slot_count: SlotCount,
    progress: &'a Progress,
    report: VerifyReport,
    suspects: HashSet<Bytes>,
}

impl<'a> Verify<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        spool: &'a Spool,
        from: BinlogOffset,
        checkpoint: &Arc<Checkpoint>,
        slots: &SlotSet,
        progress: &'a Progress,
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
            slot_count: checkpoint.slots(),
            progress,
            report: VerifyReport::default(),
            suspects: HashSet::new(),
        }
    }

    /// Compares everything, repairs what can be, and returns when both sides are equal.
    pub(super) async fn run(mut self, follower: &mut Follower) -> Result<VerifyReport> {
        let end = follower.position();
        follower.alongside(self.compare_all(end)).await?;
        let left = self.settle(follower, false).await?;
        if !left.is_empty() {
            info!(keys = left.len(), first = %examples(&left), "differ without a change in the log, reading them again");
            self.report.repaired = left.len() as u64;
            left.iter().for_each(|key| follower.repair(key));
            self.suspects = left.into_iter().collect();
            let left = self.settle(follower, true).await?;
            if !left.is_empty() {
                return Err(Error::Differs { count: left.len() as u64, examples: examples(&left) });
            }
        }
        Ok(self.report)
    }

    /// Compares every key that there may be; the log names them up to `end`.
    async fn compare_all(&mut self, end: BinlogOffset) -> Result<()> {
        self.checkpoint_keys().await?;
        debug!(keys = self.report.keys, suspects = self.suspects.len(), "compared the keys of the checkpoint");
        self.logged_keys(end).await?;
        debug!(keys = self.report.keys, suspects = self.suspects.len(), "compared the keys of the log");
        let (source, target) = (self.plan.source.client(), self.target.client());
        self.only_on(target.clone(), source.clone()).await?;
        debug!(suspects = self.suspects.len(), "looked for keys that only the target has");
        // One that came after the checkpoint by an unlogged write stands nowhere else.
        self.only_on(source, target).await?;
        debug!(suspects = self.suspects.len(), "looked for keys that only the source has");
        Ok(())
    }

    async fn checkpoint_keys(&mut self) -> Result<()> {
        let (sender, chunks) = flume::bounded::<Vec<Bytes>>(CHUNKS_AHEAD);
        let checkpoint = Arc::clone(&self.checkpoint);
        let request = ScanRequest::new(self.slots.clone());
        let scan = tokio::task::spawn_blocking(move || {
            let mut chunk = Vec::with_capacity(CHUNK_KEYS);
            for instance in 0..checkpoint.instances() {
                checkpoint.scan(instance, &request, |piece| {
                    if piece.part.is_first() {
                        chunk.push(piece.key);
                    }
                    if chunk.len() == CHUNK_KEYS && sender.send(std::mem::take(&mut chunk)).is_err() {
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                })?;
            }
            // A receiver that is gone has failed, and its error is the one that counts.
            let _ = sender.send(chunk);
            Ok::<_, Error>(())
        });
        while let Ok(chunk) = chunks.recv_async().await {
            self.chunk(chunk).await?;
        }
        scan.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
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
                if !self.slots.contains(self.slot_count.slot_of(&key)) || !seen.insert(hash(&key)) {
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

    /// Keys that `one` side has and the `other` has not become suspects.
    async fn only_on(&mut self, mut one: Client, mut other: Client) -> Result<()> {
        let mut cursor = Some("0".to_owned());
        while let Some(at) = cursor {
            let (mut keys, next) = one.scan(&at).await?;
            keys.retain(|key| self.slots.contains(self.slot_count.slot_of(key)) && !replication::is_internal_key(key));
            let mut pipeline = redis::Pipeline::with_capacity(keys.len());
            keys.iter().for_each(|key| {
                pipeline.cmd("EXISTS").arg(&key[..]);
            });
            for (key, reply) in keys.into_iter().zip(other.ask_all(&mut pipeline).await?) {
                if reply != Value::Int(1) {
                    self.suspect(key.into())?;
                }
            }
            cursor = next;
        }
        Ok(())
    }

    /// Compares a chunk of keys; what differs becomes a suspect.
    async fn chunk(&mut self, keys: Vec<Bytes>) -> Result<()> {
        let differing = self.compare(&keys).await?;
        self.report.keys += keys.len() as u64;
        self.progress.verified(self.report.keys);
        differing.into_iter().try_for_each(|key| self.suspect(key))
    }

    fn suspect(&mut self, key: Bytes) -> Result<()> {
        self.suspects.insert(key);
        match self.suspects.len() > SUSPECTS_MAX {
            true => Err(Error::Differs {
                count: self.suspects.len() as u64,
                examples: examples(&self.suspects.iter().take(EXAMPLES).cloned().collect::<Vec<_>>()),
            }),
            false => Ok(()),
        }
    }

    /// Compares the suspects again, each time after catching up, until they are equal or nothing but a difference is
    /// left. A key that changes all the time is as good as equal: the log explains it, and the drain will settle it.
    async fn settle(&mut self, follower: &mut Follower, repaired: bool) -> Result<Vec<Bytes>> {
        let mut unexplained: HashSet<Bytes> = HashSet::new();
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
            let suspects: Vec<Bytes> = self.suspects.iter().cloned().collect();
            for chunk in suspects.chunks(CHUNK_KEYS) {
                differing.extend(self.compare(chunk).await?);
            }
            follower.drain(&self.slots, follower.end()?).await?;
            let touched = follower.touched();
            unexplained = differing.iter().filter(|key| !touched.contains(*key)).cloned().collect();
            self.suspects = differing.into_iter().collect();
            if unexplained.is_empty() && attempt > 0 {
                break;
            }
        }
        if repaired && !unexplained.is_empty() {
            warn!(keys = unexplained.len(), "still differ after a repair");
        }
        Ok(unexplained.into_iter().collect())
    }

    /// Those of `keys` that are not the same on both sides.
    async fn compare(&mut self, keys: &[Bytes]) -> Result<Vec<Bytes>> {
        let dialect = self.target.dialect();
        let ((source, source_again), (target, target_again)) = tokio::try_join!(
            digest::read(&mut self.source, dialect, keys),
            digest::read(&mut self.target_reread, dialect, keys),
        )?;
        let unsettled: HashSet<Bytes> = source_again.into_iter().chain(target_again).collect();
        let differs = |key: &&Bytes| {
            let same = match (source.get(*key), target.get(*key)) {
                (Some(one), Some(two)) => one.same(two),
                (None, None) => true,
                _ => false,
            };
            !same || unsettled.contains(*key)
        };
        Ok(keys.iter().filter(differs).cloned().collect())
    }
}

fn examples(keys: &[Bytes]) -> String {
    let shown: Vec<String> = keys.iter().take(EXAMPLES).map(|key| format!("`{}`", key.escape_ascii())).collect();
    shown.join(", ")
}

fn hash(key: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

const CHUNK_KEYS: usize = 1024;
const CHUNKS_AHEAD: usize = 4;
const SETTLE_ATTEMPTS: u32 = 6;
const SETTLE_PAUSE: Duration = Duration::from_millis(300);

/// More suspects than this are no accident; it bounds the memory for them.
const SUSPECTS_MAX: usize = 100_000;

/// Hashes of keys that were compared already: 8 MB.
const SEEN_MAX: usize = 1 << 20;

/// Keys that a message names.
const EXAMPLES: usize = 10;
