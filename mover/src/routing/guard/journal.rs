// SPDX-License-Identifier: Apache-2.0
//! The fence journal: what a later process needs to take down a fence that nobody watches any more.
//!
//! One file per job, lines of JSON: the first says how to reach the routing layer, each further one where the fence is.
//! Agent and guard both hold a shared lock on it, so whoever gets the exclusive one knows that both are gone.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use crate::record::{self, Slots};
use crate::{Error, Result};

/// A journal that this process has locked.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

/// The first line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    version: u32,
    /// The process of the agent.
    pub(super) pid: u32,
    /// The arguments that build the routing layer again. They name files of passwords, never a password.
    pub(super) routing: Vec<String>,
}

/// A further line: where the fence is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "fence", rename_all = "kebab-case")]
pub(super) enum Entry {
    /// None is up.
    Down,
    /// It may be up, and nothing was switched.
    Raised { slots: Slots },
    /// The agent may have sent the switch.
    MaySwitch { slots: Slots },
    /// The guard may have sent the switch.
    Switching { slots: Slots },
    /// Nothing about the fence: more arguments, for what must be taken back.
    Prepared { routing: Vec<String> },
}

/// What a journal says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) header: Header,
    pub(super) last: Entry,
}

impl Journal {
    /// A new journal in `dir`, which is made when it is not there.
    pub(super) fn create(dir: &Path, routing: &[String]) -> Result<Self> {
        fs::create_dir_all(dir).map_err(|fault| Error::file("create the state directory", dir, fault))?;
        let pid = std::process::id();
        let name = format!("fence-{pid}-{}-{}", snapshot::UnixMillis::now().0, CREATED.fetch_add(1, Ordering::Relaxed));
        let (draft, path) = (dir.join(format!("{name}.draft")), dir.join(format!("{name}.journal")));
        let fault = |fault| Error::file("write the fence journal", &draft, fault);
        let file = OpenOptions::new().create_new(true).read(true).append(true).open(&draft).map_err(fault)?;
        let mut journal = Self { file, path: draft.clone() };
        let header = Header { version: VERSION, pid, routing: routing.to_vec() };
        journal.file.lock_shared().map_err(fault)?;
        journal.line(&header)?;
        journal.sync()?;
        // Only now it has the name that others look for: they find it locked and whole.
        fs::rename(&draft, &path).and_then(|()| File::open(dir)?.sync_all()).map_err(fault)?;
        journal.path = path;
        Ok(journal)
    }

    /// The journal of a living agent, for its guard.
    pub(super) fn join(path: &Path) -> Result<(Self, Record)> {
        let journal = Self::open(path)?;
        journal.file.try_lock_shared().map_err(|fault| match fault {
            TryLockError::WouldBlock => taken(path),
            TryLockError::Error(fault) => Error::file("lock", path, fault),
        })?;
        let record = journal.read()?;
        Ok((journal, record))
    }

    /// The journal when neither its agent nor its guard lives; `None` when one does.
    pub(super) fn claim(path: &Path) -> Result<Option<(Self, Record)>> {
        let journal = match Self::open(path) {
            Err(Error::File { fault, .. }) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        match journal.file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(fault)) => return Err(Error::file("lock", path, fault)),
        }
        // Its owner may have removed it between our open and our lock.
        if !path.exists() {
            return Ok(None);
        }
        let record = journal.read()?;
        Ok(Some((journal, record)))
    }

    /// The record of a journal, whoever holds it.
    pub(super) fn peek(path: &Path) -> Result<Record> {
        Self::open(path)?.read()
    }

    /// All journals below `dir`.
    pub(super) fn all(dir: &Path) -> Result<Vec<PathBuf>> {
        record::journals(dir, "fence")
    }

    /// What was to become a journal, and the process that makes it.
    pub(super) fn drafts(dir: &Path) -> Result<Vec<(u32, PathBuf)>> {
        let pid = |path: &PathBuf| path.file_name()?.to_str()?.split('-').nth(1)?.parse().ok();
        let drafts = record::drafts(dir, "fence")?;
        Ok(drafts.into_iter().filter_map(|path| Some((pid(&path)?, path))).collect())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an entry. It survives the death of this process; that of the machine only with [`sync`](Self::sync).
    pub(super) fn add(&self, entry: &Entry) -> Result<()> {
        self.line(entry)
    }

    /// Waits until all entries are on the disk: some milliseconds.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|fault| Error::file("sync", &self.path, fault))
    }

    /// Nobody needs it any more.
    pub(super) fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", &self.path, fault)),
            _ => Ok(()),
        }
    }

    fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).append(true).open(path);
        let file = file.map_err(|fault| Error::file("open the fence journal", path, fault))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// In one write, so that lines of agent and guard do not mix.
    fn line(&self, value: &impl Serialize) -> Result<()> {
        let fault = |fault| Error::file("write the fence journal", &self.path, fault);
        let mut line = serde_json::to_vec(value).map_err(|error| fault(error.into()))?;
        line.push(b'\n');
        (&self.file).write_all(&line).map_err(fault)
    }

    fn read(&self) -> Result<Record> {
        let mut text = String::new();
        let fault = |fault| Error::file("read the fence journal", &self.path, fault);
        (&self.file).read_to_string(&mut text).map_err(fault)?;
        parse(&text).map_err(|what| fault(io::Error::new(io::ErrorKind::InvalidData, what)))
    }
}

/// The last line may be torn: the machine died before it was on the disk, and the one before it holds.
fn parse(text: &str) -> Result<Record, String> {
    let mut lines = text.lines();
    let mut header: Header =
        serde_json::from_str(lines.next().unwrap_or_default()).map_err(|error| format!("its first line: {error}"))?;
    if header.version != VERSION {
        return Err(format!("it is of version {}, this is a program of version {VERSION}", header.version));
    }
    let mut last = Entry::Down;
    while let Some(line) = lines.next() {
        match serde_json::from_str(line) {
            Ok(Entry::Prepared { routing }) => header.routing.extend(routing),
            Ok(entry) => last = entry,
            Err(_) if lines.next().is_none() => break,
            Err(error) => return Err(format!("{error} in `{line}`")),
        }
    }
    Ok(Record { header, last })
}

fn taken(path: &Path) -> Error {
    Error::Routing { what: format!("another process is settling the fence journal {}", path.display()) }
}

static CREATED: AtomicU32 = AtomicU32::new(0);

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(text: &str) -> Slots {
        Slots(text.parse().unwrap())
    }

    #[test]
    fn a_journal_says_where_the_fence_was_last() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("made/here");
        let arguments = ["--routing".to_owned(), "hooks".to_owned()];
        let journal = Journal::create(&dir, &arguments).unwrap();
        assert_eq!(Journal::all(&dir).unwrap(), [journal.path()]);
        let (guard, record) = Journal::join(journal.path()).unwrap();
        assert_eq!((record.header.pid, &record.header.routing[..]), (std::process::id(), &arguments[..]));
        assert_eq!(record.last, Entry::Down);
        let entries = [
            Entry::Raised { slots: slots("1,5-9") },
            Entry::MaySwitch { slots: slots("1,5-9") },
            Entry::Switching { slots: slots("1,5-9") },
            Entry::Down,
        ];
        for (number, entry) in entries.into_iter().enumerate() {
            [&journal, &guard][number % 2].add(&entry).unwrap();
            assert_eq!(Journal::peek(journal.path()).unwrap().last, entry);
        }
        journal.remove().unwrap();
        guard.remove().unwrap();
        assert_eq!(Journal::all(&dir).unwrap(), [""; 0].map(PathBuf::from));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[test]
    fn it_is_claimed_only_when_agent_and_guard_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::create(dir.path(), &[]).unwrap();
        let path = journal.path().to_owned();
        let (guard, _) = Journal::join(&path).unwrap();
        assert!(Journal::claim(&path).unwrap().is_none());
        drop(journal);
        assert!(Journal::claim(&path).unwrap().is_none());
        drop(guard);
        // A child that another test forks at this moment holds the lock as well, until it executes its program.
        let claimed = std::iter::repeat_with(|| Journal::claim(&path).unwrap());
        let slowly = claimed.inspect(|_| std::thread::sleep(std::time::Duration::from_millis(1)));
        let (claimed, _) = slowly.take(1000).flatten().next().unwrap();
        assert!(Journal::claim(&path).unwrap().is_none());
        assert!(Journal::join(&path).is_err());
        claimed.remove().unwrap();
        drop(claimed);
        assert!(Journal::claim(&path).unwrap().is_none());
    }

    #[test]
    fn a_torn_last_line_is_passed_over_and_no_other() {
        let head = r#"{"version":1,"pid":7,"routing":[]}"#;
        let raised = r#"{"fence":"raised","slots":"3"}"#;
        let last = |text: &str| parse(text).map(|record| record.last);
        let is_raised = Ok(Entry::Raised { slots: slots("3") });
        assert_eq!(last(head), Ok(Entry::Down));
        assert_eq!(last(&format!("{head}\n{raised}\n")), is_raised);
        assert_eq!(last(&format!("{head}\n{raised}\n{{\"fence\":\"may-swi")), is_raised);
        let prepared = r#"{"fence":"prepared","routing":["--more"]}"#;
        assert_eq!(last(&format!("{head}\n{raised}\n{prepared}\n")), is_raised);
        assert_eq!(parse(&format!("{head}\n{prepared}\n")).unwrap().header.routing, ["--more"]);
        assert_eq!(last(&format!("{head}\n{raised}\n\0\0\0\0")), is_raised);
        for text in ["", "{", &format!("{head}\n{{\"fen\n{raised}\n"), &head.replace('1', "2")] {
            assert!(last(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Journal::create(&file.join("state"), &[]).unwrap_err();
        assert!(error.to_string().contains("cannot create the state directory"), "{error}");
    }
}
