// SPDX-License-Identifier: Apache-2.0
//! A checkpoint of the source and the log from there on, where nobody else deletes them; and how both are given up.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use replication::BinlogOffset;
use replication::binlog::Spool;
use snapshot::Checkpoint;
use tracing::{info, warn};

use crate::endpoint::{Client, Endpoint};
use crate::job::journal::{Entry, Journal, Node, Retained, Taken};
use crate::job::log::Log;
use crate::job::plan::Plan;
use crate::job::{Job, JobOptions, borrowed};
use crate::record::Offset;
use crate::source::{Local, Node as PikaNode, own_dumps, until_saved};
use crate::{Error, Result};

/// A checkpoint that is open, and the log from there on.
pub(super) struct Snapshot {
    pub(super) checkpoint: Checkpoint,
    pub(super) spool: Spool,
}

impl Snapshot {
    /// Holds the log from here on, takes a checkpoint, and puts both where nobody else deletes them. What an earlier
    /// attempt has left is removed first.
    ///
    /// # Errors
    /// [`Error::Unfit`] when BGSAVE fails or does not end, [`Error::File`] and [`Error::Binlog`] when something cannot
    /// be linked.
    pub(super) async fn take(source: &Local, options: &JobOptions, journal: &Journal) -> Result<Self> {
        discard(source.node().client().endpoint(), journal).await?;
        let (log, dump) = (&source.layout().log, &source.layout().dump);
        claim_log(source, options, journal).await?;
        let spool_dir = directory(options, &log.with_file_name(""), journal).await?;
        // The spool starts before the checkpoint, so that no file between the two can be missed.
        let spool = Spool::create(log, &spool_dir, source.end()?.file)?;
        let checkpoint_dir = directory(options, dump, journal).await?.join("checkpoint");
        let is_exact = save(source, &checkpoint_dir, journal).await?;
        let checkpoint = Checkpoint::open(&checkpoint_dir, options.slot_count, Some(source.instances()))?;
        let offset = Offset(checkpoint.info().offset);
        let until = Some(if is_exact { offset } else { Offset(source.end()?) });
        let entry = Entry::Checkpoint { checkpoint: checkpoint_dir, spool: spool_dir, offset, until };
        journal.note(entry).await?;
        Ok(Self { checkpoint, spool })
    }

    /// Opens what an earlier attempt has taken, and has the source keep its log as before: it may have been restarted.
    ///
    /// # Errors
    /// When it cannot be used any more, or when the source refuses.
    pub(super) async fn reopen(taken: Taken, source: &Local, options: &JobOptions, journal: &Journal) -> Result<Self> {
        claim_log(source, options, journal).await?;
        let spool = Spool::create(&source.layout().log, &taken.spool, taken.offset.file)?;
        let checkpoint = Checkpoint::open(&taken.checkpoint, options.slot_count, Some(source.instances()))?;
        match checkpoint.info().offset == taken.offset {
            true => Ok(Self { checkpoint, spool }),
            false => {
                let (path, fault) = (&taken.checkpoint, ErrorKind::InvalidData.into());
                Err(Error::file("find the checkpoint that was taken in", path, fault))
            }
        }
    }
}

/// Holds the log of a node from here on, without a checkpoint. What was held before is given up.
///
/// # Errors
/// [`Error::File`] and [`Error::Binlog`] when it cannot be linked, and when the node refuses.
pub(super) async fn retain(node: &Local, options: &JobOptions, journal: &Journal) -> Result<()> {
    discard(node.node().client().endpoint(), journal).await?;
    claim_log(node, options, journal).await?;
    let log = &node.layout().log;
    let spool = directory(options, &log.with_file_name(""), journal).await?;
    let offset = node.end()?;
    Spool::create(log, &spool, offset.file)?;
    journal.note(Entry::Retained { spool, offset: Offset(offset), is_mirror: false }).await
}

/// The same for a node on another machine, whose log is known to end at `end` or later: a mirror of it is made here when it
/// is followed.
///
/// # Errors
/// When the node refuses.
pub(super) async fn retain_remote(
    node: &PikaNode,
    end: BinlogOffset,
    options: &JobOptions,
    journal: &Journal,
) -> Result<()> {
    discard(node.client().endpoint(), journal).await?;
    // There is no claim beside it: its directories are out of reach.
    borrowed::keep_log(&mut node.client(), journal).await?;
    let of_journal = journal.path().and_then(|path| path.parent().map(Path::to_owned));
    let mirror = directory(options, &of_journal.unwrap_or_else(std::env::temp_dir), journal).await?.join("mirror");
    journal.note(Entry::Retained { spool: mirror, offset: Offset(end), is_mirror: true }).await
}

/// Opens what is held of the log that a way back follows, and has the node keep it as before: it may have been restarted.
///
/// # Errors
/// When it cannot be used any more, or when the node refuses.
pub(super) async fn retained(kept: &Retained, plan: &Plan, job: &Job) -> Result<Log> {
    borrowed::keep_log(&mut plan.source.client(), &job.journal).await?;
    match (kept.is_mirror, &plan.local) {
        (false, Some(local)) => Ok(Log::Here(Spool::create(&local.layout().log, &kept.spool, kept.offset.file)?)),
        (false, None) => {
            Err(Error::Undo { why: format!("the files of the {} are not here any more", job.source.side) })
        }
        (true, _) => {
            // What was brought back need not be read out again.
            let from = job.journal.read(|state| state.followed).unwrap_or(kept.offset);
            Log::mirrored(job.remote_log(&plan.source).await?, kept.spool.clone(), from).await
        }
    }
}

/// A further checkpoint, which has all that was written by now, past the log as well. The one before it of this kind is
/// given up.
///
/// # Errors
/// As [`Snapshot::take`].
pub(super) async fn recent(source: &Local, options: &JobOptions, journal: &Journal) -> Result<Checkpoint> {
    let dir = directory(options, &source.layout().dump, journal).await?.join("recent");
    remove(&dir)?;
    save(source, &dir, journal).await?;
    Ok(Checkpoint::open(&dir, options.slot_count, Some(source.instances()))?)
}

/// Has the source keep its log, and says so where other jobs at it look before they let it purge.
async fn claim_log(source: &Local, options: &JobOptions, journal: &Journal) -> Result<()> {
    let logs = source.layout().log.with_file_name("");
    match own_directory(&logs, journal).await {
        // Whoever wants all of ours elsewhere may have forbidden us to write here.
        Err(Error::File { path, fault, .. }) if options.work_dir.is_some() && is_forbidden(&fault) => {
            warn!("cannot create {}: another job that ends may let the source purge its log", path.display());
        }
        made => drop(made?),
    }
    borrowed::keep_log(&mut source.node().client(), journal).await
}

fn is_forbidden(fault: &io::Error) -> bool {
    matches!(fault.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// Restores every setting of a server. One that was changed by somebody else meanwhile, or by a restart, is left. Our
/// directories must be gone by then: they tell other jobs that we need the log.
///
/// # Errors
/// The first one that could not be; the others are tried all the same.
pub(super) async fn restore(client: &mut Client, node: Node, journal: &Journal) -> Result<()> {
    let mut outcome = Ok(());
    let settings = journal.read(|state| state.settings.clone());
    for setting in settings.into_iter().rev().filter(|setting| setting.node == node) {
        let restored = match &*setting.name {
            borrowed::LOGS => borrowed::let_log_go(client, journal).await,
            borrowed::PREFIX => borrowed::give_prefix_back(client, journal).await,
            // No job changes any other.
            _ => Ok(()),
        };
        match restored {
            Ok(()) => outcome = outcome.and(journal.note(Entry::Restored { node, name: setting.name }).await),
            Err(error) => {
                warn!(name = setting.name, value = setting.before, "could not restore a setting of the {node}");
                outcome = outcome.and(Err(error));
            }
        }
    }
    outcome
}

/// Removes every directory and dump of ours at `node`.
///
/// # Errors
/// The first one that could not be removed; the others are tried all the same.
pub(super) async fn discard(node: &Endpoint, journal: &Journal) -> Result<()> {
    let (paths, has_dumped) = journal.read(|state| (state.directories.clone(), state.dumps.is_some()));
    // A dump that failed or could not be linked is still there.
    let mut outcome = discard_dumps(node, journal).await;
    for path in &paths {
        let removed = remove(path);
        outcome = outcome.and(removed);
    }
    outcome?;
    if has_dumped || !paths.is_empty() {
        journal.note(Entry::Removed).await?;
    }
    Ok(())
}

/// Removes every dump of ours. One that the node still writes, for an attempt that broke off, is waited for: removed under
/// its hands it would fail, or come back when nobody knows of it any more.
async fn discard_dumps(node: &Endpoint, journal: &Journal) -> Result<()> {
    let Some((path, prefix)) = journal.read(|state| state.dumps.clone()) else { return Ok(()) };
    let may_be_written = borrowed::has_prefix(journal) || !own_dumps(&path, &prefix)?.is_empty();
    let written = match may_be_written {
        true => async { until_saved(&mut node.connect().await?).await }.await,
        false => Ok(()),
    };
    // A node that cannot be asked may be gone for good: removed they are all the same.
    own_dumps(&path, &prefix)?.iter().fold(written, |outcome, dump| {
        let removed = remove(dump);
        outcome.and(removed)
    })
}

/// Takes a dump under a prefix of our own and links it to `to`. Whether it is an exact cut: builds that take its files after
/// they have let go of the lock put a number behind the day in its name.
async fn save(source: &Local, to: &Path, journal: &Journal) -> Result<bool> {
    let (mut client, dumps) = (source.node().client(), source.layout().dump.clone());
    journal.note(Entry::Dumps { path: dumps, prefix: format!("{}-", journal.file_name()) }).await?;
    // What an earlier attempt was given lacks what was written since.
    discard_dumps(client.endpoint(), journal).await?;
    let prefix = borrowed::own_prefix(&mut client, journal).await?;
    let dump = source.save(&prefix).await;
    borrowed::give_prefix_back(&mut client, journal).await?;
    journal.note(Entry::Restored { node: Node::Source, name: borrowed::PREFIX.to_owned() }).await?;
    let dump = dump?;
    let name = dump.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let is_exact =
        name.strip_prefix(&prefix).is_some_and(|day| day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit()));
    link_tree(&dump, to)?;
    // The dump bears our prefix, so it is ours to remove: its files live on in the links.
    remove(dump.parent().unwrap_or(&dump))?;
    info!(checkpoint = %to.display(), is_exact, "took a checkpoint");
    Ok(is_exact)
}

/// The directory of this job, or of its way back, under the operator's choice or else under `parent`.
async fn directory(options: &JobOptions, parent: &Path, journal: &Journal) -> Result<PathBuf> {
    own_directory(options.work_dir.as_deref().unwrap_or(parent), journal).await
}

async fn own_directory(parent: &Path, journal: &Journal) -> Result<PathBuf> {
    let dir = parent.join(journal.file_name());
    if !journal.read(|state| state.directories.contains(&dir)) {
        journal.note(Entry::Directory { path: dir.clone() }).await?;
    }
    fs::create_dir_all(&dir).map_err(|fault| Error::file("create", &dir, fault))?;
    Ok(dir)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        // It could not even be made.
        Err(fault) if matches!(fault.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
        removed => removed.map_err(|fault| Error::file("remove", path, fault)),
    }
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::Side;
    use crate::job::journal::Course;

    /// A mover that is killed leaves a BGSAVE behind, which goes on.
    #[tokio::test]
    async fn a_dump_is_removed_when_it_is_written() {
        let (journal, dir, dump) = begun_dump().await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let node = endpoint(listener.local_addr().unwrap().port());
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answers =
                ["+PONG\r\n", "$15\r\nis_bgsaving:Yes\r\n", "$15\r\nis_bgsaving:Yes\r\n", "$14\r\nis_bgsaving:No\r\n"];
            for answer in answers {
                assert!(stream.read(&mut [0; 512]).await.unwrap() > 0);
                assert!(dump.exists(), "removed before it was answered {answer}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let (discarded, ()) = tokio::join!(discard(&node, &journal), serving);
        discarded.unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(journal.read(|state| state.dumps.is_none()));
    }

    /// It may be gone for good; when it is there again, it may have written more.
    #[tokio::test]
    async fn a_dump_of_a_node_that_cannot_be_asked_is_removed_and_not_forgotten() {
        let (journal, dir, _) = begun_dump().await;
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
        let error = discard(&endpoint(nobody), &journal).await.unwrap_err();
        assert!(matches!(error, Error::Connect { .. }), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(journal.read(|state| state.dumps.is_some()));
    }

    async fn begun_dump() -> (Journal, tempfile::TempDir, PathBuf) {
        let (journal, dir) = (Journal::volatile(Course::default()), tempfile::tempdir().unwrap());
        let prefix = "slotmover-job-".to_owned();
        journal.note(Entry::Dumps { path: dir.path().to_owned(), prefix }).await.unwrap();
        let dump = dir.path().join("slotmover-job-20261127/db0/0.tmp");
        fs::create_dir_all(&dump).unwrap();
        (journal, dir, dump)
    }

    fn endpoint(port: u16) -> Endpoint {
        Endpoint {
            side: Side::Source,
            host: "127.0.0.1".to_owned(),
            port,
            password: None,
            database: 0,
            names: crate::endpoint::Names::default(),
        }
    }
}
