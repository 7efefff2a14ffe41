// SPDX-License-Identifier: Apache-2.0
use std::path::PathBuf;

use replication::SlotCount;

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Where its files live: `db/`, `log/` and `dump/` below it.
    pub dir: PathBuf,
    /// The port it listens on, on 127.0.0.1 only; 0 takes any that is free.
    pub port: u16,
    /// What clients must send with `AUTH`; none lets everyone in.
    pub password: Option<String>,
    /// Into how many RocksDB instances the data is cut. It must be the same at every start.
    pub instances: usize,
    /// Into how many slots the key space is cut. It must be the same at every start.
    pub slot_count: SlotCount,
    /// The size in bytes above which a new binlog file is begun.
    pub binlog_file_size: u64,
    /// How many binlog files are kept at most. The ten newest are kept always.
    pub expire_logs_nums: u32,
    /// What the names of dumps begin with.
    pub dump_prefix: String,
    /// What `CONFIG GET slotmigrate` says. The slot index itself is never kept.
    pub slotmigrate: bool,
    /// Whether the read cache is on at the start (`cache-model : 1`), with all types of the sample configuration.
    pub cache: bool,
    /// Commands with other names (`rename-command`): the old name and the new one, applied in this order.
    pub rename: Vec<(String, String)>,
    /// Whether dumps are cut as newer builds do: the position is read first, and the files hold later writes than that.
    pub inexact_dumps: bool,
    /// Whether an entry is logged a moment before its change is made, and under a term, as with `slaveof ... strong` of
    /// newer builds.
    pub strong_replication: bool,
}

impl NodeConfig {
    /// The settings that Pika ships with, for a node in `dir` on any free port.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            port: 0,
            password: None,
            instances: 3,
            slot_count: SlotCount::CODIS,
            binlog_file_size: 100 << 20,
            expire_logs_nums: 10,
            dump_prefix: String::new(),
            slotmigrate: false,
            cache: true,
            rename: Vec::new(),
            inexact_dumps: false,
            strong_replication: false,
        }
    }
}
