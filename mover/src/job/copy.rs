// SPDX-License-Identifier: Apache-2.0
//! One scan of the checkpoint, an instance per thread, into the line.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use replication::SlotSet;
use snapshot::{Checkpoint, FaultKind, Findings, Part, Piece, ScanRequest, Summary};
use tokio::task::JoinSet;

use crate::batch::Write;
use crate::flow::{Feed, Line, Watermark};
use crate::job::JobOptions;
use crate::job::journal::{At, Course, Entry, Found, Journal, Place};
use crate::job::reach::{self, Reach};
use crate::record::Key;
use crate::source::Known;
use crate::{Error, Result};

/// The copy alone, as a job does it: for whoever measures it.
///
/// # Errors
/// What stopped the scan or the line.
#[doc(hidden)]
pub async fn copy(checkpoint: &Arc<Checkpoint>, options: &JobOptions, line: &Line) -> Result<u64> {
    let reach = Arc::new(Reach::start(checkpoint.instances(), options.slot_count));
    let journal = Arc::new(Journal::volatile(Course::default()));
    let plan =
        CopyPlan { checkpoint, slots: &options.slots, options, known: &Arc::new(Known::new()), journal: &journal };
    plan.run(line, &reach).await?;
    Ok(reach.places().iter().map(|place| place.keys).sum())
}

/// What is to be copied.
pub(super) struct CopyPlan<'a> {
    pub(super) checkpoint: &'a Arc<Checkpoint>,
    pub(super) slots: &'a SlotSet,
    pub(super) options: &'a JobOptions,
    pub(super) known: &'a Arc<Known>,
    pub(super) journal: &'a Arc<Journal>,
}

impl CopyPlan<'_> {
    /// Copies from where `reach` is, tells it how far it has come, and returns when the target has answered for all of it.
    ///
    /// # Errors
    /// [`Error::Findings`] at the end when something cannot be moved as it is, or what stopped the scan or the line.
    pub(super) fn run(&self, line: &Line, reach: &Arc<Reach>) -> impl Future<Output = Result<Found>> + Send + use<> {
        let mut scans = JoinSet::new();
        for (instance, place) in reach.places().into_iter().enumerate().filter(|(_, place)| place.at != At::End) {
            let copy = Copy {
                instance,
                feed: line.feed(),
                known: Arc::clone(self.known),
                reach: Arc::clone(reach),
                journal: Arc::clone(self.journal),
                options: self.options.clone(),
            };
            let (checkpoint, request) = (Arc::clone(self.checkpoint), self.request(&place));
            scans.spawn_blocking(move || copy.run(&checkpoint, request));
        }
        let before = self.journal.read(|state| state.found.clone());
        end(scans, Arc::clone(line.watermark()), before, self.options.clone())
    }

    fn request(&self, place: &Place) -> ScanRequest {
        let after = match &place.at {
            At::Key(Key(key)) => Some(key.clone()),
            At::Start | At::End => None,
        };
        ScanRequest { after, ..ScanRequest::new(self.slots.clone()) }
    }
}

async fn end(
    mut scans: JoinSet<Result<Findings>>,
    watermark: Arc<Watermark>,
    before: Found,
    options: JobOptions,
) -> Result<Found> {
    let mut findings = Findings::default();
    while let Some(scanned) = scans.join_next().await {
        findings.merge(scanned.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?);
    }
    // The scans have pushed and flushed everything: what is sent by now is the whole copy.
    watermark.reached(&watermark.mark()).await?;
    let now = sort_findings(&findings, &options);
    let all = |mut before: Vec<String>, now: Vec<String>| {
        before.extend(now);
        before
    };
    let unmovable = all(before.unmovable, now.unmovable);
    match unmovable.is_empty() {
        true => Ok(Found { noted: all(before.noted, now.noted), unmovable }),
        false => Err(cannot_move(&unmovable)),
    }
}

/// The error that a checkpoint holds what must not be moved as it is.
pub(super) fn cannot_move(unmovable: &[String]) -> Error {
    Error::Findings {
        what: unmovable.join("; "),
        help: "see `slotmover inspect checkpoint`; corrupt names are left behind with `--leave-corrupt-names`",
    }
}

/// The copy of one instance.
struct Copy {
    instance: usize,
    feed: Feed,
    known: Arc<Known>,
    reach: Arc<Reach>,
    journal: Arc<Journal>,
    options: JobOptions,
}

impl Copy {
    /// Scans to the end, and says now and then how far it is.
    fn run(mut self, checkpoint: &Checkpoint, mut request: ScanRequest) -> Result<Findings> {
        let mut findings = Findings::default();
        loop {
            let (begin, mut outcome) = (Instant::now(), Ok(None));
            let summary = checkpoint.scan(self.instance, &request, |piece| {
                outcome = self.take(piece);
                match &outcome {
                    // The scan is broken off behind a key: what it has found out about it is complete then.
                    Ok(Some(_)) if begin.elapsed() < HAND_OVER => ControlFlow::Continue(()),
                    Ok(None) => ControlFlow::Continue(()),
                    Ok(Some(_)) | Err(_) => ControlFlow::Break(()),
                }
            })?;
            // Broken off, it was behind this key.
            request.after = outcome?.filter(|_| !summary.complete);
            self.hand_over(&summary, request.after.as_ref())?;
            findings.merge(summary.findings);
            if request.after.is_none() {
                return Ok(findings);
            }
        }
    }

    /// Gives the key when it is complete.
    fn take(&mut self, piece: Piece) -> Result<Option<Bytes>> {
        learn(&self.known, &piece);
        let complete = piece.part.is_last().then(|| piece.key.clone());
        self.feed.push_blocking(Write::Piece(piece))?;
        Ok(complete)
    }

    fn hand_over(&mut self, summary: &Summary, last: Option<&Bytes>) -> Result<()> {
        self.feed.flush_blocking()?;
        if !summary.findings.is_empty() {
            let Found { noted, unmovable } = sort_findings(&summary.findings, &self.options);
            // Before it is said that this part is behind: whoever goes on from there does not see it again.
            self.journal.note_soon(Entry::Found { noted, unmovable })?;
        }
        // A stream without entries is copied, and is no key as a server counts them.
        self.reach.add_lived(summary.keys - summary.without_entries + summary.expired_since);
        let at = last.map_or(At::End, reach::at);
        self.reach.passed(self.instance, at, summary.keys, summary.bytes);
        Ok(())
    }
}

/// Tells findings that may stay behind from those that stop the move.
pub(super) fn sort_findings(findings: &Findings, options: &JobOptions) -> Found {
    let mut found = Found::default();
    for (kind, count) in findings.counts() {
        let is_left = match kind {
            FaultKind::CorruptName => options.leave_corrupt_names,
            // The server itself does not find these, so no client misses them.
            FaultKind::WrongInstance => true,
            kind => !kind.leaves_out(),
        };
        let lines = if is_left { &mut found.noted } else { &mut found.unmovable };
        lines.push(line(findings, kind, count));
    }
    found
}

/// One kind of finding, and the first keys of it.
fn line(findings: &Findings, kind: FaultKind, count: u64) -> String {
    let kept = findings.kept().iter().filter(|finding| finding.fault.kind() == kind);
    let examples: Vec<String> = kept.take(EXAMPLES).map(ToString::to_string).collect();
    format!("{count} of {kind}: {}", examples.join(", "))
}

/// Remembers big keys, so that their first change is already read by element, and lists, which are exactly as they were at
/// the checkpoint's place in the log.
fn learn(known: &Known, piece: &Piece) {
    let elements = match piece.part {
        Part::Whole => piece.body.len(),
        Part::First => usize::MAX,
        Part::Middle | Part::Last => return,
    };
    known.learn_copied(&piece.key, piece.body.kind(), elements, piece.expire_at.is_some());
}

/// So often it says how far it has come, for which all batches must go as they are.
const HAND_OVER: Duration = Duration::from_millis(100);

/// Keys that a line about findings names.
const EXAMPLES: usize = 5;
