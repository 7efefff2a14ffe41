// SPDX-License-Identifier: Apache-2.0
//! What a job is about to do and what it has done, so that whoever comes after it can go on or take it back.
//!
//! A file per job, of lines that vouch for themselves: the first says which job it is, each further one what is about to be
//! done or has been. A line is on the disk before what it announces is begun. Whoever works on the job holds a lock on
//! the file. A line that was being written when the machine died is passed over; anything else that is not as it was
//! written is refused.

mod entry;
mod line;
mod state;
#[cfg(test)]
mod tests;

pub(super) use entry::{At, Entry, Node, Place};
pub use entry::{Header, Outcome};
pub(super) use state::{Found, Holding, Reached, Retained, State, Switched, Taken};

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use replication::SlotSet;
use snapshot::UnixMillis;

use self::line::Chain;
use crate::endpoint::Endpoint;
use crate::job::{JobOptions, Phase, Undo};
use crate::record::{self, Slots};
use crate::{Error, Result};

/// The journal of one job. Whoever has it is the only one that works on that job.
pub struct Journal {
    book: Arc<Book>,
    way: Way,
}

/// Whose part of it is written and read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// The job's own.
    There,
    /// That of its way back.
    Back,
}

/// What both parts are written into.
struct Book {
    header: Header,
    inner: Mutex<Inner>,
    /// Whether another process has written it.
    is_resumed: bool,
    hook: OnceLock<Hook>,
}

type Hook = Box<dyn Fn(Moment) + Send + Sync>;

/// How far an entry is.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// It is not written.
    Before,
    /// It outlives the machine, which not every entry waits for.
    Synced,
    /// It outlives this process.
    After,
}

#[derive(Debug)]
struct Inner {
    state: State,
    log: Option<Log>,
}

/// Its file, locked.
#[derive(Debug)]
struct Log {
    file: Arc<File>,
    path: PathBuf,
    chain: Chain,
    length: u64,
}

/// A look at a journal.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// Which job it is.
    pub header: Header,
    /// The slots that it moves.
    pub slots: SlotSet,
    /// Those of them that are at the target.
    pub switched: SlotSet,
    /// The phase that it entered last.
    pub phase: Phase,
    /// How it has ended, if it has.
    pub outcome: Option<Outcome>,
    /// Whether every slot is at the target and the job can be rolled back, and why not if that is known.
    pub undo: Option<Undo>,
    /// Whether a process works on it now.
    pub is_at_work: bool,
}

/// What a new job is.
#[derive(Clone, Default, Debug)]
pub struct Course {
    /// `HOST:PORT` of the source.
    pub source: String,
    /// `HOST:PORT` of the target.
    pub target: String,
    /// The slots to move.
    pub slots: SlotSet,
    /// The database.
    pub database: u32,
    /// The arguments that start it again.
    pub arguments: Vec<String>,
    /// What file names in them are relative to.
    pub directory: PathBuf,
}

impl Course {
    /// That of a job which nobody starts again.
    pub(super) fn of(source: &Endpoint, target: &Endpoint, options: &JobOptions) -> Self {
        Self {
            source: source.address(),
            target: target.address(),
            slots: options.slots.clone(),
            database: options.database,
            ..Self::default()
        }
    }
}

impl Journal {
    /// A journal in `dir`, which is made when it is not there.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn create(dir: &Path, course: Course) -> Result<Self> {
        fs::create_dir_all(dir).map_err(|fault| Error::file("create the state directory", dir, fault))?;
        sweep(dir)?;
        let header = header(course);
        let (draft, path) =
            (dir.join(format!("job-{}.draft", header.job)), dir.join(format!("job-{}.journal", header.job)));
        let fault = |fault| Error::file("write the journal", &draft, fault);
        let file = OpenOptions::new().create_new(true).read(true).append(true).open(&draft).map_err(fault)?;
        file.try_lock().map_err(|error| fault(error.into()))?;
        let mut log = Log { file: Arc::new(file), path: draft.clone(), chain: Chain::default(), length: 0 };
        // Only then it has the name that others look for: they find it locked and whole.
        let named =
            |log: &Log| log.file.sync_all().and_then(|()| fs::rename(&draft, &path)).and_then(|()| sync_dir(dir));
        if let Err(error) = log.add(&header).and_then(|()| named(&log).map_err(fault)) {
            // Nobody would ever look for it. A disk that does not even let go of it has been told of by then.
            let _ = fs::remove_file(&draft);
            return Err(error);
        }
        log.path = path;
        Ok(Self::of(header, Inner { state: State::default(), log: Some(log) }, false))
    }

    /// A journal that lasts as long as its process.
    pub fn volatile(course: Course) -> Self {
        Self::of(header(course), Inner { state: State::default(), log: None }, false)
    }

    fn of(header: Header, inner: Inner, is_resumed: bool) -> Self {
        let book = Book { header, inner: Mutex::new(inner), is_resumed, hook: OnceLock::new() };
        Self { book: Arc::new(book), way: Way::There }
    }

    /// The journal of a job that nobody works on.
    ///
    /// # Errors
    /// [`Error::AtWork`] when somebody does, [`Error::Journal`] when the file is damaged or of another version.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).append(true).open(path);
        let file = file.map_err(|fault| Error::file("open the journal", path, fault))?;
        lock(&file, path)?;
        let text = read(path)?;
        let (header, state, lines) = parse(&text, path)?;
        let length = lines.length as u64;
        // What is torn would stand before the next line.
        let cut = file.set_len(length).and_then(|()| file.sync_all());
        cut.map_err(|fault| Error::file("cut the journal", path, fault))?;
        let log = Log { file: Arc::new(file), path: path.to_owned(), chain: lines.chain, length };
        Ok(Self::of(header, Inner { state, log: Some(log) }, true))
    }

    /// The journals in `dir`, in the order of their names, which is that of their making.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be listed.
    pub fn all(dir: &Path) -> Result<Vec<PathBuf>> {
        record::journals(dir, "job")
    }

    /// What a journal says, whoever works on it.
    ///
    /// # Errors
    /// As [`Journal::open`], but for [`Error::AtWork`].
    pub fn peek(path: &Path) -> Result<Summary> {
        let (header, state, _) = parse(&read(path)?, path)?;
        let file = File::open(path).map_err(|fault| Error::file("open the journal", path, fault))?;
        // Another look at this moment holds no more than this one: a shared lock.
        let is_at_work = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
        Ok(Summary {
            slots: header.slots.0.clone(),
            header,
            switched: state.at_target(),
            phase: state.phase.unwrap_or(Phase::Plan),
            undo: Undo::of(&state),
            outcome: state.ended,
            is_at_work,
        })
    }

    /// Which job it is.
    pub fn header(&self) -> &Header {
        &self.book.header
    }

    /// The part of its way back.
    pub(super) fn way_back(&self) -> Self {
        Self { book: Arc::clone(&self.book), way: Way::Back }
    }

    /// What the names of the job's files begin with at the node that its slots leave on this way.
    pub(super) fn file_name(&self) -> String {
        match self.way {
            Way::There => format!("slotmover-{}", self.header().job),
            Way::Back => format!("slotmover-{}-back", self.header().job),
        }
    }

    /// Whether the job has left nothing that somebody would have to go on with or take back.
    pub fn is_blank(&self) -> bool {
        self.read(State::is_blank)
    }

    /// Has the job taken back by whoever runs it next. What was copied to the target may be left there, as when that is gone
    /// for good.
    ///
    /// # Errors
    /// [`Error::File`].
    pub async fn cancel(&self, leave_target: bool) -> Result<()> {
        self.note(Entry::Cancelling { leave_target }).await
    }

    /// Has the job rolled back by whoever runs it next.
    ///
    /// # Errors
    /// [`Error::Undo`] when that is not possible, or not any more; [`Error::File`].
    pub async fn roll_back(&self) -> Result<()> {
        match self.read(Undo::of) {
            Some(Undo::Possible { .. } | Undo::Begun) => self.note(Entry::RollingBack).await,
            Some(Undo::Gone { why }) => Err(Error::Undo { why }),
            None => Err(Error::Undo { why: "its slots are not all at the target: cancel it instead".to_owned() }),
        }
    }

    /// Has whoever runs it next end its reverse window at once.
    ///
    /// # Errors
    /// [`Error::Undo`] when it is being rolled back: some slots may be at the source again; [`Error::File`].
    pub async fn close_window(&self) -> Result<()> {
        if self.read(|state| state.rolling_back) {
            return Err(Error::Undo { why: "it is being rolled back, and may not stop half way".to_owned() });
        }
        self.note(Entry::NoWayBack { why: WINDOW_CLOSED.to_owned() }).await
    }

    /// Its file, if it outlives its process.
    pub fn path(&self) -> Option<PathBuf> {
        self.inner().log.as_ref().map(|log| log.path.clone())
    }

    /// Whether it outlives its process.
    pub fn is_kept(&self) -> bool {
        self.inner().log.is_some()
    }

    /// Does something at each moment of each entry.
    #[doc(hidden)]
    pub fn on_entry(&mut self, hook: impl Fn(Moment) + Send + Sync + 'static) {
        // The first one counts.
        let _ = self.book.hook.set(Box::new(hook));
    }

    /// Removes it: a job that has done nothing needs none.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn remove(&self) -> Result<()> {
        let Some(log) = self.inner().log.take() else { return Ok(()) };
        fs::remove_file(&log.path).map_err(|fault| Error::file("remove", &log.path, fault))
    }

    /// How many slots are at the target, whoever's part this is.
    pub(super) fn at_target(&self) -> usize {
        self.inner().state.at_target().len()
    }

    /// Whether this is the part of a way back.
    pub(super) fn is_way_back(&self) -> bool {
        self.way == Way::Back
    }

    /// Whether an earlier process has worked on the job.
    pub(super) fn is_resumed(&self) -> bool {
        self.book.is_resumed
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        let inner = self.inner();
        match (self.way, &inner.state.back) {
            (Way::There, _) => look(&inner.state),
            (Way::Back, Some(back)) => look(back),
            (Way::Back, None) => look(&State::default()),
        }
    }

    /// Writes an entry down and waits until it is on the disk.
    pub(super) async fn note(&self, entry: Entry) -> Result<()> {
        self.comes(Moment::Before);
        if let Some((file, path)) = self.write(entry)? {
            let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
            let synced = synced.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            synced.map_err(|fault| Error::file("sync", path, fault))?;
            self.comes(Moment::Synced);
        }
        self.comes(Moment::After);
        Ok(())
    }

    /// Writes an entry down for which nobody can wait. It outlives this process; a crash of the machine it may not.
    pub(super) fn note_soon(&self, entry: Entry) -> Result<()> {
        self.comes(Moment::Before);
        self.write(entry)?;
        self.comes(Moment::After);
        Ok(())
    }

    fn comes(&self, moment: Moment) {
        if let Some(hook) = self.book.hook.get() {
            hook(moment);
        }
    }

    fn write(&self, entry: Entry) -> Result<Option<(Arc<File>, PathBuf)>> {
        let entry = match self.way {
            Way::There => entry,
            Way::Back => Entry::Back { step: Box::new(entry) },
        };
        let mut inner = self.inner();
        let mut file = None;
        if let Some(log) = &mut inner.log {
            log.add(&entry)?;
            file = Some((Arc::clone(&log.file), log.path.clone()));
        }
        inner.state.fold(entry);
        Ok(file)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // An entry is added to both or to none.
        self.book.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Book { header, inner, .. } = &*self.book;
        f.debug_struct("Journal")
            .field("way", &self.way)
            .field("header", header)
            .field("inner", inner)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// In one write. What of it a full disk has taken is taken back, or else it would stand before the next line.
    fn add(&mut self, value: &impl serde::Serialize) -> Result<()> {
        let fault = |fault| Error::file("write the journal", &self.path, fault);
        let (line, chain) = self.chain.line(value).map_err(|error| fault(error.into()))?;
        if let Err(full) = (&*self.file).write_all(&line) {
            self.file.set_len(self.length).map_err(fault)?;
            return Err(fault(full));
        }
        self.chain = chain;
        self.length += line.len() as u64;
        Ok(())
    }
}

/// Whoever only looks at a journal holds it for a moment as well.
fn lock(file: &File, path: &Path) -> Result<()> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_STEP),
            Err(TryLockError::Error(fault)) => return Err(Error::file("lock", path, fault)),
        }
    }
    Err(Error::AtWork { journal: path.to_owned() })
}

fn header(course: Course) -> Header {
    let Course { source, target, slots, database, arguments, directory } = course;
    let created = UnixMillis::now().0;
    // Short enough to be typed, and in the order of time.
    let job = format!("{}-{:04x}", created / 1000, rand::random::<u16>());
    Header { version: VERSION, job, created, source, target, slots: Slots(slots), database, arguments, directory }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|mut file| file.read_to_end(&mut text));
    read.map_err(|fault| Error::file("read the journal", path, fault))?;
    Ok(text)
}

fn parse<'a>(text: &'a [u8], path: &Path) -> Result<(Header, State, line::Lines<'a>)> {
    let damaged = |line: usize, what: String| Error::Journal { path: path.to_owned(), line, what };
    let lines = line::parse(text).map_err(|line| damaged(line, "it is not what was written there".to_owned()))?;
    let Some((first, entries)) = lines.lines.split_first() else {
        return Err(damaged(1, "there is none".to_owned()));
    };
    let version = line::value::<Versioned>(first).map_err(|error| damaged(1, error.to_string()))?.version;
    if version != VERSION {
        return Err(damaged(1, format!("it is of version {version}, this is a program of version {VERSION}")));
    }
    let header = line::value(first).map_err(|error| damaged(1, error.to_string()))?;
    let mut state = State::default();
    for (index, entry) in entries.iter().enumerate() {
        state.fold(line::value(entry).map_err(|error| damaged(index + 2, error.to_string()))?);
    }
    Ok((header, state, lines))
}

#[derive(serde::Deserialize)]
struct Versioned {
    version: u32,
}

/// Removes what those have left who died before their journal had its name. Who is about to name his holds it.
fn sweep(dir: &Path) -> Result<()> {
    for draft in record::drafts(dir, "job")? {
        // Its maker may just have given it its name.
        let Ok(file) = File::open(&draft) else { continue };
        let age = file.metadata().and_then(|metadata| metadata.modified()).map(|at| at.elapsed().unwrap_or_default());
        if age.is_ok_and(|age| age > DRAFT_MAX) && file.try_lock().is_ok() {
            // It takes a few bytes; whoever can do something about a disk hears of it right now.
            let _ = fs::remove_file(&draft);
        }
    }
    Ok(())
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

const LOCK_TRIES: u32 = 10;
const LOCK_STEP: Duration = Duration::from_millis(5);

/// Nobody takes so long to give his draft its name.
const DRAFT_MAX: Duration = Duration::from_secs(60);

/// Why a job cannot be rolled back whose window somebody has closed.
pub(super) const WINDOW_CLOSED: &str = "somebody has ended its reverse window";

const VERSION: u32 = 1;
