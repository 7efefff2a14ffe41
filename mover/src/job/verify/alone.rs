// SPDX-License-Identifier: Apache-2.0
//! A comparison on its own: no move, no log, nothing repaired. Both sides may be in use.
//!
//! It answers for the moment of a checkpoint that it takes: what that holds is compared with the target, and the target's
//! keys with those. What does not fit is looked at on both sides as they are now, again and again for some seconds
//! ([`suspects`](super::suspects)), for a write may have come since, or a job's follower may be bringing one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::snapshot::{Checkpoint, Findings};
use bytes::Bytes;
use tokio::time::sleep;
use tracing::{debug, info};

use super::comparison::Comparison;
use super::extra::counted;
use super::suspects::Suspects;
use super::tally::{Tally, VerificationReport};
use super::{CHUNK_KEYS, JUDGED_AHEAD, VerifyMode};
use crate::endpoint::Endpoint;
use crate::flow::{Control, Gate, Throttle};
use crate::job::copy::sort_findings;
use crate::job::health::Health;
use crate::job::journal::{Course, Found, Journal, Node};
use crate::job::plan::Plan;
use crate::job::{JobOptions, Phase, Progress, snapshot, worse};
use crate::{Error, Result};

/// A comparison of some slots on two nodes, outside of any move: whether source and target hold the same.
///
/// It writes to no key of either side. At the source it takes a checkpoint, as a move does, and removes it at its end, also
/// when that is an error or was asked for.
///
/// ```
/// use std::time::Duration;
///
/// use mover::endpoint::Endpoint;
/// use mover::{Error, JobOptions, Side, SlotSet, Verification};
///
/// /// Says whether both nodes hold the same in these slots, and prints the first keys that are not the same.
/// async fn are_equal(source: &str, target: &str, slots: SlotSet) -> Result<bool, Error> {
///     let endpoint = |side, address| Endpoint::parse(side, address, None).map_err(|what| Error::Options { what });
///     let (source, target) = (endpoint(Side::Source, source)?, endpoint(Side::Target, target)?);
///     let verification = Verification::new(source, target, JobOptions::new(slots));
///     let report = verification.recheck_for(Duration::from_secs(10)).run().await?;
///     report.differences.iter().for_each(|difference| println!("{difference}"));
///     Ok(report.is_equal())
/// }
/// ```
pub struct Verification {
    source: Endpoint,
    target: Endpoint,
    options: JobOptions,
    recheck: Duration,
    named: usize,
    control: Control,
    progress: Arc<Progress>,
    journal: Journal,
}

impl Verification {
    /// A comparison that is ready to run. Of the options it takes the slots, their number, the database, the limits, the
    /// lanes, the memory, the working directory, how much is compared, and what becomes of HyperLogLogs and corrupt names.
    pub fn new(source: Endpoint, target: Endpoint, options: JobOptions) -> Self {
        let (source, target) = (options.of_source(source), options.of_target(target));
        let control = Control::new();
        control.set_limits(options.limits());
        let progress = Arc::new(Progress::new(options.slots.len()));
        let journal = Journal::volatile(Course::of(&source, &target, &options));
        Self { source, target, options, recheck: RECHECK, named: NAMED, control, progress, journal }
    }

    /// For how long keys that differ are looked at again before they count as different; usually 5 s. A follower that is
    /// behind by more makes equal keys look different.
    #[must_use]
    pub fn recheck_for(mut self, time: Duration) -> Self {
        self.recheck = time;
        self
    }

    /// How many keys that differ are named; usually 20.
    #[must_use]
    pub fn naming(mut self, keys: usize) -> Self {
        self.named = keys;
        self
    }

    /// The handle to pause or stop it, and to change its limits.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Where it is: of a job's phases it has [`Phase::Plan`], [`Phase::Snapshot`] and [`Phase::Verify`].
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// What the name of its directory at the source is, and what that of its dump begins with.
    pub fn name(&self) -> String {
        self.journal.file_name()
    }

    /// Runs it to its end, within a tokio runtime.
    ///
    /// A BGSAVE that was begun is waited for whatever happens: its dump could not be removed otherwise. Dropping it instead
    /// of stopping it leaves the checkpoint at the source, and perhaps its `dump-prefix`.
    ///
    /// # Errors
    /// Whatever kept it from comparing everything. That both sides differ is no error.
    pub async fn run(self) -> Result<VerificationReport> {
        let outcome = Box::pin(self.work()).await;
        worse(outcome, self.tidy_up().await, "could not clean up at the source")
    }

    async fn work(&self) -> Result<VerificationReport> {
        if self.options.verify == VerifyMode::Off || self.options.slots.is_empty() {
            return Err(Error::Options { what: "a comparison must compare something".to_owned() });
        }
        let mut gate = self.control.gate();
        gate.admit().await?;
        let plan = Plan::of_sides(&self.source, &self.target, &self.options).await?;
        let shared = self.options.shared_limits.as_ref();
        let address = self.target.address();
        let throttle = Arc::new(Throttle::of_job(&self.control, shared.map(|shared| (shared, &*address))));
        self.progress.watch_throttle(&throttle);
        let health = Health::while_reading(&plan, &self.control, &throttle);
        self.progress.enter(Phase::Snapshot);
        health.know_what_is_usual().await;
        gate.admit().await?;
        let checkpoint = snapshot::recent(plan.local(), &self.options, &self.journal).await?;
        self.progress.expect_keys(checkpoint.estimated_keys(self.options.slots.len()));
        self.progress.enter(Phase::Verify);
        health.line_begins();
        let run = Run::new(self, &plan, &Arc::new(checkpoint), &throttle).await?;
        tokio::select! {
            biased;
            // What it waits for may take long: a limit, a page of a big key.
            () = gate.ended() => Err(gate.admit().await.err().unwrap_or(Error::Stopped)),
            report = run.compare_all() => report,
        }
    }

    /// Removes what is ours at the source and restores what was changed there: as long as the prefix is ours, a dump may
    /// still be written.
    async fn tidy_up(&self) -> Result<()> {
        let discarded = snapshot::discard(&self.source, &self.journal).await;
        let is_changed = self.journal.read(|state| !state.settings.is_empty());
        let restored = match is_changed {
            false => Ok(()),
            // The connection of the comparison may be what has failed.
            true => match self.source.connect().await {
                Ok(mut client) => snapshot::restore(&mut client, Node::Source, &self.journal).await,
                Err(error) => Err(error),
            },
        };
        restored.and(discarded)
    }
}

impl Drop for Verification {
    fn drop(&mut self) {
        // Whoever watches it need not watch any more, however it ended.
        self.progress.end();
    }
}

/// The comparison itself, once there is a checkpoint.
struct Run<'a> {
    both: Comparison<'a>,
    of: &'a Verification,
    throttle: &'a Arc<Throttle>,
    gate: Gate,
    suspects: Suspects,
    tally: Tally,
}

impl<'a> Run<'a> {
    async fn new(
        of: &'a Verification,
        plan: &'a Plan,
        checkpoint: &Arc<Checkpoint>,
        throttle: &'a Arc<Throttle>,
    ) -> Result<Self> {
        let Verification { options, control, progress, .. } = of;
        let slots = &options.slots;
        Ok(Self {
            both: Comparison::new(plan, Some(checkpoint), slots, options, control, progress, throttle).await?,
            of,
            throttle,
            gate: control.gate(),
            suspects: Suspects::default(),
            tally: Tally::new(options.slot_count, of.named),
        })
    }

    async fn compare_all(mut self) -> Result<VerificationReport> {
        let begin = Instant::now();
        let findings = self.checkpoint_keys().await?;
        debug!(keys = self.both.keys, suspects = self.suspects.len(), "compared the keys of the checkpoint");
        if !self.is_enough() {
            self.other_keys().await?;
        }
        self.settle().await?;
        let options = &self.of.options;
        let Found { noted, unmovable } = sort_findings(&findings, options);
        Ok(VerificationReport {
            mode: options.verify,
            slots: options.slots.len(),
            keys: self.both.keys,
            bytes: self.both.bytes,
            seconds: begin.elapsed().as_secs_f64(),
            is_complete: !self.is_enough(),
            held: self.throttle.report(),
            unreadable: unmovable,
            findings: noted,
            ..self.tally.report()
        })
    }

    /// Compares the keys of the checkpoint with the target. It ends early once so many differ that it is enough.
    async fn checkpoint_keys(&mut self) -> Result<Findings> {
        let bulk = self.both.bulk().expect("there is a checkpoint");
        let (sender, judged) = flume::bounded(JUDGED_AHEAD);
        let looking = async {
            // Nothing more is asked of the checkpoint once nobody wants to hear of it.
            let judged = judged;
            while let Some(doubtful) = self.both.doubtful(&judged).await {
                self.examine(&doubtful).await?;
                if self.is_enough() {
                    break;
                }
            }
            Ok::<_, Error>(())
        };
        let (scanned, looked) = tokio::join!(bulk.run(sender), looking);
        looked?;
        match scanned {
            Err(Error::LineStopped) if self.is_enough() => Ok(Findings::default()),
            scanned => scanned,
        }
    }

    /// Looks for keys that only the target has.
    async fn other_keys(&mut self) -> Result<()> {
        let extra = counted(self.both.extra()).await?;
        let Some(mut only) = self.both.only_at_target(extra).await? else { return Ok(()) };
        while let Some(keys) = only.next().await? {
            self.examine(&keys).await?;
            if self.is_enough() {
                break;
            }
        }
        Ok(())
    }

    /// Looks at keys as both sides have them now; those that differ become suspects.
    async fn examine(&mut self, keys: &[Bytes]) -> Result<()> {
        for keys in keys.chunks(CHUNK_KEYS) {
            self.look(keys).await?;
            if self.suspects.len() >= SUSPECTS_MAX {
                self.settle().await?;
            }
        }
        Ok(())
    }

    /// Looks at the suspects again, some times, and counts those that differ at each look.
    async fn settle(&mut self) -> Result<()> {
        for _ in 0..LOOKS {
            if self.suspects.is_empty() {
                break;
            }
            let why = format!("{} keys that differ are looked at again", self.suspects.len());
            self.of.progress.waits(Some(why));
            sleep(self.of.recheck / LOOKS).await;
            for keys in self.suspects.keys().chunks(CHUNK_KEYS) {
                self.look(keys).await?;
            }
        }
        self.of.progress.waits(None);
        let (differing, changing) = self.suspects.take();
        if !differing.is_empty() || !changing.is_empty() {
            info!(differing = differing.len(), changing = changing.len(), "looked again at keys that differ");
        }
        self.tally.add(&differing, &changing);
        Ok(())
    }

    async fn look(&mut self, keys: &[Bytes]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        self.gate.admit().await?;
        let (looked, bytes) = self.both.sides.look(keys).await?;
        looked.into_iter().for_each(|looked| self.suspects.note(looked));
        // How much it is shows only now.
        self.throttle.admit(bytes, keys.len() * QUESTIONS).await;
        Ok(())
    }

    /// Whether so many keys differ that the rest would say no more.
    fn is_enough(&self) -> bool {
        self.tally.differing() >= DIFFERING_MAX
    }
}

/// How long keys that differ are looked at again: a follower that keeps up is far closer.
const RECHECK: Duration = Duration::from_secs(5);

/// Looks within that time.
const LOOKS: u32 = 5;

/// Keys that a report names.
const NAMED: usize = 20;

/// Keys that are looked at again at a time: it bounds the memory for them.
const SUSPECTS_MAX: usize = 10_000;

/// Two sides that differ in so many keys are not nearly equal, and each of them costs a live source some readings.
const DIFFERING_MAX: u64 = 100_000;

/// What each side is asked about a key, as a rule: its type, expiry, size and value.
const QUESTIONS: usize = 4;
