// SPDX-License-Identifier: Apache-2.0
//! The jobs that a state directory knows of.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Args;
use humantime::format_duration;
use serde::Serialize;
use snapshot::UnixMillis;

use crate::Error;
use crate::cli::guard::StateArgs;
use crate::job::journal::{Course, Header, Journal, Summary};
use crate::job::{Phase, Undo};

#[derive(Args, Debug)]
pub(super) struct JobsArgs {
    #[command(flatten)]
    state: StateArgs,

    /// One JSON array on standard output.
    #[arg(long)]
    json: bool,
}

/// Lists them, the oldest first.
pub(super) fn list(args: &JobsArgs) -> Result<ExitCode> {
    let dir = args.state.dir()?;
    let mut rows = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for path in Journal::all(&dir)? {
        match Journal::peek(&path) {
            Ok(summary) => rows.push(Row::of(&summary)),
            Err(error) => {
                eprintln!("slotmover: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    match args.json {
        true => println!("{}", serde_json::to_string(&rows)?),
        false if rows.is_empty() => println!("no jobs in {}", dir.display()),
        false => table(&rows),
    }
    Ok(code)
}

/// The journal for a move: that of the same move where it was begun and not ended, or a new one.
///
/// # Errors
/// Also when another move of these slots was not ended, or when the target's keys are to be deleted although these slots have
/// been moved there.
pub(super) fn journal(dir: &Path, course: Course, replaces: bool) -> Result<Journal> {
    let mut at_target = None;
    for path in Journal::all(dir)? {
        let summary = Journal::peek(&path)?;
        let Header { source, target, database, .. } = &summary.header;
        // A job of which it is the target may be followed back from there.
        let is_at_its_nodes = [source, target].contains(&&course.source) && *database == course.database;
        let shared = course.slots.iter().find(|slot| summary.slots.contains(*slot));
        let Some(slot) = shared.filter(|_| is_at_its_nodes && summary.outcome.is_none()) else {
            note_ended(&summary, &course, &mut at_target);
            forget(&path, &summary);
            continue;
        };
        let job = &summary.header.job;
        let is_same = summary.slots == course.slots && (source, target) == (&course.source, &course.target);
        if is_same && !summary.is_at_work {
            eprintln!("going on with job {job}, which stopped in its phase {}", summary.phase);
            return Ok(Journal::open(&path)?);
        }
        let state = if summary.is_at_work { "is at work" } else { "was stopped" };
        let help = match summary.phase {
            Phase::Watch => format!("`slotmover finish {job}` or `slotmover rollback {job}`"),
            _ => format!("`slotmover resume {job}` or `slotmover cancel {job}`"),
        };
        let what = format!(
            "slot {slot} of {} is in job {job}, which {state} (phase {}): {help}",
            course.source, summary.phase
        );
        return Err(Error::Options { what }.into());
    }
    if let Some((_, job)) = at_target.filter(|_| replaces) {
        let what = format!(
            "--replace would delete what job {job} has moved to {}: its slots are served from there; if they were moved back \
             since by other means, remove the journal of that job from {}",
            course.target,
            dir.display()
        );
        return Err(Error::Options { what }.into());
    }
    Ok(Journal::create(dir, course)?)
}

/// Notes of a job that has ended whether it brought some of these slots to the target, or back, if no later one is known.
fn note_ended(summary: &Summary, course: &Course, at_target: &mut Option<(u64, String)>) {
    let Summary { header, switched, .. } = summary;
    let is_of_these = header.database == course.database && course.slots.iter().any(|slot| switched.contains(slot));
    if !is_of_these || at_target.as_ref().is_some_and(|(created, _)| *created > header.created) {
        return;
    }
    match (&header.source, &header.target) {
        (source, target) if (source, target) == (&course.source, &course.target) => {
            *at_target = Some((header.created, header.job.clone()));
        }
        (source, target) if (source, target) == (&course.target, &course.source) => *at_target = None,
        _ => {}
    }
}

/// The file of the job's journal.
pub(super) fn find(dir: &Path, job: &str) -> Result<PathBuf> {
    let is_it =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy() == format!("job-{job}.journal"));
    let found = Journal::all(dir)?.into_iter().find(is_it);
    found.ok_or_else(|| anyhow!("there is no job `{job}` in {}: see `slotmover jobs`", dir.display()))
}

/// A line of the list.
#[derive(Serialize)]
struct Row {
    job: String,
    state: String,
    phase: String,
    slots: String,
    switched: usize,
    slot_count: usize,
    source: String,
    target: String,
    age_seconds: u64,
    #[serde(flatten)]
    undo: Option<Undo>,
}

impl Row {
    fn of(summary: &Summary) -> Self {
        let Summary { header, slots, switched, phase, outcome, is_at_work, undo, .. } = summary;
        let state = match (outcome, is_at_work) {
            (Some(outcome), _) => outcome.to_string(),
            (None, true) => "at work".to_owned(),
            (None, false) => "stopped".to_owned(),
        };
        Self {
            job: header.job.clone(),
            state,
            phase: phase.to_string(),
            slots: slots.to_string(),
            switched: switched.len(),
            slot_count: slots.len(),
            source: header.source.clone(),
            target: header.target.clone(),
            age_seconds: UnixMillis::now().0.saturating_sub(header.created) / 1000,
            undo: undo.clone(),
        }
    }
}

fn table(rows: &[Row]) {
    println!("{:<16} {:<12} {:<9} {:>11}  {:<43} BEGUN", "JOB", "STATE", "PHASE", "SWITCHED", "SOURCE AND TARGET");
    for row in rows {
        let (switched, ways) =
            (format!("{}/{}", row.switched, row.slot_count), format!("{} {}", row.source, row.target));
        let age = format_duration(Duration::from_secs(row.age_seconds));
        println!("{:<16} {:<12} {:<9} {switched:>11}  {ways:<43} {age} ago", row.job, row.state, row.phase);
        match &row.undo {
            Some(Undo::Possible { left }) => {
                let left = format_duration(Duration::from_secs(left.as_secs()));
                println!("{:<16} can be rolled back for {left}: `slotmover rollback {}`", "", row.job);
            }
            Some(undo) => println!("{:<16} {undo}", ""),
            None => {}
        }
    }
}

/// Removes the journal of a job that ended long ago.
fn forget(path: &Path, summary: &Summary) {
    let age = Duration::from_millis(UnixMillis::now().0.saturating_sub(summary.header.created));
    if summary.outcome.is_some() && age > KEPT {
        // Whoever cannot remove it tries again at the next move.
        let _ = std::fs::remove_file(path).map_err(|fault| Error::file("remove", path, fault));
    }
}

/// How long the journal of a job that has ended is kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
