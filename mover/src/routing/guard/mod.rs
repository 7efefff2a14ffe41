// SPDX-License-Identifier: Apache-2.0
//! A routing layer whose fences come down whatever dies.
//!
//! ```text
//!   agent: Guarded ── raise · leave? · withdraw? · switched · lowered · end ──▶ guard: a process of its own,
//!             │   ◀──────────────────── yes · no ─────────────────────────────     with a control of its own
//!             ▼                                                                          │
//!          fence journal  ◀──────────────────────────────────────────────────────────────┘
//! ```
//!
//! [`Guarded`] tells a guard process of each fence before it raises it, and asks it for leave before a switch may be
//! sent. Until then the guard lowers the fence when its deadline passes or the agent is gone, and refuses the leave from
//! then on; afterwards it only switches. So an agent that was stopped for a while and wakes up can do no harm, and one
//! that was killed leaves no client waiting. Where agent and guard both die, the fence journal tells the next start, or
//! [`settle`], what to take down.
//!
//! What it costs: a process, some milliseconds for the journal before each fence, and a question to the guard (well below
//! a millisecond) while clients wait. What it cannot do: help where the routing layer itself does not answer; then it
//! tries again and says so.

mod act;
mod journal;
mod message;
mod process;
mod settle;
mod state;
#[cfg(test)]
mod tests;
mod watch;

pub use settle::{Living, settle};
pub use watch::Guard;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use replication::{Slot, SlotSet};
use tokio::sync::Mutex;
use tracing::warn;

use self::journal::{Entry, Journal};
use self::message::{Answer, Request};
use self::process::Process;
use crate::record::Slots;
use crate::routing::{Owner, Readiness, RoutingControl, Standing};
use crate::{BoxFuture, Error, Result};

/// How a routing layer is guarded.
#[derive(Clone, Debug)]
pub struct GuardOptions {
    /// The program `slotmover`, which is also the guard.
    pub program: PathBuf,
    /// The directory of the fence journals.
    pub state_dir: PathBuf,
    /// The arguments that have the program build the same routing layer; file names in them are absolute.
    pub routing: Vec<String>,
    /// The longest a fence may stand. The guard gives [`GRACE`](Self::GRACE) more, for lowering it is the agent's task.
    pub max_lock: Duration,
}

impl GuardOptions {
    /// What the guard waits longer than the agent may take.
    pub const GRACE: Duration = Duration::from_millis(500);
}

/// A routing layer with a guard.
pub struct Guarded {
    inner: Arc<dyn RoutingControl>,
    options: GuardOptions,
    further: Further,
    desk: Mutex<Desk>,
}

/// Arguments that are known only once the layer is prepared.
type Further = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// What there is only while a job runs.
#[derive(Default)]
struct Desk {
    journal: Option<Arc<Journal>>,
    guard: Option<Process>,
    leave: Leave,
    /// The journal shows a fence of these slots already, on the disk.
    written: Option<SlotSet>,
}

/// Whether the guard has given leave to switch, and now switches rather than lowers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Leave {
    #[default]
    None,
    Given,
    /// It was asked, and the answer is not known or was no: it may be switching.
    Asked,
}

impl Guarded {
    /// Puts `inner` under guard. It changes nothing there, but tries whether the state directory can be written.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot.
    pub fn new(inner: Arc<dyn RoutingControl>, options: GuardOptions) -> Result<Self> {
        Journal::create(&options.state_dir, &options.routing)?.remove()?;
        Ok(Self { inner, options, further: Box::new(Vec::new), desk: Mutex::default() })
    }

    /// Has the guard, and whoever settles its journal, build the routing layer with what `further` gives as well, which
    /// is asked once the layer is prepared: what must be taken back is known only then.
    pub fn with_further(self, further: impl Fn() -> Vec<String> + Send + Sync + 'static) -> Self {
        Self { further: Box::new(further), ..self }
    }

    /// Prepares the layer, and writes down what has to be taken back.
    async fn set_up(&self, slots: &SlotSet) -> Result<()> {
        let mut desk = self.desk.lock().await;
        let journal = self.journal(&mut desk)?;
        self.inner.prepare(slots).await?;
        desk.note(Entry::Prepared { routing: (self.further)() })?;
        sync(journal).await?;
        self.ensure(&mut desk).await
    }

    fn journal(&self, desk: &mut Desk) -> Result<Arc<Journal>> {
        Ok(match &desk.journal {
            Some(journal) => Arc::clone(journal),
            None => {
                let journal = Arc::new(Journal::create(&self.options.state_dir, &self.options.routing)?);
                Arc::clone(desk.journal.insert(journal))
            }
        })
    }

    /// Has a living guard in place.
    async fn ensure(&self, desk: &mut Desk) -> Result<()> {
        let journal = self.journal(desk)?;
        if desk.guard.as_ref().is_some_and(Process::is_alive) {
            return Ok(());
        }
        if desk.guard.take().is_some() {
            warn!("the fence guard died, starting another one");
        }
        desk.guard = Some(Process::start(&self.options.program, journal.path()).await?);
        Ok(())
    }

    /// Writes the fence down and has a guard for it. No client waits yet, so this may take its time: a crash of the
    /// machine must not leave a lock that nobody knows of.
    async fn announce(&self, slots: &SlotSet) -> Result<()> {
        let mut desk = self.desk.lock().await;
        self.ensure(&mut desk).await?;
        if desk.written.as_ref() != Some(slots) {
            desk.note(Entry::Raised { slots: Slots(slots.clone()) })?;
            sync(self.journal(&mut desk)?).await?;
            desk.written = Some(slots.clone());
        }
        Ok(())
    }

    /// Tells the guard that the fence is being raised.
    async fn begin(&self, slots: &SlotSet) -> Result<()> {
        let mut desk = self.desk.lock().await;
        let within = self.options.max_lock + GuardOptions::GRACE;
        match desk.ask(Request::Raise { slots: slots.clone(), within }).await? {
            Answer::Yes => {
                desk.leave = Leave::None;
                Ok(())
            }
            Answer::No(why) => Err(Error::Routing { what: format!("no fence without its guard: {why}") }),
        }
    }

    /// Asks whether the switch may be sent; the reason when it may not.
    async fn leave(&self, slots: &SlotSet) -> Result<Result<(), String>> {
        let mut desk = self.desk.lock().await;
        // Clients wait, so it is not synced: it must survive the death of agent and guard, and does. After a crash of the
        // machine the journal may still say `raised`, and whoever lowers then asks the routing layer who the owner is.
        desk.written = None;
        desk.note(Entry::MaySwitch { slots: Slots(slots.clone()) })?;
        // Before it is asked: our caller may stop waiting for the answer, and the guard has given leave all the same.
        desk.leave = Leave::Asked;
        match desk.ask(Request::Leave { slots: slots.clone() }).await {
            Ok(Answer::Yes) => {
                desk.leave = Leave::Given;
                Ok(Ok(()))
            }
            Ok(Answer::No(why)) => Ok(Err(why)),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// Takes back the leave: the guard must not switch what is about to be lowered. Whether it may be lowered.
    async fn withdraw(&self, slots: &SlotSet) -> Result<bool> {
        let mut desk = self.desk.lock().await;
        if desk.leave == Leave::None {
            return Ok(true);
        }
        match desk.ask(Request::Withdraw).await {
            Ok(Answer::Yes) => desk.leave = Leave::None,
            Ok(Answer::No(why)) => return Err(Error::Routing { what: why }),
            Err(error) => {
                warn!(%error, "the leave to switch was not taken back, reading what the guard has begun");
                let switching = Entry::Switching { slots: Slots(slots.clone()) };
                if desk.last()? == Some(switching) {
                    return Ok(false);
                }
                desk.leave = Leave::None;
            }
        }
        Ok(true)
    }

    /// Tells journal and guard that no fence is up.
    async fn settled(&self, request: Request) {
        let mut desk = self.desk.lock().await;
        desk.leave = Leave::None;
        desk.written = None;
        // The fence is down: a journal that says otherwise costs a needless lower, no more.
        if let Err(error) = desk.note(Entry::Down) {
            warn!(%error, "the fence journal does not say that the fence is down");
        }
        if let Some(guard) = &mut desk.guard {
            guard.tell(request);
        }
    }
}

impl Desk {
    fn note(&self, entry: Entry) -> Result<()> {
        self.journal.as_ref().map_or(Ok(()), |journal| journal.add(&entry))
    }

    fn last(&self) -> Result<Option<Entry>> {
        self.journal.as_ref().map(|journal| Journal::peek(journal.path()).map(|record| record.last)).transpose()
    }

    /// Asks the guard. One that does not answer is ended, so that it does nothing when it wakes up.
    async fn ask(&mut self, request: Request) -> Result<Answer> {
        let none = || Error::Routing { what: "there is no fence guard".to_owned() };
        let guard = self.guard.as_mut().ok_or_else(none)?;
        match guard.ask(request).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                if let Err(fault) = guard.kill().await {
                    warn!(%fault, "could not end the fence guard");
                }
                self.guard = None;
                Err(error)
            }
        }
    }
}

impl RoutingControl for Guarded {
    fn prepare<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if let Err(error) = self.set_up(slots).await {
                // Nobody calls `finish` after that.
                self.finish().await?;
                return Err(error);
            }
            Ok(())
        })
    }

    fn finish(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let finished = self.inner.finish().await;
            let mut desk = self.desk.lock().await;
            let guard = desk.guard.take();
            let journal = desk.journal.take();
            if let Some(mut guard) = guard
                && finished.is_ok()
            {
                end(&mut guard).await?;
            }
            // What could not be taken back stays in the journal, for the guard, which now hears of our end, and for the
            // next start.
            finished?;
            journal.map_or(Ok(()), |journal| journal.remove())
        })
    }

    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>> {
        self.inner.owner(slot)
    }

    fn knows_earlier_switches(&self) -> bool {
        self.inner.knows_earlier_switches()
    }

    fn preconditions<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Readiness>> {
        Box::pin(async move {
            let readiness = self.inner.preconditions(slots).await?;
            // Here and not in `raise`, whose time counts as the fence's.
            if readiness == Readiness::Ready {
                self.announce(slots).await?;
            }
            Ok(readiness)
        })
    }

    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.announce(slots).await?;
            self.begin(slots).await?;
            self.inner.raise(slots).await
        })
    }

    /// The last question before the switch, so it also asks the guard for leave.
    fn holds<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Standing>> {
        Box::pin(async move {
            match self.inner.holds(slots).await? {
                Standing::Broken(why) => Ok(Standing::Broken(why)),
                Standing::Holds => Ok(match self.leave(slots).await? {
                    Ok(()) => Standing::Holds,
                    Err(why) => Standing::Broken(why),
                }),
            }
        })
    }

    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if self.desk.lock().await.leave != Leave::Given
                && let Err(why) = self.leave(slots).await?
                // What is switched may be switched again.
                && !act::are_at(&*self.inner, slots, &Owner::Target).await?
            {
                return Err(Error::NotSwitched { what: why });
            }
            self.inner.switch(slots).await?;
            self.settled(Request::Switched).await;
            Ok(())
        })
    }

    /// Where a guard has begun to switch, for this process stood still after it had leave, it waits for that instead:
    /// lowering would let clients write at the source.
    fn lower<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            match self.withdraw(slots).await? {
                true => self.inner.lower(slots).await?,
                // The guard began to switch and died, so it is ours to complete.
                false => act::switch(&*self.inner, slots).await?,
            }
            self.settled(Request::Lowered).await;
            Ok(())
        })
    }
}

async fn sync(journal: Arc<Journal>) -> Result<()> {
    let synced = tokio::task::spawn_blocking(move || journal.sync()).await;
    synced.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Lets the guard go, and waits until it has.
async fn end(guard: &mut Process) -> Result<()> {
    // A guard that died before is gone as well.
    let _ = guard.ask(Request::End).await;
    match guard.ended().await {
        Some(Ok(status)) if status.success() => Ok(()),
        // It died, and nothing was left to do for it.
        Some(_) => Ok(()),
        None => Err(Error::Routing {
            what: "the fence guard is still at work on a fence and goes on by itself: see its lines".to_owned(),
        }),
    }
}
