// SPDX-License-Identifier: Apache-2.0
//! What the rules are written in: calls that end in time, clients that wait, clients that are answered.

use std::pin::pin;
use std::vec;

use replication::{Slot, SlotSet};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::{Answer, Rig, Rule, SLOTS, Violation};
use crate::routing::{Owner, RoutingControl};

pub(super) struct Trial<'a> {
    pub(super) rig: &'a dyn Rig,
    pub(super) control: &'a dyn RoutingControl,
    /// The rule that is being tried.
    pub(super) rule: Rule,
    unused: vec::IntoIter<Slot>,
}

/// Clients that have sent one request each.
pub(super) struct Clients(JoinSet<Result<Owner, String>>);

impl<'a> Trial<'a> {
    pub(super) fn new(rig: &'a dyn Rig) -> Result<Self, Violation> {
        let slots: Vec<Slot> = rig.slots().iter().collect();
        let (found, unused) = (slots.len(), slots.into_iter());
        let trial = Self { rig, control: rig.control(), rule: Rule::Rig, unused };
        match found < SLOTS || rig.entrances() == 0 {
            true => Err(trial.violation(format!("{found} slots and {} entrances are not enough", rig.entrances()))),
            false => Ok(trial),
        }
    }

    /// Slots that no rule has used yet.
    pub(super) fn take(&mut self, count: usize) -> SlotSet {
        let taken: SlotSet = self.unused.by_ref().take(count).collect();
        assert_eq!(taken.len(), count, "SLOTS is the number of slots that all rules together take");
        taken
    }

    pub(super) fn violation(&self, what: impl Into<String>) -> Violation {
        Violation { rule: self.rule, what: what.into() }
    }

    /// The value of what the rig does, which must not fail, nor last for ever.
    pub(super) async fn done<T, E: ToString>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Violation> {
        match self.ended(what, call).await? {
            Ok(value) => Ok(value),
            Err(error) => Err(self.violation(format!("{what} failed: {}", error.to_string()))),
        }
    }

    /// The outcome of a call that may fail, but not last for ever.
    pub(super) async fn ended<T>(&self, what: &str, call: impl Future<Output = T>) -> Result<T, Violation> {
        let limit = self.rig.limit();
        timeout(limit, call).await.map_err(|_| self.violation(format!("{what} did not end within {limit:?}")))
    }

    /// Does again what may fail, as a job does, until it does not: a layer may be slow now and then.
    pub(super) async fn at_last<T, F, E>(&self, what: &str, call: impl Fn() -> F) -> Result<T, Violation>
    where
        F: Future<Output = Result<T, E>>,
        E: ToString,
    {
        let begin = Instant::now();
        loop {
            match self.ended(what, call()).await? {
                Ok(value) => return Ok(value),
                Err(error) if begin.elapsed() > self.rig.limit() => {
                    return Err(self.violation(format!("{what} failed again and again: {}", error.to_string())));
                }
                Err(_) => sleep(self.rig.patience() / 10).await,
            }
        }
    }

    /// One client for each of the slots and each entrance.
    pub(super) fn clients(&self, slots: &SlotSet) -> Clients {
        let mut clients = JoinSet::new();
        for slot in slots.iter() {
            for entrance in 0..self.rig.entrances() {
                clients.spawn(self.rig.request(slot, entrance));
            }
        }
        Clients(clients)
    }

    /// Clients that must not be answered yet, and get no error.
    pub(super) async fn waiting(&self, slots: &SlotSet) -> Result<Clients, Violation> {
        let mut clients = self.clients(slots);
        match timeout(self.rig.patience(), clients.0.join_next()).await {
            Err(_) | Ok(None) => Ok(clients),
            Ok(Some(ended)) => Err(self.violation(match outcome(ended) {
                Ok(owner) => format!("a request of slots {slots} was answered by {} through the fence", name(&owner)),
                Err(error) => {
                    format!("a request of slots {slots} got an error at the fence instead of waiting: {error}")
                }
            })),
        }
    }

    /// That all of these clients are answered by this node.
    pub(super) async fn answered(&self, mut clients: Clients, by: &Owner, when: &str) -> Result<(), Violation> {
        let limit = self.rig.limit();
        loop {
            match timeout(limit, clients.0.join_next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(ended)) => match outcome(ended) {
                    Ok(owner) if owner == *by => {}
                    Ok(owner) => {
                        let (owner, by) = (name(&owner), name(by));
                        return Err(self.violation(format!("{when} a request was answered by {owner} instead of {by}")));
                    }
                    Err(error) => return Err(self.violation(format!("{when} a request got an error: {error}"))),
                },
                Err(_) => {
                    return Err(self.violation(format!("{when} a request was not answered within {limit:?}")));
                }
            }
        }
    }

    /// That new clients are answered by this node now, and go on being so for a while.
    pub(super) async fn served(&self, slots: &SlotSet, by: &Owner, when: &str) -> Result<(), Violation> {
        let begin = Instant::now();
        while begin.elapsed() < self.rig.patience() {
            self.answered(self.clients(slots), by, when).await?;
            sleep(self.rig.patience() / 10).await;
        }
        Ok(())
    }

    /// What the control says about the owner of each of these slots.
    pub(super) async fn owned(&self, slots: &SlotSet, by: &Owner, when: &str) -> Result<(), Violation> {
        for slot in slots.iter() {
            let owner = self.at_last("owner", || self.control.owner(slot)).await?;
            if owner != *by {
                let (owner, by) = (name(&owner), name(by));
                return Err(self.violation(format!("{when} the owner of slot {slot} is said to be {owner}, not {by}")));
            }
        }
        Ok(())
    }

    /// Runs a call for a while and then drops it where it is. Its value, if it came to its end.
    pub(super) async fn dropped<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        timeout(self.rig.patience(), call).await.ok()
    }

    /// Begins a call and drops it where it first has to wait. Its value, if it never had to.
    pub(super) async fn begun<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let mut call = pin!(call);
        tokio::select! {
            biased;
            value = &mut call => Some(value),
            () = std::future::ready(()) => None,
        }
    }
}

impl Clients {
    /// A client whose request was sent by other means.
    pub(super) fn of(answer: Answer) -> Self {
        let mut clients = JoinSet::new();
        clients.spawn(answer);
        Self(clients)
    }
}

fn outcome(ended: Result<Result<Owner, String>, JoinError>) -> Result<Owner, String> {
    ended.unwrap_or_else(|error| Err(format!("the client failed: {error}")))
}

fn name(owner: &Owner) -> &str {
    match owner {
        Owner::Source => "the source",
        Owner::Target => "the target",
        Owner::Other(name) => name,
    }
}
