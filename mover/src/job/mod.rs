// SPDX-License-Identifier: Apache-2.0
//! One move, from preflight to done: `Plan → Snapshot → Copy → CatchUp → Verify → Cutover → Watch → Cleanup → Done`.
//!
//! Each phase is a file. Before the switch of a slot everything can be taken back, once it has been sent only forward
//! is allowed. What is done is written into a journal, so that whoever comes after a crash or a lost connection goes on
//! from there: an attempt begins where the journal ends.
//!
//! After the switch the same parts, with both sides changed over, bring the target's changes back to the source, so that
//! undoing it is one more short fence.

mod attempt;
mod backlog;
mod balance;
mod borrowed;
mod builder;
mod cleanup;
mod convergence;
mod copy;
mod cutover;
mod dirty;
mod follow;
mod gauge;
mod health;
pub mod journal;
mod late;
mod life;
mod log;
mod noted;
mod options;
mod plan;
mod probe;
mod progress;
mod reach;
mod readers;
mod report;
mod snapshot;
mod start;
mod steps;
mod streams;
mod trail;
mod undo;
mod unknown;
mod unsettled;
mod updates;
mod verify;
mod window;

pub use balance::KeyBalance;
pub use builder::{JobBuilder, NoRouting, NoSource, NoTarget};
pub use convergence::ChangeRates;
#[doc(hidden)]
pub use copy::copy;
pub use options::{Cleanup, CutoverOptions, JobOptions};
pub use progress::{Phase, Progress, Status};
pub use report::{FenceReport, Report, RollbackReport, VerifyReport};
pub use undo::Undo;
pub use unknown::UnknownCommand;
pub use updates::Updates;
#[doc(hidden)]
pub use verify::verify;
pub use verify::{KeyDifference, Verification, VerificationReport, VerifyMode};
pub use window::ReverseWindow;

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::Result;
use crate::endpoint::Endpoint;
use crate::flow::Control;
use crate::job::journal::{Course, Entry, Journal};
use crate::job::unknown::UnknownCommands;
use crate::routing::RoutingControl;
use crate::sink::ReceiverOptions;

/// A move of some slots from one node to another.
pub struct Job {
    source: Endpoint,
    target: Endpoint,
    options: JobOptions,
    routing: Arc<dyn RoutingControl>,
    control: Control,
    progress: Arc<Progress>,
    journal: Arc<Journal>,
    window: Option<ReverseWindow>,
    /// Who reads the source's log out where its files are not here, as they may be on a way back.
    log_reader: Option<ReceiverOptions>,
    unknown: Arc<UnknownCommands>,
    /// What undoes a job has none: whoever watches the job watches it as well.
    _watched: Option<Watched>,
}

/// Whoever watches a job need not watch any more when this is dropped.
struct Watched(Arc<Progress>);

impl Job {
    /// A job that is ready to run.
    pub fn new(source: Endpoint, target: Endpoint, options: JobOptions, routing: Arc<dyn RoutingControl>) -> Self {
        let progress = Arc::new(Progress::new(options.slots.len()));
        let (source, target) = (options.of_source(source), options.of_target(target));
        let control = Control::new();
        control.set_limits(options.limits());
        let journal = Arc::new(Journal::volatile(Course::of(&source, &target, &options)));
        let watched = Some(Watched(Arc::clone(&progress)));
        Self {
            source,
            target,
            options,
            routing,
            control,
            progress,
            journal,
            window: None,
            log_reader: None,
            unknown: Arc::default(),
            _watched: watched,
        }
    }

    /// The handle to pause or cancel it, to change its limits, and to postpone its switch.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Where it is.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Where it is, now, at each change of its phase, and every so long in between; see [`Updates`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn updates(&self, every: Duration) -> Updates {
        Updates::new(self.progress(), every)
    }

    /// Has what it does written down, so that whoever comes after it can go on: another process with the same journal.
    #[must_use]
    pub fn with_journal(mut self, journal: Journal) -> Self {
        self.journal = Arc::new(journal);
        self
    }

    /// Lets it be rolled back for a while after its last switch.
    #[must_use]
    pub fn with_reverse_window(mut self, window: ReverseWindow) -> Self {
        self.window = Some(window);
        self
    }

    /// Runs it to its end, within a tokio runtime. It goes on by itself when a server comes back or a new checkpoint helps.
    ///
    /// A job without a journal leaves the source's settings as before and nothing of ours in its directories, whatever it
    /// ends with. One with a journal that is ended by an error, or through [`Control::stop`], leaves all as it is for whoever
    /// goes on with it or cancels it.
    ///
    /// Whoever wants it to end before that cancels it through its [`Control`]. Dropping it is a last resort: a fence that
    /// is up is taken down behind it, but nothing is taken back at the source.
    ///
    /// # Errors
    /// Whatever stopped it; [`Error::remedy`](crate::Error::remedy) says what helps. Slots that had been switched by then stay switched.
    pub async fn run(self) -> Result<Report> {
        self.live().await
    }

    async fn enter(&self, phase: Phase) -> Result<()> {
        self.progress.enter(phase);
        self.journal.note(Entry::Enter { phase }).await
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The first error is the job's; a second one is only told.
fn worse<T>(outcome: Result<T>, second: Result<()>, what: &'static str) -> Result<T> {
    match (outcome, second) {
        (Ok(_), Err(error)) => Err(error),
        (Err(error), Err(second)) => {
            warn!(%second, "{what} either");
            Err(error)
        }
        (outcome, Ok(())) => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{Instruction, Manual, Operator};
    use crate::{BoxFuture, Error};

    struct Nobody;

    impl Operator for Nobody {
        fn ask<'a>(&'a self, instruction: &'a Instruction) -> BoxFuture<'a, Result<()>> {
            Box::pin(async move { Err(Error::Routing { what: instruction.to_string() }) })
        }

        fn tell<'a>(&'a self, _: &'a Instruction) -> BoxFuture<'a, Result<()>> {
            Box::pin(async { Ok(()) })
        }
    }

    fn job() -> Job {
        let routing = Arc::new(Manual::new("h:1", "h:2", Box::new(Nobody)));
        Job::builder("1".parse().unwrap()).source("h:1").target("h:2").routing(routing).build().unwrap()
    }

    /// Whoever embeds a job spawns it.
    #[test]
    fn a_running_job_may_move_between_threads() {
        fn may_move<T: Send>(_: &T) {}
        may_move(&job().run());
    }

    #[tokio::test]
    async fn a_job_that_is_dropped_ends_its_updates() {
        let job = job();
        let mut updates = job.updates(Duration::MAX);
        assert_eq!(updates.next().await.unwrap().phase, Phase::Plan);
        // A job that is under way is dropped with its future.
        drop(job.run());
        assert_eq!(updates.next().await.unwrap().phase, Phase::Plan);
        assert_eq!(updates.next().await, None);
    }
}
