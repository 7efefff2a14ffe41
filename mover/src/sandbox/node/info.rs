// SPDX-License-Identifier: Apache-2.0
//! INFO.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::cache::CacheStats;
use super::call::{Answer, Call, is_word};
use super::core::{Core, DATA_DIR, LOG_DIR};
use super::fault::Fault;
use super::keyspace;
use super::reply::Reply;

/// INFO of everything or of one section; nothing of a section that there is not. Only `INFO all` tells of the cache.
pub(super) fn info(call: &Call<'_>) -> Answer {
    let Some(section) = call.args.get(1) else {
        return Ok(Reply::text(all(call.core, |name| name != "cache")).into());
    };
    let is_keyspace = is_word(section, "keyspace");
    if call.args.len() > if is_keyspace { 4 } else { 2 } {
        return Err(Fault::SYNTAX);
    }
    if let Some(what) = call.args.get(2) {
        match what.as_ref() {
            b"1" => keyspace::request(call.core),
            b"0" | b"off" => {}
            _ => return Err(Fault::SYNTAX),
        }
    }
    if is_word(section, "all") {
        return Ok(Reply::text(all(call.core, |_| true)).into());
    }
    let found = SECTIONS.iter().find(|(name, _)| is_word(section, name));
    Ok(Reply::text(found.map_or_else(String::new, |(_, write)| write(call.core))).into())
}

type Section = (&'static str, fn(&Core) -> String);

const SECTIONS: [Section; 7] = [
    ("server", server),
    ("data", data),
    ("clients", clients),
    ("stats", stats),
    ("cache", cache),
    ("replication", replication),
    ("keyspace", keyspace::shown),
];

fn all(core: &Core, is_wanted: impl Fn(&str) -> bool) -> String {
    let wanted = SECTIONS.into_iter().filter(|(name, _)| is_wanted(name));
    wanted.map(|(_, write)| write(core)).collect::<Vec<_>>().join("\r\n")
}

fn server(core: &Core) -> String {
    let uptime = core.stats.started.elapsed().as_secs();
    section(
        "Server",
        &[
            // What a real 4.0.1 says.
            ("pika_version", "4.0.0".to_owned()),
            ("os", std::env::consts::OS.to_owned()),
            ("arch_bits", usize::BITS.to_string()),
            ("process_id", std::process::id().to_string()),
            ("tcp_port", core.port.to_string()),
            ("uptime_in_seconds", uptime.to_string()),
            ("uptime_in_days", (uptime / 86_400 + 1).to_string()),
            ("run_id", format!("{:040x}", core.run_id)),
        ],
    )
}

fn data(core: &Core) -> String {
    let size = |folder: &str| size_of(&core.dir.join(folder)).to_string();
    section("Data", &[("db_size", size(DATA_DIR)), ("log_size", size(LOG_DIR))])
}

fn clients(core: &Core) -> String {
    section("Clients", &[("connected_clients", core.stats.clients.load(Ordering::Relaxed).to_string())])
}

fn stats(core: &Core) -> String {
    let yes_no = |value: bool| if value { "Yes" } else { "No" }.to_owned();
    section(
        "Stats",
        &[
            ("total_connections_received", core.stats.connections.load(Ordering::Relaxed).to_string()),
            ("total_commands_processed", core.stats.commands.load(Ordering::Relaxed).to_string()),
            ("is_bgsaving", yes_no(core.saving.load(Ordering::Acquire))),
            ("is_scaning_keyspace", yes_no(false)),
            ("is_compact", yes_no(false)),
            ("is_slots_reloading", "No, , 0".to_owned()),
            ("is_slots_cleaningup", "No, , 0".to_owned()),
            ("is_slots_migrating", "No, , 0".to_owned()),
        ],
    )
}

fn replication(core: &Core) -> String {
    let end = core.log().end();
    let behind = u64::from(end.file).saturating_mul(core.settings.binlog_file_size()).saturating_add(end.position);
    section(
        "Replication(MASTER)",
        &[
            ("role", "master".to_owned()),
            ("ReplicationID", String::new()),
            ("connected_slaves", "0".to_owned()),
            ("is_eligible_for_master_election", "true".to_owned()),
            ("db0", format!("binlog_offset={} {},safety_purge=none", end.file, end.position)),
            ("slave_repl_offset", behind.to_string()),
        ],
    )
}

fn cache(core: &Core) -> String {
    if !core.cache.is_on() {
        return section("Cache", &[("cache_status", "Disable".to_owned())]);
    }
    let CacheStats { keys, bytes, hits, misses } = core.cache.stats();
    let ratio = 100.0 * hits as f64 / (hits + misses).max(1) as f64;
    section(
        "Cache",
        &[
            ("cache_status", "Ok".to_owned()),
            ("cache_db_num", "1".to_owned()),
            ("cache_keys", keys.to_string()),
            ("cache_memory", bytes.to_string()),
            ("cache_memory_human", format!("{}M", bytes >> 20)),
            ("hits", hits.to_string()),
            ("all_cmds", (hits + misses).to_string()),
            ("hits_per_sec", "0".to_owned()),
            ("read_cmd_per_sec", "0".to_owned()),
            ("hitratio_per_sec", "0%".to_owned()),
            ("hitratio_all", format!("{ratio:.2}%")),
            ("load_keys_per_sec", "0".to_owned()),
            ("waitting_load_keys_num", "0".to_owned()),
        ],
    )
}

fn section(title: &str, lines: &[(&str, String)]) -> String {
    let mut text = format!("# {title}\r\n");
    for (name, value) in lines {
        write!(text, "{name}:{value}\r\n").expect("a string takes everything");
    }
    text
}

/// Bytes of the files in a folder and below it. What is being deleted meanwhile counts nothing.
fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(what) if what.is_dir() => size_of(&entry.path()),
            Ok(what) => what.len(),
            Err(_) => 0,
        })
        .sum()
}
