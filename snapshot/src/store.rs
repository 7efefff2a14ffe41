// SPDX-License-Identifier: Apache-2.0
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{BlockBasedOptions, ColumnFamily, DB, DBCompressionType, Options, ReadOptions, WriteBatch};

use crate::error::{Error, Result};
use crate::format::Column;
use crate::instance::column_options;

/// The live data of one Pika database, opened for reading and writing: what the sandbox node stands on.
///
/// ```text
/// <dir>/<i>/   one RocksDB per instance; Slot::instance says which one a key belongs to
/// ```
///
/// Everything takes `&self` and may be called from several threads; a [`Batch`] is atomic within its instance. The rows
/// are the caller's business: [`format`](crate::format) makes and reads them. Writes survive a crash of the process but
/// are not synced to the disk. A copy of a dump of a real Pika opens too, and Pika opens what is written here; never open
/// files that a running Pika still links to.
pub struct Store {
    instances: Vec<Instance>,
}

impl Store {
    /// Opens the instances `0` to `instances - 1` in `dir`, creating what is missing.
    ///
    /// # Errors
    ///
    /// The directory cannot be made, or RocksDB does not open an instance: its files are damaged or locked.
    pub fn open(dir: impl AsRef<Path>, instances: usize) -> Result<Self> {
        let open = |index: usize| Instance::open(dir.as_ref().join(index.to_string()));
        Ok(Self { instances: (0..instances).map(open).collect::<Result<_>>()? })
    }

    /// How many instances there are.
    pub fn instances(&self) -> usize {
        self.instances.len()
    }

    /// The value of a row.
    ///
    /// # Errors
    ///
    /// RocksDB cannot read it.
    ///
    /// # Panics
    ///
    /// As everywhere here, when there is no such instance.
    pub fn get(&self, instance: usize, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Instance { dir, db } = &self.instances[instance];
        db.get_cf(family(db, column), key).map_err(Error::rocksdb(dir))
    }

    /// An empty batch of writes to an instance.
    pub fn batch(&self, instance: usize) -> Batch<'_> {
        Batch { instance: &self.instances[instance], writes: WriteBatch::new() }
    }

    /// Visits the rows whose keys begin with `prefix` in the column's order, those before `from` left out, until
    /// `visit` breaks.
    ///
    /// # Errors
    ///
    /// RocksDB cannot read on.
    pub fn scan_prefix(
        &self,
        instance: usize,
        column: Column,
        prefix: &[u8],
        from: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let start = from.filter(|from| column.compare(from, prefix).is_gt()).unwrap_or(prefix);
        self.instances[instance].scan(column, start, |key, value| match key.starts_with(prefix) {
            true => visit(key, value),
            false => ControlFlow::Break(()),
        })
    }

    /// Visits the rows from the key `from` on in the column's order, until `visit` breaks. An empty `from` is the start.
    ///
    /// # Errors
    ///
    /// RocksDB cannot read on.
    pub fn scan_from(
        &self,
        instance: usize,
        column: Column,
        from: &[u8],
        visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.instances[instance].scan(column, from, visit)
    }

    /// Deletes every row: what FLUSHDB does. It is atomic within an instance, and its memory grows with the keys.
    ///
    /// # Errors
    ///
    /// RocksDB cannot read or write.
    pub fn delete_all(&self) -> Result<()> {
        for (index, instance) in self.instances.iter().enumerate() {
            let mut batch = self.batch(index);
            for column in Column::ALL {
                instance.scan(column, &[], |key, _| {
                    batch.delete(column, key);
                    ControlFlow::Continue(())
                })?;
            }
            batch.commit()?;
        }
        Ok(())
    }

    /// Writes everything in memory to SST files.
    ///
    /// # Errors
    ///
    /// RocksDB cannot write.
    pub fn flush(&self) -> Result<()> {
        self.each(|_, Instance { dir, db }| {
            let families: Vec<_> = Column::ALL.into_iter().map(|column| family(db, column)).collect();
            db.flush_cfs_opt(&families, &rocksdb::FlushOptions::default()).map_err(Error::rocksdb(dir))
        })
    }

    /// Merges all SST files, which removes what was overwritten or deleted.
    ///
    /// # Errors
    ///
    /// RocksDB cannot write what is in memory; a failed compaction shows at the next write.
    pub fn compact(&self) -> Result<()> {
        self.flush()?;
        for Instance { db, .. } in &self.instances {
            for column in Column::ALL {
                db.compact_range_cf(family(db, column), None::<&[u8]>, None::<&[u8]>);
            }
        }
        Ok(())
    }

    /// Writes what BGSAVE writes, but for `info`: one directory of hard-linked files per instance.
    ///
    /// Each is assembled as `<i>.tmp` and then renamed. The instances are cut one after another, so nobody may write
    /// meanwhile if they are to agree.
    ///
    /// # Errors
    ///
    /// An instance's directory is there already, or the files cannot be written.
    pub fn checkpoint(&self, dir: impl AsRef<Path>) -> Result<()> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        self.each(|index, instance| {
            let done = dir.join(index.to_string());
            if done.exists() {
                return Err(Error::layout(&done, "is there already"));
            }
            let partial = dir.join(format!("{index}.tmp"));
            let create = |db| Checkpoint::new(db)?.create_checkpoint(&partial);
            create(&instance.db).map_err(Error::rocksdb(&instance.dir))?;
            remove_empty_logs(&partial).map_err(Error::io(&partial))?;
            fs::rename(&partial, &done).map_err(Error::io(&done))
        })
    }

    /// Does something to every instance at the same time: most of it is waiting for the disk.
    fn each(&self, work: impl Fn(usize, &Instance) -> Result<()> + Sync) -> Result<()> {
        thread::scope(|scope| {
            let work = &work;
            let spawn = |(index, instance)| scope.spawn(move || work(index, instance));
            let running: Vec<_> = self.instances.iter().enumerate().map(spawn).collect();
            let ended = running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            ended.fold(Ok(()), Result::and)
        })
    }
}

/// Writes to one instance that happen together or not at all. Dropped without [`Batch::commit`] it writes nothing.
#[must_use = "a batch writes nothing before it is committed"]
pub struct Batch<'a> {
    instance: &'a Instance,
    writes: WriteBatch,
}

impl Batch<'_> {
    /// Adds or replaces a row.
    pub fn put(&mut self, column: Column, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.writes.put_cf(family(&self.instance.db, column), key, value);
    }

    /// Deletes a row; nothing happens when it is not there.
    pub fn delete(&mut self, column: Column, key: impl AsRef<[u8]>) {
        self.writes.delete_cf(family(&self.instance.db, column), key);
    }

    /// Whether it holds no write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// RocksDB cannot write; then nothing of it is written.
    pub fn commit(self) -> Result<()> {
        self.instance.db.write(self.writes).map_err(Error::rocksdb(&self.instance.dir))
    }
}

/// One RocksDB.
struct Instance {
    dir: PathBuf,
    db: DB,
}

impl Instance {
    fn open(dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_keep_log_file_num(2);
        let columns = Column::ALL.map(|column| (column.name(), writable(column)));
        let db = DB::open_cf_with_opts(&options, &dir, columns).map_err(Error::rocksdb(&dir))?;
        Ok(Self { dir, db })
    }

    fn scan(&self, column: Column, from: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<()> {
        let mut rows = self.db.raw_iterator_cf_opt(family(&self.db, column), ReadOptions::default());
        rows.seek(from);
        while let Some((key, value)) = rows.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            rows.next();
        }
        rows.status().map_err(Error::rocksdb(&self.dir))
    }
}

/// Pika 4.0.1 carries RocksDB 8.7, which refuses the table format that newer ones write by default.
const TABLE_FORMAT_VERSION: i32 = 5;

const WRITE_BUFFER_BYTES: usize = 16 << 20;

fn writable(column: Column) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_format_version(TABLE_FORMAT_VERSION);
    table.set_bloom_filter(10.0, false);
    let mut options = column_options(column);
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Snappy);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options
}

/// Checkpoints begin with a flush, so the write-ahead log that RocksDB adds is empty; Pika's dumps have none.
fn remove_empty_logs(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "log") && entry.metadata()?.len() == 0 {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn family(db: &DB, column: Column) -> &ColumnFamily {
    db.cf_handle(column.name()).expect("every column family was opened with the instance")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{LIST_INDEX_START, ListKey, Version, data_key, data_prefix, list_key, meta_key};

    fn rows_of(store: &Store, column: Column, prefix: &[u8], from: Option<&[u8]>) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        let visit = |key: &[u8], _: &[u8]| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        };
        store.scan_prefix(0, column, prefix, from, visit).unwrap();
        keys
    }

    #[test]
    fn keeps_rows_over_a_restart_and_isolates_instances() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 2).unwrap();
        let mut batch = store.batch(1);
        batch.put(Column::Default, meta_key(b"k"), b"value");
        batch.put(Column::Hash, data_key(b"k", Version(1), b"f"), b"v");
        batch.commit().unwrap();
        let mut dropped = store.batch(1);
        dropped.delete(Column::Default, meta_key(b"k"));
        drop(dropped);
        drop(store);

        let store = Store::open(dir.path(), 2).unwrap();
        assert_eq!(store.get(1, Column::Default, &meta_key(b"k")).unwrap().as_deref(), Some(&b"value"[..]));
        assert_eq!(store.get(0, Column::Default, &meta_key(b"k")).unwrap(), None);
        assert_eq!(store.get(1, Column::Set, &data_key(b"k", Version(1), b"f")).unwrap(), None);
        store.delete_all().unwrap();
        for column in Column::ALL {
            assert!(rows_of(&store, column, &[], None).is_empty());
        }
    }

    #[test]
    fn scans_a_list_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 1).unwrap();
        let indexes = [LIST_INDEX_START - 256, LIST_INDEX_START - 1, LIST_INDEX_START, LIST_INDEX_START + 255];
        let mut batch = store.batch(0);
        for index in indexes.into_iter().rev() {
            batch.put(Column::List, list_key(b"l", Version(5), index), b"");
            batch.put(Column::List, list_key(b"l", Version(256), index), b"");
            batch.put(Column::List, list_key(b"m", Version(5), index), b"");
        }
        batch.commit().unwrap();
        store.compact().unwrap();

        let prefix = data_prefix(b"l", Version(5));
        let scanned = |from: Option<&[u8]>| -> Vec<u64> {
            rows_of(&store, Column::List, &prefix, from).iter().map(|key| ListKey::decode(key).unwrap().index).collect()
        };
        assert_eq!(scanned(None), indexes);
        assert_eq!(scanned(Some(&list_key(b"l", Version(5), indexes[2]))), indexes[2..]);
        // A start before the prefix is no way to read another collection.
        assert_eq!(scanned(Some(&list_key(b"a", Version(0), 0))), indexes);
    }

    #[test]
    fn a_checkpoint_is_a_cut_without_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        let (live, dump) = (dir.path().join("live"), dir.path().join("dump"));
        let store = Store::open(&live, 2).unwrap();
        let write = |value: &str| {
            let mut batch = store.batch(0);
            batch.put(Column::Default, meta_key(b"k"), value);
            batch.commit().unwrap();
        };
        write("before");
        store.checkpoint(&dump).unwrap();
        write("after");

        let names = |dir: &Path| -> Vec<String> {
            let mut names: Vec<_> =
                fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&dump), ["0", "1"]);
        for name in names(&dump.join("0")) {
            let known = ["CURRENT", "MANIFEST-", "OPTIONS-"].iter().any(|start| name.starts_with(start));
            assert!(known || name.ends_with(".sst"), "{name}");
        }
        assert!(matches!(store.checkpoint(&dump), Err(Error::Layout { .. })));
        let copy = Store::open(&dump, 2).unwrap();
        assert_eq!(copy.get(0, Column::Default, &meta_key(b"k")).unwrap().as_deref(), Some(&b"before"[..]));
    }
}
