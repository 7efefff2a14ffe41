// SPDX-License-Identifier: Apache-2.0
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use bytesize::ByteSize;
use clap::Args;
use replication::{SlotCount, SlotSet};
use snapshot::UnixMillis;

use crate::Side;
use crate::cli::cutover::CutoverArgs;
use crate::cli::endpoint::endpoint;
use crate::cli::guard::StateArgs;
use crate::cli::limits::LimitsArgs;
use crate::cli::remote::RemoteArgs;
use crate::cli::routing::{Course, Kind, RoutingArgs};
use crate::cli::signal::stop_signal;
use crate::cli::{display, summary};
use crate::dialect::HyperLogLogPolicy;
use crate::job::{Job, JobOptions, Report, Status, VerifyMode};
use crate::routing::{Hooks, RoutingControl};

#[derive(Args, Debug)]
pub(super) struct MoveArgs {
    /// The Pika node that the slots leave, on this machine.
    #[arg(long, value_name = "HOST:PORT")]
    source: String,

    /// The Redis (6 or newer) or Pika (4.0) that the slots go to.
    #[arg(long, value_name = "HOST:PORT")]
    target: String,

    /// The slots to move, as in 1,5-9.
    #[arg(long, value_name = "SLOTS")]
    slots: SlotSet,

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

    /// The database: Codis' number, Pika's db<N>.
    #[arg(long, value_name = "N", default_value_t = 0)]
    database: u32,

    /// Pika's default-slot-num.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    slot_count: u16,

    /// Where checkpoint and spool go, on the file system of the source's data, dumps and logs; beside its own when
    /// not given.
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,

    /// A file that holds the source's password.
    #[arg(long, value_name = "FILE")]
    source_password_file: Option<PathBuf>,

    /// A file that holds the target's password.
    #[arg(long, value_name = "FILE")]
    target_password_file: Option<PathBuf>,

    /// Ends with one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: MoveArgs) -> Result<ExitCode> {
    let source = endpoint(Side::Source, &args.source, args.source_password_file.as_deref())?;
    let target = endpoint(Side::Target, &args.target, args.target_password_file.as_deref())?;
    args.routing.check()?;
    let receiver = args.remote.options()?;
    let cutover = args.cutover.options(&args.routing)?;
    let slot_count = SlotCount::new(args.slot_count).ok_or_else(|| anyhow!("--slot-count must not be 0"))?;
    let course = Course {
        source: source.address(),
        target: target.address(),
        slot_count,
        job: format!("{}-{}", std::process::id(), UnixMillis::now().0),
        max_lock: cutover.max_lock,
    };
    let (routing, hooks) = routing(&args, &course).await?;
    let slots = args.slots.clone();
    let options = JobOptions {
        slots: args.slots,
        slot_count,
        database: args.database,
        receiver,
        rate: args.limits.speed().rate,
        command_rate: args.limits.speed().command_rate,
        kind: args.limits.kind,
        shared_limits: None,
        lanes: args.lanes.get(),
        memory: args.memory,
        spool_max: args.spool_max,
        hyperloglog: args.hyperloglog,
        replace: args.replace,
        leave_corrupt_names: args.leave_corrupt_names,
        verify: args.verify,
        cutover,
        work_dir: args.work_dir,
    };
    let job = Job::new(source, target, options, routing);
    let control = job.control();
    let progress = job.progress();
    let _limits_file = args.limits.watch(&control);
    let display = display::Display::start(Arc::clone(&progress));
    let Some(outcome) = run_until_stopped(job).await else { return Ok(ExitCode::from(super::CANCELLED)) };
    display.end().await;
    if let Err(error) = &outcome {
        tell_what_is_left(&progress.status());
        if let Some(Err(second)) = match &hooks {
            Some(hooks) => Some(hooks.failed(&slots, &error.to_string()).await),
            None => None,
        } {
            eprintln!("{second}");
        }
    }
    let report = outcome?;
    match args.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => summary::print(&report),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the job, and cancels it at the first signal; nothing comes of it when there is a second one.
async fn run_until_stopped(job: Job) -> Option<crate::Result<Report>> {
    let control = job.control();
    let mut running = std::pin::pin!(job.run());
    tokio::select! {
        outcome = &mut running => return Some(outcome),
        () = stop_signal() => {
            eprintln!("stopping at the next safe point; once more stops at once");
            control.cancel();
        }
    }
    tokio::select! {
        outcome = &mut running => Some(outcome),
        () = stop_signal() => {
            eprintln!("stopped at once: the source's settings and our directories there are left as they are");
            None
        }
    }
}

/// The routing layer under guard, once the fences of earlier moves are settled. A person needs no guard.
async fn routing(args: &MoveArgs, course: &Course) -> Result<(Arc<dyn RoutingControl>, Option<Arc<Hooks>>)> {
    args.state.settle(&course.source, &args.slots).await?;
    let layer = args.routing.connect(course).await?;
    let control = match args.routing.routing {
        Kind::Manual => Arc::clone(&layer.control),
        Kind::Codis | Kind::Hooks => args.state.guard(&layer, &args.routing, course)?,
    };
    Ok((control, layer.hooks))
}

/// After a failure: where the slots are, and what the target holds of them.
fn tell_what_is_left(status: &Status) {
    if status.switched > 0 {
        eprintln!("{} of {} slots had been switched and stay at the target", status.switched, status.slots);
    }
    if status.keys > 0 && status.switched < status.slots as u64 {
        eprintln!(
            "slots that were not switched are served by the source as before; the target holds a part of their keys:"
        );
        eprintln!("run the move again with --replace, which deletes them first");
    }
}

pub(super) fn memory(text: &str) -> std::result::Result<ByteSize, String> {
    let memory: ByteSize = text.parse().map_err(|fault| format!("`{text}` is no size such as 256MB: {fault}"))?;
    match memory >= MEMORY_MIN {
        true => Ok(memory),
        false => Err(format!("{memory} is too little, it takes at least {MEMORY_MIN}")),
    }
}

/// Less is taken by RocksDB and the program alone.
const MEMORY_MIN: ByteSize = ByteSize::mb(64);
