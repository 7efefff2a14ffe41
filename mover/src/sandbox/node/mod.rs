// SPDX-License-Identifier: Apache-2.0
//! A node that behaves like Pika 4.0.1: it writes the same files and answers the commands that a mover and its tests need.
//!
//! ```text
//! <dir>/db/db0/<i>/        RocksDB instance i                                    snapshot::Store
//!       log/log_db0/       binlog                                                replication::binlog::Writer
//!       dump/<day>/db0/    what BGSAVE makes, `info` written last                 backup
//!
//!  client ─RESP─▶ connection ─▶ session ─▶ command_table ─▶ strings, hashes, ... ─▶ data ─▶ store
//!                                  ├─▶ cache                       └─────────────▶ log
//!                                  └─▶ transaction
//! ```
//!
//! It is held to what a real server did (`tests`): the same answers, the same entries in the log and the same values,
//! *with the faults* that a mover meets: a read cache that many writes forget, log entries that tell of what never happened
//! or hold too little, types and expiries of keys that are gone, lost flags, times cut to 32 bits, ranks that begin at the
//! lowest finite score, names that break the protocol in error lines. Two faults of newer builds are there by switch:
//! dumps that hold more than they say, and a log that runs ahead of the data.
//!
//! These faults it does not share: names with a NUL byte inside are stored whole, where the server loses their end; XTRIM
//! MINID ends where the server loops for ever; an answer that the server forgets or doubles is given once; two scans never
//! share a cursor; old dumps are not removed; a transaction breaks the watches of others like any other write; a read locks
//! its key, where the server reads from a snapshot. The slot index that `slotmigrate yes` makes is not kept, there is no
//! replication, and there is one database.

mod admin;
mod backup;
mod bits;
mod cache;
mod call;
mod clients;
mod clock;
mod command_table;
mod config;
mod connection;
mod core;
mod cursor;
mod data;
mod error;
mod fault;
mod geo;
mod geohash;
mod glob;
mod hashes;
mod hyperloglogs;
mod info;
mod key_scan;
mod keys;
mod keyspace;
mod lists;
mod locks;
mod names;
mod number;
mod random;
mod registers;
mod reply;
mod server;
mod session;
mod sets;
mod setting_names;
mod settings;
mod stream_arguments;
mod streams;
mod strings;
mod transaction;
mod watches;
mod zset_ranges;
mod zsets;

#[cfg(test)]
mod tests;

pub use config::NodeConfig;
pub use error::Error;
pub use server::Node;
