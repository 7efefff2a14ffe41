// SPDX-License-Identifier: Apache-2.0
//! Fences whose agent and guard are both gone: what their journals show is taken down.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use replication::SlotSet;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::act;
use super::journal::{Entry, Journal, Record};
use crate::record::Slots;
use crate::routing::{Owner, RoutingControl, Standing};
use crate::{BoxFuture, Error, Result};

/// A job whose agent or guard lives and looks after its fence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Living {
    /// The process of its agent.
    pub pid: u32,
    /// The agent is gone, and its guard is still at work.
    pub is_orphan: bool,
    /// Its fence journal.
    pub journal: PathBuf,
    /// The slots that it fences at this moment.
    pub slots: SlotSet,
    /// The arguments that build its routing layer.
    pub routing: Vec<String>,
}

/// Settles every fence journal in `dir` that nobody looks after: what is raised is lowered, a switch that may have been
/// sent is completed, and what was changed in the routing layer is taken back. `build` makes a routing layer of the
/// arguments in a journal. `say` tells the operator what was done, in a line each time. Gives the jobs that live.
///
/// # Errors
/// What could not be settled, and by which journal; the others may be settled already. Doing it again does no harm.
pub async fn settle(
    dir: &Path,
    build: &(dyn Fn(Vec<String>) -> BoxFuture<'static, Result<Arc<dyn RoutingControl>>> + Sync),
    say: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Living>> {
    let mut living = Vec::new();
    // Nothing was raised yet by whoever died over them.
    for (_, draft) in Journal::drafts(dir)?.into_iter().filter(|(pid, _)| is_gone(*pid)) {
        // Somebody else may have just done so.
        let _ = std::fs::remove_file(draft);
    }
    for path in Journal::all(dir)? {
        match Journal::claim(&path)? {
            Some((journal, record)) => {
                settle_one(&record, build, say).await.map_err(|error| unsettled(&path, &error))?;
                journal.remove()?;
            }
            // It is gone by now, or somebody looks after it.
            None if !path.exists() => {}
            None => {
                let record = Journal::peek(&path)?;
                let (pid, slots) = (record.header.pid, slots(&record.last));
                let is_orphan = is_gone(pid);
                living.push(Living { pid, is_orphan, journal: path, slots, routing: record.header.routing });
            }
        }
    }
    Ok(living)
}

async fn settle_one(
    record: &Record,
    build: &(dyn Fn(Vec<String>) -> BoxFuture<'static, Result<Arc<dyn RoutingControl>>> + Sync),
    say: &(dyn Fn(&str) + Sync),
) -> Result<()> {
    let control = build(record.header.routing.clone()).await?;
    let (slots, pid) = (slots(&record.last), record.header.pid);
    if must_switch(&*control, &record.last).await? {
        persist(|| Box::pin(act::switch(&*control, &slots))).await?;
        say(&format!(
            "process {pid} and its guard died while they switched slots {slots}: completed it, their clients go on at \
             the target"
        ));
    } else if !slots.is_empty() {
        persist(|| Box::pin(act::lower(&*control, &slots))).await?;
        let owners = act::owners(&*control, &slots).await;
        say(&format!(
            "process {pid} and its guard died while slots {slots} were fenced: lowered the fence, their clients go on \
             at {owners}"
        ));
    }
    control.finish().await
}

/// Whether the fence must be followed by the switch, for that may have been sent.
///
/// Where all slots are at the source and the fence stands, everything had arrived when leave was given, and nothing was
/// written since: switching is right. Where it does not stand, clients may have written at the source since, and
/// switching would lose that.
async fn must_switch(control: &dyn RoutingControl, last: &Entry) -> Result<bool> {
    match last {
        Entry::Down | Entry::Raised { .. } | Entry::Prepared { .. } => Ok(false),
        Entry::MaySwitch { slots: Slots(slots) } | Entry::Switching { slots: Slots(slots) } => {
            Ok(!act::are_at(control, slots, &Owner::Source).await? || control.holds(slots).await? == Standing::Holds)
        }
    }
}

/// Does it until it succeeds, or for so long that a person should look.
async fn persist<'a>(attempt: impl Fn() -> BoxFuture<'a, Result<()>>) -> Result<()> {
    let mut tried = 1;
    loop {
        match attempt().await {
            Err(_) if tried < ATTEMPTS => {}
            outcome => return outcome,
        }
        tried += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

fn slots(entry: &Entry) -> SlotSet {
    match entry {
        Entry::Down | Entry::Prepared { .. } => SlotSet::new(),
        Entry::Raised { slots } | Entry::MaySwitch { slots } | Entry::Switching { slots } => slots.0.clone(),
    }
}

fn is_gone(pid: u32) -> bool {
    let known = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // A process that is not ours to ask about is there as well.
    known.is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH)) || is_zombie(pid)
}

/// Whether it has died and nobody has asked for its exit code, as in a container whose first process asks for none.
fn is_zombie(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("State:").is_some_and(|state| state.trim_start().starts_with('Z')))
}

fn unsettled(path: &Path, error: &Error) -> Error {
    let what = format!(
        "the fence that the journal {} shows could not be settled: {error}; clients may be waiting: run `slotmover \
         fence-lower` once the cause is gone, or remove the file if that cluster does not exist any more",
        path.display()
    );
    Error::Routing { what }
}

const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_nobody_has_waited_for_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!is_gone(child.id()) && !is_gone(std::process::id()));
        child.kill().unwrap();
        while !is_gone(child.id()) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }
}
