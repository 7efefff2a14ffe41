// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::batch::{Batch, Write};
use crate::flow::control::{Control, Gate};
use crate::flow::feed::Feed;
use crate::flow::throttle::Throttle;
use crate::flow::watermark::Watermark;
use crate::sink::Sink;
use crate::{Error, Result};

/// The running lanes, one per sink.
#[derive(Debug)]
pub struct Line {
    senders: Vec<flume::Sender<Batch>>,
    watermark: Arc<Watermark>,
    lanes: JoinSet<Result<()>>,
}

impl Line {
    /// Starts a lane for each sink.
    pub fn start(sinks: Vec<Box<dyn Sink>>, control: &Control, throttle: &Arc<Throttle>) -> Self {
        let watermark = Arc::new(Watermark::new(sinks.len()));
        let mut lanes = JoinSet::new();
        let mut senders = Vec::with_capacity(sinks.len());
        for (index, sink) in sinks.into_iter().enumerate() {
            let (sender, batches) = flume::bounded(QUEUE_BATCHES);
            senders.push(sender);
            let lane = Lane {
                index,
                batches,
                sink,
                gate: control.gate(),
                throttle: Arc::clone(throttle),
                watermark: Arc::clone(&watermark),
            };
            lanes.spawn(lane.run());
        }
        Self { senders, watermark, lanes }
    }

    /// A new way in.
    pub fn feed(&self) -> Feed {
        Feed::new(self.senders.clone(), Arc::clone(&self.watermark))
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

struct Lane {
    index: usize,
    batches: flume::Receiver<Batch>,
    sink: Box<dyn Sink>,
    gate: Gate,
    throttle: Arc<Throttle>,
    watermark: Arc<Watermark>,
}

impl Lane {
    async fn run(mut self) -> Result<()> {
        let outcome = self.carry().await;
        self.watermark.end(self.index);
        outcome
    }

    async fn carry(&mut self) -> Result<()> {
        while let Ok(batch) = self.batches.recv_async().await {
            self.gate.admit().await?;
            self.throttle.admit(batch.size()).await;
            self.sink.apply(&batch).await?;
            let keys = batch.writes().iter().filter(|write| completes(write)).count() as u64;
            let bytes = batch.writes().iter().map(Write::size).sum::<usize>() as u64;
            self.watermark.advance(self.index, keys, bytes);
        }
        Ok(())
    }
}

/// Whether a key is complete with this write.
fn completes(write: &Write) -> bool {
    match write {
        Write::Piece(piece) => piece.part.is_last(),
        Write::Patch(_) | Write::Remove(_) => true,
    }
}

/// Batches that wait in a lane: at 64 KiB each, a lane holds half a megabyte, or one element that is larger.
const QUEUE_BATCHES: usize = 8;
