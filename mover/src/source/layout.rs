// SPDX-License-Identifier: Apache-2.0
//! Where a Pika node keeps its files, as the node itself says.

use std::path::{Path, PathBuf};

use crate::endpoint::{Client, Info};
use crate::{Error, Result};

/// The directories of a node on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// `<db-path>/db<n>`: one RocksDB directory per instance.
    pub data: PathBuf,
    /// `<log-path>/log_db<n>`: the binlog.
    pub log: PathBuf,
    /// `<dump-path>`: where BGSAVE writes.
    pub dump: PathBuf,
}

impl Layout {
    /// Asks the node, and checks that the answer holds on this machine.
    ///
    /// # Errors
    /// [`Error::Unfit`] when a directory is not here, as when the node runs on another machine.
    pub async fn of(client: &mut Client, info: &Info, database: u32) -> Result<Self> {
        let home = working_directory(info);
        let mut paths = Vec::new();
        for name in ["db-path", "log-path", "dump-path"] {
            let text = client.setting(name).await?;
            paths.push(home.join(text));
        }
        let [data, log, dump] = &paths[..] else { unreachable!("three names give three paths") };
        let layout = Self {
            data: data.join(format!("db{database}")),
            log: log.join(format!("log_db{database}")),
            dump: dump.clone(),
        };
        for path in [&layout.data, &layout.log] {
            if !path.is_dir() {
                let what = format!("its directory {} is not on this machine", path.display());
                return Err(client
                    .endpoint()
                    .unfit(what, "run slotmover where the source runs, as a user that may read its files"));
            }
        }
        Ok(layout)
    }

    /// The RocksDB instances: numbered directories without a gap.
    ///
    /// # Errors
    /// [`Error::File`] when the directory cannot be listed.
    pub fn instances(&self) -> Result<usize> {
        let entries = std::fs::read_dir(&self.data).map_err(|fault| Error::file("list", &self.data, fault))?;
        let mut count = 0;
        for entry in entries {
            let entry = entry.map_err(|fault| Error::file("list", &self.data, fault))?;
            let number = entry.file_name().to_str().and_then(|name| name.parse::<usize>().ok());
            count += usize::from(number.is_some());
        }
        Ok(count)
    }
}

/// `<log-path>`: where the binlogs of all its databases are.
///
/// # Errors
/// What the node answers.
pub async fn log_dir(client: &mut Client) -> Result<PathBuf> {
    let info = client.info("server").await?;
    Ok(working_directory(&info).join(client.setting("log-path").await?))
}

/// What relative paths in the node's configuration are relative to.
fn working_directory(info: &Info) -> PathBuf {
    let link = info.get("process_id").map(|id| Path::new("/proc").join(id).join("cwd"));
    link.and_then(|link| std::fs::read_link(link).ok()).unwrap_or_default()
}
