// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;

use crate::batch::{Batch, Write};
use crate::flow::budget::Budget;
use crate::flow::lane::Loaded;
use crate::flow::throttle::{Throttle, Unit};
use crate::flow::watermark::{Mark, Watermark};
use crate::{Error, Result};

/// Where writes enter the line. Each producer has its own; the writes of one key must all enter through one of them.
#[derive(Debug)]
pub struct Feed {
    lanes: Vec<flume::Sender<Loaded>>,
    open: Vec<Batch>,
    watermark: Arc<Watermark>,
    memory: Budget,
    throttle: Arc<Throttle>,
    /// How large batches are at the moment.
    unit: Unit,
    /// Whether batches ask the target what they do to the number of keys.
    counts: bool,
}

impl Feed {
    pub(super) fn new(
        lanes: Vec<flume::Sender<Loaded>>,
        watermark: Arc<Watermark>,
        memory: Budget,
        throttle: Arc<Throttle>,
    ) -> Self {
        let open = lanes.iter().map(|_| Batch::default()).collect();
        let unit = throttle.unit();
        Self { lanes, open, watermark, memory, throttle, unit, counts: false }
    }

    /// Makes its batches ask the target what they do to the number of keys; see [`Landed::counts`](super::Landed).
    #[must_use]
    pub fn counting(mut self) -> Self {
        self.counts = true;
        self.open.fill_with(|| Batch::new(true));
        self
    }

    /// Puts a write into the batch of its lane; waits while a full batch finds no memory or no room.
    ///
    /// # Errors
    /// [`Error::LineStopped`] when the lane has ended.
    pub async fn push(&mut self, write: Write) -> Result<()> {
        match self.place(write) {
            Some((lane, batch)) => self.send(lane, batch).await,
            None => Ok(()),
        }
    }

    /// [`push`](Self::push) for a thread of its own.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_blocking(&mut self, write: Write) -> Result<()> {
        match self.place(write) {
            Some((lane, batch)) => self.send_blocking(lane, batch),
            None => Ok(()),
        }
    }

    /// Sends all open batches on their way; the mark says when they have landed.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub async fn flush(&mut self) -> Result<Mark> {
        for lane in 0..self.lanes.len() {
            if let Some(batch) = self.take(lane) {
                self.send(lane, batch).await?;
            }
        }
        Ok(self.watermark.mark())
    }

    /// [`flush`](Self::flush) for a thread of its own.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn flush_blocking(&mut self) -> Result<Mark> {
        for lane in 0..self.lanes.len() {
            if let Some(batch) = self.take(lane) {
                self.send_blocking(lane, batch)?;
            }
        }
        Ok(self.watermark.mark())
    }

    async fn send(&self, lane: usize, batch: Batch) -> Result<()> {
        let memory = self.memory.take(batch.size()).await?;
        self.lanes[lane].send_async(Loaded { batch, memory }).await.map_err(|_| Error::LineStopped)
    }

    fn send_blocking(&self, lane: usize, batch: Batch) -> Result<()> {
        let memory = self.memory.take_blocking(batch.size())?;
        self.lanes[lane].send(Loaded { batch, memory }).map_err(|_| Error::LineStopped)
    }

    /// Puts the write into its open batch and gives that out when it is full.
    fn place(&mut self, write: Write) -> Option<(usize, Batch)> {
        let lane = crc32fast::hash(write.key()) as usize % self.open.len();
        self.open[lane].push(write);
        match self.open[lane].fills(self.unit.bytes, self.unit.writes) {
            true => self.take(lane).map(|batch| (lane, batch)),
            false => None,
        }
    }

    fn take(&mut self, lane: usize) -> Option<Batch> {
        self.unit = self.throttle.unit();
        let batch = std::mem::replace(&mut self.open[lane], Batch::new(self.counts));
        if batch.is_empty() {
            return None;
        }
        self.watermark.sent(lane, batch.keys());
        Some(batch)
    }
}
