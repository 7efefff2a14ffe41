// SPDX-License-Identifier: Apache-2.0
//! A job from its first attempt to its end: what follows an error is what its remedy says.

use std::time::{Duration, Instant};

use replication::{BinlogOffset, SlotSet};
use snapshot::UnixMillis;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::endpoint::Client;
use crate::job::attempt::Attempt;
use crate::job::journal::{Entry, Holding, Node, Outcome, State};
use crate::job::snapshot::{discard, restore};
use crate::job::window::Ending;
use crate::job::{Job, Phase, Report, worse};
use crate::record::{Offset, Slots};
use crate::routing::Owner;
use crate::sink::Target;
use crate::{Error, Remedy, Result, Side};

impl Job {
    /// Attempts until one succeeds or an error is for a person.
    pub(super) async fn live(&self) -> Result<Report> {
        let mut patience = Patience::new();
        loop {
            let error = match Box::pin(self.attempt()).await {
                Ok(report) => return Ok(report),
                Err(error) => error,
            };
            match self.reaction(&error, &mut patience) {
                Reaction::TakeBack => {
                    if let Err(second) = self.journal.cancel(false).await {
                        warn!(%second, "the journal does not say that the job is cancelled");
                        return Err(error);
                    }
                }
                Reaction::Renew => {
                    warn!("{error}; a new checkpoint is taken");
                    self.journal.note(Entry::Outdated { why: error.to_string() }).await?;
                }
                Reaction::Again(pause) => self.wait(&error, pause, &mut patience).await,
                Reaction::End => return self.leave(error).await,
            }
        }
    }

    async fn attempt(&self) -> Result<Report> {
        if self.journal.read(|state| state.cancelling) {
            self.take_back().await?;
            return Err(Error::Cancelled);
        }
        // Before anything is asked that may not be there: somebody may have lost patience with it.
        self.control.gate().admit().await?;
        let mut report = match self.journal.read(State::has_arrived) {
            true => self.journal.read(|state| Report::of(state, &self.options)),
            false => {
                self.enter(Phase::Plan).await?;
                Box::pin(Attempt::begin(self).await?.run()).await?
            }
        };
        if self.journal.read(|state| state.is_late) {
            report.findings.push("writes came to the source too late: it keeps its keys".to_owned());
        }
        let outcome = match self.reverse_window().await? {
            Ending::Over(brought_back) => {
                report.cleaned = self.clean_up().await?;
                if let (Some(brought_back), Some(after)) = (brought_back, report.cleaned) {
                    report.findings.extend(report.counts.close(brought_back, after));
                }
                Outcome::Done
            }
            Ending::RolledBack(rollback) => {
                report.rollback = Some(rollback);
                Outcome::RolledBack
            }
        };
        report.no_way_back = self.journal.read(|state| state.no_way_back.clone());
        self.tidy_up().await?;
        self.journal.note(Entry::Ended { outcome }).await?;
        self.progress.undo(None);
        self.progress.enter(Phase::Done);
        Ok(report)
    }

    fn reaction(&self, error: &Error, patience: &mut Patience) -> Reaction {
        let (is_blank, ended, has_arrived) =
            self.journal.read(|state| (state.is_blank(), state.ended, state.has_arrived()));
        match error {
            Error::Cancelled if ended.is_some() || is_blank => return Reaction::End,
            Error::Cancelled => return Reaction::TakeBack,
            // Without a journal nobody could go on.
            Error::Stopped if !self.journal.is_kept() && !is_blank => return Reaction::TakeBack,
            _ => {}
        }
        let pause = match error.side() {
            Side::Source | Side::Target | Side::Receiver => patience.next(self.options.retry_for),
            // Where nothing is fenced. The cutover itself tries again, and knows when to give up.
            Side::Routing if matches!(self.progress.status().phase, Phase::Plan | Phase::Watch | Phase::Cleanup) => {
                patience.next(self.options.retry_for.min(ROUTING_MAX))
            }
            Side::Routing | Side::Agent => None,
        };
        match error.remedy() {
            // What nobody has begun yet fails at once: an address may be wrong.
            _ if is_blank => Reaction::End,
            Remedy::Resume => pause.map_or(Reaction::End, Reaction::Again),
            // Nothing is copied any more.
            Remedy::Restart if !has_arrived && patience.may_renew() => Reaction::Renew,
            Remedy::Restart | Remedy::Operator => Reaction::End,
        }
    }

    /// Waits before the next attempt, unless somebody ends the job.
    async fn wait(&self, error: &Error, pause: Duration, patience: &mut Patience) {
        let text = error.to_string();
        if patience.told != text {
            warn!("{text}; trying again");
            patience.told.clone_from(&text);
        }
        self.progress.waits(Some(text));
        let mut gate = self.control.gate();
        let is_cancelling = self.journal.read(|state| state.cancelling);
        tokio::select! {
            () = sleep(pause) => {}
            () = gate.ended(), if !is_cancelling => {}
        }
        self.progress.waits(None);
    }

    /// Ends with an error that is for a person. What a journal knows stays, for whoever goes on with it.
    async fn leave(&self, error: Error) -> Result<Report> {
        if self.journal.is_kept() {
            let is_blank = self.journal.read(|state| state.is_blank() && state.ended.is_none());
            // What was found in the checkpoint is still in it, whatever is done about it at the source.
            let renewed = match error {
                Error::Findings { .. } => self.journal.note(Entry::Outdated { why: error.to_string() }).await,
                _ if is_blank => self.journal.remove(),
                _ => Ok(()),
            };
            return worse(Err(error), renewed, "could not write into the journal");
        }
        worse(Err(error), self.tidy_up().await, "could not clean up at the source")
    }

    /// A number for the job in the upper half, and one in the lower half that is greater for each attempt.
    pub(super) fn attempt_number(&self) -> u64 {
        let job = crc32fast::hash(self.journal.header().job.as_bytes());
        // In hundredths of a second it comes round after more than a year.
        u64::from(job) << 32 | (UnixMillis::now().0 / 10) & u64::from(u32::MAX)
    }

    /// The slots that are not at the target. The routing layer is asked about those whose switch may have been sent.
    pub(super) async fn slots_left(&self) -> Result<SlotSet> {
        self.check_switch()?;
        let (moved, approached) = self.journal.read(|state| (state.at_target(), state.approached.clone()));
        let mut left: SlotSet = self.options.slots.iter().filter(|slot| !moved.contains(*slot)).collect();
        let mut found = SlotSet::new();
        for slot in approached.iter().filter(|slot| !moved.contains(*slot)) {
            if self.routing.owner(slot).await? == Owner::Target {
                found.insert(slot);
            }
        }
        if !found.is_empty() {
            info!(slots = %found, "were switched before");
            found.iter().for_each(|slot| {
                left.remove(slot);
            });
            self.note_switched(found).await?;
        }
        self.progress.have_switched(self.journal.at_target());
        Ok(left)
    }

    /// Only whoever routes the clients knows whether a switch was sent by a process that died over it.
    fn check_switch(&self) -> Result<()> {
        let (switching, leaves_target) = self.journal.read(|state| (state.switching.clone(), state.leaves_target));
        let is_unknown = self.journal.is_resumed() && !self.routing.knows_earlier_switches() && !leaves_target;
        match switching {
            Some((slots, _)) if is_unknown => Err(Error::Routing {
                what: format!(
                    "the clients of slots {slots} may have been sent to the {} when the mover died, and nobody but you \
                     knows: `slotmover cancel --leave-target` tidies up and deletes nothing at the target{}",
                    self.target.side,
                    match self.target.side {
                        Side::Target => "; if they are at the source still, begin again with --replace",
                        _ => "",
                    }
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Slots that those before us have sent a switch of, and that are at the target by now.
    async fn note_switched(&self, slots: SlotSet) -> Result<()> {
        let switching = self.journal.read(|state| state.switching.clone());
        // Where it is not known how the log ended behind their fence, there is nothing to watch for.
        let unknown = BinlogOffset::new(u32::MAX, u64::MAX);
        let end =
            switching.filter(|(sent, _)| slots.iter().all(|slot| sent.contains(slot))).map_or(unknown, |(_, end)| end);
        self.journal.note(Entry::Switched { slots: Slots(slots), end: Offset(end), micros: 0 }).await
    }

    /// Takes back all that was done, but for slots that were switched: the source is as before, and the target holds nothing
    /// of the others.
    async fn take_back(&self) -> Result<()> {
        self.progress.waits(Some("what was done is taken back".to_owned()));
        let (left, tidied) = (self.slots_left().await?, self.tidy_up().await);
        let is_ours = self.journal.read(|state| state.target != Holding::Theirs && !state.leaves_target);
        if is_ours && !left.is_empty() {
            let options = &self.options;
            let mut target = Target::connect(&self.target, options.slot_count, options.hyperloglog).await?;
            target.outlive(&self.journal.read(|state| state.connections.clone())).await?;
            self.empty(&mut target, &left).await?;
        }
        tidied?;
        self.progress.waits(None);
        self.journal.note(Entry::Ended { outcome: Outcome::Cancelled }).await
    }

    /// Deletes what the target holds of slots that the source serves. Of any other slot nothing is: somebody may have sent
    /// its clients to the target.
    ///
    /// # Errors
    /// [`Error::Unfit`] when it holds keys of a slot that the source does not serve.
    pub(super) async fn empty(&self, target: &mut Target, slots: &SlotSet) -> Result<()> {
        let (mut deleted, mut asked, mut cursor) = (0, SlotSet::new(), Some("0".to_owned()));
        while let Some(at) = cursor {
            let (keys, next) = target.keys(slots, &at).await?;
            for slot in keys.iter().map(|key| target.slot_of(key)) {
                if !asked.insert(slot) {
                    continue;
                }
                match self.routing.owner(slot).await? {
                    Owner::Source => {}
                    owner => {
                        let what = format!("slot {slot} is served by {owner}, so nothing of it is deleted");
                        return Err(target.endpoint().unfit(
                            what,
                            "leave such slots out; `slotmover cancel --leave-target` deletes nothing there",
                        ));
                    }
                }
            }
            target.delete(&keys).await?;
            deleted += keys.len();
            cursor = next;
        }
        info!(deleted, "deleted keys of these slots at the target");
        Ok(())
    }

    /// Removes every directory of ours and restores the settings of both servers.
    async fn tidy_up(&self) -> Result<()> {
        let (here, back) = (self.tidy_up_way().await, self.way_back().tidy_up_way().await);
        match self.journal.read(|state| state.leaves_target) {
            // That server may be gone for good.
            true => here.map(|()| back.unwrap_or_else(|error| warn!(%error, "could not tidy up at the target"))),
            false => here.and(back),
        }
    }

    /// What this way, there or back, has changed. Directories go first: they tell other jobs that we need the log.
    pub(super) async fn tidy_up_way(&self) -> Result<()> {
        let mut outcome = discard(&self.source, &self.journal).await;
        for (node, endpoint) in [(Node::Source, &self.source), (Node::Target, &self.target)] {
            let is_changed = self.journal.read(|state| state.settings.iter().any(|setting| setting.node == node));
            if is_changed {
                let connected: Result<Client> = endpoint.connect().await;
                outcome = outcome.and(match connected {
                    Ok(mut client) => restore(&mut client, node, &self.journal).await,
                    Err(error) => Err(error),
                });
            }
        }
        outcome
    }
}

/// What follows an error.
enum Reaction {
    /// The same from the journal's last entry on.
    Again(Duration),
    /// From a new checkpoint.
    Renew,
    /// Everything is taken back.
    TakeBack,
    /// It is for a person.
    End,
}

/// How long it is tried again, and how often from a new checkpoint.
struct Patience {
    /// Since when no attempt has got anywhere.
    since: Option<Instant>,
    last: Instant,
    pause: Duration,
    renewals: u32,
    /// The error that was logged last.
    told: String,
}

impl Patience {
    fn new() -> Self {
        Self { since: None, last: Instant::now(), pause: PAUSE_FIRST, renewals: 0, told: String::new() }
    }

    /// How long to wait before the next attempt; `None` when it was tried for so long.
    fn next(&mut self, longest: Duration) -> Option<Duration> {
        // An attempt that lasted has got somewhere.
        if self.last.elapsed() > self.pause + LASTED {
            (self.since, self.pause) = (None, PAUSE_FIRST);
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let pause = self.pause;
        self.last = Instant::now();
        self.pause = (self.pause * 2).min(PAUSE_LONGEST);
        (since.elapsed() < longest).then_some(pause)
    }

    fn may_renew(&mut self) -> bool {
        self.renewals += 1;
        self.renewals <= RENEWALS
    }
}

const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// A server that comes back is found within that.
const PAUSE_LONGEST: Duration = Duration::from_secs(2);

/// How long the routing layer is waited for.
const ROUTING_MAX: Duration = Duration::from_secs(60);

/// An attempt of this length counts as one that got somewhere.
const LASTED: Duration = Duration::from_secs(20);

/// New checkpoints that one process takes: whatever needs more of them has another cause.
const RENEWALS: u32 = 5;
