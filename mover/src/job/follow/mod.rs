// SPDX-License-Identifier: Apache-2.0
//! Changes of the log, re-read at the source, on their way to the target.
//!
//! It works in rounds: read what the log has, each changed key once; read those keys; send them. While more is in the log
//! a round does not wait for the target to answer it, only for the answers to the one before it; the last one waits for
//! both. Then everything before its position in the log is at the target, at least as new as the log.
//!
//! While the copy runs, a change of a key that it has not come to yet is kept back.

mod entries;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use replication::binlog::Tail;
use replication::{BinlogOffset, Extent, SlotCount, SlotSet};
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::debug;

use crate::dialect::Dialect;
use crate::flow::{Gate, Line, Mark, Watermark};
use crate::job::Job;
use crate::job::dirty::Dirty;
use crate::job::gauge::{Gauge, Work};
use crate::job::journal::Place;
use crate::job::late::LateWrites;
use crate::job::log::Log;
use crate::job::noted::Noted;
use crate::job::plan::Plan;
use crate::job::reach::Reach;
use crate::job::readers::{Readers, TICK};
use crate::job::start::{Done, Start};
use crate::job::streams::WrittenStreams;
use crate::job::trail::{Stand, Trail};
use crate::job::unknown::UnknownCommands;
use crate::job::unsettled::Waiting;
use crate::sink::{Behind, Target};
use crate::source::{Known, LargeStrings, Node, Reread, StreamCheck, Wanted};
use crate::{Error, Result};

/// Follows the log for the slots that have not been switched yet.
pub(super) struct Follower {
    log: Log,
    tail: Tail,
    slots: SlotSet,
    slot_count: SlotCount,
    dirty: Dirty,
    waiting: Waiting,
    known: Arc<Known>,
    /// While the copy runs: how far it has come.
    reach: Option<Arc<Reach>>,
    readers: Readers,
    /// What must be looked at before anything is switched, and who looks at it.
    streams: Arc<WrittenStreams>,
    stream_check: StreamCheck,
    /// Large strings are read once the copy is over, which holds some of them itself.
    large: LargeStrings,
    watermark: Arc<Watermark>,
    /// All that was sent by the last round.
    sent: Mark,
    gauge: Gauge,
    /// Keys and elements that the next round may read, in bytes.
    round_size: usize,
    target: Target,
    gate: Gate,
    changes: u64,
    unknown: Arc<UnknownCommands>,
    flushed: bool,
    /// The source was flushed while the copy ran: no more of the log is read before the copy has ended and the target was
    /// emptied.
    flush_due: bool,
    /// The keys that changed last.
    recent: VecDeque<Bytes>,
    /// From here on the checkpoint is behind: an entry before it may be in the copied lists already.
    exact_from: BinlogOffset,
    /// When the source was last asked whether it still is as it must be.
    looked_at_source: Instant,
    /// What those before us have done already.
    done: Option<Done>,
    late: LateWrites,
    trail: Trail,
    source: Node,
    /// Keys that changed since someone asked to be told.
    noted: Noted,
}

impl Follower {
    pub(super) async fn new(
        plan: &Plan,
        log: Log,
        start: Start,
        line: &Line,
        known: &Arc<Known>,
        job: &Job,
    ) -> Result<Self> {
        let options = &job.options;
        let (spool_max, progress) = (options.spool_max.as_u64(), Arc::clone(&job.progress));
        let gauge = Gauge::new(start.offset, spool_max, progress, Arc::clone(line.watermark()));
        let large = LargeStrings::later();
        if start.is_copied {
            large.now();
        }
        let mut connections = Vec::new();
        for _ in 0..options.lanes {
            let (source, target) = tokio::try_join!(plan.source.another(), plan.target.another())?;
            let reread = Reread::new(source, Dialect::Pika, Arc::clone(known)).against(target, plan.target.dialect());
            let feed = if start.is_counted { line.feed().counting() } else { line.feed() };
            connections.push((reread.taking_turns(large.clone()), feed));
        }
        let streams = Arc::new(WrittenStreams::new(plan.target.dialect()));
        let readers = Readers::new(connections.into_iter(), &gauge.at_source(), &streams);
        let mut follower = Self {
            tail: log.tail(start.offset)?,
            log,
            slots: start.slots,
            slot_count: options.slot_count,
            dirty: Dirty::default(),
            waiting: Waiting::new(known),
            known: Arc::clone(known),
            reach: None,
            readers,
            streams,
            stream_check: StreamCheck::new(plan.target.another().await?),
            large,
            watermark: Arc::clone(line.watermark()),
            sent: line.watermark().mark(),
            gauge,
            round_size: ROUND_SIZE_MIN,
            target: plan.target.clone(),
            gate: job.control.gate(),
            changes: 0,
            unknown: Arc::clone(&job.unknown),
            flushed: false,
            flush_due: false,
            recent: VecDeque::new(),
            exact_from: start.exact_from,
            looked_at_source: Instant::now(),
            done: start.reached.map(|reached| Done::of(reached, options.slot_count)),
            late: LateWrites::default(),
            trail: Trail::new(&job.journal),
            source: plan.source.clone(),
            noted: Noted::default(),
        };
        start.switched.iter().for_each(|switched| follower.hand_over(&switched.slots, Some(switched.end)));
        Ok(follower)
    }

    /// The slots it follows.
    pub(super) fn slots(&self) -> &SlotSet {
        &self.slots
    }

    /// Changes of our slots so far.
    pub(super) fn changes(&self) -> u64 {
        self.changes
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

    /// Follows these slots no more: they belong to the target now. When they are watched, a write that stands in the log
    /// behind the end that it had behind their fence is noted: it comes too late.
    pub(super) fn hand_over(&mut self, slots: &SlotSet, watched_from: Option<BinlogOffset>) {
        for slot in slots.iter() {
            self.slots.remove(slot);
            if let Some(end) = watched_from {
                self.late.watch(slot, end);
            }
        }
    }

    /// That both servers are the processes they were at the start, that they are masters, and that the source logs what it
    /// does.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Unfit`], [`Error::Unlogged`].
    pub(super) async fn check_servers(&mut self) -> Result<()> {
        self.looked_at_source = Instant::now();
        tokio::try_join!(self.source.check(), self.target.check()).map(drop)
    }

    /// The same now and then while it is followed: what a source does while it does not log it is nowhere to be found later.
    async fn check_source(&mut self) -> Result<()> {
        if self.looked_at_source.elapsed() >= LOOK_AT_SOURCE {
            self.looked_at_source = Instant::now();
            self.source.check().await?;
        }
        Ok(())
    }

    /// Reads on in the log, up to `end`. How many keys of these slots were written since the last drain; behind a fence
    /// there are none.
    pub(super) async fn strays(&mut self, slots: &SlotSet, end: BinlogOffset) -> Result<usize> {
        while self.tail.position() < end && !self.collect(usize::MAX).await?.1 {}
        Ok(self.dirty.keys().filter(|key| slots.contains(self.slot_count.slot_of(key))).count())
    }

    /// Notes every key of these slots that was written since the last drain as written too late, for the slots were
    /// switched without it.
    pub(super) async fn note_strays(&mut self, slots: &SlotSet) -> Result<()> {
        let end = self.end().await?;
        if self.strays(slots, end).await? > 0 {
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
        Ok(self.late.take())
    }

    /// Asks for a key to be read again although no change of it was logged.
    pub(super) fn repair(&mut self, key: &Bytes) {
        self.dirty.insert(key, Extent::Whole);
    }

    /// Whether what is done to this list is replayed, and not read again.
    pub(super) fn replays(&self, list: &Bytes) -> bool {
        self.known.is_exact(list)
    }

    /// The keys that it has seen change, for whoever asks for that.
    pub(super) fn noted(&mut self) -> &mut Noted {
        &mut self.noted
    }

    /// The end of the log now.
    pub(super) async fn end(&mut self) -> Result<BinlogOffset> {
        self.log.end().await
    }

    /// The log from here on, for whoever reads it once more.
    pub(super) fn log_from(&self, from: BinlogOffset) -> Result<Tail> {
        self.log.tail(from)
    }

    /// Rounds until one leaves nothing: the target is as far behind as that round took.
    ///
    /// # Errors
    /// [`Error::SpoolFull`] when the log grows faster than it is followed until it is too long.
    pub(super) async fn settle(&mut self) -> Result<()> {
        while !self.round().await? {}
        Ok(())
    }

    /// Brings to the target what stands before `end` about these slots, for which somebody waits. What the log says about
    /// others is noted for the next round, as far as there is room for that.
    pub(super) async fn drain(&mut self, slots: &SlotSet, end: BinlogOffset) -> Result<()> {
        let mut at_end = false;
        loop {
            self.gate.admit().await?;
            self.gauge.begin();
            while !at_end && self.tail.position() < end && self.dirty.size() < ROUND_SIZE_MAX {
                at_end = self.collect(ROUND_SIZE_MAX).await?.1;
            }
            let is_read = at_end || self.tail.position() >= end;
            let wanted = self.dirty.take(usize::MAX, |key| !is_read || slots.contains(self.slot_count.slot_of(key)));
            self.gauge.log_read(&mut self.tail, work(self.changes, &self.dirty, &self.reach), wanted.len())?;
            if !wanted.is_empty() {
                self.read(wanted).await?;
                continue;
            }
            self.sent = self.watermark.mark();
            self.land(self.sent.clone()).await?;
            let slot_count = self.slot_count;
            if self.see_streams(|key| slots.contains(slot_count.slot_of(key))).await? {
                return self.look();
            }
        }
    }

    /// Looks at what the target shows of streams that were written whole and have landed. Those with entries of an earlier
    /// stream are to be written once more; whether there are none.
    async fn see_streams(&mut self, is_wanted: impl Fn(&Bytes) -> bool) -> Result<bool> {
        let written = self.streams.take(is_wanted);
        let revived = self.stream_check.revived(written).await?;
        revived.iter().for_each(|key| self.repair(key));
        Ok(revived.is_empty())
    }

    /// Follows while the copy goes on, as far as the copy has come. A key that changes all the time is read once in a
    /// while.
    pub(super) async fn alongside_copy<T>(
        &mut self,
        reach: &Arc<Reach>,
        copy: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.reach = Some(Arc::clone(reach));
        let outcome = self.alongside_with(COPY_PAUSE, copy).await;
        self.reach = None;
        self.large.now();
        outcome
    }

    /// Follows while `work` goes on. The round that is under way at its end is finished.
    pub(super) async fn alongside<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.alongside_with(PAUSE, work).await
    }

    async fn alongside_with<T>(&mut self, pause: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
        let done = Notify::new();
        let work = async {
            let outcome = work.await;
            done.notify_one();
            Ok::<_, Error>(outcome)
        };
        let follow = async {
            loop {
                self.round().await?;
                // Nothing tells when the log grows: it is written through a mapping.
                if timeout(pause, done.notified()).await.is_ok() {
                    return Ok(());
                }
            }
        };
        let (outcome, ()) = tokio::try_join!(work, follow)?;
        outcome
    }

    /// One round. Whether the log had nothing more then, and no key is left to be read again.
    ///
    /// # Errors
    /// [`Error::SpoolFull`] when too much of the log must be kept.
    pub(super) async fn round(&mut self) -> Result<bool> {
        self.gate.admit().await?;
        let begin = Instant::now();
        // What the copy has handed over by now lands before what is sent from here on.
        let places = self.reach.as_ref().map(|reach| reach.places());
        self.check_source().await?;
        self.gauge.begin();
        self.log.fetch().await?;
        let (changes, at_end) = self.collect(self.full()).await?;
        let wanted = self.take_due();
        let read = wanted.len();
        self.gauge.log_read(&mut self.tail, work(self.changes, &self.dirty, &self.reach), read)?;
        self.read(wanted).await?;
        let mut complete = at_end && self.dirty.is_empty();
        let before = std::mem::replace(&mut self.sent, self.watermark.mark());
        let are_many = self.streams.are_many();
        self.land(if complete || are_many { self.sent.clone() } else { before }).await?;
        if are_many {
            complete &= self.see_streams(|_| true).await?;
        }
        self.leave_trail(places).await?;
        let took = begin.elapsed();
        if changes > 0 {
            debug!(changes, read, again = self.dirty.len(), ?took, "round");
        }
        self.look()?;
        self.round_size = match took {
            longer if longer > ROUND_TIME => (self.round_size / 2).max(ROUND_SIZE_MIN),
            shorter if shorter < ROUND_TIME / 4 && !at_end => (self.round_size * 2).min(ROUND_SIZE_MAX),
            _ => self.round_size,
        };
        Ok(complete)
    }

    /// Has it written down how far the target is, as far as nothing of that is left to be read again.
    async fn leave_trail(&mut self, places: Option<Vec<Place>>) -> Result<()> {
        let is_left = match &places {
            None => !self.dirty.is_empty(),
            Some(places) => {
                let behind = Reach::at(places.clone(), self.slot_count);
                self.dirty.keys().any(|key| behind.has_passed(key))
            }
        };
        if !is_left && !self.flush_due && !self.waiting.is_unsettled() {
            self.trail.will_be(Stand { offset: self.tail.position(), places }, self.sent.clone());
        }
        if self.late.is_some() {
            self.trail.tell_late().await?;
        }
        self.trail.write(&self.watermark).await
    }

    /// Reads keys and sends them on their way.
    async fn read(&mut self, wanted: Vec<Wanted>) -> Result<()> {
        // What an earlier read of the same key has seen says nothing about what the target has after this one.
        wanted
            .iter()
            .filter(|wanted| wanted.extent == Extent::Whole)
            .for_each(|wanted| self.waiting.forget(&wanted.key));
        if wanted.iter().any(|Wanted { key, extent }| self.known.needs_target(key, extent)) {
            // The target is asked about these, so it must have what was sent before.
            self.land(self.watermark.mark()).await?;
        }
        let from = self.end().await?;
        let Self { readers, gauge, tail, changes, dirty, reach, .. } = self;
        gauge.reads(readers.needed(wanted.len()));
        let (again, unsettled) = readers.read(wanted, || gauge.look(tail, work(*changes, dirty, reach))).await?;
        gauge.has_read();
        again.into_iter().for_each(|wanted| self.dirty.insert(&wanted.key, wanted.extent));
        if !unsettled.is_empty() {
            // What a read has seen is in the log by now: it held the locks that writers log under.
            let until = self.end().await?;
            self.waiting.add(unsettled, from, until, &mut self.dirty);
        }
        Ok(())
    }

    /// Waits until the target has answered everything before `mark`.
    async fn land(&mut self, mark: Mark) -> Result<()> {
        let watermark = Arc::clone(&self.watermark);
        loop {
            match timeout(TICK, watermark.reached(&mark)).await {
                Ok(reached) => return reached,
                Err(_) => self.look()?,
            }
        }
    }

    fn look(&mut self) -> Result<()> {
        self.gauge.look(&mut self.tail, work(self.changes, &self.dirty, &self.reach))
    }

    /// What the next round reads: all that is dirty, or all of it that the copy has passed.
    fn take_due(&mut self) -> Vec<Wanted> {
        match &self.reach {
            None => self.dirty.take(self.round_size, |_| true),
            Some(reach) => self.dirty.take(self.round_size, |key| reach.has_passed(key)),
        }
    }

    /// Bytes of keys and elements with which the next round has enough.
    fn full(&self) -> usize {
        match self.reach {
            // What the copy has not come to stays in there.
            Some(_) => HELD_BACK_SIZE,
            None => self.round_size,
        }
    }
}

/// What is done and what is left. The copy keeps changes back, and what it sends stands before theirs on the line.
fn work(changes: u64, dirty: &Dirty, reach: &Option<Arc<Reach>>) -> Work {
    Work { changes, dirty: dirty.len() as u64, is_held_back: reach.is_some() }
}

/// Between two looks whether the source still logs what it does.
const LOOK_AT_SOURCE: Duration = Duration::from_secs(1);

/// Between two rounds while there is time: each costs the source a reading of every key that changed.
const PAUSE: Duration = Duration::from_millis(10);

/// Between two rounds while the copy goes on, which takes far longer than that.
const COPY_PAUSE: Duration = Duration::from_millis(500);

/// Keys and elements to be read in one round, in bytes of memory: some hundred at the least, ten thousand at most. A key
/// counts once, however often it changed, so the further the log is ahead, the more of its changes cost nothing.
const ROUND_SIZE_MIN: usize = 32 << 10;
const ROUND_SIZE_MAX: usize = 2 << 20;

/// A round that takes longer is followed by a smaller one: what is known of the rate is as old as a round is long.
const ROUND_TIME: Duration = Duration::from_secs(2);

/// Keys and elements that wait for the copy to come to them. When they are too many the log waits.
const HELD_BACK_SIZE: usize = 16 << 20;
