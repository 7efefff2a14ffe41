// SPDX-License-Identifier: Apache-2.0
//! A source whose files are on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use replication::binlog::Manifest;
use replication::{BinlogOffset, SlotCount};

use crate::endpoint::{Client, Endpoint};
use crate::source::layout::Layout;
use crate::source::node::Node;
use crate::{Error, Result};

/// A node that may be moved from, and its files.
pub struct Local {
    node: Node,
    layout: Layout,
    instances: usize,
}

impl Local {
    /// Connects and checks all that can be known before anything is done. `slot_count` is what the operator believes its
    /// `default-slot-num` to be.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Unfit`] with what must be changed.
    pub async fn connect(endpoint: &Endpoint, slot_count: SlotCount) -> Result<Self> {
        Self::of(Node::connect(endpoint, slot_count).await?).await
    }

    /// Looks for the files of a node.
    ///
    /// # Errors
    /// [`Error::Unfit`] when they are not on this machine.
    pub async fn of(node: Node) -> Result<Self> {
        let mut client = node.client();
        let layout = Layout::of(&mut client, node.info(), node.database()).await?;
        let instances = layout.instances()?;
        if instances == 0 {
            let what = format!("there is no RocksDB instance in {}", layout.data.display());
            return Err(client.endpoint().unfit(what, "check db-path and the database number"));
        }
        let source = Self { node, layout, instances };
        source.check_log().await?;
        Ok(source)
    }

    /// The node itself.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The node's files.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// How many RocksDB instances it has.
    pub fn instances(&self) -> usize {
        self.instances
    }

    /// The end of its binlog now.
    ///
    /// # Errors
    /// [`Error::Binlog`].
    pub fn end(&self) -> Result<BinlogOffset> {
        Ok(Manifest::read(&self.layout.log)?.end)
    }

    /// Sets its `dump-prefix`, has it write a dump under a name that begins with that, and waits for it; gives the directory of
    /// the database in it.
    ///
    /// # Errors
    /// [`Error::Unfit`] when BGSAVE fails or does not end.
    pub async fn save(&self, prefix: &str) -> Result<PathBuf> {
        let mut client = self.node.client();
        let database = format!("db{}", self.node.database());
        let begin = Instant::now();
        let mut asked: Option<Instant> = None;
        let mut asks = 0;
        while begin.elapsed() < BGSAVE_TIMEOUT {
            if !is_saving(&mut client).await? {
                match find_dump(&self.layout.dump, prefix, &database)? {
                    Some(Dump::Complete(path)) => return Ok(path),
                    Some(Dump::Failed(path)) => {
                        let what = format!("BGSAVE failed: it named its dump {}", path.display());
                        return Err(client.endpoint().unfit(what, "see the source's log, often the disk is full"));
                    }
                    // A BGSAVE during somebody else's is ignored with the usual answer, so it is asked for again.
                    None if asked.is_some_and(|at| at.elapsed() <= BGSAVE_PATIENCE) => {}
                    None if asks == BGSAVE_ASKS => {
                        let what = format!(
                            "it was told to BGSAVE {asks} times and made no dump in {}",
                            self.layout.dump.display()
                        );
                        return Err(client.endpoint().unfit(what, "see the source's log, often the disk is full"));
                    }
                    None => {
                        // Once more when it is asked again: another job may have set its own since.
                        client.change_setting("dump-prefix", prefix).await?;
                        client.ask(redis::cmd("BGSAVE").arg(&database)).await?;
                        asked = Some(Instant::now());
                        asks += 1;
                    }
                }
            }
            tokio::time::sleep(BGSAVE_POLL).await;
        }
        Err(endless_save(&client))
    }

    /// The manifest on disk must be the one of the node that answers: a copy of its directory would never grow.
    async fn check_log(&self) -> Result<()> {
        let mut client = self.node.client();
        let manifest = Manifest::read(&self.layout.log)?;
        if manifest.term != 0 {
            let what = format!("its log has the term {}, so it has strong replication", manifest.term);
            return Err(client.endpoint().unfit(what, STRONG_REPLICATION));
        }
        let before = manifest.end;
        let replication = client.info("replication").await?;
        let after = self.end()?;
        let name = format!("db{}", self.node.database());
        let text = replication.get(&name).unwrap_or_default().to_owned();
        let said = text.split_once("binlog_offset=").and_then(|(_, rest)| {
            let (file, position) = rest.split(',').next()?.trim().split_once(' ')?;
            Some(BinlogOffset::new(file.parse().ok()?, position.parse().ok()?))
        });
        match said {
            Some(said) if before <= said && said <= after => Ok(()),
            _ => Err(client.endpoint().unfit(
                format!("it says its binlog ends at `{text}`, but {} ends at {after}", self.layout.log.display()),
                "check that log-path on this machine belongs to this node",
            )),
        }
    }
}

/// Waits until a node writes no dump, whoever asked for it.
///
/// # Errors
/// [`Error::Unfit`] when it does not end.
pub async fn until_saved(client: &mut Client) -> Result<()> {
    let begin = Instant::now();
    while is_saving(client).await? {
        if begin.elapsed() >= BGSAVE_TIMEOUT {
            return Err(endless_save(client));
        }
        tokio::time::sleep(BGSAVE_POLL).await;
    }
    Ok(())
}

async fn is_saving(client: &mut Client) -> Result<bool> {
    Ok(client.info("stats").await?.get("is_bgsaving").is_none_or(|text| text != "No"))
}

fn endless_save(client: &Client) -> Error {
    client.endpoint().unfit(format!("BGSAVE did not end in {BGSAVE_TIMEOUT:?}"), "see its log")
}

enum Dump {
    Complete(PathBuf),
    Failed(PathBuf),
}

/// The dump of `database` in the directory that BGSAVE made under our prefix.
fn find_dump(dumps: &Path, prefix: &str, database: &str) -> Result<Option<Dump>> {
    for path in own_dumps(dumps, prefix)? {
        let dump = path.join(database);
        if dump.join("info").is_file() {
            return Ok(Some(Dump::Complete(dump)));
        }
        let failed = path.join(format!("{database}_FAILED"));
        if failed.exists() {
            return Ok(Some(Dump::Failed(failed)));
        }
    }
    Ok(None)
}

/// The directories below `dumps` whose names begin with our prefix.
///
/// # Errors
/// [`Error::File`] when they cannot be listed.
pub fn own_dumps(dumps: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dumps) {
        Ok(entries) => entries,
        // Pika makes it with its first dump.
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(fault) => return Err(Error::file("list", dumps, fault)),
    };
    let mut own = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|fault| Error::file("list", dumps, fault))?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            own.push(entry.path());
        }
    }
    Ok(own)
}

/// What helps against a log that runs ahead of the data.
pub(crate) const STRONG_REPLICATION: &str =
    "name a master with Pika's usual replication: with a strong one the log runs ahead of the data";

const BGSAVE_POLL: Duration = Duration::from_millis(50);
const BGSAVE_PATIENCE: Duration = Duration::from_secs(5);

/// A node that cannot even make the directory leaves nothing that tells of it.
const BGSAVE_ASKS: u32 = 3;
const BGSAVE_TIMEOUT: Duration = Duration::from_secs(1800);
