// SPDX-License-Identifier: Apache-2.0
//! What CONFIG GET shows and CONFIG SET changes.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;

use super::call::{Answer, Call, is_word};
use super::config::NodeConfig;
use super::core::{Core, DUMP_DIR};
use super::fault::Fault;
use super::glob;
use super::number;
use super::reply::Reply;
use super::setting_names::DEFAULTS;

/// The settings that can change while the node runs.
pub(super) struct Settings {
    values: RwLock<Values>,
    /// Those that cannot.
    binlog_file_size: u64,
}

#[derive(Clone)]
struct Values {
    password: String,
    dump_prefix: String,
    dump_expire: i64,
    expire_logs_days: i64,
    expire_logs_nums: i64,
    write_binlog: bool,
    slotmigrate: bool,
}

impl Settings {
    pub(super) fn new(config: &NodeConfig) -> Self {
        let values = Values {
            password: config.password.clone().unwrap_or_default(),
            dump_prefix: config.dump_prefix.clone(),
            dump_expire: 3,
            expire_logs_days: 7,
            expire_logs_nums: i64::from(config.expire_logs_nums),
            write_binlog: true,
            slotmigrate: config.slotmigrate,
        };
        Self { values: RwLock::new(values), binlog_file_size: config.binlog_file_size }
    }

    /// What clients must send with AUTH; empty lets everyone in.
    pub(super) fn password(&self) -> String {
        self.read().password.clone()
    }

    /// Whether clients must send AUTH.
    pub(super) fn needs_password(&self) -> bool {
        !self.read().password.is_empty()
    }

    /// What the names of dumps begin with.
    pub(super) fn dump_prefix(&self) -> String {
        self.read().dump_prefix.clone()
    }

    /// How many files of the log are kept at most.
    pub(super) fn expire_logs_nums(&self) -> i64 {
        self.read().expire_logs_nums
    }

    /// Whether writes are logged.
    pub(super) fn write_binlog(&self) -> bool {
        self.read().write_binlog
    }

    /// The size in bytes above which a new file of the log is begun.
    pub(super) fn binlog_file_size(&self) -> u64 {
        self.binlog_file_size
    }

    /// Changes a setting; the fault is the server's own line.
    fn set(&self, name: &str, value: &str) -> Result<(), Fault> {
        let invalid = || Fault::err(format!("Invalid argument '{value}' for CONFIG SET '{name}'"));
        let integer = || number::integer(value.as_bytes()).ok_or_else(invalid);
        let positive = || integer().and_then(|number| if number > 0 { Ok(number) } else { Err(invalid()) });
        let mut values = self.values.write().unwrap_or_else(PoisonError::into_inner);
        match name {
            "requirepass" => value.clone_into(&mut values.password),
            "dump-prefix" => value.clone_into(&mut values.dump_prefix),
            "dump-expire" => values.dump_expire = integer()?,
            "expire-logs-days" => values.expire_logs_days = positive()?,
            "expire-logs-nums" => values.expire_logs_nums = positive()?,
            "write-binlog" => {
                values.write_binlog = yes_or_no(value).ok_or_else(|| Fault::err("invalid write-binlog (yes or no)"))?;
            }
            "slotmigrate" => {
                values.slotmigrate = yes_or_no(value).ok_or_else(|| Fault::err("invalid slotmigrate (yes or no)"))?;
            }
            _ => return Err(Fault::err(format!("Unsupported CONFIG parameter: {name}"))),
        }
        Ok(())
    }

    /// The value that is not the one of [`DEFAULTS`].
    fn value(&self, core: &Core, name: &str) -> Option<String> {
        let values = self.read();
        let path = |folder: &str| format!("{}/", core.dir.join(folder).display());
        Some(match name {
            "port" => core.port.to_string(),
            "log-path" => path("log"),
            "db-path" => path("db"),
            "dump-path" => path(DUMP_DIR),
            "db-sync-path" => path("dbsync"),
            "requirepass" => values.password.clone(),
            "dump-prefix" => values.dump_prefix.clone(),
            "dump-expire" => values.dump_expire.to_string(),
            "expire-logs-days" => values.expire_logs_days.to_string(),
            "expire-logs-nums" => values.expire_logs_nums.to_string(),
            "write-binlog" => yes_no(values.write_binlog).to_owned(),
            "slotmigrate" => yes_no(values.slotmigrate).to_owned(),
            "binlog-file-size" => self.binlog_file_size.to_string(),
            "cache-model" => u8::from(core.cache.is_on()).to_string(),
            "default-slot-num" => core.data.slots().to_string(),
            _ => return None,
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Values> {
        self.values.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// CONFIG GET, SET, RESETSTAT and REWRITE. The last two change nothing here.
pub(super) fn config(call: &Call<'_>) -> Answer {
    let wrong_number = |verb: &str| Err(Fault::err(format!("Wrong number of arguments for CONFIG {verb}")));
    let verb = &call.args[1];
    if is_word(verb, "get") {
        return if call.args.len() == 3 { Ok(get(call).into()) } else { wrong_number("get") };
    }
    if is_word(verb, "set") {
        return match &call.args[2..] {
            [star] if star.as_ref() == b"*" => Ok(Reply::Array(SETTABLE.map(Reply::text).to_vec()).into()),
            [name, value] => {
                let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
                match text(name).to_ascii_lowercase().as_str() {
                    "cache-model" => call.core.cache.switch(cache_model(&text(value))?),
                    name => call.core.settings.set(name, &text(value))?,
                }
                Ok(Reply::OK.into())
            }
            _ => wrong_number("set"),
        };
    }
    for word in ["rewrite", "resetstat"] {
        if is_word(verb, word) {
            return if call.args.len() == 2 { Ok(Reply::OK.into()) } else { wrong_number(word) };
        }
    }
    Err(Fault::err("CONFIG subcommand must be one of GET, SET, RESETSTAT, REWRITE"))
}

fn get(call: &Call<'_>) -> Reply {
    let pattern = call.args[2].to_ascii_lowercase();
    let matching = DEFAULTS.iter().filter(|(name, _)| glob::matches(&pattern, name.as_bytes()));
    Reply::Array(
        matching
            .flat_map(|(name, default)| {
                let value = call.core.settings.value(call.core, name);
                [Reply::text(*name), Reply::text(value.unwrap_or_else(|| (*default).to_owned()))]
            })
            .collect(),
    )
}

/// Whether `cache-model` of this value is a cache.
fn cache_model(value: &str) -> Result<bool, Fault> {
    match number::integer(value.as_bytes()) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(2..) => Err(Fault::err("Invalid cache model")),
        _ => Err(Fault::err(format!("Invalid argument {value} for CONFIG SET 'cache-model'"))),
    }
}

fn yes_or_no(value: &str) -> Option<bool> {
    match value {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// What CONFIG SET takes.
const SETTABLE: [&str; 8] = [
    "requirepass",
    "slotmigrate",
    "dump-prefix",
    "dump-expire",
    "expire-logs-days",
    "expire-logs-nums",
    "write-binlog",
    "cache-model",
];
