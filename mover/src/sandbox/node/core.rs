// SPDX-License-Identifier: Apache-2.0
//! The node without its network: locks, store and log, and the order in which a command goes through them.
//!
//! ```text
//! shared lock of the database ─▶ record locks of the keys ─▶ execute ─▶ append to the log ─▶ answer
//! ```
//!
//! As on the server, an entry is appended after its change is made and while the key is still locked. So for one key the
//! order of the log is the order of the changes. BGSAVE takes the lock of the database exclusively: at that moment the
//! log holds what the store holds, no more and no less.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use replication::Command;
use replication::binlog::{UnixSeconds, Writer};
use tokio::sync::{Notify, RwLock};

use super::call::{Call, Done, Logged};
use super::clients::Clients;
use super::clock::Clock;
use super::command_table::{Entry, Handler, Keys};
use super::config::NodeConfig;
use super::cursor::Cursors;
use super::data::Data;
use super::error::Error;
use super::fault::{Fault, Result};
use super::keyspace::Keyspace;
use super::locks::RecordLocks;
use super::reply::Reply;
use super::settings::Settings;
use super::watches::Watches;

/// Everything that the sessions of a node share.
pub(super) struct Core {
    pub(super) data: Data,
    pub(super) settings: Settings,
    pub(super) cursors: Cursors,
    pub(super) watches: Watches,
    pub(super) clock: Clock,
    pub(super) stats: Stats,
    pub(super) keyspace: Keyspace,
    /// Held shared by every command and exclusively by BGSAVE and FLUSHDB.
    pub(super) database: RwLock<()>,
    /// Rings after every push, for those who wait with BLPOP or BRPOP.
    pub(super) pushed: Notify,
    /// Rings when somebody asks for a BGSAVE.
    pub(super) save_requested: Notify,
    /// Whether a BGSAVE is running.
    pub(super) saving: AtomicBool,
    /// When the last BGSAVE ended, in seconds since 1970; zero before the first.
    pub(super) last_save: AtomicU64,
    /// Where the folders `db`, `log` and `dump` are.
    pub(super) dir: PathBuf,
    /// The port it is reached at.
    pub(super) port: u16,
    /// Another one at each start.
    pub(super) run_id: u128,
    pub(super) clients: Clients,
    locks: RecordLocks,
    log: Mutex<Writer>,
}

/// Counts for INFO.
pub(super) struct Stats {
    pub(super) started: Instant,
    pub(super) connections: AtomicU64,
    pub(super) clients: AtomicU64,
    pub(super) commands: AtomicU64,
}

impl Core {
    /// Opens the data and the log in the folder of the configuration.
    pub(super) fn open(config: &NodeConfig, port: u16) -> Result<Self, Error> {
        let store = snapshot::Store::open(config.dir.join(DATA_DIR), config.instances)?;
        let log = Writer::open(config.dir.join(LOG_DIR), config.binlog_file_size)?;
        Ok(Self {
            data: Data::new(store, config.slot_count),
            settings: Settings::new(config),
            cursors: Cursors::new(),
            watches: Watches::default(),
            clock: Clock::default(),
            stats: Stats {
                started: Instant::now(),
                connections: AtomicU64::new(0),
                clients: AtomicU64::new(0),
                commands: AtomicU64::new(0),
            },
            keyspace: Keyspace::default(),
            database: RwLock::new(()),
            pushed: Notify::new(),
            save_requested: Notify::new(),
            saving: AtomicBool::new(false),
            last_save: AtomicU64::new(0),
            dir: config.dir.clone(),
            port,
            run_id: rand::random(),
            clients: Clients::default(),
            locks: RecordLocks::new(),
            log: Mutex::new(log),
        })
    }

    /// Executes a command. The caller holds the database lock, shared.
    pub(super) fn execute(&self, entry: &Entry, handler: Handler, command: &Command) -> Reply {
        if !entry.writes && matches!(entry.keys, Keys::None) {
            return self.execute_locked(entry, handler, command);
        }
        let keys = entry.keys.of(command.args());
        if entry.writes {
            self.watches.touch(&keys);
        }
        let _locks = self.locks.lock(&keys);
        self.execute_locked(entry, handler, command)
    }

    /// Executes a command whose record locks are held.
    pub(super) fn execute_locked(&self, entry: &Entry, handler: Handler, command: &Command) -> Reply {
        let done = handler(&self.call(command));
        match entry.writes {
            true => self.finish(command, done),
            false => done.map_or_else(Fault::reply, |done| done.reply),
        }
    }

    /// Logs what a write has done, under the locks that it did it under, and gives its answer.
    pub(super) fn finish(&self, command: &Command, done: Result<Done>) -> Reply {
        let Done { reply, log } = match done {
            Ok(done) => done,
            Err(fault) => return fault.reply(),
        };
        let logged = match &log {
            Logged::Verbatim if !reply.is_error() => self.append(std::slice::from_ref(command)),
            Logged::Rewritten(commands) => self.append(commands),
            Logged::Verbatim | Logged::Nothing => Ok(()),
        };
        logged.map_or_else(Fault::reply, |()| reply)
    }

    /// A command about to be executed, at the time of the node's clock.
    pub(super) fn call<'a>(&'a self, command: &'a Command) -> Call<'a> {
        Call { core: self, args: command.args(), now: self.clock.now() }
    }

    /// Locks keys against other writers.
    pub(super) fn lock(&self, keys: &[&Bytes]) -> Vec<MutexGuard<'_, ()>> {
        self.locks.lock(keys)
    }

    /// Empties the database, unless it is being saved. The caller holds its lock exclusively.
    pub(super) fn flush_unless_saving(&self, is_all: bool) -> Result<()> {
        if self.saving.load(Ordering::Acquire) {
            return Err(Fault::err(if is_all { FLUSHALL_REFUSED } else { FLUSHDB_REFUSED }));
        }
        self.watches.touch_all();
        Ok(self.data.store.delete_all()?)
    }

    /// Appends to the log, unless it is switched off.
    pub(super) fn append(&self, commands: &[Command]) -> Result<()> {
        if !self.settings.write_binlog() {
            return Ok(());
        }
        let seconds = UnixSeconds(u32::try_from(self.clock.now().0 / 1000).unwrap_or(u32::MAX));
        let mut log = self.log();
        for command in commands {
            log.append(command, seconds).map_err(Fault::Log)?;
        }
        Ok(())
    }

    /// The log.
    pub(super) fn log(&self) -> MutexGuard<'_, Writer> {
        // A writer is as it was before an append that failed, also when it failed by a panic.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes old files of the log: those beyond `expire-logs-nums`, but never one of the ten newest.
    pub(super) fn purge(&self) -> Result<usize, Error> {
        let keep = usize::try_from(self.settings.expire_logs_nums()).unwrap_or(usize::MAX);
        Ok(self.log().purge(keep.max(LOG_FILES_MIN))?)
    }

    /// Counts a command.
    pub(super) fn count(&self) {
        self.stats.commands.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the log cleanly.
    pub(super) fn close(self) -> Result<(), Error> {
        let log = self.log.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(log.close()?)
    }
}

/// Where the RocksDB instances are, below the folder of a node.
pub(super) const DATA_DIR: &str = "db/db0";
/// Where the binlog is, below the folder of a node.
pub(super) const LOG_DIR: &str = "log/log_db0";
/// Where the dumps are, below the folder of a node.
pub(super) const DUMP_DIR: &str = "dump";

/// The file being written and the ten before it: the server deletes none newer than that.
const LOG_FILES_MIN: usize = 10;

const FLUSHDB_REFUSED: &str = "flushdb failed, maybe you cna try again later(check WARNING/ERROR log to know more)";
const FLUSHALL_REFUSED: &str = "Flushall failed, maybe only some of the dbs successfully flushed while some not, check \
                                WARNING/ERROR log to know more, you can try again moment later";
