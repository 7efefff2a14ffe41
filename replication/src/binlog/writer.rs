// SPDX-License-Identifier: Apache-2.0
//! Writes a log as Pika does, byte for byte.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::BytesMut;

use super::block::put_item;
use super::directory::{file_path, files};
use super::manifest::{FILE_SIZE, Manifest, manifest_path};
use super::record::{Fields, UnixSeconds, padding};
use crate::error::{Error, Result};
use crate::{BinlogOffset, Command};

/// The writer of a log: what stands in for Pika in tests and in the sandbox.
///
/// What it writes reads like Pika's own: the same blocks and quirks, files that are longer than their data while they
/// are written, and the manifest brought up to date after each item. Like Pika it never syncs. To drop it is what a
/// kill is to a server; [`Writer::close`] is the clean stop.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    /// A file longer than this gets no further item.
    file_size: u64,
    manifest: Manifest,
    manifest_file: File,
    active: Active,
    /// The item and its fragments, kept for their memory.
    item: BytesMut,
    fragments: BytesMut,
}

/// The file being written.
#[derive(Debug)]
struct Active {
    file: File,
    path: PathBuf,
    /// Bytes allotted by this writer; zero before its first item.
    allotted: u64,
    /// Bytes allotted at a time.
    step: u64,
}

impl Writer {
    /// Opens the log in `dir` at the end that its manifest names, or begins one at file 0. `file_size` is Pika's
    /// `binlog-file-size` in bytes.
    ///
    /// # Errors
    /// [`Error::Io`] when the files cannot be made or opened, and what [`Manifest::read`] gives.
    pub fn open(dir: impl Into<PathBuf>, file_size: u64) -> Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let path = manifest_path(&dir);
        let is_new = !path.try_exists().map_err(Error::io("look at", &path))?;
        let manifest = if is_new { Manifest::default() } else { Manifest::read(&dir)? };
        let active = Active::open(&dir, manifest.end, is_new)?;
        let manifest_file = open_for_writing(&path, is_new)?;
        manifest_file.set_len(FILE_SIZE).map_err(Error::io("allot", &path))?;
        let (item, fragments) = (BytesMut::new(), BytesMut::new());
        Ok(Self { dir, file_size, manifest, manifest_file, active, item, fragments })
    }

    /// Appends a command that was executed at `time`, and gives the log's new end.
    ///
    /// # Errors
    /// [`Error::Io`] when writing fails: the log then ends where it did before. [`Error::Oversized`] above 4 GiB.
    pub fn append(&mut self, command: &Command, time: UnixSeconds) -> Result<BinlogOffset> {
        let mut content = BytesMut::new();
        command.encode(&mut content);
        self.append_content(&content, time)
    }

    /// Appends what Pika logs for `PADDING` with an argument of `length` bytes, and gives the log's new end.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn append_padding(&mut self, length: usize, time: UnixSeconds) -> Result<BinlogOffset> {
        self.append_content(&padding(length), time)
    }

    /// The position behind the last item.
    pub fn end(&self) -> BinlogOffset {
        self.manifest.end
    }

    /// The logic id of the last item; zero before the first.
    pub fn logic_id(&self) -> u64 {
        self.manifest.logic_id
    }

    /// Gives the items from here on this term, which is zero on an ordinary master.
    pub fn set_term(&mut self, term: u32) {
        self.manifest.term = term;
    }

    /// Deletes the oldest files until at most `keep` are left, never the one being written, and gives how many went.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be listed or a file cannot be deleted.
    pub fn purge(&mut self, keep: usize) -> Result<usize> {
        let mut old = files(&self.dir)?;
        let excess = old.len().saturating_sub(keep);
        old.truncate(excess);
        old.retain(|&number| number < self.manifest.end.file);
        for &number in &old {
            let path = file_path(&self.dir, number);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(old.len())
    }

    /// Stops cleanly: the file being written is cut to its data.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be cut.
    pub fn close(self) -> Result<()> {
        self.active.cut(self.manifest.end.position)
    }

    fn append_content(&mut self, content: &[u8], time: UnixSeconds) -> Result<BinlogOffset> {
        let logic_id = self.manifest.logic_id.wrapping_add(1);
        // Taken before a roll-over, so the first item of a file carries the end of the file before.
        let fields = Fields { time, term: self.manifest.term, logic_id, header: self.manifest.end };
        self.item.clear();
        if fields.encode(content, &mut self.item).is_none() {
            return Err(Error::Oversized { dir: self.dir.clone(), length: content.len() });
        }
        if self.manifest.end.position > self.file_size {
            self.roll()?;
        }
        let BinlogOffset { file, position } = self.manifest.end;
        self.fragments.clear();
        put_item(&mut self.fragments, position, &self.item, time);
        let end = position + self.fragments.len() as u64;
        self.active.write(position, &self.fragments)?;
        self.publish(Manifest { end: BinlogOffset::new(file, end), logic_id, ..self.manifest })?;
        Ok(self.manifest.end)
    }

    fn roll(&mut self) -> Result<()> {
        let number = self.manifest.end.file.checked_add(1);
        let overflow = || Error::io("number another file in", &self.dir)(io::ErrorKind::InvalidData.into());
        let next = BinlogOffset::new(number.ok_or_else(overflow)?, 0);
        let active = Active::open(&self.dir, next, true)?;
        std::mem::replace(&mut self.active, active).cut(self.manifest.end.position)?;
        self.publish(Manifest { end: next, ..self.manifest })
    }

    fn publish(&mut self, manifest: Manifest) -> Result<()> {
        let write = self.manifest_file.write_all_at(&manifest.encode(), 0);
        write.map_err(|source| Error::io("write", &manifest_path(&self.dir))(source))?;
        self.manifest = manifest;
        Ok(())
    }
}

/// Pika maps this much of a file at a time.
const STEP: u64 = 4 << 20;

/// What a file opened far behind its start maps more, at a time, until it reaches that far.
const STEP_MORE: u64 = 1 << 20;

impl Active {
    fn open(dir: &Path, end: BinlogOffset, is_new: bool) -> Result<Self> {
        let path = file_path(dir, end.file);
        let file = open_for_writing(&path, is_new)?;
        let step = STEP + end.position.saturating_sub(STEP).next_multiple_of(STEP_MORE);
        Ok(Self { file, path, allotted: 0, step })
    }

    fn write(&mut self, position: u64, bytes: &[u8]) -> Result<()> {
        let end = position + bytes.len() as u64;
        while self.allotted < end {
            self.allotted += self.step;
            let length = self.file.metadata().map_err(Error::io("look at", &self.path))?.len();
            if length < self.allotted {
                self.file.set_len(self.allotted).map_err(Error::io("allot", &self.path))?;
            }
        }
        self.file.write_all_at(bytes, position).map_err(Error::io("write", &self.path))
    }

    /// Cuts the file to its data. Like Pika, it leaves a file alone that it never wrote to.
    fn cut(self, length: u64) -> Result<()> {
        match self.allotted {
            0 => Ok(()),
            _ => self.file.set_len(length).map_err(Error::io("cut", &self.path)),
        }
    }
}

fn open_for_writing(path: &Path, is_new: bool) -> Result<File> {
    let mut options = File::options();
    options.read(true).write(true);
    if is_new {
        options.create(true).truncate(true);
    }
    options.open(path).map_err(Error::io("open", path))
}
