// SPDX-License-Identifier: Apache-2.0
//! A source whose files are on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use replication::binlog::{Manifest, Spool};
use replication::{BinlogOffset, SlotCount};
use snapshot::UnixMillis;
use tracing::{info, warn};

use crate::endpoint::{Client, Endpoint};
use crate::source::layout::{Layout, config, set_config};
use crate::{Error, Result};

/// A Pika node that may be moved from.
pub struct Local {
    client: Client,
    layout: Layout,
    instances: usize,
    options: LocalOptions,
    /// Settings as they were before we changed them.
    changed: Vec<(&'static str, String)>,
    /// Directories of ours.
    made: Vec<PathBuf>,
}

/// How to look at a source.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// The database: Codis' number, Pika's `db<n>`.
    pub database: u32,
    /// `default-slot-num` as the operator believes it to be.
    pub slot_count: SlotCount,
    /// Where checkpoint and spool go; beside the source's own dumps and logs when not given. It must lie on the file
    /// systems of both, as files are hard-linked.
    pub work_dir: Option<PathBuf>,
    /// Names our directories and dumps apart from those of other jobs.
    pub job: String,
}

/// A checkpoint and the log from there on.
#[derive(Debug)]
pub struct Taken {
    /// The checkpoint's directory: `info` and the instances.
    pub checkpoint: PathBuf,
    /// The log, safe from being purged.
    pub spool: Spool,
}

impl Local {
    /// Connects and checks all that can be known before anything is done.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Unfit`] with what must be changed.
    pub async fn connect(endpoint: &Endpoint, options: LocalOptions) -> Result<Self> {
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
        check_settings(&mut client, &options).await?;
        check_clock(&mut client).await?;
        let layout = Layout::of(&mut client, &server, options.database).await?;
        let instances = layout.instances()?;
        if instances == 0 {
            let what = format!("there is no RocksDB instance in {}", layout.data.display());
            return Err(endpoint.unfit(what, "check db-path and the database number"));
        }
        let source = Self { client, layout, instances, options, changed: Vec::new(), made: Vec::new() };
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

    /// Holds the log from here on, takes a checkpoint, and puts both where nobody else deletes them.
    ///
    /// # Errors
    /// [`Error::Unfit`] when BGSAVE fails or does not end, [`Error::File`] and [`Error::Binlog`] when something cannot
    /// be linked.
    pub async fn take(&mut self) -> Result<Taken> {
        self.change("expire-logs-nums", LOGS_KEPT).await?;
        let spool_dir = self.work_dir(self.layout.log.with_file_name(""))?;
        // The spool starts before the checkpoint, so that no file between the two can be missed.
        let spool = Spool::create(&self.layout.log, &spool_dir, self.end()?.file)?;
        let prefix = self.dump_prefix();
        self.change("dump-prefix", &prefix).await?;
        let dump = self.bgsave(&prefix).await;
        self.restore("dump-prefix").await?;
        let dump = dump?;
        let checkpoint = self.work_dir(self.layout.dump.clone())?.join("checkpoint");
        link_tree(&dump, &checkpoint)?;
        // The dump bears our prefix, so it is ours to remove: its files live on in the links.
        let dated = dump.parent().unwrap_or(&dump);
        fs::remove_dir_all(dated).map_err(|fault| Error::file("remove", dated, fault))?;
        info!(checkpoint = %checkpoint.display(), "took a checkpoint");
        Ok(Taken { checkpoint, spool })
    }

    /// Restores every setting and removes every directory of ours.
    ///
    /// # Errors
    /// The first thing that could not be undone; the others are tried all the same.
    pub async fn release(&mut self) -> Result<()> {
        let mut outcome = Ok(());
        while let Some((name, value)) = self.changed.pop() {
            let restored = set_config(&mut self.client, name, &value).await;
            if restored.is_err() {
                warn!(name, value, "could not restore a setting of the source");
            }
            outcome = outcome.and(restored);
        }
        // A dump that failed or could not be linked is still there.
        match own_dumps(&self.layout.dump, &self.dump_prefix()) {
            Ok(dumps) => self.made.extend(dumps),
            Err(error) => outcome = outcome.and(Err(error)),
        }
        for path in self.made.drain(..) {
            let removed = fs::remove_dir_all(&path).map_err(|fault| Error::file("remove", &path, fault));
            outcome = outcome.and(removed);
        }
        outcome
    }

    /// What the names of this job's dumps begin with.
    fn dump_prefix(&self) -> String {
        format!("slotmover-{}-", self.options.job)
    }

    /// The directory of this job under the operator's choice or else under `parent`.
    fn work_dir(&mut self, parent: PathBuf) -> Result<PathBuf> {
        let parent = self.options.work_dir.clone().unwrap_or(parent);
        let dir = parent.join(format!("slotmover-{}", self.options.job));
        fs::create_dir_all(&dir).map_err(|fault| Error::file("create", &dir, fault))?;
        if !self.made.contains(&dir) {
            self.made.push(dir.clone());
        }
        Ok(dir)
    }

    async fn change(&mut self, name: &'static str, value: &str) -> Result<()> {
        let before = config(&mut self.client, name).await?;
        set_config(&mut self.client, name, value).await?;
        self.changed.push((name, before));
        Ok(())
    }

    async fn restore(&mut self, name: &'static str) -> Result<()> {
        let Some(index) = self.changed.iter().rposition(|(changed, _)| *changed == name) else { return Ok(()) };
        set_config(&mut self.client, name, &self.changed[index].1).await?;
        self.changed.remove(index);
        Ok(())
    }

    /// Takes a dump under our own prefix and waits for it.
    async fn bgsave(&mut self, prefix: &str) -> Result<PathBuf> {
        let database = format!("db{}", self.options.database);
        let begin = Instant::now();
        let mut asked: Option<Instant> = None;
        let mut asks = 0;
        while begin.elapsed() < BGSAVE_TIMEOUT {
            let saving = self.client.info("stats").await?.get("is_bgsaving").is_none_or(|text| text != "No");
            if !saving {
                match find_dump(&self.layout.dump, prefix, &database)? {
                    Some(Dump::Complete(path)) => return Ok(path),
                    Some(Dump::Failed(path)) => {
                        let what = format!("BGSAVE failed: it named its dump {}", path.display());
                        return Err(self.client.endpoint().unfit(what, "see the source's log, often the disk is full"));
                    }
                    // A BGSAVE during somebody else's is ignored with the usual answer, so it is asked for again.
                    None if asked.is_some_and(|at| at.elapsed() <= BGSAVE_PATIENCE) => {}
                    None if asks == BGSAVE_ASKS => {
                        let what = format!(
                            "it was told to BGSAVE {asks} times and made no dump in {}",
                            self.layout.dump.display()
                        );
                        return Err(self.client.endpoint().unfit(what, "see the source's log, often the disk is full"));
                    }
                    None => {
                        self.client.ask(redis::cmd("BGSAVE").arg(&database)).await?;
                        asked = Some(Instant::now());
                        asks += 1;
                    }
                }
            }
            tokio::time::sleep(BGSAVE_POLL).await;
        }
        let what = format!("BGSAVE did not end in {BGSAVE_TIMEOUT:?}");
        Err(self.client.endpoint().unfit(what, "see the source's log"))
    }

    /// The manifest on disk must be the one of the node that answers: a copy of its directory would never grow.
    async fn check_log(&self) -> Result<()> {
        let mut client = self.client.clone();
        let before = self.end()?;
        let replication = client.info("replication").await?;
        let after = self.end()?;
        let name = format!("db{}", self.options.database);
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

async fn check_settings(client: &mut Client, options: &LocalOptions) -> Result<()> {
    if config(client, "write-binlog").await? != "yes" {
        let help = "say `CONFIG SET write-binlog yes`: without the log no write after the checkpoint would be seen";
        return Err(client.endpoint().unfit("write-binlog is off", help));
    }
    let slots = config(client, "default-slot-num").await?;
    if slots != options.slot_count.to_string() {
        let what = format!("it has {slots} slots, not {}", options.slot_count);
        return Err(client.endpoint().unfit(what, "say `--slot-count` as its default-slot-num says"));
    }
    let databases = config(client, "databases").await?;
    if databases.parse::<u32>().is_ok_and(|databases| databases <= options.database) {
        let what = format!("it has {databases} databases, none of the number {}", options.database);
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
fn own_dumps(dumps: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
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

/// Hard-links every file below `from` to the same place below `to`.
fn link_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(|fault| Error::file("create", to, fault))?;
    for entry in fs::read_dir(from).map_err(|fault| Error::file("list", from, fault))? {
        let entry = entry.map_err(|fault| Error::file("list", from, fault))?;
        let (path, link) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => link_tree(&path, &link)?,
            false => fs::hard_link(&path, &link).map_err(|fault| Error::file("link", &link, fault))?,
        }
    }
    Ok(())
}

/// Binlog files the source is told to keep: in effect all. Our links hold them anyway; this holds what is not linked yet.
const LOGS_KEPT: &str = "1000000";

const BGSAVE_POLL: Duration = Duration::from_millis(50);
const BGSAVE_PATIENCE: Duration = Duration::from_secs(5);

/// A node that cannot even make the directory leaves nothing that tells of it.
const BGSAVE_ASKS: u32 = 3;
const BGSAVE_TIMEOUT: Duration = Duration::from_secs(1800);
const CLOCKS_APART_MAX: Duration = Duration::from_secs(1);
