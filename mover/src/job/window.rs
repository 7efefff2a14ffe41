// SPDX-License-Identifier: Apache-2.0
//! The reverse window: for a while after the last switch the target's changes are brought back to the source, so that a
//! rollback is one more short fence, and loses no write.
//!
//! The way back is a job with both sides changed over whose copy is there already: it begins where the target's log ended
//! before the first switch. What that log says is read at the target as it is now, so it does no harm that what we wrote
//! ourselves is in it as well.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use replication::BinlogOffset;
use snapshot::UnixMillis;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::batch::KeyCounts;
use crate::dialect::Dialect;
use crate::flow::WindowWish;
use crate::job::attempt::{Attempt, NOT_FINISHED, Rig};
use crate::job::borrowed::with_log_kept;
use crate::job::follow::Follower;
use crate::job::journal::{Entry, State, WINDOW_CLOSED};
use crate::job::log::Log;
use crate::job::plan::Plan;
use crate::job::snapshot::{retain, retain_remote, retained};
use crate::job::start::Start;
use crate::job::{CutoverOptions, Job, JobOptions, Phase, RollbackReport, Undo, worse};
use crate::routing::{Owner, RoutingControl};
use crate::source::{Known, Node};
use crate::{Error, Remedy, Result};

/// For how long a job can be rolled back after its last switch, and who sends the clients back.
#[derive(Clone)]
pub struct ReverseWindow {
    /// For how long.
    pub length: Duration,
    /// A control of the same clients for which the job's target is the source, and its source the target.
    pub routing: Arc<dyn RoutingControl>,
}

/// How a window has ended.
pub(super) enum Ending {
    /// The slots are at the target for good. What was brought back has done this to the number of keys at the source, if that
    /// is known.
    Over(Option<KeyCounts>),
    /// They are back at the source.
    RolledBack(RollbackReport),
}

impl Job {
    /// The job that brings everything back. It shares handle, progress and journal with this one.
    pub(super) fn way_back(&self) -> Self {
        let routing = self.window.as_ref().map_or(&self.routing, |window| &window.routing);
        let options = JobOptions {
            // They are for the way there.
            receiver: None,
            work_dir: None,
            replace: false,
            cutover: CutoverOptions { postpone_file: None, ..self.options.cutover.clone() },
            ..self.options.clone()
        };
        Self {
            source: self.target.clone(),
            target: self.source.clone(),
            options,
            routing: Arc::clone(routing),
            control: self.control.clone(),
            progress: Arc::clone(&self.progress),
            journal: Arc::new(self.journal.way_back()),
            window: None,
            log_reader: self.options.receiver.clone(),
            unknown: Arc::default(),
            _watched: None,
        }
    }

    /// Has the target keep its log from here on, before anything is switched. What makes that impossible is told, and stops
    /// nothing.
    ///
    /// # Errors
    /// When the target is gone for now.
    pub(super) async fn keep_way_back(&self, plan: &Plan) -> Result<()> {
        if self.window.is_none() || self.journal.read(|state| state.no_way_back.is_some()) {
            return Ok(());
        }
        let back = self.way_back();
        match (self.journal.at_target(), back.journal.read(|state| state.retained.is_some())) {
            // What comes before the first switch is at the source anyway.
            (0, _) => {}
            (_, true) => return Ok(()),
            (_, false) => {
                let why = "the target's log was not kept from the first switch on".to_owned();
                return self.lose_way_back(why).await;
            }
        }
        if plan.target.dialect() != Dialect::Pika {
            return self.lose_way_back("the target is no Pika: it has no log to be followed".to_owned()).await;
        }
        match back.keep_log(self).await {
            Err(error) if error.remedy() != Remedy::Resume => {
                let hint = match self.options.receiver {
                    None if matches!(error, Error::Unfit { .. }) => "; a receiver beside it could read its log out",
                    _ => "",
                };
                self.lose_way_back(format!("{}{hint}", reason(error))).await
            }
            kept => kept,
        }
    }

    /// Brings the target's changes back until the window is over, or all slots with them when that is asked for.
    ///
    /// # Errors
    /// What ends the job, or this attempt at it. That the target cannot be followed any more does not.
    pub(super) async fn reverse_window(&self) -> Result<Ending> {
        let Some(window) = &self.window else { return Ok(self.over_untouched()) };
        if self.journal.read(|state| state.cleaning || state.is_late) {
            return Ok(Ending::Over(None));
        }
        if self.journal.read(|state| state.no_way_back.is_some()) {
            return self.wait_out().await;
        }
        if self.journal.read(|state| state.window.is_none()) {
            let length = u64::try_from(window.length.as_millis()).unwrap_or(u64::MAX);
            let until = UnixMillis::now().0.saturating_add(length);
            self.journal.note(Entry::Window { until }).await?;
        }
        self.enter(Phase::Watch).await?;
        // Checkpoint and log of the source are of no more use.
        self.tidy_up_way().await?;
        let back = self.way_back();
        let outcome = match self.decision().await? {
            Some(Decision::Over(why)) => Ok(Err((why, self.over_untouched()))),
            // Its log has our own deletions by now: they are no late writes.
            Some(Decision::RollBack) if back.journal.read(|state| state.cleaning) => {
                Ok(Ok(back.journal.read(|state| RollbackReport::of(state, &back.options))))
            }
            Some(Decision::RollBack) | None => match Attempt::begin(&back).await {
                Ok(attempt) => {
                    let target = attempt.plan.source.client();
                    with_log_kept(target, &back.journal, Box::pin(attempt.bring_back(self))).await
                }
                Err(error) => Err(error),
            },
        };
        match outcome {
            Ok(Ok(mut rollback)) => {
                rollback.cleaned = back.clean_up().await?;
                Ok(Ending::RolledBack(rollback))
            }
            Ok(Err((why, over))) => {
                self.lose_way_back(why).await?;
                Ok(over)
            }
            Err(error) => self.survive(error, &back).await,
        }
    }

    /// After an error on the way back: whoever is not under way goes on without one.
    async fn survive(&self, error: Error, back: &Self) -> Result<Ending> {
        let is_under_way = back.journal.read(|state| state.switching.is_some() || !state.switched.is_empty());
        let is_asked_for = matches!(error, Error::Cancelled | Error::Stopped);
        if is_asked_for || is_under_way || error.remedy() == Remedy::Resume {
            return Err(error);
        }
        let (was_wanted, why) = (self.journal.read(|state| state.rolling_back), reason(error));
        self.lose_way_back(why.clone()).await?;
        match was_wanted {
            true => Err(Error::Undo { why }),
            false => self.wait_out().await,
        }
    }

    /// Waits until a window without a way back would have been over. What ended the way back may be trouble at the target,
    /// and what the source holds is the only other copy: nobody deletes that as long as somebody may want to look at it.
    async fn wait_out(&self) -> Result<Ending> {
        let (why, until) = self.journal.read(|state| (state.no_way_back.clone(), state.window));
        if why.as_deref() == Some(WINDOW_CLOSED) {
            return Ok(self.over_untouched());
        }
        self.progress.undo(self.journal.read(Undo::of));
        let mut gate = self.control.gate();
        while until.is_some_and(|until| UnixMillis::now().0 < until) && gate.window() != WindowWish::Close {
            gate.admit().await?;
            sleep(PAUSE).await;
        }
        Ok(self.over_untouched())
    }

    /// The end of a window in which nothing was brought back. Where an attempt has begun to, nobody knows how much it was.
    fn over_untouched(&self) -> Ending {
        let is_written = self.journal.read(|state| state.back.as_ref().is_some_and(|back| back.is_written));
        Ending::Over((!is_written).then(KeyCounts::default))
    }

    /// What is to become of the window now, if that is known.
    async fn decision(&self) -> Result<Option<Decision>> {
        self.progress.undo(self.journal.read(Undo::of));
        let (is_begun, until) = self.journal.read(|state| (state.rolling_back, state.window));
        Ok(match self.control.gate().window() {
            _ if is_begun => Some(Decision::RollBack),
            WindowWish::RollBack => {
                self.journal.note(Entry::RollingBack).await?;
                self.progress.undo(Some(Undo::Begun));
                Some(Decision::RollBack)
            }
            WindowWish::Close => Some(Decision::Over(WINDOW_CLOSED.to_owned())),
            WindowWish::Keep if until.is_some_and(|until| UnixMillis::now().0 >= until) => {
                Some(Decision::Over("its reverse window is over".to_owned()))
            }
            WindowWish::Keep => None,
        })
    }

    /// From here on the job goes one way.
    async fn lose_way_back(&self, why: String) -> Result<()> {
        warn!("the job cannot be rolled back: {why}");
        self.progress.undo(Some(Undo::Gone { why: why.clone() }));
        self.journal.note(Entry::NoWayBack { why }).await
    }

    /// Has its source, the target of `there`, keep its log.
    async fn keep_log(&self, there: &Self) -> Result<()> {
        let node = Node::connect(&self.source, self.options.slot_count).await?;
        match self.files(&node).await? {
            Some(local) => retain(&local, &self.options, &self.journal).await,
            None => {
                let end = self.remote_log(&node).await?.end();
                retain_remote(&node, end, &there.options, &self.journal).await
            }
        }
    }
}

impl Attempt<'_> {
    /// Brings changes back until the window of `job` ends, or its slots are back as well; why not, if they are not, and how
    /// the window has ended.
    async fn bring_back(mut self, job: &Job) -> Result<Result<RollbackReport, (String, Ending)>> {
        let kept = self.job.journal.read(|state| state.retained.clone());
        let kept = kept.ok_or_else(|| Error::Undo { why: "the target's log was not kept".to_owned() })?;
        self.plan.target.outlive(&self.job.journal.read(|state| state.connections.clone())).await?;
        let log = retained(&kept, &self.plan, self.job).await?;
        let health = self.health().await?;
        let is_counted = self.job.counts_keys();
        let rig = self.rig(health).await?;
        let watermark = Arc::clone(rig.line.watermark());
        let outcome = Box::pin(self.follow_back(job, log, &rig, is_counted)).await;
        let ended = rig.end(outcome).await?;
        Ok(ended.map_err(|why| (why, Ending::Over(is_counted.then(|| watermark.landed().counts)))))
    }

    async fn follow_back(
        &self,
        job: &Job,
        log: Log,
        rig: &Rig,
        is_counted: bool,
    ) -> Result<Result<RollbackReport, String>> {
        let (back, known) = (self.job, Arc::new(Known::new()));
        let start = back.journal.read(|state| self.start(state, is_counted));
        let mut follower = Follower::new(&self.plan, log, start, &rig.line, &known, back).await?;
        back.progress.watch(rig.line.watermark());
        rig.health.line_follows();
        loop {
            match job.decision().await? {
                Some(Decision::Over(why)) => return Ok(Err(why)),
                Some(Decision::RollBack) => break,
                None => {}
            }
            follower.round().await?;
            sleep(PAUSE).await;
        }
        info!("the slots go back to the source");
        let prepared = !self.slots.is_empty();
        if prepared {
            self.check_owners().await?;
            back.routing.prepare(&self.slots).await?;
        }
        let outcome = Box::pin(self.switch_all(&mut follower, rig.health.throttle())).await;
        let finished = if prepared { back.routing.finish().await } else { Ok(()) };
        let (fence_ms, verify) = worse(outcome, finished, NOT_FINISHED)?;
        Ok(Ok(RollbackReport { changes: follower.changes(), fence_ms, verify, cleaned: None }))
    }

    /// From where the target's log is to be followed.
    fn start(&self, state: &State, is_counted: bool) -> Start {
        let from = state.retained.as_ref().map(|kept| kept.offset);
        Start {
            slots: self.slots.clone(),
            offset: state.followed.or(from).unwrap_or_default(),
            // Nothing was copied: a list is known exactly only once it was read.
            exact_from: BinlogOffset::default(),
            reached: None,
            switched: state.switched.clone(),
            is_copied: true,
            is_counted,
        }
    }

    /// That every slot is where it is to come from. A layer that sends clients one way only, as hooks that do not go by the
    /// addresses they are told, says otherwise.
    async fn check_owners(&self) -> Result<()> {
        for slot in self.slots.iter() {
            let owner = match self.job.routing.owner(slot).await? {
                Owner::Source => continue,
                Owner::Target => "the source".to_owned(),
                Owner::Other(name) => name,
            };
            let why =
                format!("slot {slot} is served by {owner}, as the routing layer says to who asks for its way back");
            return Err(Error::Undo { why });
        }
        Ok(())
    }
}

impl fmt::Debug for ReverseWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReverseWindow").field("length", &self.length).finish_non_exhaustive()
    }
}

/// What is to become of a window.
enum Decision {
    /// It ends, for this reason.
    Over(String),
    RollBack,
}

/// What stands in the way, without what would help against it in a move.
fn reason(error: Error) -> String {
    match error {
        Error::Undo { why } => why,
        Error::Unfit { side, address, what, .. } => format!("the {side} at {address}: {what}"),
        error => error.to_string(),
    }
}

/// Between two rounds: each costs the target a reading of every key that changed.
const PAUSE: Duration = Duration::from_millis(100);
