// SPDX-License-Identifier: Apache-2.0
//! Settings of a node, the source or on the way back the target, that a job changes for its time, whatever other jobs do
//! at the same node. Here it is called the source.
//!
//! Other jobs may be of another process, with another state directory or with none, and each may be killed. What all of them
//! can see is the source. So what was set before stands in the value that is set instead, and every job reads the same there;
//! and who needs the log to be kept has a directory beside it, a claim, from before it raises the setting until it needs the
//! log no more, stopped or not.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::endpoint::Client;
use crate::job::journal::{Entry, Journal, Node};
use crate::source::log_dir;
use crate::{Error, Result};

/// Has the source keep its log, with a claim beside it that is there already.
///
/// # Errors
/// What the source or the journal answers.
pub(super) async fn keep_log(client: &mut Client, journal: &Journal) -> Result<()> {
    let now = client.setting(LOGS).await?;
    let before = lowered(&now).unwrap_or_else(|| now.clone());
    let Some(raised) = raised(&before) else { return Ok(()) };
    note(LOGS, before, journal).await?;
    match now == raised {
        true => Ok(()),
        false => client.change_setting(LOGS, &raised).await,
    }
}

/// Does `work` while the source keeps its log. A job that ended at the same time as we began may have had it purge again, a
/// person or a restart may, too.
pub(super) async fn with_log_kept<T>(mut client: Client, journal: &Journal, work: impl Future<Output = T>) -> T {
    let done = Notify::new();
    let work = async {
        let outcome = work.await;
        done.notify_one();
        outcome
    };
    let keep = async {
        while timeout(LOOK_STEP, done.notified()).await.is_err() {
            if !is_noted(LOGS, journal) {
                continue;
            }
            let is_kept = tokio::select! {
                () = done.notified() => return,
                now = client.setting(LOGS) => now.map(|now| raised(&now).is_none()),
            };
            // It is not broken off in the middle: it would raise what is being restored by then.
            let kept = match is_kept {
                Ok(true) => Ok(()),
                Ok(false) => {
                    let side = client.endpoint().side;
                    warn!("the {side} was told to purge its log, which is needed: it is told again not to");
                    keep_log(&mut client, journal).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = kept {
                debug!(%error, "cannot look whether the log is kept");
            }
        }
    };
    tokio::join!(work, keep).0
}

/// Lets the source purge its log again, unless another job needs it: that one will. Our own claim is given up already, or
/// else two jobs that end at once might leave it to each other.
///
/// # Errors
/// What the source answers, and [`Error::File`] when it cannot be seen who else needs the log.
pub(super) async fn let_log_go(client: &mut Client, journal: &Journal) -> Result<()> {
    // Whoever has set another value, or started it anew, has restored it.
    let Some(before) = lowered(&client.setting(LOGS).await?) else { return Ok(()) };
    // What would be at that place here is another node's.
    let is_elsewhere = journal.read(|state| state.retained.as_ref().is_some_and(|kept| kept.is_mirror));
    if is_elsewhere {
        return client.change_setting(LOGS, &before).await;
    }
    let logs = log_dir(client).await?;
    match claim_of_another(&logs, &journal.file_name())? {
        Some(claim) => {
            info!("{LOGS} stays raised: there is still {}, of a job that needs the log", logs.join(claim).display());
            Ok(())
        }
        None => client.change_setting(LOGS, &before).await,
    }
}

/// Gives the prefix that our dump is to have, once it is written down what it is now. It is set when no other dump is being
/// written, which would get ours.
///
/// # Errors
/// What the source or the journal answers.
pub(super) async fn own_prefix(client: &mut Client, journal: &Journal) -> Result<String> {
    let now = client.setting(PREFIX).await?;
    let before = prefix_before(&now).unwrap_or(&now);
    let own = own_prefix_over(&journal.file_name(), before);
    note(PREFIX, before.to_owned(), journal).await?;
    Ok(own)
}

/// Gives the prefix back, unless another job has taken it from us: that one will.
///
/// # Errors
/// What the source answers.
pub(super) async fn give_prefix_back(client: &mut Client, journal: &Journal) -> Result<()> {
    let now = client.setting(PREFIX).await?;
    match prefix_before(&now) {
        Some(before) if now.starts_with(&format!("{}-", journal.file_name())) => {
            client.change_setting(PREFIX, before).await
        }
        _ => Ok(()),
    }
}

/// Whether the prefix may be ours: from before it is set until it is given back.
pub(super) fn has_prefix(journal: &Journal) -> bool {
    is_noted(PREFIX, journal)
}

/// Writes down what a setting was before it is changed; once.
async fn note(name: &str, before: String, journal: &Journal) -> Result<()> {
    match is_noted(name, journal) {
        true => Ok(()),
        false => journal.note(Entry::Setting { node: Node::Source, name: name.to_owned(), before }).await,
    }
}

fn is_noted(name: &str, journal: &Journal) -> bool {
    journal.read(|state| state.settings.iter().any(|setting| setting.name == name))
}

/// The value that keeps the log where so many files were kept before; `None` where those are enough.
fn raised(before: &str) -> Option<String> {
    let before: u64 = before.parse().ok()?;
    (before < ENOUGH).then(|| (KEPT + before).to_string())
}

/// What was there before such a value.
fn lowered(now: &str) -> Option<String> {
    let now: u64 = now.parse().ok()?;
    (KEPT..KEPT + ENOUGH).contains(&now).then(|| (now - KEPT).to_string())
}

/// `slotmover-<job>-`, and `+` with what was there before where that was anything.
fn own_prefix_over(own: &str, before: &str) -> String {
    match before {
        "" => format!("{own}-"),
        before => format!("{own}-+{before}"),
    }
}

/// The prefix before one that a job has set.
fn prefix_before(now: &str) -> Option<&str> {
    let rest = now.strip_prefix(OWN)?;
    Some(rest.split_once('+').map_or("", |(_, before)| before))
}

fn claim_of_another(logs: &Path, own: &str) -> Result<Option<String>> {
    let fault = |fault| Error::file("list", logs, fault);
    let entries = match fs::read_dir(logs) {
        Ok(entries) => entries,
        // A source without its log has nothing to purge.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(error)),
    };
    for entry in entries {
        let name = entry.map_err(fault)?.file_name().to_string_lossy().into_owned();
        if name.starts_with(OWN) && name != own {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// What the names of all that is a job's begin with.
const OWN: &str = "slotmover-";

pub(super) const LOGS: &str = "expire-logs-nums";
pub(super) const PREFIX: &str = "dump-prefix";

/// Files of the log that the source is told to keep, beside as many as it was told before: in effect all. Our links hold them
/// anyway; this holds what is not linked yet.
const KEPT: u64 = 1_000_000_000;

/// Whoever keeps so many files keeps all that we need. A value this side of [`KEPT`] is nobody's of us.
const ENOUGH: u64 = 1_000_000;

/// How often it is looked: a source thinks of purging every five seconds, and then keeps ten files.
const LOOK_STEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_before_stands_in_the_value() {
        for before in ["0", "10", "1000", "999999"] {
            let raised = raised(before).unwrap();
            assert_eq!(lowered(&raised).as_deref(), Some(before));
            // It is raised once, however many jobs there are.
            assert_eq!(super::raised(&raised), None);
            assert_eq!(lowered(before), None);
        }
        for enough in ["1000000", "2000000", "2000000000"] {
            assert_eq!((raised(enough), lowered(enough)), (None, None), "{enough}");
        }
    }

    #[test]
    fn a_prefix_is_found_again_behind_that_of_a_job() {
        for (own, before) in [("slotmover-1-a", ""), ("slotmover-1-a", "mine-"), ("slotmover-1-a-back", "a+b")] {
            let prefix = own_prefix_over(own, before);
            assert!(prefix.starts_with(&format!("{own}-")), "{prefix}");
            assert_eq!(prefix_before(&prefix), Some(before));
        }
        for other in ["", "mine-"] {
            assert_eq!(prefix_before(other), None, "{other}");
        }
    }

    #[test]
    fn a_claim_is_a_directory_of_another_job() {
        let dir = tempfile::tempdir().unwrap();
        let other = || claim_of_another(dir.path(), "slotmover-1-a").unwrap();
        for name in ["log_db0", "slotmover-1-a"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(other(), None);
        fs::create_dir(dir.path().join("slotmover-2-b")).unwrap();
        assert_eq!(other().as_deref(), Some("slotmover-2-b"));
        assert_eq!(claim_of_another(&dir.path().join("missing"), "slotmover-1-a").unwrap(), None);
    }
}
