// SPDX-License-Identifier: Apache-2.0
//! The guard process, and fences that nobody looks after.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use replication::SlotSet;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use crate::Error;
use crate::cli::routing::{Course, Layer, RoutingArgs, rebuild};
use crate::routing::RoutingControl;
use crate::routing::guard::{Guard, GuardOptions, Guarded, Living, settle};

#[derive(Args, Clone, Debug)]
pub(super) struct StateArgs {
    /// Where the journals of jobs and fences are kept; `slotmover` in $XDG_STATE_HOME or ~/.local/state when not given.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct FenceGuardArgs {
    /// The fence journal of the move that starts it.
    journal: PathBuf,
}

#[derive(Args, Debug)]
pub(super) struct FenceLowerArgs {
    #[command(flatten)]
    state: StateArgs,
}

impl StateArgs {
    pub(super) fn dir(&self) -> Result<PathBuf> {
        let dir = self.state_dir.clone().or_else(usual_dir);
        let dir = dir.ok_or_else(|| anyhow!("neither XDG_STATE_HOME nor HOME is set: say --state-dir"))?;
        Ok(std::path::absolute(dir)?)
    }

    /// Puts a routing layer under guard.
    pub(super) fn guard(&self, layer: &Layer, args: &RoutingArgs, course: &Course) -> Result<Arc<dyn RoutingControl>> {
        let options = GuardOptions {
            program: std::env::current_exe().context("cannot tell where the program slotmover is")?,
            state_dir: self.dir()?,
            routing: args.record(course)?,
            max_lock: course.max_lock.unwrap_or_default(),
        };
        let guarded = Guarded::new(Arc::clone(&layer.control), options)?;
        Ok(Arc::new(guarded.with_further(layer.further())))
    }

    /// Takes down the fences of earlier moves that nobody looks after. A guard that is just doing so is waited for.
    ///
    /// # Errors
    /// Also when a living move fences some of `slots` of the same source.
    pub(super) async fn settle(&self, source: &str, slots: &SlotSet) -> Result<()> {
        let (dir, begin) = (self.dir()?, Instant::now());
        loop {
            let living = settle_all(&dir).await?;
            let is_ours = |living: &&Living| living.routing.iter().any(|argument| argument == source);
            let Some(at_work) = living.iter().filter(is_ours).find(|living| living.is_orphan) else {
                return living.iter().filter(is_ours).try_for_each(|living| apart(living, slots));
            };
            if begin.elapsed() >= GUARD_PATIENCE {
                return Err(Error::Routing { what: format!("{}; wait for it", describe(at_work)) }.into());
            }
            tokio::time::sleep(GUARD_STEP).await;
        }
    }
}

/// By the XDG rules, where a relative path counts as none.
fn usual_dir() -> Option<PathBuf> {
    let from = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = from("XDG_STATE_HOME").or_else(|| from("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("slotmover"))
}

/// Watches over the fences of one agent.
pub(super) async fn run(args: FenceGuardArgs) -> Result<ExitCode> {
    // They are for the agent; with a handler they do not end this process.
    let ignored = [signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?];
    let mut terminate = signal(SignalKind::terminate())?;
    let guard = Guard::open(&args.journal)?;
    let control = rebuild(guard.routing().to_vec()).await?;
    let input = pipe::Receiver::from_owned_fd(std::io::stdin().as_fd().try_clone_to_owned()?);
    let output = pipe::Sender::from_owned_fd(std::io::stdout().as_fd().try_clone_to_owned()?);
    let pipes = (input, output);
    let (Ok(input), Ok(output)) = pipes else {
        return Err(anyhow!("the guard talks to the `slotmover move` that starts it: do not start it by hand"));
    };
    let terminated = async move {
        terminate.recv().await;
    };
    guard.watch(control, (input, output), terminated, Arc::new(say)).await?;
    drop(ignored);
    Ok(ExitCode::SUCCESS)
}

/// Takes down every fence that nobody looks after.
pub(super) async fn lower(args: FenceLowerArgs) -> Result<ExitCode> {
    let dir = args.state.dir()?;
    let living = settle_all(&dir).await?;
    for living in &living {
        say(&describe(living));
    }
    say(&format!("no other fence is left in {}", dir.display()));
    Ok(ExitCode::SUCCESS)
}

async fn settle_all(dir: &Path) -> Result<Vec<Living>> {
    Ok(settle(dir, &rebuild, &say).await?)
}

/// Two moves of one slot would each break what the other relies on.
fn apart(living: &Living, slots: &SlotSet) -> Result<()> {
    match living.slots.iter().find(|slot| slots.contains(*slot)) {
        None => Ok(()),
        Some(slot) => {
            let what = format!("slot {slot} is being moved by process {} already; wait for it or stop it", living.pid);
            Err(Error::Routing { what }.into())
        }
    }
}

fn describe(living: &Living) -> String {
    let Living { pid, slots, journal, .. } = living;
    let slots = match slots.is_empty() {
        true => "no slots at this moment".to_owned(),
        false => format!("slots {slots}"),
    };
    match living.is_orphan {
        true => {
            format!("process {pid} is gone and its guard is still at work: it fences {slots} ({})", journal.display())
        }
        false => {
            format!("process {pid} lives and fences {slots}; to have its guard take over, end it by `kill -9 {pid}`")
        }
    }
}

fn say(line: &str) {
    // Not by a macro that panics when nobody reads any more: clients may be waiting.
    let _ = writeln!(std::io::stderr(), "slotmover: fence: {line}");
}

/// How long the guard of an earlier move is waited for.
const GUARD_PATIENCE: Duration = Duration::from_secs(30);
const GUARD_STEP: Duration = Duration::from_millis(100);
