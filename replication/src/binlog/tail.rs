// SPDX-License-Identifier: Apache-2.0
//! Follows a log that is being written.

use std::fs;
use std::path::{Path, PathBuf};

use super::directory::file_path;
use super::manifest::Manifest;
use super::reader::Reader;
use super::record::Item;
use super::spool::Spool;
use crate::BinlogOffset;
use crate::error::{Error, Result};

/// Follows a log over all its files, up to where its manifest says that it ends, and never further.
///
/// It does not wait: [`Tail::next`] gives `None` at the end, and the caller decides when to ask again. Once it has
/// given `None`, [`Tail::position`] is no less than any end that was read from the same log before that call.
#[derive(Debug)]
pub struct Tail {
    place: Place,
    reader: Reader,
    /// The end by the last reading of the manifest.
    end: BinlogOffset,
}

/// Where the log's files are.
#[derive(Debug)]
enum Place {
    Live(PathBuf),
    Spooled(Spool),
}

impl Tail {
    /// Follows the log in `log_dir` from `from`: the end of an item, as a BGSAVE notes it, or the start of a file.
    ///
    /// The logic id of the first item is taken as it is, and checked from then on. An offset that is no boundary of
    /// items is found out at the first item, which carries its own position.
    ///
    /// # Errors
    /// [`Error::Purged`] when that file is gone, [`Error::Beyond`] when the log does not reach so far, and what
    /// [`Manifest::read`] gives.
    pub fn open(log_dir: impl Into<PathBuf>, from: BinlogOffset) -> Result<Self> {
        Self::open_at(Place::Live(log_dir.into()), from)
    }

    /// As [`Tail::open`], with the files that `spool` keeps, so that a purge does no harm. The tail links further files
    /// itself as it comes to them.
    ///
    /// # Errors
    /// As [`Tail::open`], and as [`Spool::follow`].
    pub fn open_spooled(spool: &Spool, from: BinlogOffset) -> Result<Self> {
        Self::open_at(Place::Spooled(spool.clone()), from)
    }

    /// The next item, or `None` when there is none for now.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for what Pika cannot have written, [`Error::Purged`] when the next file is gone,
    /// [`Error::Beyond`] when the log has become shorter, [`Error::Io`] when reading fails.
    #[expect(clippy::should_implement_trait, reason = "None may be followed by further items")]
    pub fn next(&mut self) -> Result<Option<Item>> {
        loop {
            if let Some(item) = self.reader.next()? {
                return Ok(Some(item));
            }
            if self.reader.is_sealed() {
                self.turn()?;
            } else if !self.refresh()? {
                return Ok(None);
            }
        }
    }

    /// The end of the last item given, or the start of the file that follows it.
    pub fn position(&self) -> BinlogOffset {
        self.reader.position()
    }

    /// Where the log ends at this moment.
    ///
    /// # Errors
    /// What [`Manifest::read`] gives.
    pub fn end(&self) -> Result<BinlogOffset> {
        Ok(self.place.manifest()?.end)
    }

    /// Bytes of the log from `from` to `to`, which it has reached. A spooled tail links all files up to there.
    ///
    /// # Errors
    /// [`Error::Io`] when a file between the two is not there any more, and as [`Spool::follow`].
    pub fn length(&mut self, from: BinlogOffset, to: BinlogOffset) -> Result<u64> {
        self.place.prepare(to.file)?;
        let mut length = to.position;
        for number in from.file..to.file {
            let path = file_path(self.place.dir(), number);
            length += fs::metadata(&path).map_err(Error::io("look at", &path))?.len();
        }
        Ok(length.saturating_sub(from.position))
    }

    fn open_at(mut place: Place, from: BinlogOffset) -> Result<Self> {
        let end = place.manifest()?.end;
        if from > end {
            return Err(Error::Beyond { dir: place.log_dir().to_owned(), position: from, end });
        }
        place.prepare(from.file)?;
        let mut reader = Reader::open(place.dir(), from)?;
        Self::limit(&mut reader, end)?;
        Ok(Self { place, reader, end })
    }

    /// Goes on to the next file.
    fn turn(&mut self) -> Result<()> {
        self.place.prepare(self.reader.position().file.saturating_add(1))?;
        let mut reader = self.reader.open_next(self.place.dir())?;
        Self::limit(&mut reader, self.end)?;
        self.reader = reader;
        Ok(())
    }

    /// Reads the manifest again. `false` when nothing has come.
    fn refresh(&mut self) -> Result<bool> {
        let end = self.end()?;
        if end < self.end {
            let dir = self.place.log_dir().to_owned();
            return Err(Error::Beyond { dir, position: self.end, end });
        }
        let grown = end > self.end;
        self.end = end;
        Self::limit(&mut self.reader, end)?;
        Ok(grown)
    }

    fn limit(reader: &mut Reader, end: BinlogOffset) -> Result<()> {
        match reader.position().file == end.file {
            true => reader.extend_to(end.position),
            false => reader.seal()?,
        }
        Ok(())
    }
}

impl Place {
    fn log_dir(&self) -> &Path {
        match self {
            Self::Live(dir) => dir,
            Self::Spooled(spool) => spool.log_dir(),
        }
    }

    fn dir(&self) -> &Path {
        match self {
            Self::Live(dir) => dir,
            Self::Spooled(spool) => spool.dir(),
        }
    }

    fn manifest(&self) -> Result<Manifest> {
        match self {
            Self::Live(dir) => Manifest::read(dir),
            Self::Spooled(spool) => spool.manifest(),
        }
    }

    /// Makes sure that file `number`, which the log has begun, is where it is looked for.
    fn prepare(&mut self, number: u32) -> Result<()> {
        match self {
            Self::Live(_) => Ok(()),
            Self::Spooled(spool) => spool.reach(number),
        }
    }
}
