// SPDX-License-Identifier: Apache-2.0
use std::io;
use std::path::{Path, PathBuf};

/// Why a node could not start, stop or save. Each message reads on after "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused to serve the port.
    #[error("listen on 127.0.0.1:{port}")]
    Listen {
        /// The port asked for.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The file system refused.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder it was tried on.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The data could not be opened, read or saved.
    #[error("use the node's data")]
    Store(#[from] snapshot::Error),
    /// The binlog could not be opened or written.
    #[error("use the node's binlog")]
    Log(#[from] replication::Error),
    /// There is no command of the name that is to be renamed.
    #[error("rename the command {name}: there is none")]
    NoCommand {
        /// The old name.
        name: String,
    },
    /// There is data where a dump is to be copied to.
    #[error("adopt a dump: {} is there already", path.display())]
    Occupied {
        /// The folder that is there.
        path: PathBuf,
    },
    /// The folder holds no dump of so many instances.
    #[error("adopt a dump: {} is missing", path.display())]
    NoDump {
        /// What a dump would have.
        path: PathBuf,
    },
}

impl Error {
    /// For `map_err` beside a call that touches `path`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
