// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::batch::Batch;
use crate::flow::budget::{Budget, Share};
use crate::flow::control::{Control, Gate};
use crate::flow::feed::Feed;
use crate::flow::throttle::Throttle;
use crate::flow::watermark::Watermark;
use crate::sink::{Answers, Outlet, Sink};
use crate::{Error, Result};

/// The running lanes, one per sink.
#[derive(Debug)]
pub struct Line {
    senders: Vec<flume::Sender<Loaded>>,
    watermark: Arc<Watermark>,
    memory: Budget,
    throttle: Arc<Throttle>,
    lanes: JoinSet<Result<()>>,
}

/// A batch on the line, and the memory that is set aside for it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) batch: Batch,
    pub(super) memory: Share,
}

impl Line {
    /// Starts a lane for each sink. Batches that are on the line take no more than `memory`, or one of them does that is
    /// bigger.
    pub fn start(sinks: Vec<Box<dyn Sink>>, control: &Control, throttle: &Arc<Throttle>, memory: Budget) -> Self {
        let watermark = Arc::new(Watermark::new(sinks.len()));
        let mut lanes = JoinSet::new();
        let mut senders = Vec::with_capacity(sinks.len());
        for (index, sink) in sinks.into_iter().enumerate() {
            let (sender, batches) = flume::bounded(QUEUE_BATCHES);
            senders.push(sender);
            let lane = Lane {
                batches,
                gate: control.gate(),
                throttle: Arc::clone(throttle),
                memory: memory.clone(),
                window: Budget::new(sink.window()),
            };
            lanes.spawn(lane.run(index, sink, Arc::clone(&watermark)));
        }
        Self { senders, watermark, memory, throttle: Arc::clone(throttle), lanes }
    }

    /// A new way in.
    pub fn feed(&self) -> Feed {
        let throttle = Arc::clone(&self.throttle);
        Feed::new(self.senders.clone(), Arc::clone(&self.watermark), self.memory.clone(), throttle)
    }

    /// How far the lanes have come.
    pub fn watermark(&self) -> &Arc<Watermark> {
        &self.watermark
    }

    /// Ends the line once every feed is dropped and everything has landed.
    ///
    /// # Errors
    /// What the first lane that failed ended with.
    pub async fn finish(mut self) -> Result<()> {
        self.senders.clear();
        let mut outcome = Ok(());
        while let Some(lane) = self.lanes.join_next().await {
            let ended = lane.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            outcome = outcome.and(ended);
        }
        outcome
    }

    /// Ends the line at once, whatever is on it, and returns when no lane sends any more.
    pub async fn abort(mut self) {
        self.lanes.shutdown().await;
    }

    /// Why the line stopped: what a lane ended with, once a producer or waiter has met [`Error::LineStopped`].
    pub async fn fault(mut self) -> Error {
        self.senders.clear();
        while let Some(lane) = self.lanes.join_next().await {
            if let Ok(Err(error)) = lane {
                return error;
            }
        }
        Error::LineStopped
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.memory.close();
    }
}

/// The sending half of a lane.
struct Lane {
    batches: flume::Receiver<Loaded>,
    gate: Gate,
    throttle: Arc<Throttle>,
    memory: Budget,
    /// What may be without an answer.
    window: Budget,
}

/// A batch that was sent and has no answer yet.
struct Sent {
    keys: u64,
    bytes: u64,
    _window: Share,
}

impl Lane {
    async fn run(self, index: usize, sink: Box<dyn Sink>, watermark: Arc<Watermark>) -> Result<()> {
        let (outlet, answers) = sink.split();
        let memory = self.memory.clone();
        // The window bounds what stands in here.
        let (unanswered, sent) = flume::unbounded();
        let outcome = tokio::try_join!(self.send(outlet, unanswered), land(index, answers, sent, &watermark));
        watermark.end(index);
        if outcome.is_err() {
            // What waits in the queue of a lane that has failed keeps its memory, for which others must not wait.
            memory.close();
        }
        outcome.map(|_| ())
    }

    async fn send(mut self, mut outlet: Box<dyn Outlet>, unanswered: flume::Sender<Sent>) -> Result<()> {
        while let Ok(Loaded { batch, memory }) = self.batches.recv_async().await {
            self.gate.admit().await?;
            self.throttle.admit(batch.bytes(), outlet.commands(&batch)).await;
            let sent = Sent {
                keys: batch.keys(),
                bytes: batch.bytes() as u64,
                _window: self.window.take(batch.size()).await?,
            };
            unanswered.send(sent).map_err(|_| Error::LineStopped)?;
            outlet.send(&batch).await?;
            drop(memory);
        }
        Ok(())
    }
}

/// The other half of a lane: takes the answers, until all has been sent and answered.
async fn land(
    index: usize,
    mut answers: Box<dyn Answers>,
    sent: flume::Receiver<Sent>,
    watermark: &Watermark,
) -> Result<()> {
    while let Ok(batch) = sent.recv_async().await {
        let counts = answers.next().await?;
        watermark.advance(index, batch.keys, batch.bytes, counts);
    }
    Ok(())
}

/// Batches that wait in a lane. What they weigh is bounded by the line's memory; this keeps a lane that is slow from taking
/// all of it.
const QUEUE_BATCHES: usize = 8;
