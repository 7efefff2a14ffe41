// SPDX-License-Identifier: Apache-2.0
//! Jobs that are there already: going on with them, holding them, taking them back.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Args, Parser};
use tokio::time::sleep;

use crate::cli::guard::StateArgs;
use crate::cli::requests::{self, Request};
use crate::cli::{Cli, Command, jobs, r#move};
use crate::job::journal::{Journal, Outcome};
use crate::job::{Phase, Undo};

#[derive(Args, Debug)]
pub(super) struct JobArgs {
    /// Its name, as in `slotmover jobs`.
    job: String,

    #[command(flatten)]
    state: StateArgs,
}

#[derive(Args, Debug)]
pub(super) struct CancelArgs {
    #[command(flatten)]
    job: JobArgs,

    /// Does not delete what was copied to the target, as when that is gone for good. Not for a job that is at work.
    #[arg(long)]
    leave_target: bool,
}

/// Goes on with a job where it was, or lets a paused one go on.
pub(super) async fn resume(args: JobArgs) -> Result<ExitCode> {
    let path = jobs::find(&args.state.dir()?, &args.job)?;
    let summary = Journal::peek(&path)?;
    if let Some(outcome) = summary.outcome {
        return Err(anyhow!("job {} is {outcome}: there is nothing to go on with", args.job));
    }
    if is_told(&path, &args.job, Request::Resume).await? {
        return Ok(ExitCode::SUCCESS);
    }
    go_on(Journal::open(&path)?).await
}

/// Holds a job that is at work.
pub(super) async fn pause(args: JobArgs) -> Result<ExitCode> {
    let path = jobs::find(&args.state.dir()?, &args.job)?;
    match is_told(&path, &args.job, Request::Pause).await? {
        true => Ok(ExitCode::SUCCESS),
        false => Err(anyhow!("job {} is not at work", args.job)),
    }
}

/// Takes a job back, whoever works on it.
pub(super) async fn cancel(args: CancelArgs) -> Result<ExitCode> {
    let CancelArgs { job: args, leave_target } = args;
    let path = jobs::find(&args.state.dir()?, &args.job)?;
    let summary = Journal::peek(&path)?;
    if let Some(outcome) = summary.outcome {
        return Err(anyhow!("job {} is {outcome}: there is nothing to cancel", args.job));
    }
    if summary.is_at_work && leave_target {
        return Err(anyhow!("job {} is at work: stop it first to leave what is at the target", args.job));
    }
    if is_told(&path, &args.job, Request::Cancel).await? {
        return wait_for_the_end(&path, &args.job, Outcome::Cancelled).await;
    }
    let journal = Journal::open(&path)?;
    journal.cancel(leave_target).await?;
    match go_on(journal).await {
        Err(error) if matches!(error.downcast_ref(), Some(crate::Error::Cancelled)) => Ok(ExitCode::SUCCESS),
        outcome => outcome,
    }
}

/// Moves the slots of a job back to the source, whoever works on it.
pub(super) async fn rollback(args: JobArgs) -> Result<ExitCode> {
    let path = jobs::find(&args.state.dir()?, &args.job)?;
    let summary = Journal::peek(&path)?;
    match summary.outcome {
        None => {}
        Some(Outcome::Done) => {
            let why = summary.undo.map(|undo| format!(" and {undo}")).unwrap_or_default();
            return Err(anyhow!(
                "job {} is done{why}; a `slotmover move` the other way moves its slots back",
                args.job
            ));
        }
        Some(outcome) => return Err(anyhow!("job {} is {outcome}: there is nothing to roll back", args.job)),
    }
    match summary.undo {
        Some(Undo::Possible { .. } | Undo::Begun) => {}
        Some(Undo::Gone { why }) => return Err(crate::Error::Undo { why }.into()),
        None => {
            return Err(anyhow!(
                "not all slots of job {0} are at the target yet: `slotmover cancel {0}` takes it back",
                args.job
            ));
        }
    }
    if is_told(&path, &args.job, Request::Rollback).await? {
        return wait_for_the_end(&path, &args.job, Outcome::RolledBack).await;
    }
    let journal = Journal::open(&path)?;
    journal.roll_back().await?;
    go_on(journal).await?;
    // Its summary has said so; the code of a move that ended like this is another one.
    Ok(ExitCode::SUCCESS)
}

/// Ends the reverse window of a job: it tidies up and is done.
pub(super) async fn finish(args: JobArgs) -> Result<ExitCode> {
    let path = jobs::find(&args.state.dir()?, &args.job)?;
    let summary = Journal::peek(&path)?;
    if let Some(outcome) = summary.outcome {
        return Err(anyhow!("job {} is {outcome}: there is nothing to finish", args.job));
    }
    match summary.undo {
        // Without a way back it waits all the same, before anything is deleted.
        Some(Undo::Possible { .. } | Undo::Gone { .. }) if summary.phase == Phase::Watch => {}
        Some(undo @ Undo::Begun) => return Err(anyhow!("job {} {undo}", args.job)),
        _ => return Err(anyhow!("job {} has no reverse window now: it is in its phase {}", args.job, summary.phase)),
    }
    if is_told(&path, &args.job, Request::Finish).await? {
        return wait_for_the_end(&path, &args.job, Outcome::Done).await;
    }
    let journal = Journal::open(&path)?;
    journal.close_window().await?;
    go_on(journal).await
}

/// Runs the job of a journal with the arguments that it was started with.
async fn go_on(journal: Journal) -> Result<ExitCode> {
    let header = journal.header();
    std::env::set_current_dir(&header.directory)
        .with_context(|| format!("cannot go to {}, where the job was started", header.directory.display()))?;
    let arguments = std::iter::once("slotmover").chain(header.arguments.iter().map(String::as_str));
    match Cli::try_parse_from(arguments).context("the journal's arguments are none of this program")?.command {
        Command::Move(args) => r#move::run_with(*args, journal).await,
        _ => Err(anyhow!("job {} is no move", header.job)),
    }
}

/// Tells it whoever works on the job. `false` when nobody does, or not any more.
async fn is_told(path: &Path, job: &str, request: Request) -> Result<bool> {
    if !Journal::peek(path)?.is_at_work {
        return Ok(false);
    }
    if requests::send(path, request).await? {
        return Ok(true);
    }
    match Journal::peek(path)?.is_at_work {
        true => Err(anyhow!("the process that works on job {job} does not take requests")),
        // It died before it came to it.
        false => Ok(false),
    }
}

/// Waits until the process that works on the job has ended it, as it should.
async fn wait_for_the_end(path: &Path, job: &str, wanted: Outcome) -> Result<ExitCode> {
    loop {
        match Journal::peek(path) {
            Ok(summary) => match (summary.outcome, summary.is_at_work) {
                (Some(outcome), _) if outcome == wanted => {
                    eprintln!("job {job} is {outcome}");
                    return Ok(ExitCode::SUCCESS);
                }
                (Some(outcome), _) => return Err(anyhow!("job {job} is {outcome}, and not {wanted}")),
                (None, true) => sleep(STEP).await,
                (None, false) => {
                    return Err(anyhow!(
                        "the process that worked on job {job} ended, and the job is not {wanted}: see what it said, then \
                         the same again"
                    ));
                }
            },
            // A job that had done nothing removes its journal.
            Err(_) if !path.exists() => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Between two looks at a journal.
const STEP: Duration = Duration::from_millis(100);
