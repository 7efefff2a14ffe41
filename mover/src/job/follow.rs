// SPDX-License-Identifier: Apache-2.0
//! Changes of the log, re-read at the source, on their way to the target.
//!
//! It works in rounds: read what the log has, each changed key once; read those keys; wait until the target has
//! answered. After a round everything before its position in the log is at the target, at least as new as the log.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use replication::binlog::{Spool, Tail};
use replication::{BinlogOffset, Change, Effect, Extent, SlotCount, SlotSet};
use tokio::task::JoinSet;
use tracing::{debug, info};

use crate::dialect::Dialect;
use crate::flow::{Feed, Gate, Line, Watermark};
use crate::job::dirty::Dirty;
use crate::job::late::LateWrites;
use crate::job::plan::Plan;
use crate::job::{Job, Progress};
use crate::sink::{Behind, Target};
use crate::source::{Known, Reread, Wanted};
use crate::{Error, Result};

/// Follows the log for the slots that have not been switched yet.
pub(super) struct Follower {
    tail: Tail,
    slots: SlotSet,
    slot_count: SlotCount,
    dirty: Dirty,
    readers: Vec<Reader>,
    watermark: Arc<Watermark>,
    target: Target,
    progress: Arc<Progress>,
    gate: Gate,
    changes: u64,
    unknown: u64,
    flushed: bool,
    handed_over: SlotSet,
    late: LateWrites,
    /// Keys that changed since someone asked to be told.
    touched: Option<HashSet<Bytes>>,
}

struct Reader {
    reread: Reread,
    feed: Feed,
}

/// What a round did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// Changes of our slots that it read.
    pub(super) changes: u64,
    /// How long it took.
    pub(super) took: Duration,
    /// Whether the log had nothing more and no key is left to be read again.
    pub(super) complete: bool,
}

impl Follower {
    pub(super) fn new(
        plan: &Plan,
        spool: &Spool,
        from: BinlogOffset,
        line: &Line,
        known: &Arc<Known>,
        job: &Job,
    ) -> Result<Self> {
        let options = &job.options;
        let reader = || Reader {
            reread: Reread::new(plan.source.client(), Dialect::Pika, Arc::clone(known)),
            feed: line.feed(),
        };
        Ok(Self {
            tail: Tail::open_spooled(spool, from)?,
            slots: options.slots.clone(),
            slot_count: options.slot_count,
            dirty: Dirty::default(),
            readers: (0..options.lanes).map(|_| reader()).collect(),
            watermark: Arc::clone(line.watermark()),
            target: plan.target.clone(),
            progress: Arc::clone(&job.progress),
            gate: job.control.gate(),
            changes: 0,
            unknown: 0,
            flushed: false,
            handed_over: SlotSet::new(),
            late: LateWrites::default(),
            touched: None,
        })
    }

    /// The slots it follows.
    pub(super) fn slots(&self) -> &SlotSet {
        &self.slots
    }

    /// Changes of our slots so far.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Commands that were not known so far.
    pub(super) fn unknown(&self) -> u64 {
        self.unknown
    }

    /// How far it has read.
    pub(super) fn position(&self) -> BinlogOffset {
        self.tail.position()
    }

    /// Whether the source was flushed since this was last asked.
    pub(super) fn take_flushed(&mut self) -> bool {
        std::mem::take(&mut self.flushed)
    }

    /// The replica of the target that is furthest behind, if one is.
    pub(super) async fn replica_behind(&mut self) -> Result<Option<Behind>> {
        self.target.replica_behind().await
    }

    /// Follows these slots no more: they belong to the target now. When they are watched, a write that still comes to the
    /// source is noted: it comes too late.
    pub(super) fn hand_over(&mut self, slots: &SlotSet, watched: bool) {
        for slot in slots.iter() {
            self.slots.remove(slot);
            if watched {
                self.handed_over.insert(slot);
            }
        }
    }

    /// Reads on in the log. How many keys of these slots were written since the last drain; behind a fence there are none.
    pub(super) async fn strays(&mut self, slots: &SlotSet) -> Result<usize> {
        let end = self.end()?;
        while self.tail.position() < end && !self.collect().await?.1 {}
        Ok(self.dirty.keys().filter(|key| slots.contains(self.slot_count.slot_of(key))).count())
    }

    /// Notes every key of these slots that was written since the last drain as written too late, for the slots were
    /// switched without it.
    pub(super) async fn note_strays(&mut self, slots: &SlotSet) -> Result<()> {
        if self.strays(slots).await? > 0 {
            let position = self.tail.position();
            for key in self.dirty.remove(|key| slots.contains(self.slot_count.slot_of(key))) {
                self.late.note(&key, position);
            }
        }
        Ok(())
    }

    /// Watches the log for a while for writes to slots that were handed over. What it finds is taken out.
    ///
    /// # Errors
    /// As [`round`](Self::round).
    pub(super) async fn watch_for_late_writes(&mut self, length: Duration) -> Result<LateWrites> {
        let until = Instant::now() + length;
        while Instant::now() < until {
            self.round().await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(std::mem::take(&mut self.late))
    }

    /// Asks for a key to be read again although no change of it was logged.
    pub(super) fn repair(&mut self, key: &Bytes) {
        self.dirty.insert(key, Extent::Whole);
    }

    /// From now on remembers which keys change.
    pub(super) fn watch_changes(&mut self) {
        self.touched = Some(HashSet::new());
    }

    /// The keys that changed since [`watch_changes`](Self::watch_changes).
    pub(super) fn touched(&mut self) -> HashSet<Bytes> {
        self.touched.take().unwrap_or_default()
    }

    /// The end of the log now.
    pub(super) fn end(&self) -> Result<BinlogOffset> {
        Ok(self.tail.end()?)
    }

    /// Rounds until one leaves nothing: the target is as far behind as that round took.
    ///
    /// # Errors
    /// [`Error::Outrun`] when the rest of the log does not become shorter any more.
    pub(super) async fn settle(&mut self) -> Result<()> {
        let (mut least, mut since) = (u64::MAX, Instant::now());
        while !self.round().await?.complete {
            let lag = self.lag()?;
            if lag < least - least / 10 {
                (least, since) = (lag, Instant::now());
            }
            let stuck = since.elapsed();
            if stuck > STUCK_MAX {
                return Err(Error::Outrun { lag, stuck });
            }
        }
        Ok(())
    }

    /// Rounds until everything before `end` is at the target.
    pub(super) async fn drain_to(&mut self, end: BinlogOffset) -> Result<()> {
        loop {
            let round = self.round().await?;
            if self.dirty.is_empty() && (round.complete || self.tail.position() >= end) {
                return Ok(());
            }
        }
    }

    /// Follows while `work` goes on. The round that is under way at its end is finished.
    pub(super) async fn alongside<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let done = AtomicBool::new(false);
        let work = async {
            let outcome = work.await;
            done.store(true, Ordering::Release);
            Ok::<_, Error>(outcome)
        };
        let follow = async {
            while !done.load(Ordering::Acquire) {
                self.round().await?;
                // Nothing tells when the log grows: it is written through a mapping.
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        };
        let (outcome, ()) = tokio::try_join!(work, follow)?;
        outcome
    }

    /// One round.
    pub(super) async fn round(&mut self) -> Result<Round> {
        self.gate.admit().await?;
        let begin = Instant::now();
        let (changes, at_end) = self.collect().await?;
        let wanted = self.dirty.take();
        let read = wanted.len();
        self.read(wanted).await?;
        self.watermark.reached(&self.watermark.mark()).await?;
        let round = Round { changes, took: begin.elapsed(), complete: at_end && self.dirty.is_empty() };
        if round.changes > 0 {
            debug!(changes, read, again = self.dirty.len(), took = ?round.took, "round");
        }
        self.progress.followed(self.changes, self.lag()?);
        Ok(round)
    }

    /// Reads the log into the dirty set; whether its end was reached.
    async fn collect(&mut self) -> Result<(u64, bool)> {
        let (mut changes, mut items) = (0, 0);
        while changes < ROUND_CHANGES && items < ROUND_ITEMS {
            items += 1;
            let Some(item) = self.tail.next()? else { return Ok((changes, true)) };
            let (list, known) = match Effect::of_item(&item) {
                Effect::Ignored => continue,
                Effect::Changes(list) => (list, true),
                Effect::Unknown(list) => (list, false),
            };
            for change in list {
                match change {
                    Change::All => self.flush().await?,
                    Change::Key { key, extent } if self.slots.contains(self.slot_count.slot_of(&key)) => {
                        changes += 1;
                        self.changes += 1;
                        self.unknown += u64::from(!known);
                        if let Some(touched) = &mut self.touched {
                            touched.insert(Bytes::copy_from_slice(&key));
                        }
                        self.dirty.insert(&key, extent);
                    }
                    Change::Key { key, .. } if self.handed_over.contains(self.slot_count.slot_of(&key)) => {
                        self.late.note(&key, item.start);
                    }
                    Change::Key { .. } => {}
                }
            }
        }
        Ok((changes, false))
    }

    /// The source was emptied. What is in the dirty set stays there: a write may land between the flush and its entry,
    /// so keys logged before it may exist.
    async fn flush(&mut self) -> Result<()> {
        self.flushed = true;
        let purged = self.target.purge(&self.slots).await?;
        info!(purged, "the source was flushed, and so were these slots at the target");
        Ok(())
    }

    /// Reads keys and sends them on their way, in several connections when there are many.
    async fn read(&mut self, wanted: Vec<Wanted>) -> Result<()> {
        let share = wanted.len().div_ceil(self.readers.len()).max(SHARE_MIN);
        let mut wanted = wanted.into_iter().peekable();
        let mut tasks = JoinSet::new();
        while wanted.peek().is_some() {
            let share: Vec<Wanted> = wanted.by_ref().take(share).collect();
            let Some(mut reader) = self.readers.pop() else { unreachable!("there are as many shares as readers") };
            tasks.spawn(async move {
                let again = reader.run(share).await?;
                Ok::<_, Error>((reader, again))
            });
        }
        while let Some(task) = tasks.join_next().await {
            let (reader, again) = task.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
            self.readers.push(reader);
            for wanted in again {
                self.dirty.insert(&wanted.key, wanted.extent);
            }
        }
        Ok(())
    }

    /// Bytes of the log behind our position, as far as one file tells.
    fn lag(&self) -> Result<u64> {
        let (end, position) = (self.tail.end()?, self.tail.position());
        Ok(match end.file == position.file {
            true => end.position.saturating_sub(position.position),
            false => end.position + u64::from(end.file - position.file) * BINLOG_FILE_SIZE,
        })
    }
}

impl Reader {
    async fn run(&mut self, wanted: Vec<Wanted>) -> Result<Vec<Wanted>> {
        let mut reading = self.reread.read(wanted);
        while let Some(writes) = reading.next().await? {
            for write in writes {
                self.feed.push(write).await?;
            }
        }
        let again = reading.again();
        self.feed.flush().await?;
        Ok(again)
    }
}

/// Between two rounds while there is time: each costs the source a reading of every key that changed.
const PAUSE: Duration = Duration::from_millis(10);

/// Changes in one round: it ends with all of them at the target, so this bounds its memory and its time.
const ROUND_CHANGES: u64 = 8192;

/// Items in one round, those of other slots among them: some ten milliseconds in which nothing else runs on the thread.
const ROUND_ITEMS: u64 = 32_768;

/// Keys for which a further connection is worth it.
const SHARE_MIN: usize = 64;

/// How long the log may stay as far ahead as it is before following it is given up.
const STUCK_MAX: Duration = Duration::from_secs(60);

/// Pika's default; it only serves to show the lag over several files.
const BINLOG_FILE_SIZE: u64 = 100 << 20;
