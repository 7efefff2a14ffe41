// SPDX-License-Identifier: Apache-2.0
//! One attempt at a job: from the journal's last entry on, as far as the servers last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use replication::SlotSet;
use tracing::info;

use crate::flow::{Budget, Line, Throttle};
use crate::job::borrowed::with_log_kept;
use crate::job::copy::CopyPlan;
use crate::job::cutover::{Cutover, Fences, Outcome};
use crate::job::follow::Follower;
use crate::job::health::Health;
use crate::job::journal::{Entry, Found, State};
use crate::job::log::Log;
use crate::job::plan::Plan;
use crate::job::reach::Reach;
use crate::job::snapshot::{self, Snapshot};
use crate::job::start::Start;
use crate::job::verify::{Reverify, Verify};
use crate::job::{FenceReport, Job, KeyBalance, Phase, Report, VerifyMode, VerifyReport, worse};
use crate::source::Known;
use crate::{Error, Result};

/// What is there as long as the connections are.
pub(super) struct Attempt<'a> {
    pub(super) job: &'a Job,
    pub(super) plan: Plan,
    /// The slots that are not at the target yet.
    pub(super) slots: SlotSet,
}

/// What carries keys from one side to the other, at the pace that both bear.
pub(super) struct Rig {
    pub(super) line: Line,
    pub(super) health: Health,
}

impl<'a> Attempt<'a> {
    /// Connects to both sides and finds them fit.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Unfit`], and what the routing layer says.
    pub(super) async fn begin(job: &'a Job) -> Result<Self> {
        let plan = Plan::make(job).await?;
        let run = plan.source.run().to_owned();
        if job.journal.read(|state| state.source.as_ref() != Some(&run)) {
            job.journal.note(Entry::Source { run }).await?;
        }
        let slots = job.slots_left().await?;
        Ok(Self { job, plan, slots })
    }

    /// Moves what is left to move. When it returns every slot is at the target.
    ///
    /// # Errors
    /// Whatever stopped it.
    pub(super) async fn run(mut self) -> Result<Report> {
        let job = self.job;
        if self.slots.is_empty() {
            // Nothing is left to be switched.
            return self.work().await;
        }
        job.routing.prepare(&self.slots).await?;
        let outcome = self.work().await;
        let finished = job.routing.finish().await;
        worse(outcome, finished, NOT_FINISHED)
    }

    async fn work(&mut self) -> Result<Report> {
        let (source, journal) = (self.plan.source.client(), Arc::clone(&self.job.journal));
        with_log_kept(source, &journal, Box::pin(self.work_by_log())).await
    }

    async fn work_by_log(&mut self) -> Result<Report> {
        self.job.control.gate().admit().await?;
        if !self.slots.is_empty() {
            self.plan.claim(&self.slots, self.job).await?;
        }
        let health = self.health().await?;
        self.job.enter(Phase::Snapshot).await?;
        health.know_what_is_usual().await;
        let snapshot = self.snapshot().await?;
        let is_counted = self.job.counts_keys();
        let rig = self.rig(health).await?;
        let outcome = Box::pin(self.carry(snapshot, &rig, is_counted)).await;
        rig.end(outcome).await
    }

    /// Begins to look after both servers.
    pub(super) async fn health(&self) -> Result<Health> {
        let Self { job, plan, .. } = self;
        let shared = job.options.shared_limits.as_ref();
        let address = plan.target.endpoint().address();
        let throttle = Arc::new(Throttle::of_job(&job.control, shared.map(|shared| (shared, &*address))));
        job.progress.watch_throttle(&throttle);
        Health::start(plan, &job.control, &throttle, job.options.cutover.ignore_replicas).await
    }

    pub(super) async fn rig(&self, health: Health) -> Result<Rig> {
        let Self { job, plan, .. } = self;
        let sinks = plan.sinks(job).await?;
        let memory = Budget::new(job.options.line_memory());
        Ok(Rig { line: Line::start(sinks, &job.control, health.throttle(), memory), health })
    }

    /// The checkpoint of the attempt before, or a new one.
    async fn snapshot(&self) -> Result<Snapshot> {
        let Self { job, plan, .. } = self;
        match job.journal.read(|state| state.checkpoint.clone()) {
            Some(taken) => Snapshot::reopen(taken, plan.local(), &job.options, &job.journal).await,
            None => Snapshot::take(plan.local(), &job.options, &job.journal).await,
        }
    }

    /// Moves the slots with this checkpoint. Keys can be counted only where nothing of it was written before.
    async fn carry(&self, snapshot: Snapshot, rig: &Rig, is_counted: bool) -> Result<Report> {
        let (Self { job, plan, slots }, Rig { line, health }) = (self, rig);
        let Snapshot { checkpoint, spool } = snapshot;
        let checkpoint = Arc::new(checkpoint);
        let known = Arc::new(Known::new());
        let (start, reach) = job.journal.read(|state| resume(state, slots, &checkpoint, is_counted));
        let mut follower = Follower::new(plan, Log::Here(spool), start, line, &known, job).await?;
        job.progress.watch(line.watermark());
        let found = match &reach {
            Some(reach) => {
                let copy = CopyPlan {
                    checkpoint: &checkpoint,
                    slots,
                    options: &job.options,
                    known: &known,
                    journal: &job.journal,
                };
                health.line_begins();
                self.copy(&copy, reach, line, &mut follower).await?
            }
            None => job.journal.read(|state| state.found.clone()),
        };
        health.line_follows();
        // Its tables take memory, and nobody reads them any more.
        drop(checkpoint);
        let (fence_ms, verify) = self.switch_all(&mut follower, health.throttle()).await?;
        let counts = match reach {
            Some(reach) if is_counted => KeyBalance::of_move(reach.lived(), line.watermark().landed().counts),
            _ => KeyBalance::default(),
        };
        let mut findings = found.noted;
        findings
            .extend(verify.findings.iter().filter(|finding| !findings.contains(finding)).cloned().collect::<Vec<_>>());
        Ok(Report {
            counts,
            changes: follower.changes(),
            source: Some(plan.source.identity().clone()),
            target: Some(plan.target.identity().clone()),
            unknown_commands: job.unknown.total(),
            unknown: job.unknown.first(),
            fence_ms,
            verify,
            held: health.throttle().report(),
            wire_bytes: plan.receiver.as_ref().map(|receiver| receiver.traffic().wire_bytes()),
            raw_bytes: plan.receiver.as_ref().map(|receiver| receiver.traffic().raw_bytes()),
            whole_rereads: known.whole_reads(),
            findings,
            ..job.journal.read(|state| Report::of(state, &job.options))
        })
    }

    /// Switches every slot that is followed, each behind a comparison of both sides.
    pub(super) async fn switch_all(
        &self,
        follower: &mut Follower,
        throttle: &Arc<Throttle>,
    ) -> Result<(FenceReport, VerifyReport)> {
        let job = self.job;
        let mut fences = Fences::after(&job.journal.read(|state| state.switched.clone()));
        let mut verified = VerifyReport::new(job.options.verify);
        while !follower.slots().is_empty() {
            job.enter(Phase::CatchUp).await?;
            follower.settle().await?;
            let mut again = None;
            if job.options.verify != VerifyMode::Off {
                let (report, reverify) = self.verify(follower, throttle).await?;
                verified.add(report);
                again = Some(reverify);
            }
            follower.alongside(Box::pin(job.keep_way_back(&self.plan))).await?;
            self.cut_over(follower, &mut fences, &mut again, throttle).await?;
            if let Some(again) = again {
                verified.add(again.report());
            }
        }
        follower.watch_for_late_writes(WATCH).await?.check(job.source.side)?;
        Ok((fences.report(), verified))
    }

    async fn copy(
        &self,
        copy: &CopyPlan<'_>,
        reach: &Arc<Reach>,
        line: &Line,
        follower: &mut Follower,
    ) -> Result<Found> {
        let job = self.job;
        job.progress.expect_keys(copy.checkpoint.estimated_keys(self.slots.len()));
        job.enter(Phase::Copy).await?;
        let begin = Instant::now();
        let found = follower.alongside_copy(reach, copy.run(line, reach)).await?;
        let (took, places) = (begin.elapsed(), reach.places());
        let (keys, bytes) = places.iter().fold((0, 0), |sum, place| (sum.0 + place.keys, sum.1 + place.bytes));
        info!(keys, bytes, ?took, "copied");
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        job.journal.note(Entry::CopyEnded { keys, bytes, millis }).await?;
        Ok(found)
    }

    /// Compares both sides by a checkpoint of this moment: whatever was written past the log until now is in it. Where there
    /// cannot be one, both sides are asked.
    async fn verify<'b>(
        &'b self,
        follower: &mut Follower,
        throttle: &Arc<Throttle>,
    ) -> Result<(VerifyReport, Reverify<'b>)> {
        let Self { job, plan, .. } = self;
        job.enter(Phase::Verify).await?;
        let (from, recent) = match &plan.local {
            Some(local) => {
                let recent = follower.alongside(snapshot::recent(local, &job.options, &job.journal)).await?;
                (recent.info().offset, Some(Arc::new(recent)))
            }
            None => (follower.end().await?, None),
        };
        let verify = Verify::new(plan, from, recent, follower.slots(), job, throttle).await?;
        let (report, again) = Box::pin(verify.run(follower)).await?;
        job.journal.note(Entry::Verified { keys: report.keys, repaired: report.repaired }).await?;
        Ok((report, again))
    }

    /// Switches slots until none is left, or until a flush of the source makes what was verified void.
    async fn cut_over(
        &self,
        follower: &mut Follower,
        fences: &mut Fences,
        again: &mut Option<Reverify<'_>>,
        throttle: &Arc<Throttle>,
    ) -> Result<()> {
        let job = self.job;
        job.enter(Phase::Cutover).await?;
        let cutover = Cutover {
            routing: &job.routing,
            options: &job.options.cutover,
            progress: &job.progress,
            gate: job.control.gate(),
            throttle,
            journal: &job.journal,
        };
        match cutover.run(follower, fences, again).await? {
            Outcome::Switched => {}
            Outcome::VerifyAgain => info!("the source was flushed, verifying again"),
        }
        job.control.gate().admit().await
    }
}

/// Where those before us have left off: where the log is to be followed from, and the copy where that is not over.
fn resume(
    state: &State,
    slots: &SlotSet,
    checkpoint: &::snapshot::Checkpoint,
    is_counted: bool,
) -> (Start, Option<Arc<Reach>>) {
    let reached = state.reached.clone().filter(|reached| reached.places.len() == checkpoint.instances());
    let reach = match &reached {
        Some(reached) => Reach::at(reached.places.clone(), checkpoint.slots()),
        None => Reach::start(checkpoint.instances(), checkpoint.slots()),
    };
    let is_copied = state.copied.is_some() || slots.is_empty();
    let start = Start {
        slots: slots.clone(),
        offset: state.followed.unwrap_or_else(|| checkpoint.info().offset),
        exact_from: state.checkpoint.as_ref().map_or_else(|| checkpoint.info().offset, |taken| taken.until),
        reached,
        switched: state.switched.clone(),
        is_copied,
        is_counted,
    };
    (start, (!is_copied).then(|| Arc::new(reach)))
}

impl Rig {
    /// Ends it, and tells what the work with it ended with.
    pub(super) async fn end<T>(self, outcome: Result<T>) -> Result<T> {
        let Self { line, health } = self;
        let outcome = match outcome {
            Ok(done) => line.finish().await.map(|()| done),
            // The lane knows why the line stopped.
            Err(Error::LineStopped) => Err(line.fault().await),
            Err(error) => {
                // Nothing of it may be under way when the next attempt begins.
                line.abort().await;
                Err(error)
            }
        };
        match outcome {
            // It was not the operator who did so.
            Err(Error::Stopped) => Err(health.fault().unwrap_or(Error::Stopped)),
            outcome => outcome,
        }
    }
}

/// What is told where an error comes on top of another one.
pub(super) const NOT_FINISHED: &str = "could not take back what was changed at the routing layer";

/// How long the log is watched for late writes after the last switch.
const WATCH: Duration = Duration::from_secs(2);
