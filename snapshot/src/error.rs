// SPDX-License-Identifier: Apache-2.0
use std::io;
use std::path::{Path, PathBuf};

/// The result of everything here that touches files.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why files cannot be read or written. Every message names the file or directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// RocksDB refused, or found its files damaged.
    #[error("{}: {source}", .dir.display())]
    RocksDb {
        /// The directory of the instance.
        dir: PathBuf,
        /// What it said.
        source: rocksdb::Error,
    },
    /// A line of `info` is not what BGSAVE writes there.
    #[error("{}: line {line}: {what}", .path.display())]
    Info {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The files are those of a server that works in another way than Pika 4.0.
    #[error("{}: {what}", .path.display())]
    Foreign {
        /// The file or directory.
        path: PathBuf,
        /// What shows it.
        what: String,
    },
    /// The directory holds no complete data of Pika 4.0.
    #[error("{}: {what}", .path.display())]
    Layout {
        /// The file or directory.
        path: PathBuf,
        /// What it holds, or lacks.
        what: String,
    },
}

impl Error {
    /// Whether the files are not what was written into them, so that another checkpoint, which has the same files, would not
    /// be better.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::RocksDb { source, .. } if source.kind() == rocksdb::ErrorKind::Corruption)
    }

    /// Whether another version or mode of the server wrote the files, as it would write another checkpoint.
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign { .. })
    }

    /// For `map_err` beside a call that touches `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Io { path, source }
    }

    /// For `map_err` beside a call of the instance in `dir`.
    pub(crate) fn rocksdb(dir: &Path) -> impl FnOnce(rocksdb::Error) -> Self {
        let dir = dir.to_owned();
        |source| Self::RocksDb { dir, source }
    }

    pub(crate) fn foreign(path: &Path, what: impl Into<String>) -> Self {
        Self::Foreign { path: path.to_owned(), what: what.into() }
    }

    pub(crate) fn layout(path: &Path, what: impl Into<String>) -> Self {
        Self::Layout { path: path.to_owned(), what: what.into() }
    }
}
