// SPDX-License-Identifier: Apache-2.0
//! Keeps files of a log from being purged.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::directory::{file_path, files};
use super::manifest::Manifest;
use crate::BinlogOffset;
use crate::error::{Error, Result};

/// A folder of hard links to the files of a log, from one file on.
///
/// A linked file goes on growing and outlives the server's own name for it, so a purge takes nothing away. It costs
/// the disk space of what the server has purged meanwhile. The manifest is not linked: it is always read where the
/// server writes it. Links are made at [`Spool::create`] and [`Spool::follow`]; call the latter more often than the
/// server can fill and purge a file.
#[derive(Clone, Debug)]
pub struct Spool {
    log_dir: PathBuf,
    dir: PathBuf,
    next: u32,
}

impl Spool {
    /// Keeps the files of the log in `log_dir` from number `first` on, under the same names in `dir`. The folder may be
    /// there from an earlier run: what it holds is taken over.
    ///
    /// # Errors
    /// [`Error::Purged`] when a file is already gone from both folders, [`Error::Beyond`] when the log has not reached
    /// `first`, [`Error::Link`] when the file system refuses, [`Error::Replaced`] when `dir` holds the files of another
    /// log, and what [`Manifest::read`] gives.
    pub fn create(log_dir: impl Into<PathBuf>, dir: impl Into<PathBuf>, first: u32) -> Result<Self> {
        let mut spool = Self { log_dir: log_dir.into(), dir: dir.into(), next: first };
        fs::create_dir_all(&spool.dir).map_err(Error::io("create", &spool.dir))?;
        let end = spool.manifest()?.end;
        if end.file < first {
            return Err(Error::Beyond { dir: spool.log_dir, position: BinlogOffset::new(first, 0), end });
        }
        spool.follow()?;
        Ok(spool)
    }

    /// Links the files that the log has begun since the last call, and tells where the log ends.
    ///
    /// # Errors
    /// As [`Spool::create`].
    pub fn follow(&mut self) -> Result<BinlogOffset> {
        let end = self.manifest()?.end;
        self.reach(end.file)?;
        Ok(end)
    }

    /// Gives up the files before number `first`, which are no longer needed.
    ///
    /// # Errors
    /// [`Error::Io`] when a link cannot be removed.
    pub fn release_before(&self, first: u32) -> Result<()> {
        for number in files(&self.dir)?.into_iter().take_while(|&number| number < first) {
            let path = file_path(&self.dir, number);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(())
    }

    /// Gives up all files and removes the folder.
    ///
    /// # Errors
    /// [`Error::Io`] when a link cannot be removed, or when the folder holds something that is not ours.
    pub fn remove(self) -> Result<()> {
        self.release_before(u32::MAX)?;
        fs::remove_dir(&self.dir).map_err(Error::io("remove", &self.dir))
    }

    /// The folder of links.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of the server's log.
    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// The log's present end, as the server says it.
    ///
    /// # Errors
    /// What [`Manifest::read`] gives.
    pub fn manifest(&self) -> Result<Manifest> {
        Manifest::read_beside(&self.log_dir, &self.dir)
    }

    /// Links what is not linked yet, up to file `last`, which the log has begun.
    pub(crate) fn reach(&mut self, last: u32) -> Result<()> {
        for number in self.next..=last {
            self.keep(number)?;
            self.next = number.saturating_add(1);
        }
        Ok(())
    }

    fn keep(&self, number: u32) -> Result<()> {
        let original = file_path(&self.log_dir, number);
        let link = file_path(&self.dir, number);
        let source = match fs::hard_link(&original, &link) {
            Ok(()) => return Ok(()),
            Err(source) => source,
        };
        match source.kind() {
            io::ErrorKind::NotFound if is_there(&link)? => Ok(()),
            io::ErrorKind::NotFound => Err(Error::Purged { path: original }),
            io::ErrorKind::AlreadyExists if is_same(&original, &link)? => Ok(()),
            io::ErrorKind::AlreadyExists => Err(Error::Replaced { original, link }),
            _ => Err(Error::Link { original, link, source }),
        }
    }
}

fn is_there(path: &Path) -> Result<bool> {
    path.try_exists().map_err(Error::io("look at", path))
}

/// Whether the kept file is the server's. It is when the server's is gone, too.
fn is_same(original: &Path, link: &Path) -> Result<bool> {
    let kept = fs::metadata(link).map_err(Error::io("look at", link))?;
    match fs::metadata(original) {
        Ok(found) => Ok((found.dev(), found.ino()) == (kept.dev(), kept.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Error::io("look at", original)(error)),
    }
}
