// SPDX-License-Identifier: Apache-2.0
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::Side;
use crate::flow::{Held, HeldReport, Throttle, Watermark};
use crate::job::{ChangeRates, Undo};

/// A part of a job, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Phase {
    /// Everything that can be known before the first byte moves.
    Plan,
    /// The log is held and a checkpoint is taken.
    Snapshot,
    /// One scan of the checkpoint goes to the target.
    Copy,
    /// The log is followed until the target is milliseconds behind.
    CatchUp,
    /// Both sides are compared, key by key, while the log is followed.
    Verify,
    /// The slots' clients are held and switched.
    Cutover,
    /// All slots are at the target, whose changes are brought back to the source: the job can be rolled back.
    Watch,
    /// All slots are at the target, and the source's copies are deleted.
    Cleanup,
    /// All slots are at the target, and nothing is left to do.
    Done,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plan => "plan",
            Self::Snapshot => "snapshot",
            Self::Copy => "copy",
            Self::CatchUp => "catch up",
            Self::Verify => "verify",
            Self::Cutover => "cutover",
            Self::Watch => "watch",
            Self::Cleanup => "cleanup",
            Self::Done => "done",
        })
    }
}

/// Where a job is: the one place that its parts report to and that everyone who shows it reads.
#[derive(Debug)]
pub struct Progress {
    state: Mutex<State>,
    turn: watch::Sender<Turn>,
    changes: AtomicU64,
    lag: AtomicU64,
    verified: AtomicU64,
    switched: AtomicU64,
    cleaned: AtomicU64,
    slots: usize,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    expected_keys: u64,
    watermark: Option<Arc<Watermark>>,
    throttle: Option<Arc<Throttle>>,
    waiting: Option<(String, Instant)>,
    outrun: Option<(String, Instant)>,
    undo: Option<Undo>,
    /// When it was last logged.
    outrun_told: Option<Instant>,
    rates: ChangeRates,
    sides: Option<[String; 2]>,
}

/// What whoever watches a job is woken for: its phase is another, or it has ended.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Turn {
    pub(super) ended: bool,
}

/// A look at a job's [`Progress`].
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The part it is in.
    pub phase: Phase,
    /// How long it has been in it.
    pub for_now: Duration,
    /// Keys that the target has answered for, re-reads included.
    pub keys: u64,
    /// Bytes of user data in them.
    pub bytes: u64,
    /// About how many keys there are in all.
    pub expected_keys: u64,
    /// Changes followed.
    pub changes: u64,
    /// Bytes of the log that have not been read yet.
    pub lag: u64,
    /// How fast changes come and are followed.
    pub rates: ChangeRates,
    /// Keys compared.
    pub verified: u64,
    /// Slots that are at the target.
    pub switched: u64,
    /// Keys of users that were deleted at the node that the slots have left.
    pub cleaned: u64,
    /// Slots in all.
    pub slots: usize,
    /// What it waits for, and since when it does.
    pub waiting: Option<(String, Duration)>,
    /// What holds the line back, if anything really does.
    pub held: Option<Held>,
    /// For how long it was held so far, by what.
    pub held_in_all: Vec<HeldReport>,
    /// What source and target said they are and were taken for, once they were looked at.
    pub sides: Option<[String; 2]>,
    /// Why the target gets no closer to the source although it is followed, and since when that is known.
    pub outrun: Option<(String, Duration)>,
    /// Whether it can be rolled back, once that is known.
    pub undo: Option<Undo>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, keys, expected_keys, changes, lag, verified, switched, cleaned, slots, .. } = self;
        let Self { waiting, held, outrun, undo, .. } = self;
        let is_back = *undo == Some(Undo::Begun);
        let (way, left) = if is_back { ("rollback, ", Side::Target) } else { ("", Side::Source) };
        write!(f, "{way}{phase}: ")?;
        match phase {
            Phase::Plan => write!(f, "checking both sides"),
            Phase::Snapshot => write!(f, "taking a checkpoint of the {left}"),
            Phase::Copy if expected_keys > keys => write!(f, "{keys} of about {expected_keys} keys copied"),
            Phase::Copy => write!(f, "{keys} keys copied"),
            Phase::CatchUp => write!(f, "{changes} changes followed, {lag} bytes of the log to go"),
            Phase::Verify => write!(f, "{verified} keys compared, {changes} changes followed"),
            Phase::Cutover => write!(f, "{switched} of {slots} slots at the target, {lag} bytes of the log to go"),
            Phase::Watch => write!(f, "{changes} changes brought back, {lag} bytes of the target's log to go"),
            Phase::Cleanup => write!(f, "{cleaned} keys deleted at the {left}"),
            Phase::Done => write!(f, "{switched} slots at the target"),
        }?;
        if let Some(undo) = undo.as_ref().filter(|_| !is_back) {
            write!(f, "; {undo}")?;
        }
        if let Some(held) = held {
            write!(f, "; {held}")?;
        }
        if let Some((why, since)) = outrun {
            write!(f, "; falling behind for {} s: {why}", since.as_secs())?;
        }
        match waiting {
            Some((why, since)) => write!(f, "; waiting for {} s: {why}", since.as_secs()),
            None => Ok(()),
        }
    }
}

impl Progress {
    pub(super) fn new(slots: usize) -> Self {
        let state = State {
            phase: Phase::Plan,
            since: Instant::now(),
            expected_keys: 0,
            watermark: None,
            throttle: None,
            waiting: None,
            outrun: None,
            undo: None,
            outrun_told: None,
            rates: ChangeRates::default(),
            sides: None,
        };
        Self {
            state: Mutex::new(state),
            turn: watch::Sender::new(Turn::default()),
            changes: AtomicU64::new(0),
            lag: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            switched: AtomicU64::new(0),
            cleaned: AtomicU64::new(0),
            slots,
        }
    }

    /// Where the job is now.
    pub fn status(&self) -> Status {
        let state = self.lock();
        let landed = state.watermark.as_ref().map(|watermark| watermark.landed()).unwrap_or_default();
        Status {
            phase: state.phase,
            for_now: state.since.elapsed(),
            keys: landed.keys,
            bytes: landed.bytes,
            expected_keys: state.expected_keys,
            changes: self.changes.load(Ordering::Relaxed),
            lag: self.lag.load(Ordering::Relaxed),
            rates: state.rates,
            verified: self.verified.load(Ordering::Relaxed),
            switched: self.switched.load(Ordering::Relaxed),
            cleaned: self.cleaned.load(Ordering::Relaxed),
            slots: self.slots,
            waiting: so_far(&state.waiting),
            outrun: so_far(&state.outrun),
            undo: state.undo.clone(),
            sides: state.sides.clone(),
            held: state.throttle.as_ref().and_then(|throttle| throttle.held()),
            held_in_all: state.throttle.as_ref().map(|throttle| throttle.report()).unwrap_or_default(),
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        tracing::info!(%phase, "enter");
        state.phase = phase;
        state.since = Instant::now();
        if phase == Phase::Plan {
            // Of the attempt before.
            (state.rates, state.outrun) = (ChangeRates::default(), None);
        }
        drop(state);
        self.turn.send_modify(|turn| turn.ended |= phase == Phase::Done);
    }

    /// The job is over, with a result, an error, or because it was dropped.
    pub(super) fn end(&self) {
        self.turn.send_if_modified(|turn| !std::mem::replace(&mut turn.ended, true));
    }

    pub(super) fn turns(&self) -> watch::Receiver<Turn> {
        self.turn.subscribe()
    }

    /// Says what the job waits for, or that it goes on.
    pub(super) fn waits(&self, why: Option<String>) {
        note(&mut self.lock().waiting, why);
    }

    /// Says how fast changes come and are followed, and why the target gets no closer to the source if it does not: both of
    /// one moment, so that whoever looks never sees them contradict each other.
    pub(super) fn converges(&self, rates: ChangeRates, why: Option<String>) {
        let mut state = self.lock();
        state.rates = rates;
        let is_due = state.outrun_told.is_none_or(|at| at.elapsed() > OUTRUN_AGAIN);
        if let (None, Some(why), true) = (&state.outrun, &why, is_due) {
            tracing::warn!("{why}");
            state.outrun_told = Some(Instant::now());
        }
        note(&mut state.outrun, why);
    }

    /// Says whether it can be rolled back.
    pub(super) fn undo(&self, undo: Option<Undo>) {
        self.lock().undo = undo;
    }

    /// What both sides are: the one that is left first.
    pub(super) fn found(&self, sides: [String; 2]) {
        self.lock().sides = Some(sides);
    }

    pub(super) fn expect_keys(&self, keys: u64) {
        self.lock().expected_keys = keys;
    }

    pub(super) fn watch(&self, watermark: &Arc<Watermark>) {
        self.lock().watermark = Some(Arc::clone(watermark));
    }

    pub(super) fn watch_throttle(&self, throttle: &Arc<Throttle>) {
        self.lock().throttle = Some(Arc::clone(throttle));
    }

    pub(super) fn followed(&self, changes: u64, lag: u64) {
        self.changes.store(changes, Ordering::Relaxed);
        self.lag.store(lag, Ordering::Relaxed);
    }

    pub(super) fn verified(&self, keys: u64) {
        self.verified.store(keys, Ordering::Relaxed);
    }

    /// So many slots are at the target.
    pub(super) fn have_switched(&self, slots: usize) {
        self.switched.store(slots as u64, Ordering::Relaxed);
    }

    pub(super) fn cleaned(&self, keys: u64) {
        self.cleaned.store(keys, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is plain data: whoever panicked with it has not left it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A follower at its limit falls behind now and then; the log need not have all of it.
const OUTRUN_AGAIN: Duration = Duration::from_secs(60);

/// Changes the reason, and keeps since when there is one.
fn note(noted: &mut Option<(String, Instant)>, why: Option<String>) {
    let since = noted.as_ref().map_or_else(Instant::now, |(_, since)| *since);
    *noted = why.map(|why| (why, since));
}

fn so_far(noted: &Option<(String, Instant)>) -> Option<(String, Duration)> {
    noted.as_ref().map(|(why, since)| (why.clone(), since.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_line_for_a_person() {
        let progress = Progress::new(4);
        assert_eq!(progress.status().to_string(), "plan: checking both sides");
        progress.enter(Phase::Cutover);
        progress.have_switched(1);
        progress.followed(7, 12);
        progress.waits(Some("the cutover is postponed".to_owned()));
        let text = progress.status().to_string();
        assert_eq!(
            text,
            "cutover: 1 of 4 slots at the target, 12 bytes of the log to go; waiting for 0 s: the cutover is postponed"
        );
    }

    #[test]
    fn it_says_whether_there_is_a_way_back() {
        let progress = Progress::new(4);
        progress.enter(Phase::Watch);
        progress.undo(Some(Undo::Possible { left: Duration::from_secs(90) }));
        let text = progress.status().to_string();
        assert_eq!(
            text,
            "watch: 0 changes brought back, 0 bytes of the target's log to go; can be rolled back for 90 s"
        );
        progress.enter(Phase::Cleanup);
        progress.undo(Some(Undo::Gone { why: "it is late".to_owned() }));
        let text = progress.status().to_string();
        assert_eq!(text, "cleanup: 0 keys deleted at the source; cannot be rolled back: it is late");
        progress.undo(Some(Undo::Begun));
        assert_eq!(progress.status().to_string(), "rollback, cleanup: 0 keys deleted at the target");
    }
}
