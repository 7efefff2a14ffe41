// SPDX-License-Identifier: Apache-2.0
//! The keys of a checkpoint, compared with the target. The source is not asked.
//!
//! ```text
//!    thread per instance                         task per lane
//!  Scan ─▶ Portion ─▶ Chunk ══bounded channel══▶ Questions ─▶ target ─▶ Judge ─▶ Judged
//! ```
//!
//! Chunks are bounded in bytes from their making to their judgement, by a [`Budget`]. Any lane takes any chunk: a portion
//! says itself where in its key it stands.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use replication::SlotSet;
use snapshot::{Body, Checkpoint, Findings, Piece, ScanRequest, StreamId, UnixMillis};
use tokio::task::JoinSet;

use crate::dialect::Dialect;
use crate::flow::{Budget, Gate, Share, Throttle, Unit};
use crate::job::verify::census::{Census, KeyHash};
use crate::sink::{Judge, Portion, Questions, Target};
use crate::{Error, Result};

/// A comparison of many keys.
#[derive(Clone)]
pub(super) struct Bulk {
    pub(super) target: Target,
    pub(super) checkpoint: Arc<Checkpoint>,
    pub(super) slots: SlotSet,
    /// How many keys of how many are chosen.
    pub(super) sample: Option<(u64, u64)>,
    pub(super) lanes: usize,
    /// Bytes that chunks may take.
    pub(super) memory: usize,
    pub(super) throttle: Arc<Throttle>,
    pub(super) gate: Gate,
    /// Where the keys are counted.
    pub(super) census: Arc<Census>,
}

/// What came of some portions.
#[derive(Debug)]
pub(super) struct Judged {
    /// Keys that were complete with them.
    pub(super) keys: u64,
    pub(super) bytes: u64,
    /// Keys that are not at the target as they are in the checkpoint.
    pub(super) differing: Vec<Bytes>,
}

impl Bulk {
    /// Compares everything, and tells what is wrong in the checkpoint. When `judged` has no receiver any more it ends early.
    ///
    /// # Errors
    /// Whatever the scan or a connection ended with; [`Error::LineStopped`] when it ended early.
    pub(super) async fn run(self, judged: flume::Sender<Judged>) -> Result<Findings> {
        let memory = Closing(Budget::new(self.memory));
        let (sender, chunks) = flume::bounded(CHUNKS_AHEAD);
        let mut tasks = JoinSet::new();
        for _ in 0..self.lanes {
            let lane = Lane {
                chunks: chunks.clone(),
                judged: judged.clone(),
                throttle: Arc::clone(&self.throttle),
                gate: self.gate.clone(),
            };
            let target = self.target.clone();
            tasks.spawn(async move {
                let (questions, judge) = target.compare().await?;
                lane.run(questions, judge).await.map(|()| Findings::default())
            });
        }
        drop((chunks, judged));
        for instance in 0..self.checkpoint.instances() {
            let (bulk, memory, sender) = (self.clone(), memory.0.clone(), sender.clone());
            tasks.spawn_blocking(move || Scan::new(&bulk, memory, sender).run(&bulk, instance));
        }
        drop(sender);
        let (mut findings, mut stopped) = (Findings::default(), None);
        while let Some(ended) = tasks.join_next().await {
            match ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
                Ok(found) => findings.merge(found),
                // A scan whose lanes have failed; theirs is the error that counts.
                Err(Error::LineStopped) => stopped = Some(Error::LineStopped),
                Err(error) => return Err(error),
            }
        }
        stopped.map_or(Ok(findings), Err)
    }
}

/// Turns those away who still wait for memory when nobody will give any back.
struct Closing(Budget);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Portions that are asked about together.
struct Chunk {
    portions: Vec<Portion>,
    size: usize,
    _memory: Share,
}

/// The scan of an instance.
struct Scan {
    census: Arc<Census>,
    throttle: Arc<Throttle>,
    sample: Option<(u64, u64)>,
    /// Whether the target's SCAN leaves out streams without entries, as that of a Pika does.
    hides_empty: bool,
    memory: Budget,
    chunks: flume::Sender<Chunk>,
    open: Vec<Portion>,
    size: usize,
    /// How much goes together at the moment.
    unit: Unit,
    /// Elements of the key that is being scanned so far, and the last entry of a stream; none when it is not chosen.
    before: Option<(usize, Option<StreamId>)>,
}

impl Scan {
    fn new(bulk: &Bulk, memory: Budget, chunks: flume::Sender<Chunk>) -> Self {
        Self {
            census: Arc::clone(&bulk.census),
            throttle: Arc::clone(&bulk.throttle),
            sample: bulk.sample,
            hides_empty: bulk.target.dialect() == Dialect::Pika,
            memory,
            chunks,
            open: Vec::new(),
            size: 0,
            unit: bulk.throttle.unit(),
            before: None,
        }
    }

    fn run(mut self, bulk: &Bulk, instance: usize) -> Result<Findings> {
        let mut outcome = Ok(());
        let request = ScanRequest::new(bulk.slots.clone());
        let summary = bulk.checkpoint.scan(instance, &request, |piece| {
            outcome = self.take(piece);
            match outcome {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        outcome?;
        self.send()?;
        Ok(summary.findings)
    }

    fn take(&mut self, piece: Piece) -> Result<()> {
        if piece.part.is_first() {
            let hash = KeyHash::of(&piece.key);
            if !(self.hides_empty && piece.body.is_empty()) {
                self.census.source_has(hash);
            }
            let is_chosen = self.sample.is_none_or(|(part, whole)| hash.is_within(part, whole));
            self.before = is_chosen.then_some((0, None));
        }
        let Some((before, last_before)) = self.before else { return Ok(()) };
        let last = match &piece.body {
            Body::Stream { entries, .. } => entries.last().map(|entry| entry.id).or(last_before),
            _ => None,
        };
        self.before = Some((before + piece.body.len(), last));
        self.size += piece.size();
        self.open.push(Portion { piece, before, last_before });
        let Unit { bytes, writes } = self.unit;
        match self.size >= bytes.min(CHUNK_SIZE) || self.open.len() >= writes.min(CHUNK_PORTIONS) {
            true => self.send(),
            false => Ok(()),
        }
    }

    fn send(&mut self) -> Result<()> {
        let (portions, size) = (std::mem::take(&mut self.open), std::mem::take(&mut self.size));
        if portions.is_empty() {
            return Ok(());
        }
        self.unit = self.throttle.unit();
        let memory = self.memory.take_blocking(size + portions.len() * size_of::<Portion>())?;
        self.chunks.send(Chunk { portions, size, _memory: memory }).map_err(|_| Error::LineStopped)
    }
}

/// One connection.
struct Lane {
    chunks: flume::Receiver<Chunk>,
    judged: flume::Sender<Judged>,
    throttle: Arc<Throttle>,
    gate: Gate,
}

impl Lane {
    async fn run(self, mut questions: Questions, mut judge: Judge) -> Result<()> {
        let Self { chunks, judged, throttle, mut gate } = self;
        let (sender, asked) = flume::bounded::<(Chunk, UnixMillis)>(CHUNKS_ASKED);
        // Not moved into there: dropping this half ends the connection, with the answers that are still to come.
        let questions = &mut questions;
        let ask = async move {
            while let Ok(chunk) = chunks.recv_async().await {
                gate.admit().await?;
                let commands = questions.make(&chunk.portions);
                throttle.admit(chunk.size, commands).await;
                // Before the first byte goes: its answer may come at once.
                if sender.send_async((chunk, UnixMillis::now())).await.is_err() {
                    break;
                }
                questions.ask().await?;
            }
            Ok(())
        };
        let answer = async move {
            while let Ok((chunk, at)) = asked.recv_async().await {
                let differing = judge.differing(&chunk.portions, at).await?;
                // A copy, for the key itself is a part of a larger piece of memory.
                let differing = differing.iter().map(|portion| Bytes::copy_from_slice(&portion.piece.key)).collect();
                let keys = chunk.portions.iter().filter(|portion| portion.piece.part.is_last()).count() as u64;
                if judged.send_async(Judged { keys, bytes: chunk.size as u64, differing }).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        tokio::try_join!(ask, answer).map(|((), ())| ())
    }
}

/// Chunks that wait for a lane.
const CHUNKS_AHEAD: usize = 8;

/// Chunks of one lane that were asked about and have no answer: enough that the server never waits for us.
const CHUNKS_ASKED: usize = 4;

/// Bytes of user data in one chunk, and keys: the server answers all values of a chunk at once, while its other clients
/// wait.
const CHUNK_SIZE: usize = 64 << 10;
const CHUNK_PORTIONS: usize = 256;
