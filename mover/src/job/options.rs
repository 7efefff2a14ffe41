// SPDX-License-Identifier: Apache-2.0
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use replication::{Renames, SlotCount, SlotSet};

use crate::dialect::HyperLogLogPolicy;
use crate::endpoint::Endpoint;
use crate::endpoint::Names;
use crate::flow::{CommandRate, JobLimits, Kindness, Limits, Rate, Speed};
use crate::job::VerifyMode;
use crate::sink::ReceiverOptions;

/// What to move and how.
#[derive(Clone, Debug)]
pub struct JobOptions {
    /// The slots to move.
    pub slots: SlotSet,
    /// Into how many slots the key space is cut: Pika's `default-slot-num`.
    pub slot_count: SlotCount,
    /// The database: Codis' number, Pika's `db<n>`.
    pub database: u32,
    /// The most user data that may go to the target; no limit when not given.
    pub rate: Option<Rate>,
    /// The receiver that batches go through; straight to the target when not given. The target is asked by its own address
    /// all the same.
    pub receiver: Option<ReceiverOptions>,
    /// The most commands that may go to the target; no limit when not given.
    pub command_rate: Option<CommandRate>,
    /// How much the job gives way to clients.
    pub kind: Kindness,
    /// Limits that it shares with other jobs of this agent.
    pub shared_limits: Option<Limits>,
    /// Connections to the target, and to the source for re-reading.
    pub lanes: usize,
    /// The memory that the process may take in all, about.
    pub memory: ByteSize,
    /// The most of the source's log that is kept for the job, from its checkpoint on. A job that needs more is stopped.
    pub spool_max: ByteSize,
    /// What becomes of HyperLogLogs on a Redis target.
    pub hyperloglog: HyperLogLogPolicy,
    /// Whether keys of these slots that the target already holds are deleted first. Without it they stop the job.
    pub replace: bool,
    /// Whether keys whose names Pika itself has corrupted are left behind. Without it they stop the job.
    pub leave_corrupt_names: bool,
    /// How much is compared on both sides before clients are switched.
    pub verify: VerifyMode,
    /// How clients are held and switched at the end.
    pub cutover: CutoverOptions,
    /// What becomes of the moved keys at the node that they have left.
    pub cleanup: Cleanup,
    /// How long a server that is gone is waited for before the job is left to a person.
    pub retry_for: Duration,
    /// Where checkpoint and spool go; beside the source's dumps and logs when not given.
    pub work_dir: Option<PathBuf>,
    /// The commands that the Pikas of the move know by other names (`rename-command`): the source, and the target if it is a
    /// Pika. Logs are read and commands are sent by these.
    pub renames: Renames,
    /// The commands that the target knows by other names, where those are others than the source's.
    pub target_renames: Option<Renames>,
}

/// What becomes of the moved keys at the source, once every slot is at the target.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Cleanup {
    /// They are deleted.
    Delete,
    /// They stay, for whoever wants to look at them.
    #[default]
    Keep,
}

impl fmt::Display for Cleanup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delete => "delete",
            Self::Keep => "keep",
        })
    }
}

impl std::str::FromStr for Cleanup {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "delete" => Ok(Self::Delete),
            "keep" => Ok(Self::Keep),
            _ => Err(format!("`{text}` is none of delete and keep")),
        }
    }
}

/// How clients are held and switched.
#[derive(Clone, Debug)]
pub struct CutoverOptions {
    /// Slots that are switched under one fence; the others keep being followed.
    pub group: NonZeroUsize,
    /// The longest a fence may stand, from its first lock to its last unlock, before it is lowered without a switch;
    /// none where a person switches.
    pub max_lock: Option<Duration>,
    /// How often a slot that was not switched is tried again before the job gives up; without end when not given.
    pub retries: Option<u32>,
    /// A flag file: while it exists no fence is raised, and the slots keep being followed.
    pub postpone_file: Option<PathBuf>,
    /// Whether slots are switched although the target's replicas have not got them, which matters where clients read
    /// from replicas.
    pub ignore_replicas: bool,
    /// Leaves the drain out, so that a test can see that clients see it.
    #[doc(hidden)]
    pub skip_drain: bool,
}

impl JobOptions {
    /// The usual way to move `slots` of a Codis cluster.
    pub fn new(slots: SlotSet) -> Self {
        Self {
            slots,
            slot_count: SlotCount::CODIS,
            database: 0,
            rate: None,
            receiver: None,
            command_rate: None,
            kind: Kindness::default(),
            shared_limits: None,
            lanes: 4,
            memory: MEMORY,
            spool_max: SPOOL_MAX,
            hyperloglog: HyperLogLogPolicy::default(),
            replace: false,
            leave_corrupt_names: false,
            verify: VerifyMode::default(),
            cutover: CutoverOptions::default(),
            cleanup: Cleanup::default(),
            retry_for: RETRY_FOR,
            work_dir: None,
            renames: Renames::default(),
            target_renames: None,
        }
    }

    /// The source of a job with these options.
    pub(super) fn of_source(&self, source: Endpoint) -> Endpoint {
        let names = if self.renames.is_empty() { source.names } else { Names::new(self.renames.clone()) };
        Endpoint { database: self.database, names, ..source }
    }

    /// The target of a job with these options.
    pub(super) fn of_target(&self, target: Endpoint) -> Endpoint {
        let names = match &self.target_renames {
            Some(renames) => Names::new(renames.clone()),
            None if self.renames.is_empty() => target.names,
            None => Names::of_pika(self.renames.clone()),
        };
        Endpoint { database: self.database, names, ..target }
    }

    /// What of it may be changed while the job runs.
    pub fn limits(&self) -> JobLimits {
        let speed = Speed { rate: self.rate, command_rate: self.command_rate };
        JobLimits { speed, kind: self.kind }
    }

    /// What batches on the line may take of the memory: an eighth. Their bookkeeping takes as much again, a quarter is for
    /// what is being read, and the rest is RocksDB's and the allocator's.
    pub fn line_memory(&self) -> usize {
        usize::try_from(self.memory.as_u64() / 8).unwrap_or(usize::MAX)
    }
}

/// An hour of a source that is written at 5 MB/s.
const SPOOL_MAX: ByteSize = ByteSize::gb(20);

/// A machine is started anew in that time, and a person called.
const RETRY_FOR: Duration = Duration::from_secs(60 * 60);

/// What a small machine can spare.
const MEMORY: ByteSize = ByteSize::mb(256);

impl Default for CutoverOptions {
    fn default() -> Self {
        Self {
            group: NonZeroUsize::MIN,
            max_lock: Some(Duration::from_millis(200)),
            retries: None,
            postpone_file: None,
            ignore_replicas: false,
            skip_drain: false,
        }
    }
}
