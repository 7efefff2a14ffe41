// SPDX-License-Identifier: Apache-2.0
//! The names in a log's folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The path of log file `number` in `dir`.
pub fn file_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{PREFIX}{number}"))
}

/// The numbers of the log files in `dir`, ascending. Other names are left alone.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be listed.
pub fn files(dir: &Path) -> Result<Vec<u32>> {
    let entries = fs::read_dir(dir).map_err(Error::io("list", dir))?;
    let mut numbers = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", dir))?;
        numbers.extend(entry.file_name().to_str().and_then(number));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The oldest log file in `dir` that is not purged: what is left of the log starts at its position 0.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be listed or holds no log.
pub fn first_file(dir: &Path) -> Result<u32> {
    let first = files(dir)?.first().copied();
    first.ok_or_else(|| Error::io("find a log in", dir)(io::ErrorKind::NotFound.into()))
}

const PREFIX: &str = "write2file";

/// Only Pika's own spelling counts: no sign, no leading zero.
fn number(name: &str) -> Option<u32> {
    let number: u32 = name.strip_prefix(PREFIX)?.parse().ok()?;
    (name == format!("{PREFIX}{number}")).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_files_and_sorts_them_by_number() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(first_file(dir.path()), Err(Error::Io { .. })));
        for name in ["write2file10", "write2file9", "write2file007", "write2file+3", "write2filex", "manifest"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(files(dir.path()).unwrap(), [9, 10]);
        assert_eq!(first_file(dir.path()).unwrap(), 9);
    }
}
