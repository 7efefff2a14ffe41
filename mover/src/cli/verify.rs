// SPDX-License-Identifier: Apache-2.0
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use bytesize::ByteSize;
use clap::Args;
use clap::error::ErrorKind;

use crate::cli::r#move::memory;
use crate::cli::sides::SidesArgs;
use crate::cli::signal::until_stopped;
use crate::cli::{display, summary, usage};
use crate::dialect::HyperLogLogPolicy;
use crate::flow::{CommandRate, Kindness, Rate};
use crate::job::{JobOptions, Verification, VerifyMode};

#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    sides: SidesArgs,

    /// How much is compared: `full` (every key, and that the target has no others) or `sample=N` (about N keys, chosen
    /// evenly by a hash of their names; what only the target has is not looked for).
    #[arg(long, value_name = "MODE", default_value = "full")]
    mode: VerifyMode,

    /// How long keys that differ are looked at again before they are reported: a job that follows the source may be
    /// bringing them.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    recheck_for: Duration,

    /// How many keys that differ are named; all are counted.
    #[arg(long, value_name = "N", default_value_t = 20)]
    show: usize,

    /// The most user data to compare per second, as in 50MB; no limit when not given.
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,

    /// The most commands to ask the target per second, as in 20000 or 20k; no limit when not given.
    #[arg(long, value_name = "N")]
    command_rate: Option<CommandRate>,

    /// How much it gives way to clients: `gentle` (they notice nothing), `normal` (it backs off when a server answers
    /// slowly) or `full`.
    #[arg(long, value_name = "KIND", default_value_t)]
    kind: Kindness,

    /// Connections to the target.
    #[arg(long, value_name = "N", default_value = "4")]
    lanes: NonZeroUsize,

    /// The memory that it may take, about, however big keys are; at least 64MB. The biggest single value must fit in a
    /// quarter of it.
    #[arg(long, value_name = "SIZE", default_value = "256MB", value_parser = memory)]
    memory: ByteSize,

    /// What HyperLogLogs should have become on a Redis: `refuse` (nothing: such keys differ there) or `raw` (a plain string).
    #[arg(long, value_name = "POLICY", default_value = "refuse")]
    hyperloglog: HyperLogLogPolicy,

    /// Takes it as right that keys stayed behind whose names Pika itself has corrupted (a NUL byte inside).
    #[arg(long)]
    leave_corrupt_names: bool,

    /// Where the checkpoint goes, on the file system of the source's data and dumps; beside its own when not given.
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,

    /// Ends with one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

/// Compares both sides and says how they differ.
pub(super) async fn run(args: VerifyArgs) -> Result<ExitCode> {
    let verification = args.verification()?;
    let (control, name) = (verification.control(), verification.name());
    let display = display::Display::start(verification.progress(), &name);
    let Some(outcome) = until_stopped(&control, verification.run()).await else {
        eprintln!(
            "the source may still have the directory `{name}` below its dump-path, or a dump-prefix that begins so"
        );
        return Ok(ExitCode::from(super::CANCELLED));
    };
    display.end().await;
    let report = outcome?;
    match args.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => summary::print_verification(&report),
    }
    Ok(if report.is_equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl VerifyArgs {
    fn verification(&self) -> Result<Verification> {
        if self.mode == VerifyMode::Off {
            return Err(usage(ErrorKind::InvalidValue, "--mode off would compare nothing"));
        }
        let options = JobOptions {
            slot_count: self.sides.slot_count()?,
            database: self.sides.database,
            rate: self.rate,
            command_rate: self.command_rate,
            kind: self.kind,
            lanes: self.lanes.get(),
            memory: self.memory,
            hyperloglog: self.hyperloglog,
            leave_corrupt_names: self.leave_corrupt_names,
            verify: self.mode,
            work_dir: self.work_dir.as_deref().map(std::path::absolute).transpose()?,
            renames: self.sides.renames.renames()?,
            target_renames: self.sides.renames.target_renames()?,
            ..JobOptions::new(self.sides.slots.clone())
        };
        let (source, target) = (self.sides.source()?, self.sides.target()?);
        Ok(Verification::new(source, target, options).recheck_for(self.recheck_for).naming(self.show))
    }
}

const EXIT_CODES: &str = "\
Exit codes: 0 both sides hold the same; 1 they differ, and the summary says how, or it failed, and the message says on which \
side; 2 wrong arguments; 3 stopped. A failure writes nothing on standard output.";
