// SPDX-License-Identifier: Apache-2.0
//! What must be so before the first byte moves.

use crate::dialect::Dialect;
use crate::endpoint::Endpoint;
use crate::job::journal::{Entry, Holding};
use crate::job::{Job, JobOptions};
use crate::sink::{Receiver, RemoteLog, Sink, Target};
use crate::source::{Local, Node};
use crate::{Error, Result};
use replication::SlotSet;
use tracing::info;

/// Both sides, looked at and found fit.
pub(super) struct Plan {
    pub(super) source: Node,
    /// The source's files. Only on a way back they may be elsewhere: then a receiver reads the log out.
    pub(super) local: Option<Local>,
    pub(super) target: Target,
    /// What stands before the target, where it is.
    pub(super) receiver: Option<Receiver>,
}

impl Plan {
    /// Checks everything that can be known.
    pub(super) async fn make(job: &Job) -> Result<Self> {
        let (source, target) = Self::sides(&job.source, &job.target, &job.options).await?;
        source.check_writes().await?;
        target.check_writes().await?;
        info!("the {} is {}; the {} is {}", job.source.side, source.identity(), job.target.side, target.identity());
        job.progress.found([source.identity(), target.identity()].map(ToString::to_string));
        let local = job.files(&source).await?;
        let receiver = match &job.options.receiver {
            Some(receiver) => Some(Receiver::connect(receiver.clone(), &target, job.attempt_number()).await?),
            None => None,
        };
        Ok(Self { source, local, target, receiver })
    }

    /// Both sides alone, straight.
    pub(super) async fn of_sides(source: &Endpoint, target: &Endpoint, options: &JobOptions) -> Result<Self> {
        let (source, target) = Self::sides(source, target, options).await?;
        let local = Some(Local::of(source.clone()).await?);
        Ok(Self { source, local, target, receiver: None })
    }

    async fn sides(source: &Endpoint, target: &Endpoint, options: &JobOptions) -> Result<(Node, Target)> {
        let beyond = options.slots.last().filter(|last| last.number() >= options.slot_count.get());
        if let Some(slot) = beyond {
            let what = format!("it has {} slots, none of the number {slot}", options.slot_count);
            return Err(source.unfit(what, "choose slots that exist"));
        }
        if source.address() == target.address() {
            return Err(target.unfit("it is the source", "name another node as the target"));
        }
        let source = Node::connect(source, options.slot_count).await?;
        let target = Target::connect(target, options.slot_count, options.hyperloglog).await?;
        // One server may have two addresses, and emptying the target's slots would then empty the source's.
        if source.run() == target.run() && !source.run().is_empty() {
            let what = "it is the source by another address";
            return Err(target.endpoint().unfit(what, "name another node as the target"));
        }
        Ok((source, target))
    }

    /// The source's files.
    ///
    /// # Panics
    /// On a way back.
    pub(super) fn local(&self) -> &Local {
        self.local.as_ref().expect("nothing but a way back goes without the source's files")
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

impl Job {
    /// The files of its source; none where a receiver reads the log out instead.
    ///
    /// # Errors
    /// [`Error::Unfit`](crate::Error::Unfit) when there is neither.
    pub(super) async fn files(&self, source: &Node) -> Result<Option<Local>> {
        match Local::of(source.clone()).await {
            Ok(local) => Ok(Some(local)),
            // Another node's files may lie where the source says that its own are, on its machine.
            Err(Error::Unfit { .. } | Error::File { .. } | Error::Binlog(_)) if self.log_reader.is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The log of its source, as a receiver there reads it out.
    ///
    /// # Errors
    /// What the receiver says, and [`Error::Undo`] when there is none.
    pub(super) async fn remote_log(&self, source: &Node) -> Result<RemoteLog> {
        let Some(reader) = &self.log_reader else {
            return Err(Error::Undo { why: format!("the files of the {} are elsewhere", self.source.side) });
        };
        let (slot_count, number) = (self.options.slot_count, self.attempt_number());
        Box::pin(RemoteLog::connect(reader.clone(), source.client(), slot_count, number)).await
    }
}
