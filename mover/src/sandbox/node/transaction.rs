// SPDX-License-Identifier: Apache-2.0
//! MULTI, EXEC, DISCARD and WATCH.
//!
//! The log knows no transactions: each write of one is logged by itself, at its turn. A FLUSHDB or FLUSHALL inside is not
//! logged at all.

use bytes::Bytes;
use replication::Command;

use super::command_table::{Entry, Run};
use super::core::Core;
use super::fault::{Fault, Result};
use super::reply::Reply;
use super::session::{Session, pop_now};
use super::watches::Watched;

/// What a client has queued, and what it watches.
#[derive(Default)]
pub(super) struct Transaction {
    queued: Option<Queued>,
    watched: Option<Watched>,
}

#[derive(Default)]
struct Queued {
    commands: Vec<(&'static Entry, Command)>,
    /// Whether a command was refused, so that nothing will be executed.
    failed: bool,
}

impl Transaction {
    /// Whether commands are queued instead of executed.
    pub(super) fn is_open(&self) -> bool {
        self.queued.is_some()
    }

    /// Begins to queue.
    pub(super) fn open(&mut self) -> Result<()> {
        if self.is_open() {
            return Err(Fault::err("MULTI calls can not be nested"));
        }
        self.queued = Some(Queued::default());
        Ok(())
    }

    /// Queues a command.
    pub(super) fn queue(&mut self, entry: &'static Entry, command: Command) {
        if let Some(queued) = &mut self.queued {
            queued.commands.push((entry, command));
        }
    }

    /// Makes EXEC give up, if commands are queued.
    pub(super) fn fail(&mut self) {
        if let Some(queued) = &mut self.queued {
            queued.failed = true;
        }
    }

    /// Makes EXEC give up when one of these keys is written to before it.
    pub(super) fn watch(&mut self, core: &Core, keys: &[Bytes]) -> Result<()> {
        if self.is_open() {
            return Err(Fault::err("WATCH inside MULTI is not allowed"));
        }
        core.watches.add(self.watched.get_or_insert_with(Watched::new), keys);
        Ok(())
    }

    /// Ends the watch.
    pub(super) fn unwatch(&mut self, core: &Core) {
        if let Some(watched) = self.watched.take() {
            core.watches.remove(&watched);
        }
    }
}

impl Session {
    /// Forgets what is queued and watched.
    pub(super) fn discard(&mut self) -> Result<Reply> {
        self.transaction.queued.take().ok_or_else(|| Fault::err("DISCARD without MULTI"))?;
        self.transaction.unwatch(&self.core);
        Ok(Reply::OK)
    }

    /// Executes what is queued, all of it under the locks of all its keys.
    pub(super) async fn exec(&mut self) -> Reply {
        let Some(Queued { commands, failed }) = self.transaction.queued.take() else {
            return Reply::err("EXEC without MULTI");
        };
        let core = self.core.clone();
        let is_touched = self.transaction.watched.as_ref().is_some_and(Watched::is_touched);
        self.transaction.unwatch(&core);
        if failed {
            return Reply::Error("EXECABORT Transaction discarded because of previous errors.".into());
        }
        if is_touched {
            return Reply::Null;
        }
        let flushes = commands.iter().any(|(entry, _)| matches!(entry.run, Run::Flush));
        let (_shared, _exclusive) = match flushes {
            true => (None, Some(core.database.write().await)),
            false => (Some(core.database.read().await), None),
        };
        let replies = self.execute_all(&core, &commands);
        commands.iter().for_each(|(entry, _)| self.ring_if_pushed(entry));
        Reply::Array(replies)
    }

    fn execute_all(&mut self, core: &Core, commands: &[(&'static Entry, Command)]) -> Vec<Reply> {
        let written = commands.iter().filter(|(entry, _)| entry.writes);
        core.watches.touch(&written.flat_map(|(entry, command)| entry.keys.of(command.args())).collect::<Vec<_>>());
        let keys: Vec<&Bytes> = commands.iter().flat_map(|(entry, command)| entry.keys.of(command.args())).collect();
        let _locks = core.lock(&keys);
        let mut replies = Vec::with_capacity(commands.len());
        for (entry, command) in commands {
            replies.push(match entry.run {
                Run::Now(handler) | Run::Slowly(handler) => core.execute_locked(entry, handler, command),
                Run::Flush => {
                    let flushed = core.flush_unless_saving(entry.name == "flushall", None);
                    flushed.map_or_else(Fault::reply, |()| Reply::OK)
                }
                Run::Pop(end) => pop_now(core, entry, end, command, false).unwrap_or(Reply::NullArray),
                Run::Session(about) => self.about(about, command.args()).unwrap_or_else(Fault::reply),
            });
        }
        replies
    }
}
