// SPDX-License-Identifier: Apache-2.0
//! The manifest: where the log ends.
//!
//! ```text
//!   0      4           12         20     24           65536
//!   +------+-----------+----------+------+--- zeros ---+
//!   | file |  offset   | logic id | term |             |      little-endian
//!   | u32  |   u64     |   u64    | u32  |             |
//!   +------+-----------+----------+------+-------------+
//! ```
//!
//! The server stores these fields through a mapping, one after the other, after the bytes they speak of. There is no
//! lock and no checksum. A reader therefore takes two equal readings, and refuses an end that the named file does not
//! reach: that is what a reading between the first two stores of a roll-over looks like. The logic id is stored after
//! the offset, so it may still be the one before; nothing here depends on it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::directory::file_path;
use crate::BinlogOffset;
use crate::error::{Error, Fault, Result};

/// Where a log ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Manifest {
    /// The position behind the last item.
    pub end: BinlogOffset,
    /// The logic id of the last item. A reading at the very moment of an append may show the one before.
    pub logic_id: u64,
    /// The term of the last item.
    pub term: u32,
}

impl Manifest {
    /// Reads the manifest of the log in `dir`, which may be in use.
    ///
    /// # Errors
    /// [`Error::Io`] when there is none; [`Error::Corrupt`] when it is cut short, or when it names an end that its file
    /// does not reach and goes on doing so.
    pub fn read(dir: &Path) -> Result<Self> {
        Self::read_beside(dir, dir)
    }

    /// As [`Manifest::read`], with the log files kept in `kept`. A file that is not there is looked up in `dir`.
    pub(crate) fn read_beside(dir: &Path, kept: &Path) -> Result<Self> {
        let path = manifest_path(dir);
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let pause = |attempt| match attempt {
            0..SPINS => std::thread::yield_now(),
            _ => std::thread::sleep(PAUSE),
        };
        settle(|| read_once(&file, &path), |manifest| manifest.is_reached(dir, kept), pause)?
            .map_err(|last| Error::Corrupt { path, offset: 0, fault: Fault::ManifestAhead { end: last.end } })
    }

    pub(crate) fn encode(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..4].copy_from_slice(&self.end.file.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.end.position.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.logic_id.to_le_bytes());
        bytes[20..].copy_from_slice(&self.term.to_le_bytes());
        bytes
    }

    fn decode(bytes: [u8; SIZE]) -> Self {
        let (file, rest) = bytes.split_first_chunk().expect("24 bytes hold 4");
        let (position, rest) = rest.split_first_chunk().expect("20 bytes hold 8");
        let (logic_id, rest) = rest.split_first_chunk().expect("12 bytes hold 8");
        let term = rest.first_chunk().expect("4 bytes hold 4");
        Self {
            end: BinlogOffset::new(u32::from_le_bytes(*file), u64::from_le_bytes(*position)),
            logic_id: u64::from_le_bytes(*logic_id),
            term: u32::from_le_bytes(*term),
        }
    }

    /// Whether the file it names holds as much as it says.
    fn is_reached(&self, dir: &Path, kept: &Path) -> Result<bool> {
        for folder in [kept, dir] {
            let path = file_path(folder, self.end.file);
            match fs::metadata(&path) {
                Ok(metadata) => return Ok(metadata.len() >= self.end.position),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("look at", &path)(error)),
            }
        }
        Ok(false)
    }
}

/// Two readings in a row that agree, of a manifest whose file reaches as far as it says; else the last reading.
///
/// Each attempt reads twice anew: a busy log changes in every pause, and a reading from before the pause would never
/// agree with one from after it.
fn settle(
    mut read: impl FnMut() -> Result<Manifest>,
    is_reached: impl Fn(&Manifest) -> Result<bool>,
    mut pause: impl FnMut(u32),
) -> Result<Result<Manifest, Manifest>> {
    let mut last = Manifest::default();
    for attempt in 0..TRIES {
        let first = read()?;
        last = read()?;
        if first == last && is_reached(&last)? {
            return Ok(Ok(last));
        }
        pause(attempt);
    }
    Ok(Err(last))
}

/// The path of the manifest in `dir`.
pub(crate) fn manifest_path(dir: &Path) -> PathBuf {
    dir.join("manifest")
}

/// Bytes of the file: Pika allots one mapping of this size.
pub(crate) const FILE_SIZE: u64 = 1 << 16;

const SIZE: usize = 24;
const SPINS: u32 = 20;
const TRIES: u32 = 220;
const PAUSE: Duration = Duration::from_millis(1);

fn read_once(file: &File, path: &Path) -> Result<Manifest> {
    let mut bytes = [0; SIZE];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(Manifest::decode(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(Error::Corrupt { path: path.to_owned(), offset: 0, fault: Fault::ManifestShort })
        }
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn reads_what_was_written_and_refuses_the_impossible() {
        let dir = tempfile::tempdir().unwrap();
        let path = manifest_path(dir.path());
        let manifest = Manifest { end: BinlogOffset::new(2, 3006), logic_id: 1680, term: 7 };
        fs::write(&path, manifest.encode()).unwrap();
        let ahead = |result| matches!(result, Err(Error::Corrupt { fault: Fault::ManifestAhead { .. }, .. }));
        assert!(ahead(Manifest::read(dir.path())), "its file does not exist");
        fs::write(file_path(dir.path(), 2), [0; 3005]).unwrap();
        assert!(ahead(Manifest::read(dir.path())), "its file is too short");
        fs::write(file_path(dir.path(), 2), [0; 3006]).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), manifest);
        fs::write(&path, &manifest.encode()[..23]).unwrap();
        assert!(matches!(Manifest::read(dir.path()), Err(Error::Corrupt { fault: Fault::ManifestShort, .. })));
    }

    #[test]
    fn a_log_that_changes_in_every_pause_can_be_read() {
        let at = |position| Manifest { end: BinlogOffset::new(0, position), ..Manifest::default() };
        let (position, readings) = (Cell::new(0), Cell::new(0));
        let read = || {
            readings.set(readings.get() + 1);
            // A write between the first two readings, and one in each pause.
            if readings.get() == 2 {
                position.set(position.get() + 1);
            }
            Ok(at(position.get()))
        };
        let settled = settle(read, |_| Ok(true), |_| position.set(position.get() + 1)).unwrap();
        assert_eq!(settled, Ok(at(2)));
        assert_eq!(readings.get(), 4);
    }

    #[test]
    fn a_half_stored_roll_over_is_waited_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = manifest_path(dir.path());
        let mut manifest = Manifest { end: BinlogOffset::new(1, 5000), ..Manifest::default() };
        fs::write(file_path(dir.path(), 1), "").unwrap();
        fs::write(&path, manifest.encode()).unwrap();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(10));
            manifest.end.position = 0;
            let file = File::options().write(true).open(&path).unwrap();
            file.write_all_at(&manifest.encode(), 0).unwrap();
        });
        assert_eq!(Manifest::read(dir.path()).unwrap().end, BinlogOffset::new(1, 0));
        writer.join().unwrap();
    }
}
