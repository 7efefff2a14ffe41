// SPDX-License-Identifier: Apache-2.0
//! The node without its network: locks, store and log, and the order in which a command goes through them.
//!
//! ```text
//! shared lock of the database ─▶ record locks of the keys ─▶ execute ─▶ append to the log ─▶ answer
//! ```
//!
//! As on the server, an entry is appended after its change is made and while the key is still locked. So for one key the
//! order of the log is the order of the changes. With strong replication, what a command will log is found out without
//! making the change, appended, and only then is the change made: who reads the log and asks at once gets what was before. BGSAVE takes the lock of the database exclusively: at that moment the
//! log holds what the store holds, no more and no less.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use replication::Command;
use replication::binlog::{UnixSeconds, Writer};
use tokio::sync::{Notify, RwLock};

use super::cache::Cache;
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
use super::names::Names;
use super::reply::Reply;
use super::settings::Settings;
use super::watches::Watches;

/// Everything that the sessions of a node share.
pub(super) struct Core {
    pub(super) data: Data,
    pub(super) cache: Cache,
    pub(super) names: Names,
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
    /// Whether the files of a dump are taken after its position was.
    pub(super) has_inexact_dumps: bool,
    /// Another one at each start.
    pub(super) run_id: u128,
    pub(super) clients: Clients,
    locks: RecordLocks,
    log: Mutex<Writer>,
    /// Only with strong replication.
    ahead: Option<Ahead>,
}

/// What a log takes that runs ahead of the data.
struct Ahead {
    /// The rows for finding out what a write will log.
    rehearsal: Data,
    /// Held by plain reads and while a change is made, but not while it is only logged: reads then see what was before.
    reads: RecordLocks,
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
        let mut log = Writer::open(config.dir.join(LOG_DIR), config.binlog_file_size)?;
        if config.strong_replication {
            log.set_term(TERM);
        }
        let data = Data::new(store, config.slot_count);
        Ok(Self {
            ahead: config.strong_replication.then(|| Ahead { rehearsal: data.rehearsal(), reads: RecordLocks::new() }),
            data,
            cache: Cache::new(config.cache),
            names: Names::new(&config.rename)?,
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
            has_inexact_dumps: config.inexact_dumps,
            run_id: rand::random(),
            clients: Clients::default(),
            locks: RecordLocks::new(),
            log: Mutex::new(log),
        })
    }

    /// Executes a command. The caller holds the database lock, shared.
    pub(super) fn execute(&self, entry: &Entry, handler: Handler, command: &Command) -> Reply {
        if let Some(reply) = self.cache.answer(&entry.cache, &self.call(command)) {
            return reply;
        }
        if !entry.writes && matches!(entry.keys, Keys::None) {
            return self.execute_locked(entry, handler, command);
        }
        let keys = entry.keys.of(command.args());
        if entry.writes {
            self.watches.touch(&keys);
        }
        match entry.writes {
            true => {
                let _locks = self.locks.lock(&keys);
                self.execute_locked(entry, handler, command)
            }
            false => {
                let _locks = self.locks_of_reads().lock(&keys);
                self.read_through(entry, handler, command)
            }
        }
    }

    /// Executes a command whose record locks are held, past the cache.
    pub(super) fn execute_locked(&self, entry: &Entry, handler: Handler, command: &Command) -> Reply {
        if entry.writes {
            return self.change(entry, command, |call| handler(call).map(Some)).unwrap_or(Reply::Null);
        }
        let call = self.call(command);
        let reply = handler(&call).map_or_else(Fault::reply, |done| done.reply);
        self.cache.update(&entry.cache, &call, &reply);
        reply
    }

    /// Executes a read whose locks are held, and fills the cache.
    fn read_through(&self, entry: &Entry, handler: Handler, command: &Command) -> Reply {
        let call = self.call(command);
        match handler(&call) {
            Ok(done) => {
                let reply = self.cache.fill(&entry.cache, &call, done.reply);
                self.cache.update(&entry.cache, &call, &reply);
                reply
            }
            Err(fault) => self.cache.word(&entry.cache, fault).reply(),
        }
    }

    /// Makes a change, logs it and repeats it in the cache, under the record locks of its keys; `None` when there is
    /// nothing to do.
    pub(super) fn change(
        &self,
        entry: &Entry,
        command: &Command,
        change: impl Fn(&Call<'_>) -> Result<Option<Done>>,
    ) -> Option<Reply> {
        let call = self.call(command);
        let ahead = self.ahead.as_ref();
        if let Some(ahead) = ahead {
            let rehearsed = change(&Call { rows: &ahead.rehearsal, ..call });
            let logged = rehearsed.and_then(|done| done.map(|done| self.log_done(command, &done)).transpose());
            match logged {
                Ok(None) => return None,
                Ok(Some(true)) => std::thread::sleep(APPLY_PAUSE),
                Ok(Some(false)) => {}
                Err(fault) => return Some(fault.reply()),
            }
        }
        let _locks = ahead.map(|ahead| ahead.reads.lock(&entry.keys.of(command.args())));
        let reply = match change(&call) {
            Ok(done) => {
                let done = done?;
                let logged = if ahead.is_some() { Ok(true) } else { self.log_done(command, &done) };
                logged.map_or_else(Fault::reply, |_| done.reply)
            }
            Err(fault) => fault.reply(),
        };
        self.cache.update(&entry.cache, &call, &reply);
        Some(reply)
    }

    /// Logs what a write has done, and tells whether that was anything.
    fn log_done(&self, command: &Command, done: &Done) -> Result<bool> {
        let commands = match &done.log {
            Logged::Verbatim if !done.reply.is_error() => std::slice::from_ref(command),
            Logged::Rewritten(commands) => commands,
            Logged::Verbatim | Logged::Nothing => &[],
        };
        self.append(commands)?;
        Ok(!commands.is_empty())
    }

    /// A command about to be executed, at the time of the node's clock.
    pub(super) fn call<'a>(&'a self, command: &'a Command) -> Call<'a> {
        Call { core: self, args: command.args(), now: self.clock.now(), rows: &self.data }
    }

    /// Locks keys against other writers.
    pub(super) fn lock(&self, keys: &[&Bytes]) -> Vec<MutexGuard<'_, ()>> {
        self.locks.lock(keys)
    }

    /// Empties the database, unless it is being saved, and logs `logged`, if anything. The caller holds the database lock
    /// exclusively. A FLUSHDB in a transaction, which logs nothing, leaves the cache as it is.
    pub(super) fn flush_unless_saving(&self, is_all: bool, logged: Option<&Command>) -> Result<()> {
        let logged = logged.map_or(&[][..], std::slice::from_ref);
        if self.saving.load(Ordering::Acquire) {
            return Err(Fault::err(if is_all { FLUSHALL_REFUSED } else { FLUSHDB_REFUSED }));
        }
        self.watches.touch_all();
        if self.is_strong() {
            self.append(logged)?;
            std::thread::sleep(APPLY_PAUSE);
        }
        self.data.store.delete_all()?;
        if is_all || !logged.is_empty() {
            self.cache.clear();
        }
        match self.is_strong() {
            true => Ok(()),
            false => self.append(logged),
        }
    }

    /// Whether entries are logged before their changes are made.
    pub(super) fn is_strong(&self) -> bool {
        self.ahead.is_some()
    }

    fn locks_of_reads(&self) -> &RecordLocks {
        self.ahead.as_ref().map_or(&self.locks, |ahead| &ahead.reads)
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

/// The term in the items of a log that runs ahead of the data.
pub(super) const TERM: u32 = 1;

/// How long an entry is in the log before its change is made, with strong replication.
const APPLY_PAUSE: Duration = Duration::from_millis(1);

/// The file being written and the ten before it: the server deletes none newer than that.
const LOG_FILES_MIN: usize = 10;

const FLUSHDB_REFUSED: &str = "flushdb failed, maybe you cna try again later(check WARNING/ERROR log to know more)";
const FLUSHALL_REFUSED: &str = "Flushall failed, maybe only some of the dbs successfully flushed while some not, check \
                                WARNING/ERROR log to know more, you can try again moment later";
