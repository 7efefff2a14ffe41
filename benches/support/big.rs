// SPDX-License-Identifier: Apache-2.0
//! Dumps with one big key, and the clients that change it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use redis::Cmd;
use snapshot::format::{
    BaseKind, BaseMeta, Column, HashValue, LIST_INDEX_START, ListMeta, ListValue, SetValue, Version, ZsetValue,
    data_key, list_key, meta_key, score_key,
};

use super::dump::{self, Rows};

/// The one big key.
pub(crate) const KEY: &[u8] = b"big";

/// What is moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Data {
    /// One sorted set of so many members.
    Zset(u64),
    /// One list of so many elements.
    List(u64),
    /// One hash of so many fields of a kilobyte.
    Hash(u64),
    /// One string of so many bytes that nothing compresses.
    Noise(usize),
    /// One string of so many bytes that look like JSON.
    Text(usize),
    /// So many strings of 100 bytes.
    Strings(u64),
}

impl Data {
    /// Whether it is one string, each version of which is as large as the key.
    pub(crate) fn is_string(self) -> bool {
        matches!(self, Self::Noise(_) | Self::Text(_))
    }

    /// Makes the dump unless it is there.
    pub(crate) fn dump(self, name: &str) -> Result<PathBuf> {
        dump::made_once(&format!("memory-{name}"), INSTANCES, self.rows(), |number, rows| self.write(number, rows))
    }

    /// Deletes the dump when it would fill the disk.
    pub(crate) fn forget_if_large(self, name: &str) -> Result<()> {
        let is_large = matches!(self, Self::Hash(_)) || self.rows() > 10_000_000;
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("memory-{name}"));
        if is_large && dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        Ok(())
    }

    /// Elements that are written: a string is one.
    fn rows(self) -> u64 {
        match self {
            Self::Zset(count) | Self::List(count) | Self::Hash(count) | Self::Strings(count) => count,
            Self::Noise(_) | Self::Text(_) => 1,
        }
    }

    fn write(self, number: u64, rows: &mut Rows<'_>) {
        let is_last = number + 1 == self.rows();
        match self {
            Self::Zset(count) => {
                let (member, score) = (member(number), number as f64);
                let value = ZsetValue { score, created: CREATED }.encode();
                rows.row(KEY, Column::Zset, data_key(KEY, VERSION, member.as_bytes()), value);
                let row = score_key(KEY, VERSION, score, member.as_bytes());
                rows.row(KEY, Column::ZsetScore, row, SetValue { created: CREATED }.encode());
                if is_last {
                    put_base(rows, BaseKind::Zset, count);
                }
            }
            Self::Hash(count) => {
                let value = HashValue { value: &dump::json(number, 1 << 10), created: CREATED }.encode();
                rows.row(KEY, Column::Hash, data_key(KEY, VERSION, member(number).as_bytes()), value);
                if is_last {
                    put_base(rows, BaseKind::Hash, count);
                }
            }
            Self::List(count) => {
                let value = ListValue { value: member(number).as_bytes(), created: CREATED }.encode();
                rows.row(KEY, Column::List, list_key(KEY, VERSION, LIST_INDEX_START + number), value);
                if is_last {
                    let (left, right) = (LIST_INDEX_START - 1, LIST_INDEX_START + count);
                    let meta = ListMeta { count, version: VERSION, left, right, created: CREATED, expire_at: None };
                    rows.row(KEY, Column::Default, meta_key(KEY), meta.encode());
                }
            }
            Self::Noise(size) => {
                let words = (0..size as u64 / 8).flat_map(|word| dump::scrambled(word).to_le_bytes());
                rows.string(KEY, &words.collect::<Vec<u8>>());
            }
            Self::Text(size) => rows.string(KEY, &dump::json(1, size)),
            Self::Strings(_) => rows.string(member(number).as_bytes(), &dump::json(number, 100)),
        }
    }

    /// A change of a few bytes, another one for each number.
    pub(crate) fn small_changes(self, number: u64) -> Vec<Cmd> {
        let mut commands = vec![Cmd::new(), Cmd::new()];
        let [one, two] = &mut commands[..] else { unreachable!("there are two") };
        let text = member(number);
        match self {
            Self::Zset(_) => {
                one.arg("ZADD").arg(KEY).arg(number).arg(&text);
                two.arg("ZREM").arg(KEY).arg(member(number + 1000));
            }
            Self::List(_) => {
                one.arg("LPUSH").arg(KEY).arg(&text);
                two.arg("RPOP").arg(KEY);
            }
            Self::Hash(_) => {
                one.arg("HSET").arg(KEY).arg(&text).arg(number);
                two.arg("HDEL").arg(KEY).arg(member(number + 1000));
            }
            Self::Noise(_) | Self::Text(_) => {
                one.arg("SETRANGE").arg(KEY).arg(number).arg("x");
                two.arg("EXISTS").arg(KEY);
            }
            Self::Strings(_) => {
                one.arg("SET").arg(&text).arg(number);
                two.arg("DEL").arg(member(number + 1000));
            }
        }
        commands
    }

    /// Changes after which all of the key must be read again.
    pub(crate) fn whole_changes(self) -> Vec<Cmd> {
        let key = match self {
            Self::Strings(_) => member(0).into_bytes(),
            _ => KEY.to_vec(),
        };
        let (mut expire, mut persist) = (Cmd::new(), Cmd::new());
        expire.arg("EXPIRE").arg(&key).arg(100_000_000);
        persist.arg("PERSIST").arg(&key);
        vec![expire, persist]
    }
}

/// The name of an element or of a small key: 16 bytes.
fn member(number: u64) -> String {
    format!("item:{number:011}")
}

fn put_base(rows: &mut Rows<'_>, kind: BaseKind, count: u64) {
    let count = i32::try_from(count).expect("a collection of the bench is not that big");
    let meta = BaseMeta { kind, count, version: VERSION, created: CREATED, expire_at: None };
    rows.row(KEY, Column::Default, meta_key(KEY), meta.encode());
}

const VERSION: Version = Version(dump::CREATED.0);
const CREATED: Option<snapshot::UnixMillis> = Some(dump::CREATED);

/// As many as Pika has.
const INSTANCES: usize = 3;
