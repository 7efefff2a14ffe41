// SPDX-License-Identifier: Apache-2.0
//! One move, from preflight to done: `Plan → Snapshot → Copy → CatchUp → Verify → Cutover → Done`.
//!
//! Each phase is a file. Before the switch of a slot everything can be taken back, once it has been sent only forward
//! is allowed.

mod builder;
mod convergence;
mod copy;
mod cutover;
mod dirty;
mod follow;
mod gauge;
mod health;
mod late;
mod options;
mod plan;
mod probe;
mod progress;
mod reach;
mod readers;
mod report;
mod steps;
mod unsettled;
mod updates;
mod verify;

pub use builder::{JobBuilder, NoRouting, NoSource, NoTarget};
pub use convergence::ChangeRates;
#[doc(hidden)]
pub use copy::copy;
pub use options::{CutoverOptions, JobOptions};
pub use progress::{Phase, Progress, Status};
pub use report::{FenceReport, Report, VerifyReport};
pub use updates::Updates;
pub use verify::VerifyMode;
#[doc(hidden)]
pub use verify::verify;

use std::sync::Arc;
use std::time::{Duration, Instant};

use replication::BinlogOffset;
use snapshot::Checkpoint;
use tracing::{info, warn};

use crate::endpoint::Endpoint;
use crate::flow::{Budget, Control, Line, Throttle};
use crate::job::follow::Follower;
use crate::job::health::Health;
use crate::job::plan::Plan;
use crate::job::reach::Reach;
use crate::routing::RoutingControl;
use crate::sink::Sink;
use crate::source::{Known, Taken};
use crate::{Error, Result};

/// A move of some slots from one node to another.
pub struct Job {
    source: Endpoint,
    target: Endpoint,
    options: JobOptions,
    routing: Arc<dyn RoutingControl>,
    control: Control,
    progress: Arc<Progress>,
}

impl Job {
    /// A job that is ready to run.
    pub fn new(source: Endpoint, target: Endpoint, options: JobOptions, routing: Arc<dyn RoutingControl>) -> Self {
        let progress = Arc::new(Progress::new(options.slots.len()));
        let source = Endpoint { database: options.database, ..source };
        let target = Endpoint { database: options.database, ..target };
        let control = Control::new();
        control.set_limits(options.limits());
        Self { source, target, options, routing, control, progress }
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

    /// Runs it to its end, within a tokio runtime. Whatever it ends with, the source's settings are as before and nothing
    /// of ours is left in its directories.
    ///
    /// Whoever wants it to end before that cancels it through its [`Control`]. Dropping it is a last resort: a fence that
    /// is up is taken down behind it, but nothing is taken back at the source.
    ///
    /// # Errors
    /// Whatever stopped it; [`Error::remedy`] says what helps. Slots that had been switched by then stay switched.
    pub async fn run(self) -> Result<Report> {
        let mut plan = Plan::make(&self.source, &self.target, &self.options).await?;
        let outcome = match self.routing.prepare(&self.options.slots).await {
            Ok(()) => {
                let outcome = self.work(&mut plan).await;
                let finished = self.routing.finish().await;
                worse(outcome, finished, "could not take back what was changed at the routing layer")
            }
            Err(error) => Err(error),
        };
        let released = plan.source.release().await;
        let report = worse(outcome, released, "could not clean up at the source")?;
        self.progress.enter(Phase::Done);
        Ok(report)
    }

    async fn work(&self, plan: &mut Plan) -> Result<Report> {
        self.control.gate().admit().await?;
        let shared = self.options.shared_limits.as_ref();
        let address = plan.target.endpoint().address();
        let throttle = Arc::new(Throttle::of_job(&self.control, shared.map(|shared| (shared, &*address))));
        self.progress.watch_throttle(&throttle);
        let health = Health::start(plan, &self.control, &throttle, self.options.cutover.ignore_replicas).await?;
        self.progress.enter(Phase::Snapshot);
        health.know_what_is_usual().await;
        let taken = plan.source.take().await?;
        let checkpoint = Checkpoint::open(&taken.checkpoint, self.options.slot_count, Some(plan.source.instances()))?;
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        for _ in 0..self.options.lanes {
            sinks.push(plan.sink().await?);
        }
        let memory = Budget::new(self.options.line_memory());
        let line = Line::start(sinks, &self.control, &throttle, memory);
        let outcome = match self.carry(plan, &taken, Arc::new(checkpoint), &line, &health).await {
            Ok(report) => line.finish().await.map(|()| report),
            // The lane knows why the line stopped.
            Err(Error::LineStopped) => Err(line.fault().await),
            Err(error) => Err(error),
        };
        match outcome {
            // It was not the operator who did so.
            Err(Error::Cancelled) => Err(health.fault().unwrap_or(Error::Cancelled)),
            Ok(report) => Ok(Report { held: throttle.report(), ..report }),
            Err(error) => Err(error),
        }
    }

    async fn carry(
        &self,
        plan: &Plan,
        taken: &Taken,
        checkpoint: Arc<Checkpoint>,
        line: &Line,
        health: &Health,
    ) -> Result<Report> {
        let known = Arc::new(Known::new());
        let reach = Arc::new(Reach::new(checkpoint.instances(), self.options.slot_count));
        let from = checkpoint.info().offset;
        let mut follower = Follower::new(plan, &taken.spool, from, line, &known, self)?;
        let begin = Instant::now();
        self.progress.expect_keys(checkpoint.estimated_keys(self.options.slots.len()));
        self.progress.watch(line.watermark());
        self.progress.enter(Phase::Copy);
        health.line_begins();
        let copy = copy::run(&checkpoint, &self.options, line, &known, &reach);
        let copied = follower.alongside_copy(&reach, copy).await?;
        let copy_time = begin.elapsed();
        info!(keys = copied.keys, bytes = copied.bytes, ?copy_time, "copied");
        health.line_follows();

        let (verified, fences) =
            self.converge(plan, taken, from, &checkpoint, &mut follower, health.throttle()).await?;
        Ok(Report {
            slots: self.options.slots.len(),
            keys: copied.keys,
            bytes: copied.bytes,
            copy_seconds: copy_time.as_secs_f64(),
            changes: follower.changes(),
            unknown_commands: follower.unknown(),
            held: Vec::new(),
            fence_ms: fences.report(),
            verify: verified,
            wire_bytes: plan.receiver.as_ref().map(|receiver| receiver.traffic().wire_bytes()),
            raw_bytes: plan.receiver.as_ref().map(|receiver| receiver.traffic().raw_bytes()),
            whole_rereads: known.whole_reads(),
            findings: copied.findings,
        })
    }

    /// Follows, verifies and cuts over. A flush of the source in between makes what was verified void.
    async fn converge(
        &self,
        plan: &Plan,
        taken: &Taken,
        from: BinlogOffset,
        checkpoint: &Arc<Checkpoint>,
        follower: &mut Follower,
        throttle: &Arc<Throttle>,
    ) -> Result<(VerifyReport, cutover::Fences)> {
        let mut fences = cutover::Fences::default();
        let mut verified = VerifyReport::new(self.options.verify);
        let mut gate = self.control.gate();
        loop {
            gate.admit().await?;
            self.progress.enter(Phase::CatchUp);
            follower.settle().await?;
            if self.options.verify != VerifyMode::Off {
                self.progress.enter(Phase::Verify);
                let slots = follower.slots();
                let verify = verify::Verify::new(plan, &taken.spool, from, checkpoint, slots, self, throttle);
                verified.add(Box::pin(verify.with_an_old_checkpoint().run(follower)).await?);
            }
            self.progress.enter(Phase::Cutover);
            let cutover = cutover::Cutover {
                routing: &self.routing,
                options: &self.options.cutover,
                progress: &self.progress,
                gate: self.control.gate(),
                throttle,
            };
            match cutover.run(follower, &mut fences).await? {
                cutover::Outcome::Switched => break,
                cutover::Outcome::VerifyAgain => info!("the source was flushed, verifying again"),
            }
        }
        follower.watch_for_late_writes(WATCH).await?.check()?;
        Ok((verified, fences))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Whoever watches it need not watch any more, however it ended.
        self.progress.end();
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

/// How long the source's log is watched for late writes after the last switch.
const WATCH: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BoxFuture;
    use crate::routing::{Instruction, Manual, Operator};

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
