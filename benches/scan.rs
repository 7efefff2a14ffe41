// SPDX-License-Identifier: Apache-2.0
//! The scan of a dump against a bare RocksDB iterator over the same files.
//!
//! Ours: `Checkpoint::scan`, which decodes, checks and copies what it hands out. Theirs: a raw iterator with the same
//! read options that only looks at each row. The files come from the page cache. With 8 of 1024 slots both still pass
//! every key, for keys do not lie in the order of slots. The rate is that of the rows in the files, so that of a sparse
//! scan over hashes counts rows that it jumps over.
//!
//! Measured on 2026-11-22 on 2 cores of a machine that was shared but mostly free, in millions of rows per second. Ours
//! should not be below 0.6 of theirs. With compilers on both cores the rates fell to a third, the ratios of the processor
//! times were the same.
//!
//! | Case | ours | theirs | ratio | by processor time |
//! |---|---|---|---|---|
//! | 5 million strings of 100 B, 1 thread | 2.75 | 4.10 | 0.68 | 0.66 |
//! | the same, 2 threads | 5.71 | 8.76 | 0.65 | 0.65 |
//! | the same, 8 of 1024 slots | 3.76 | 4.30 | 0.89 | 0.88 |
//! | 500,000 hashes of 8 fields | 4.49 | 6.75 | 0.68 | 0.67 |
//! | the same, 8 of 1024 slots | 30.8 | 6.69 | 4.6 | 4.4 |

mod support {
    pub(crate) mod cpu;
    pub(crate) mod dump;
    pub(crate) mod rounds;
}

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use replication::{Slot, SlotCount, SlotSet};
use rocksdb::{BlockBasedOptions, Cache, DB, Options, ReadOptions};
use snapshot::format::{BaseKind, BaseMeta, Column, HashValue, Version, data_key, meta_key};
use snapshot::{Checkpoint, ScanRequest};

use crate::support::dump::{self, Rows};
use crate::support::rounds;

fn main() -> Result<()> {
    let all = SlotSet::all(SlotCount::CODIS);
    let few: SlotSet = (0..8).map(|index| Slot::new(index * 129)).collect();

    let dir = dump::made_once("strings-100B-5M", INSTANCES, STRINGS, |number, rows| {
        rows.string(key(number).as_bytes(), &dump::json(number, 100));
    })?;
    let pair = Pair::open(&dir, &[Column::Default])?;
    pair.compare("strings, 1 thread", &all, 1, Some(STRINGS))?;
    pair.compare("strings, 2 threads", &all, 2, Some(STRINGS))?;
    pair.compare("strings, 8 of 1024 slots", &few, 1, None)?;

    let dir = dump::made_once("hashes-8x24B-500k", INSTANCES, HASHES, |number, rows| {
        put_hash(rows, key(number).as_bytes(), number);
    })?;
    let pair = Pair::open(&dir, &[Column::Default, Column::Hash])?;
    pair.compare("hashes of 8, 1 thread", &all, 1, Some(HASHES))?;
    pair.compare("hashes of 8, 8 of 1024 slots", &few, 1, None)
}

const STRINGS: u64 = 5_000_000;
const HASHES: u64 = 500_000;
const ROUNDS: usize = 5;

/// Pika has three; four are shared evenly by two threads.
const INSTANCES: usize = 4;

/// A key of 37 bytes.
fn key(number: u64) -> String {
    format!("service:profile:{:016x}/info", dump::scrambled(number))
}

/// A hash of eight fields.
fn put_hash(rows: &mut Rows<'_>, key: &[u8], number: u64) {
    let version = Version(dump::CREATED.0);
    let created = Some(dump::CREATED);
    let meta = BaseMeta { kind: BaseKind::Hash, count: 8, version, created, expire_at: None };
    rows.row(key, Column::Default, meta_key(key), meta.encode());
    for index in 0..8 {
        let field = format!("field:{index}");
        let value = HashValue { value: &dump::json(number + index, 24), created }.encode();
        rows.row(key, Column::Hash, data_key(key, version, field.as_bytes()), value);
    }
}

/// The same files, opened by both.
struct Pair {
    checkpoint: Checkpoint,
    bare: Vec<DB>,
    /// What the bare iterators go over.
    columns: &'static [Column],
    /// The rows in them.
    rows: u64,
}

impl Pair {
    fn open(dir: &Path, columns: &'static [Column]) -> Result<Self> {
        let checkpoint = Checkpoint::open(dir, SlotCount::CODIS, Some(INSTANCES))?;
        let open = |instance: usize| open_bare(&dir.join(instance.to_string()), columns);
        let bare: Vec<DB> = (0..INSTANCES).map(open).collect::<Result<_>>()?;
        let mut pair = Self { checkpoint, bare, columns, rows: 0 };
        pair.rows = (0..INSTANCES).map(|instance| pair.walk(instance)).sum::<Result<_>>()?;
        Ok(pair)
    }

    /// Measures both in rows of the files per second, whether they are wanted or not.
    fn compare(&self, what: &str, slots: &SlotSet, threads: usize, keys: Option<u64>) -> Result<()> {
        let request = ScanRequest::new(slots.clone());
        let ours = || {
            let begin = Instant::now();
            let found = on_threads(threads, |instance| self.scan(instance, &request))?;
            ensure!(keys.is_none_or(|keys| keys == found), "{found} keys were found, not {keys:?}");
            Ok(self.rows as f64 / begin.elapsed().as_secs_f64())
        };
        let theirs = || {
            let begin = Instant::now();
            let rows = on_threads(threads, |instance| self.walk(instance))?;
            ensure!(rows == self.rows, "{rows} rows were found, not {}", self.rows);
            Ok(self.rows as f64 / begin.elapsed().as_secs_f64())
        };
        rounds::compare(what, "rows", ROUNDS, ours, theirs)
    }

    fn scan(&self, instance: usize, request: &ScanRequest) -> Result<u64> {
        let mut bytes = 0;
        let summary = self.checkpoint.scan(instance, request, |piece| {
            bytes += piece.size();
            ControlFlow::Continue(())
        })?;
        ensure!(summary.complete && summary.findings.is_empty() && bytes > 0, "the dump is sound and not empty");
        Ok(summary.keys)
    }

    fn walk(&self, instance: usize) -> Result<u64> {
        let db = &self.bare[instance];
        let (mut rows, mut bytes) = (0, 0);
        for column in self.columns {
            let mut options = ReadOptions::default();
            options.fill_cache(false);
            options.set_verify_checksums(true);
            options.set_readahead_size(2 << 20);
            let family = db.cf_handle(column.name()).expect("it was opened with this column family");
            let mut iterator = db.raw_iterator_cf_opt(family, options);
            iterator.seek_to_first();
            while let Some((key, value)) = iterator.item() {
                rows += 1;
                bytes += std::hint::black_box(key).len() + std::hint::black_box(value).len();
                iterator.next();
            }
            iterator.status()?;
        }
        ensure!(bytes > 0, "the dump is not empty");
        Ok(rows)
    }
}

/// Opens an instance as a checkpoint is opened.
fn open_bare(dir: &Path, columns: &[Column]) -> Result<DB> {
    let cache = Cache::new_lru_cache(4 << 20);
    let families = columns.iter().map(|column| {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&cache);
        let mut options = Options::default();
        options.set_block_based_table_factory(&table);
        (column.name(), options)
    });
    Ok(DB::open_cf_with_opts_for_read_only(&Options::default(), dir, families, false)?)
}

/// Does `work` for each instance and gives the sum.
fn on_threads(threads: usize, work: impl Fn(usize) -> Result<u64> + Sync) -> Result<u64> {
    let next = AtomicUsize::new(0);
    let share = || {
        let mut sum = 0;
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                instance @ 0..INSTANCES => sum += work(instance)?,
                _ => return Ok(sum),
            }
        }
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(share)).collect();
        handles.into_iter().map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).sum()
    })
}
