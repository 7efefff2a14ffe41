// SPDX-License-Identifier: Apache-2.0
//! Calls that change something and have not been answered.
//!
//! Codis carries out a call even when the caller has gone, at once or when a mutex comes free, in any order. So each call
//! is remembered until it has been answered. One whose connection broke may still wait in a server; it is taken for done
//! when nobody listens there any more, or when the server has answered other questions for [`SETTLED`].

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use replication::SlotSet;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::routing::codis::http::Fault;

/// What a call is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// Holds slots at a proxy.
    Lock,
    /// Lets slots of a proxy go on.
    Unlock,
    /// Has the dashboard give slots to the target.
    Switch,
    /// Has the dashboard push slots where they are.
    Push,
    /// Changes a setting of the dashboard.
    Setting,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Switch => "switch",
            Self::Push => "push",
            Self::Setting => "change of a setting",
        })
    }
}

/// All calls under way.
#[derive(Default, Debug)]
pub(super) struct Calls {
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Default, Debug)]
struct Table {
    next: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    address: String,
    purpose: Purpose,
    slots: SlotSet,
    since: Instant,
    broken: Option<Broken>,
}

#[derive(Clone, Copy, Debug)]
struct Broken {
    at: Instant,
    first_answer: Option<Instant>,
}

impl Calls {
    /// Remembers a call that is about to be sent to `address`.
    pub(super) fn open(self: &Arc<Self>, address: &str, purpose: Purpose, slots: &SlotSet) -> OpenCall {
        let mut table = self.table();
        let number = table.next;
        table.next += 1;
        let (address, slots) = (address.to_owned(), slots.clone());
        table.entries.push(Entry { number, address, purpose, slots, since: Instant::now(), broken: None });
        OpenCall { calls: Arc::clone(self), number }
    }

    /// Where calls for some of `slots` have not been answered.
    pub(super) fn unanswered(&self, purpose: Purpose, slots: &SlotSet) -> Vec<String> {
        self.addresses(|entry| entry.purpose == purpose && overlap(&entry.slots, slots))
    }

    /// Those of them that are waited for: their server would not answer anything else before.
    pub(super) fn under_way(&self, purpose: Purpose, slots: &SlotSet) -> Vec<String> {
        self.addresses(|entry| entry.purpose == purpose && overlap(&entry.slots, slots) && entry.broken.is_none())
    }

    /// The oldest call of any kind that has not been answered, in words.
    pub(super) fn oldest(&self) -> Option<String> {
        self.table().entries.first().map(Entry::to_string)
    }

    /// The server at `address` has answered a question that was asked at `asked`.
    pub(super) fn answered(&self, address: &str, asked: Instant) {
        self.retain(|entry| {
            let Some(broken) = entry.broken.as_mut().filter(|_| entry.address == address) else { return true };
            if asked <= broken.at {
                return true;
            }
            let first = *broken.first_answer.get_or_insert(asked);
            asked.duration_since(first) < SETTLED
        });
    }

    /// Nobody listens at `address`: whatever was sent there has ended with the process.
    pub(super) fn gone(&self, address: &str) {
        self.retain(|entry| entry.broken.is_none() || entry.address != address);
    }

    /// Waits until a call has ended, or for `patience`.
    pub(super) async fn change(&self, patience: Duration) {
        // Either is a reason to look again.
        let _ = tokio::time::timeout(patience, self.changed.notified()).await;
    }

    fn addresses(&self, wanted: impl Fn(&&Entry) -> bool) -> Vec<String> {
        self.table().entries.iter().filter(wanted).map(|entry| entry.address.clone()).collect()
    }

    fn retain(&self, keep: impl FnMut(&mut Entry) -> bool) {
        let mut table = self.table();
        let before = table.entries.len();
        table.entries.retain_mut(keep);
        let ended = table.entries.len() < before;
        drop(table);
        if ended {
            self.changed.notify_waiters();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way. Dropping it without an outcome leaves it as one whose connection broke.
#[derive(Debug)]
pub(super) struct OpenCall {
    calls: Arc<Calls>,
    number: u64,
}

impl OpenCall {
    /// What it ended with. `waited_for` tells whether somebody still listens.
    pub(super) fn end<T>(self, outcome: &Result<T, Fault>, waited_for: bool) {
        if matches!(outcome, Err(Fault::Broken(_))) {
            return;
        }
        let number = self.number;
        self.calls.retain(|entry| {
            if entry.number != number {
                return true;
            }
            match outcome {
                _ if waited_for => {}
                Ok(_) => info!("{entry} has been answered"),
                Err(fault) => warn!("{entry} has failed: {fault}"),
            }
            false
        });
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let number = self.number;
        let mut table = self.calls.table();
        if let Some(entry) = table.entries.iter_mut().find(|entry| entry.number == number) {
            warn!("{entry}: the connection broke, so it may still be carried out");
            entry.broken = Some(Broken { at: Instant::now(), first_answer: None });
        }
        drop(table);
        self.calls.changed.notify_waiters();
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, purpose, slots, .. } = self;
        match slots.is_empty() {
            true => write!(f, "the {purpose} sent to {address}")?,
            false => write!(f, "the {purpose} of slots {slots} sent to {address}")?,
        }
        write!(f, " {:.1} s ago", self.since.elapsed().as_secs_f64())
    }
}

/// Whether the sets have a slot in common.
pub(super) fn overlap(one: &SlotSet, other: &SlotSet) -> bool {
    one.iter().any(|slot| other.contains(slot))
}

/// A mutex of Go lets a waiter of more than a millisecond go first, so a server that answers others for this long has
/// nothing of ours left.
const SETTLED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn slots() -> SlotSet {
        "1-3".parse().unwrap()
    }

    #[test]
    fn a_call_is_under_way_until_it_is_answered() {
        let calls = Arc::new(Calls::default());
        let call = calls.open("p:1", Purpose::Lock, &slots());
        assert_eq!(calls.unanswered(Purpose::Lock, &"3".parse().unwrap()), ["p:1"]);
        assert_eq!(calls.unanswered(Purpose::Lock, &"4".parse().unwrap()), [""; 0]);
        assert_eq!(calls.unanswered(Purpose::Switch, &slots()), [""; 0]);
        assert!(calls.oldest().unwrap().starts_with("the lock of slots 1-3 sent to p:1"));
        call.end(&Ok(()), true);
        assert_eq!(calls.oldest(), None);
    }

    #[test]
    fn a_call_whose_connection_broke_may_still_be_carried_out() {
        let calls = Arc::new(Calls::default());
        let call = calls.open("p:1", Purpose::Switch, &slots());
        call.end(&Err::<(), _>(Fault::Broken("reset".to_owned())), true);
        let asked = Instant::now();
        calls.answered("p:2", asked);
        calls.answered("p:1", asked);
        calls.answered("p:1", asked + SETTLED / 2);
        assert!(calls.oldest().is_some(), "other calls may overtake it");
        calls.answered("p:1", asked + SETTLED);
        assert_eq!(calls.oldest(), None);

        drop(calls.open("p:1", Purpose::Switch, &slots()));
        assert!(calls.oldest().is_some());
        calls.gone("p:1");
        assert_eq!(calls.oldest(), None);
    }
}
