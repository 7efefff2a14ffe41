// SPDX-License-Identifier: Apache-2.0
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytesize::ByteSize;
use clap::Args;
use clap::error::ErrorKind;
use replication::SlotCount;

use crate::Error;
use crate::cli::cutover::CutoverArgs;
use crate::cli::guard::StateArgs;
use crate::cli::limits::LimitsArgs;
use crate::cli::remote::RemoteArgs;
use crate::cli::routing::{Course, Kind, RoutingArgs};
use crate::cli::sides::SidesArgs;
use crate::cli::signal::until_stopped;
use crate::cli::{accident, display, jobs, requests, summary, usage};
use crate::dialect::HyperLogLogPolicy;
use crate::job::journal::{self, Journal};
use crate::job::{Cleanup, CutoverOptions, Job, JobOptions, ReverseWindow, Status, VerifyMode};
use crate::routing::{Hooks, RoutingControl};

#[derive(Args, Debug)]
pub(super) struct MoveArgs {
    #[command(flatten)]
    sides: SidesArgs,

    #[command(flatten)]
    routing: RoutingArgs,

    #[command(flatten)]
    cutover: CutoverArgs,

    #[command(flatten)]
    remote: RemoteArgs,

    #[command(flatten)]
    state: StateArgs,

    #[command(flatten)]
    limits: LimitsArgs,

    /// Deletes keys of these slots that the target already holds. Without it they stop the move.
    #[arg(long)]
    replace: bool,

    /// What becomes of HyperLogLogs on a Redis, which cannot read Pika's: `refuse` or `raw` (a plain string).
    #[arg(long, value_name = "POLICY", default_value = "refuse")]
    hyperloglog: HyperLogLogPolicy,

    /// Leaves keys behind whose names Pika itself has corrupted (a NUL byte inside). Without it they stop the move.
    #[arg(long)]
    leave_corrupt_names: bool,

    /// How much is compared on both sides before the switch: `full` (every key, and that the target has no others),
    /// `sample=N` (about N keys, chosen evenly by a hash of their names; what only the target has is not looked for) or
    /// `off`. What is left out is not repaired either.
    #[arg(long, value_name = "MODE", default_value = "full")]
    verify: VerifyMode,

    /// Connections to each side.
    #[arg(long, value_name = "N", default_value = "4")]
    lanes: NonZeroUsize,

    /// The memory that it may take, about, however big keys are; at least 64MB. The biggest single value must fit in a
    /// quarter of it.
    #[arg(long, value_name = "SIZE", default_value = "256MB", value_parser = memory)]
    memory: ByteSize,

    /// The most of the source's log that is kept on its disk from the checkpoint to the end of the move, which stops when
    /// it needs more.
    #[arg(long, value_name = "SIZE", default_value = "20GB")]
    spool_max: ByteSize,

    /// For how long `slotmover rollback` can undo it after the last switch: the target's changes are brought back to the
    /// source until then, and only then the move is done. 0s is not at all [default: 30m; manual routing, and hooks without
    /// `owner`: 0s]. It takes a Pika target whose files are on this machine, or a receiver that has them beside it; where
    /// it is otherwise that is told, and the move is done at once.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    reverse_window: Option<Duration>,

    /// What becomes of the moved keys at the source, once every slot is at the target for good: `delete` or `keep`
    /// [default: delete; manual routing: keep].
    #[arg(long, value_name = "WHAT")]
    cleanup: Option<Cleanup>,

    /// How long a server that is gone is waited for before the move stops.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    retry_for: Duration,

    /// Where checkpoint and spool go, on the file system of the source's data, dumps and logs; beside its own when
    /// not given.
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,

    /// Ends with one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

/// Begins a move, or goes on with the same one where it was stopped.
pub(super) async fn run(args: MoveArgs) -> Result<ExitCode> {
    let course = journal::Course {
        source: args.sides.source()?.address(),
        target: args.sides.target()?.address(),
        slots: args.sides.slots.clone(),
        database: args.sides.database,
        arguments: arguments()?,
        directory: std::env::current_dir().context("there is no working directory")?,
    };
    args.routing.check()?;
    let journal = jobs::journal(&args.state.dir()?, course, args.replace)?;
    run_with(args, journal).await
}

/// Goes on with the move of this journal.
pub(super) async fn run_with(args: MoveArgs, mut journal: Journal) -> Result<ExitCode> {
    accident::prepare(&mut journal)?;
    let json = args.json;
    let (job, hooks) = match args.job(&journal).await {
        Ok(job) => job,
        Err(error) => {
            if journal.is_blank() {
                journal.remove()?;
            }
            return Err(error);
        }
    };
    let (name, path) = (journal.header().job.clone(), journal.path());
    let job = job.with_journal(journal);
    let (control, progress) = (job.control(), job.progress());
    let _limits_file = args.limits.watch(&control);
    let _requests = path.as_deref().map(|path| requests::take(path, &control));
    let display = display::Display::start(Arc::clone(&progress), &name);
    let Some(outcome) = until_stopped(&control, job.run()).await else {
        eprintln!("{}", how_to_go_on(&name));
        return Ok(ExitCode::from(super::CANCELLED));
    };
    display.end().await;
    if let Err(error) = &outcome {
        tell_what_is_left(&progress.status(), &name, path.as_deref());
        if let Some(Err(second)) = match &hooks {
            // What somebody asked for is no failure.
            _ if matches!(error, Error::Cancelled | Error::Stopped) => None,
            Some(hooks) => Some(hooks.failed(&args.sides.slots, &error.to_string()).await),
            None => None,
        } {
            eprintln!("{second}");
        }
    }
    let report = outcome?;
    match json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => summary::print(&report),
    }
    Ok(match report.rollback {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(super::CANCELLED),
    })
}

impl MoveArgs {
    /// The job, once the fences of earlier moves are settled.
    async fn job(&self, journal: &Journal) -> Result<(Job, Option<Arc<Hooks>>)> {
        let (source, target) = (self.sides.source()?, self.sides.target()?);
        self.routing.check()?;
        let cutover = self.cutover.options(&self.routing)?;
        let slot_count = self.sides.slot_count()?;
        let course = Course {
            source: source.address(),
            target: target.address(),
            slot_count,
            job: journal.header().job.clone(),
            max_lock: cutover.max_lock,
        };
        let options = self.options(cutover, slot_count)?;
        self.state.settle(&course.source, &self.sides.slots).await?;
        let (control, hooks) = routing(&self.state, &self.routing, &course).await?;
        let job = Job::new(source, target, options, control);
        let length = self.reverse_window();
        if length.is_zero() {
            return Ok((job, hooks));
        }
        let (routing, _) = routing(&self.state, &self.routing.reversed(), &course.reversed()).await?;
        // Where nobody tells where clients are, nobody tells whether they came back.
        if hooks.is_some() && !routing.knows_earlier_switches() {
            return match self.reverse_window {
                Some(_) => Err(usage(ErrorKind::ArgumentConflict, "--reverse-window needs a hook `owner`")),
                None => Ok((job, hooks)),
            };
        }
        Ok((job.with_reverse_window(ReverseWindow { length, routing }), hooks))
    }

    fn reverse_window(&self) -> Duration {
        let usual = match self.routing.routing {
            // Who moves by hand undoes by hand.
            Kind::Manual => Duration::ZERO,
            Kind::Codis | Kind::Hooks => REVERSE_WINDOW,
        };
        self.reverse_window.unwrap_or(usual)
    }

    fn options(&self, cutover: CutoverOptions, slot_count: SlotCount) -> Result<JobOptions> {
        let usual_cleanup = match self.routing.routing {
            // Somebody may still read there, and nobody can be asked.
            Kind::Manual => Cleanup::Keep,
            Kind::Codis | Kind::Hooks => Cleanup::Delete,
        };
        Ok(JobOptions {
            slots: self.sides.slots.clone(),
            slot_count,
            database: self.sides.database,
            receiver: self.remote.options()?,
            rate: self.limits.speed().rate,
            command_rate: self.limits.speed().command_rate,
            kind: self.limits.kind,
            shared_limits: None,
            lanes: self.lanes.get(),
            memory: self.memory,
            spool_max: self.spool_max,
            hyperloglog: self.hyperloglog,
            replace: self.replace,
            leave_corrupt_names: self.leave_corrupt_names,
            verify: self.verify,
            cutover,
            cleanup: self.cleanup.unwrap_or(usual_cleanup),
            retry_for: self.retry_for,
            work_dir: self.work_dir.as_deref().map(std::path::absolute).transpose()?,
            renames: self.sides.renames.renames()?,
            target_renames: self.sides.renames.target_renames()?,
        })
    }
}

/// What this process was started with, for whoever goes on with the job.
fn arguments() -> Result<Vec<String>> {
    let words = std::env::args_os().skip(1).map(|word| word.into_string());
    words.collect::<Result<_, _>>().map_err(|word| anyhow!("the argument {} is no text", word.display()))
}

/// The routing layer under guard. A person needs no guard.
async fn routing(
    state: &StateArgs,
    args: &RoutingArgs,
    course: &Course,
) -> Result<(Arc<dyn RoutingControl>, Option<Arc<Hooks>>)> {
    let layer = args.connect(course).await?;
    let control = match args.routing {
        Kind::Manual => Arc::clone(&layer.control),
        Kind::Codis | Kind::Hooks => state.guard(&layer, args, course)?,
    };
    Ok((control, layer.hooks))
}

/// After a failure: where the slots are, and what is to be done about the rest.
fn tell_what_is_left(status: &Status, job: &str, journal: Option<&Path>) {
    if status.switched > 0 {
        eprintln!("{} of {} slots had been switched and stay at the target", status.switched, status.slots);
    }
    // A job that has left nothing has no journal any more.
    let is_left = journal.is_some_and(|path| Journal::peek(path).is_ok_and(|summary| summary.outcome.is_none()));
    if is_left {
        eprintln!("{}", how_to_go_on(job));
    }
}

fn how_to_go_on(job: &str) -> String {
    format!(
        "`slotmover resume {job}` goes on with it, `slotmover cancel {job}` takes it back; until then the source keeps \
         its log and a checkpoint"
    )
}

pub(super) fn memory(text: &str) -> std::result::Result<ByteSize, String> {
    let memory: ByteSize = text.parse().map_err(|fault| format!("`{text}` is no size such as 256MB: {fault}"))?;
    match memory >= MEMORY_MIN {
        true => Ok(memory),
        false => Err(format!("{memory} is too little, it takes at least {MEMORY_MIN}")),
    }
}

/// Long enough for whoever looks at the graphs after a move.
const REVERSE_WINDOW: Duration = Duration::from_secs(30 * 60);

/// Less is taken by RocksDB and the program alone.
const MEMORY_MIN: ByteSize = ByteSize::mb(64);
