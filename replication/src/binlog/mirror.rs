// SPDX-License-Identifier: Apache-2.0
//! A copy of a log whose files are on another machine.
//!
//! Bytes travel as they lie in the files, so whatever reads a log reads its mirror, and finds the same damage in it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::directory::file_path;
use super::manifest::{Manifest, manifest_path};
use crate::BinlogOffset;
use crate::error::{Error, Result};

/// A part of a log, as it lies in one of its files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extract {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Where the next part begins: behind them, or at the start of the file that follows.
    pub next: BinlogOffset,
}

impl Extract {
    /// Reads `max` bytes at most of the log in `log_dir`, from `from` on, up to `end`, which its manifest has told.
    ///
    /// # Errors
    /// [`Error::Purged`] when the file is gone, [`Error::Beyond`] when the log does not reach so far, [`Error::Io`] when
    /// reading fails.
    pub fn read(log_dir: &Path, from: BinlogOffset, end: BinlogOffset, max: usize) -> Result<Self> {
        let path = file_path(log_dir, from.file);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && from.file <= end.file => {
                return Err(Error::Purged { path });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(beyond(log_dir, from, end)),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        // A file that the log has left does not grow any more.
        let is_left = from.file < end.file;
        let until = match is_left {
            true => file.metadata().map_err(Error::io("look at", &path))?.len(),
            false => end.position,
        };
        if from > end || from.position > until {
            return Err(beyond(log_dir, from, end));
        }
        let length = usize::try_from(until - from.position).unwrap_or(usize::MAX).min(max);
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, from.position).map_err(Error::io("read", &path))?;
        let behind = from.position + length as u64;
        let next = match is_left && behind == until {
            true => BinlogOffset::new(from.file + 1, 0),
            false => BinlogOffset::new(from.file, behind),
        };
        Ok(Self { bytes, next })
    }
}

/// A folder with the bytes of a log from an offset on, and a manifest that tells how far they reach.
///
/// It is made anew for each process: what a crash of the machine has left of one cannot be trusted, and the log itself
/// is there still.
#[derive(Debug)]
pub struct Mirror {
    dir: PathBuf,
    file: File,
    manifest: File,
    end: BinlogOffset,
}

impl Mirror {
    /// Begins one in `dir`, which is emptied, for a log from `from` on. Nothing before it can be read there.
    ///
    /// # Errors
    /// [`Error::Io`] when something cannot be written.
    pub fn create(dir: impl Into<PathBuf>, from: BinlogOffset) -> Result<Self> {
        let dir = dir.into();
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &dir)(error)),
            _ => {}
        }
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let file = create(&file_path(&dir, from.file))?;
        // What is not mirrored takes no room.
        file.set_len(from.position).map_err(Error::io("extend", &file_path(&dir, from.file)))?;
        let manifest = create(&manifest_path(&dir))?;
        let mut mirror = Self { dir, file, manifest, end: from };
        mirror.reach(from)?;
        Ok(mirror)
    }

    /// How far it reaches: the next part of the log begins there.
    pub fn end(&self) -> BinlogOffset {
        self.end
    }

    /// The folder, which is read like that of a log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Adds the part that begins at its end.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written, [`Error::Beyond`] for a part that does not fit.
    pub fn append(&mut self, Extract { bytes, next }: &Extract) -> Result<()> {
        let behind = self.end.position + bytes.len() as u64;
        let is_next_file = *next == BinlogOffset::new(self.end.file.saturating_add(1), 0);
        if !is_next_file && *next != BinlogOffset::new(self.end.file, behind) {
            return Err(beyond(&self.dir, *next, self.end));
        }
        let path = file_path(&self.dir, self.end.file);
        self.file.write_all_at(bytes, self.end.position).map_err(Error::io("write", &path))?;
        if is_next_file {
            self.file = create(&file_path(&self.dir, next.file))?;
        }
        self.reach(*next)
    }

    /// Tells that it reaches so far, once the bytes are there.
    fn reach(&mut self, end: BinlogOffset) -> Result<()> {
        let manifest = Manifest { end, ..Manifest::default() };
        self.manifest.write_all_at(&manifest.encode(), 0).map_err(Error::io("write", &manifest_path(&self.dir)))?;
        self.end = end;
        Ok(())
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).map_err(Error::io("create", path))
}

fn beyond(dir: &Path, position: BinlogOffset, end: BinlogOffset) -> Error {
    Error::Beyond { dir: dir.to_owned(), position, end }
}
