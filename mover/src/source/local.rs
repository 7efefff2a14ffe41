// SPDX-License-Identifier: Apache-2.0
//! A source whose files are on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use replication::binlog::Manifest;
use replication::{BinlogOffset, SlotCount};
use snapshot::UnixMillis;

use crate::endpoint::{Client, Endpoint};
use crate::source::layout::Layout;
use crate::{Error, Result};

/// A Pika node that may be moved from.
pub struct Local {
    client: Client,
    layout: Layout,
    instances: usize,
    database: u32,
    run: String,
}

impl Local {
    /// Connects and checks all that can be known before anything is done. `slot_count` is what the operator believes its
    /// `default-slot-num` to be.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Unfit`] with what must be changed.
    pub async fn connect(endpoint: &Endpoint, slot_count: SlotCount) -> Result<Self> {
        let mut client = endpoint.connect().await?;
        let server = client.info("server").await?;
        let Some(version) = server.get("pika_version").map(|version| version.trim_start_matches('v').to_owned()) else {
            return Err(endpoint.unfit("it is no Pika", "name a Pika 4.0 node as the source"));
        };
        if !version.starts_with("4.0") {
            return Err(endpoint.unfit(format!("its version {version} has another layout on disk"), "use a Pika 4.0"));
        }
        client.check_user().await?;
        check_role(&mut client).await?;
        check_settings(&mut client, slot_count).await?;
        check_clock(&mut client).await?;
        let layout = Layout::of(&mut client, &server, endpoint.database).await?;
        let instances = layout.instances()?;
        if instances == 0 {
            let what = format!("there is no RocksDB instance in {}", layout.data.display());
            return Err(endpoint.unfit(what, "check db-path and the database number"));
        }
        let run = server.get("run_id").unwrap_or_default().to_owned();
        let source = Self { client, layout, instances, database: endpoint.database, run };
        source.check_log().await?;
        Ok(source)
    }

    /// A connection for questions.
    pub fn client(&self) -> Client {
        self.client.clone()
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

    /// The process that it is: another one after a restart.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Sets its `dump-prefix`, has it write a dump under a name that begins with that, and waits for it; gives the directory of
    /// the database in it.
    ///
    /// # Errors
    /// [`Error::Unfit`] when BGSAVE fails or does not end.
    pub async fn save(&self, prefix: &str) -> Result<PathBuf> {
        let mut client = self.client.clone();
        let database = format!("db{}", self.database);
        let begin = Instant::now();
        let mut asked: Option<Instant> = None;
        let mut asks = 0;
        while begin.elapsed() < BGSAVE_TIMEOUT {
            let saving = client.info("stats").await?.get("is_bgsaving").is_none_or(|text| text != "No");
            if !saving {
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
        let what = format!("BGSAVE did not end in {BGSAVE_TIMEOUT:?}");
        Err(client.endpoint().unfit(what, "see the source's log"))
    }

    /// The manifest on disk must be the one of the node that answers: a copy of its directory would never grow.
    async fn check_log(&self) -> Result<()> {
        let mut client = self.client.clone();
        let before = self.end()?;
        let replication = client.info("replication").await?;
        let after = self.end()?;
        let name = format!("db{}", self.database);
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

async fn check_role(client: &mut Client) -> Result<()> {
    let replication = client.info("replication").await?;
    match replication.get("role") {
        Some("master") => Ok(()),
        role => Err(client.endpoint().unfit(
            format!("its role is {}, not master", role.unwrap_or("unknown")),
            "name the master of its group: on a replica the log runs ahead of the data",
        )),
    }
}

async fn check_settings(client: &mut Client, slot_count: SlotCount) -> Result<()> {
    if client.setting("write-binlog").await? != "yes" {
        let help = "say `CONFIG SET write-binlog yes`: without the log no write after the checkpoint would be seen";
        return Err(client.endpoint().unfit("write-binlog is off", help));
    }
    let slots = client.setting("default-slot-num").await?;
    if slots != slot_count.to_string() {
        let what = format!("it has {slots} slots, not {slot_count}");
        return Err(client.endpoint().unfit(what, "say `--slot-count` as its default-slot-num says"));
    }
    let (databases, database) = (client.setting("databases").await?, client.endpoint().database);
    if databases.parse::<u32>().is_ok_and(|databases| databases <= database) {
        let what = format!("it has {databases} databases, none of the number {database}");
        return Err(client.endpoint().unfit(what, "choose another `--database`"));
    }
    Ok(())
}

/// Expiries are absolute times, so both clocks must agree.
async fn check_clock(client: &mut Client) -> Result<()> {
    let reply = client.ask(&redis::cmd("TIME")).await?;
    let parts: Option<Vec<u64>> = match &reply {
        redis::Value::Array(parts) => parts.iter().map(|part| redis::from_redis_value_ref(part).ok()).collect(),
        _ => None,
    };
    let Some([seconds, micros]) = parts.as_deref() else {
        return Err(client.endpoint().answered("TIME", format!("{reply:?}")));
    };
    let theirs = UnixMillis(seconds * 1000 + micros / 1000);
    let ours = UnixMillis::now();
    let apart = theirs.since(ours).max(ours.since(theirs));
    match apart > CLOCKS_APART_MAX {
        true => Err(client.endpoint().unfit(format!("its clock is {apart:?} from ours"), "set the clocks")),
        false => Ok(()),
    }
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

const BGSAVE_POLL: Duration = Duration::from_millis(50);
const BGSAVE_PATIENCE: Duration = Duration::from_secs(5);

/// A node that cannot even make the directory leaves nothing that tells of it.
const BGSAVE_ASKS: u32 = 3;
const BGSAVE_TIMEOUT: Duration = Duration::from_secs(1800);
const CLOCKS_APART_MAX: Duration = Duration::from_secs(1);
