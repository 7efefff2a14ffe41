// SPDX-License-Identifier: Apache-2.0
//! What must be so before the first byte moves.

use crate::Result;
use crate::dialect::Dialect;
use crate::endpoint::Endpoint;
use crate::job::journal::{Entry, Holding};
use crate::job::{Job, JobOptions};
use crate::sink::{Receiver, Sink, Target};
use crate::source::Local;
use replication::SlotSet;

/// Both sides, looked at and found fit.
pub(super) struct Plan {
    pub(super) source: Local,
    pub(super) target: Target,
    /// What stands before the target, where it is.
    pub(super) receiver: Option<Receiver>,
}

impl Plan {
    /// Checks everything that can be known.
    pub(super) async fn make(job: &Job) -> Result<Self> {
        let plan = Self::of_sides(&job.source, &job.target, &job.options).await?;
        let receiver = match &job.options.receiver {
            Some(receiver) => Some(Receiver::connect(receiver.clone(), &plan.target, job.attempt_number()).await?),
            None => None,
        };
        Ok(Self { receiver, ..plan })
    }

    /// Both sides alone, straight.
    pub(super) async fn of_sides(source: &Endpoint, target: &Endpoint, options: &JobOptions) -> Result<Self> {
        let beyond = options.slots.last().filter(|last| last.number() >= options.slot_count.get());
        if let Some(slot) = beyond {
            let what = format!("it has {} slots, none of the number {slot}", options.slot_count);
            return Err(source.unfit(what, "choose slots that exist"));
        }
        if source.address() == target.address() {
            return Err(target.unfit("it is the source", "name another node as the target"));
        }
        let source = Local::connect(source, options.slot_count).await?;
        let target = Target::connect(target, options.slot_count, options.hyperloglog).await?;
        // One server may have two addresses, and emptying the target's slots would then empty the source's.
        if source.run() == target.run() && !source.run().is_empty() {
            let what = "it is the source by another address";
            return Err(target.endpoint().unfit(what, "name another node as the target"));
        }
        Ok(Self { source, target, receiver: None })
    }

    /// Makes the slots at the target ours: it must not hold anything of them, or what it holds is deleted. What an attempt
    /// before has brought there stays as long as it is still good for something.
    ///
    /// # Errors
    /// [`Error::Unfit`](crate::Error::Unfit) for keys that are not ours.
    pub(super) async fn claim(&mut self, slots: &SlotSet, job: &Job) -> Result<()> {
        let Job { journal, options, .. } = job;
        let run = self.target.run().to_owned();
        self.target.outlive(&journal.read(|state| state.connections.clone())).await?;
        let (holding, goes_on) = journal.read(|state| (state.target.clone(), state.checkpoint.is_some()));
        match holding {
            Holding::Theirs if !options.replace => self.check_empty(slots).await?,
            // A Pika keeps what it has answered for; a Redis that was restarted may not have.
            Holding::Ours { run: before } if goes_on && (before == run || self.target.dialect() == Dialect::Pika) => {}
            Holding::Theirs | Holding::Some | Holding::Ours { .. } => {
                journal.note(Entry::Emptying).await?;
                job.empty(&mut self.target, slots).await?;
            }
        }
        journal.note(Entry::Emptied { run }).await
    }

    async fn check_empty(&mut self, slots: &SlotSet) -> Result<()> {
        let mut cursor = Some("0".to_owned());
        while let Some(at) = cursor {
            let (keys, next) = self.target.keys(slots, &at).await?;
            if let Some(key) = keys.first() {
                let what = format!("it already holds keys of these slots, such as `{}`", key.escape_ascii());
                return Err(self.target.endpoint().unfit(what, "say `--replace` to delete them first"));
            }
            cursor = next;
        }
        Ok(())
    }

    /// Connections for batches. Those of the attempt before were ended when the slots were claimed.
    pub(super) async fn sinks(&self, job: &Job) -> Result<Vec<Box<dyn Sink>>> {
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        let mut connections = Vec::new();
        for _ in 0..job.options.lanes {
            sinks.push(match &self.receiver {
                Some(receiver) => Box::new(receiver.sink().await?),
                None => {
                    let sink = self.target.sink().await?;
                    connections.push(sink.local_addr().to_string());
                    Box::new(sink)
                }
            });
        }
        job.journal.note(Entry::Connected { connections }).await?;
        Ok(sinks)
    }
}
