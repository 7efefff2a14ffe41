// SPDX-License-Identifier: Apache-2.0
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rocksdb::properties::AGGREGATED_TABLE_PROPERTIES;
use rocksdb::{BlockBasedOptions, Cache, DB, DBRawIterator, DBRecoveryMode, LiveFile, Options, ReadOptions};

use crate::error::{Error, Result};
use crate::format::{Column, LIST_COMPARATOR, SCORE_COMPARATOR, compare_list_keys, compare_score_keys};
use crate::wal::find_foreign_record;

/// One RocksDB of a checkpoint, opened so that nothing in its directory is changed or added.
pub(crate) struct Instance {
    dir: PathBuf,
    db: DB,
    estimated_keys: u64,
    reads_ahead: bool,
}

impl Instance {
    /// Opens the instance in `dir`, which must have the column families of Pika 4.0 and no others.
    pub(crate) fn open(dir: PathBuf) -> Result<Self> {
        check_columns(&dir)?;
        if let Some((log, at)) = find_foreign_record(&dir).map_err(Error::io(&dir))? {
            return Err(Error::layout(&dir.join(log), format!("has a damaged record at byte {at}")));
        }
        let mut options = Options::default();
        options.set_max_open_files(OPEN_FILES_MAX);
        options.set_paranoid_checks(true);
        options.set_skip_stats_update_on_db_open(true);
        // A dump rarely holds a write-ahead log; if so, an end that is torn off would be lost silently otherwise.
        options.set_wal_recovery_mode(DBRecoveryMode::AbsoluteConsistency);
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let columns = Column::ALL.map(|column| (column.name(), readable(column, &cache)));
        let db = DB::open_cf_with_opts_for_read_only(&options, &dir, columns, false).map_err(Error::rocksdb(&dir))?;
        let files = db.live_files().map_err(Error::rocksdb(&dir))?;
        check_tables(&dir, &files)?;
        let of_keys = || files.iter().filter(|file| file.column_family_name == Column::Default.name());
        let estimated_keys = count_rows(&db).map_err(Error::rocksdb(&dir))?;
        let (size, rows) = of_keys().fold((0, 0), |(size, rows), file| (size + file.size, rows + file.num_entries));
        let reads_ahead = size as u64 <= rows * READAHEAD_ROW_MAX;
        Ok(Self { dir, db, estimated_keys, reads_ahead })
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A cursor before the first row of a column family.
    pub(crate) fn cursor(&self, column: Column, access: Access) -> Cursor<'_> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_verify_checksums(true);
        if access == Access::Dense && self.reads_ahead {
            options.set_readahead_size(READAHEAD_BYTES);
        }
        let family = self.db.cf_handle(column.name()).expect("every column family was opened with the instance");
        let rows = self.db.raw_iterator_cf_opt(family, options);
        Cursor { dir: &self.dir, column, rows, started: false }
    }

    /// About how many rows `default` has, those of dead keys among them.
    pub(crate) fn estimated_keys(&self) -> u64 {
        self.estimated_keys
    }
}

/// The rows of `default` as its tables themselves count them: of files that it has not written itself RocksDB knows no counts,
/// unless it reads some of them when it is opened.
fn count_rows(db: &DB) -> Result<u64, rocksdb::Error> {
    let family = db.cf_handle(Column::Default.name()).expect("every column family was opened with the instance");
    let text = db.property_value_cf(family, AGGREGATED_TABLE_PROPERTIES)?.unwrap_or_default();
    let count = |name: &str| text.split(';').find_map(|part| part.trim().strip_prefix(name)?.parse::<u64>().ok());
    let (rows, deletions) = (count("# entries=").unwrap_or(0), count("# deletions=").unwrap_or(0));
    // A deletion is a row itself, and there is one below it.
    Ok(rows.saturating_sub(2 * deletions))
}

/// RocksDB takes a manifest that lost its end for a shorter one, and the tables named there for no part of the data.
/// BGSAVE copies the tables in use and no others, so each one that lies here must be known.
fn check_tables(dir: &Path, files: &[LiveFile]) -> Result<()> {
    let known: HashSet<&str> = files.iter().map(|file| file.name.trim_start_matches('/')).collect();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        let is_table = path.extension().is_some_and(|extension| extension == "sst");
        if is_table && !path.file_name().and_then(|name| name.to_str()).is_some_and(|name| known.contains(name)) {
            return Err(Error::layout(&path, "is named by no entry of the manifest, which must have lost its end"));
        }
    }
    Ok(())
}

/// How a cursor will be moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Over most of the rows: read far ahead.
    Dense,
    /// From place to place: reading ahead would read mostly what is jumped over.
    Sparse,
}

/// A place in the rows of one column family. It only moves forward.
pub(crate) struct Cursor<'a> {
    dir: &'a Path,
    column: Column,
    rows: DBRawIterator<'a>,
    started: bool,
}

impl Cursor<'_> {
    /// The row at the cursor; `None` at the end.
    ///
    /// # Errors
    ///
    /// RocksDB cannot read it. Only a `None` without an error is the end.
    pub(crate) fn row(&self) -> Result<Option<(&[u8], &[u8])>> {
        match self.rows.item() {
            Some(row) => Ok(Some(row)),
            None => self.rows.status().map(|()| None).map_err(Error::rocksdb(self.dir)),
        }
    }

    /// Goes to the next row.
    pub(crate) fn advance(&mut self) {
        self.rows.next();
    }

    /// Goes to the first row whose key is not before `key`.
    pub(crate) fn advance_to(&mut self, key: &[u8]) {
        if !self.started {
            self.started = true;
            self.rows.seek(key);
            return;
        }
        // A seek costs as much as some dozen steps, and what is wanted is mostly the very next row.
        for _ in 0..STEPS_BEFORE_SEEK {
            match self.rows.key() {
                Some(at) if self.column.compare(at, key).is_lt() => self.rows.next(),
                // An end that is an error shows at the next call of `row`.
                _ => return,
            }
        }
        self.rows.seek(key);
    }
}

/// Options with the order that the column's keys have.
pub(crate) fn column_options(column: Column) -> Options {
    let mut options = Options::default();
    match column {
        Column::List => options.set_comparator(LIST_COMPARATOR, Box::new(compare_list_keys)),
        Column::ZsetScore => options.set_comparator(SCORE_COMPARATOR, Box::new(compare_score_keys)),
        Column::Default | Column::Hash | Column::Set | Column::Zset | Column::Stream => {}
    }
    options
}

/// Measured on 5 million rows: 2 MiB gain a fifth from a cold disk and cost nothing from a warm one.
const READAHEAD_BYTES: usize = 2 << 20;

/// Rows that are larger on average gain nothing by it, and a row of 64 MB would be in memory once more.
const READAHEAD_ROW_MAX: u64 = 256 << 10;

/// Blocks are read once and not kept; the cache only holds those in use.
const BLOCK_CACHE_BYTES: usize = 4 << 20;

/// Each open table keeps its index in memory, about a megabyte for 64 MiB of data.
const OPEN_FILES_MAX: i32 = 128;

const STEPS_BEFORE_SEEK: usize = 24;

fn readable(column: Column, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    let mut options = column_options(column);
    options.set_block_based_table_factory(&table);
    options
}

/// Refuses what other versions of Pika wrote, by the names of the column families.
fn check_columns(dir: &Path) -> Result<()> {
    let found = DB::list_cf(&Options::default(), dir).map_err(Error::rocksdb(dir))?;
    for name in &found {
        if name.ends_with("_meta_cf") {
            return Err(Error::foreign(
                dir,
                format!("has the column family `{name}` of Pika 5.0, which is not supported"),
            ));
        }
        if Column::ALL.iter().all(|column| column.name() != name) {
            return Err(Error::foreign(dir, format!("has the column family `{name}`, which Pika 4.0 does not have")));
        }
    }
    match Column::ALL.iter().find(|column| !found.iter().any(|name| name == column.name())) {
        Some(missing) => Err(Error::layout(dir, format!("lacks the column family `{missing}` of Pika 4.0"))),
        None => Ok(()),
    }
}
