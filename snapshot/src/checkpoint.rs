// SPDX-License-Identifier: Apache-2.0
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use replication::SlotCount;

use crate::error::{Error, Result};
use crate::format::{Column, Meta, split_meta_key};
use crate::info::Info;
use crate::instance::{Access, Instance};
use crate::piece::{Piece, UnixMillis};
use crate::scan::{self, ScanRequest, Summary};

/// A dump of one database that BGSAVE has written: a cut through all its instances at one place in the binlog.
///
/// ```text
/// <dump-path>/<dump-prefix><YYYYMMDD>/db0/
///     info     written last, so its presence says that the rest is complete
///     0/ 1/ …  a RocksDB per instance, of hard-linked files
/// ```
///
/// It is opened read-only: nothing in the directory is changed, and no file appears beside the others. Give it a private
/// copy (hard links will do), because the next BGSAVE of the same day deletes the directory. Everything takes `&self`;
/// several threads may scan, an instance each.
pub struct Checkpoint {
    dir: PathBuf,
    info: Info,
    taken: UnixMillis,
    slots: SlotCount,
    instances: Vec<Instance>,
}

impl Checkpoint {
    /// Opens the dump in `dir`, the directory that holds `info`.
    ///
    /// `slots` is the server's `default-slot-num` and `instances` its `db-instance-num`. Neither stands in the files:
    /// without the second, the instances that are there are taken for all of them.
    ///
    /// # Errors
    ///
    /// The dump is not complete or has failed, its files are damaged, another version of Pika wrote it, or its rows do
    /// not lie where this number of slots and instances puts them.
    pub fn open(dir: impl Into<PathBuf>, slots: SlotCount, instances: Option<usize>) -> Result<Self> {
        let dir = dir.into();
        let count = count_instances(&dir)?;
        if let Some(expected) = instances.filter(|&expected| expected != count) {
            return Err(Error::layout(&dir, format!("holds {count} instances, not {expected}")));
        }
        let info = Info::read(&dir)?;
        let taken = Info::written_at(&dir)?;
        let open = |index: usize| Instance::open(dir.join(index.to_string()));
        let instances: Vec<_> = (0..count).map(open).collect::<Result<_>>()?;
        let checkpoint = Self { dir, info, taken, slots, instances };
        for index in 0..count {
            checkpoint.check_sample(index)?;
        }
        Ok(checkpoint)
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// When and where it was made, and its place in the binlog.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// When it was complete, by the clock of its file system.
    pub fn taken(&self) -> UnixMillis {
        self.taken
    }

    /// Into how many slots its keys fall.
    pub fn slots(&self) -> SlotCount {
        self.slots
    }

    /// How many instances it has.
    pub fn instances(&self) -> usize {
        self.instances.len()
    }

    /// About how many keys `wanted` slots have, if all slots are alike.
    pub fn estimated_keys(&self, wanted: usize) -> u64 {
        let all: u64 = self.instances.iter().map(Instance::estimated_keys).sum();
        all * wanted as u64 / u64::from(self.slots.get())
    }

    /// Hands the keys of the wanted slots in one instance to `visit`, in one pass and in the order of the keys.
    ///
    /// A key of more than [`ScanRequest::piece_size`] comes in several pieces, one behind the other. When `visit` breaks
    /// the scan ends, and [`Summary::complete`] is false. What the rows disagree about is told in [`Summary::findings`].
    ///
    /// # Errors
    ///
    /// RocksDB cannot read on. The pieces handed out before are right, but they are not all.
    ///
    /// # Panics
    ///
    /// There is no such instance.
    pub fn scan(
        &self,
        instance: usize,
        request: &ScanRequest,
        visit: impl FnMut(Piece) -> ControlFlow<()>,
    ) -> Result<Summary> {
        let place = scan::Place { instance, instances: self.instances.len(), slots: self.slots, taken: self.taken };
        scan::run(&self.instances[instance], place, request, visit)
    }

    /// Looks at the first rows of an instance. Single odd rows are left for the scan to report; when many are odd, then
    /// the files are not what they are taken for. With a wrong number of slots or instances at least about half of the
    /// keys lie elsewhere.
    fn check_sample(&self, index: usize) -> Result<()> {
        let instance = &self.instances[index];
        let mut cursor = instance.cursor(Column::Default, Access::Sparse);
        cursor.advance_to(&[]);
        let (mut rows, mut unknown, mut elsewhere) = (0, 0, 0);
        while rows < SAMPLE_ROWS
            && let Some((row, value)) = cursor.row()?
        {
            rows += 1;
            match (split_meta_key(row), Meta::decode(value)) {
                (Ok(name), Ok(_)) => {
                    let slot = self.slots.slot_of(&name.unescaped());
                    elsewhere += usize::from(slot.instance(self.instances.len()) != index);
                }
                _ => unknown += 1,
            }
            cursor.advance();
        }
        if rows < SAMPLE_ROWS_MIN {
            return Ok(());
        }
        if unknown * 4 > rows {
            let what = format!("{unknown} of the first {rows} rows are not in the format of Pika 4.0");
            return Err(Error::layout(instance.dir(), what));
        }
        if elsewhere * 4 > rows {
            let (slots, instances) = (self.slots, self.instances.len());
            let what = format!(
                "{elsewhere} of the first {rows} keys do not belong to this instance: the server has not {slots} slots \
                 (`default-slot-num`) and {instances} instances (`db-instance-num`)"
            );
            return Err(Error::layout(instance.dir(), what));
        }
        Ok(())
    }
}

const SAMPLE_ROWS: usize = 256;

/// Fewer rows are no sample.
const SAMPLE_ROWS_MIN: usize = 16;

/// What Pika 3 calls its directories, one per type.
const PIKA_3_DIRS: [&str; 6] = ["strings", "hashes", "lists", "sets", "zsets", "streams"];

/// Checks that the directory holds a complete dump, and counts its instances.
fn count_instances(dir: &Path) -> Result<usize> {
    if dir.file_name().is_some_and(|name| name.to_string_lossy().ends_with("_FAILED")) {
        return Err(Error::layout(dir, "is a dump that failed"));
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let entry = entry.map_err(Error::io(dir))?;
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if PIKA_3_DIRS.contains(&&*name) {
            return Err(Error::layout(&path, "is data of Pika 3, which is not supported"));
        }
        if name.ends_with(".tmp") {
            return Err(Error::layout(&path, "is an instance that was not saved to the end"));
        }
        let index: usize = name.parse().map_err(|_| Error::layout(&path, "is no instance of Pika 4.0"))?;
        if index.to_string() != name {
            return Err(Error::layout(&path, "is no instance of Pika 4.0"));
        }
        found.push(index);
    }
    if !dir.join(Info::FILE).exists() {
        return Err(Error::layout(dir, "has no file `info`: it is no dump, or not yet complete"));
    }
    found.sort_unstable();
    if found.is_empty() {
        return Err(Error::layout(dir, "holds no instance"));
    }
    match found.iter().enumerate().find(|&(expected, &index)| expected != index) {
        Some((missing, _)) => Err(Error::layout(&dir.join(missing.to_string()), "is missing among the instances")),
        None => Ok(found.len()),
    }
}
