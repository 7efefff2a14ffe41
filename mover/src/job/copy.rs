// SPDX-License-Identifier: Apache-2.0
//! One scan of the checkpoint, an instance per thread, into the line.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use snapshot::{Checkpoint, FaultKind, Findings, Part, Piece, ScanRequest, Summary};
use tokio::task::JoinSet;

use crate::batch::Write;
use crate::flow::{Feed, Line, Watermark};
use crate::job::JobOptions;
use crate::job::reach::Reach;
use crate::source::Known;
use crate::{Error, Result};

/// What was copied.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) keys: u64,
    pub(super) bytes: u64,
    /// What was not as it should be, one line per kind.
    pub(super) findings: Vec<String>,
}

/// The copy alone, as a job does it: for whoever measures it.
///
/// # Errors
/// What stopped the scan or the line.
#[doc(hidden)]
pub async fn copy(checkpoint: &Arc<Checkpoint>, options: &JobOptions, line: &Line) -> Result<u64> {
    let reach = Arc::new(Reach::new(checkpoint.instances(), options.slot_count));
    run(checkpoint, options, line, &Arc::new(Known::new()), &reach).await.map(|copied| copied.keys)
}

/// Copies the wanted slots and returns when the target has answered for all of it. `reach` says how far it has come.
pub(super) fn run(
    checkpoint: &Arc<Checkpoint>,
    options: &JobOptions,
    line: &Line,
    known: &Arc<Known>,
    reach: &Arc<Reach>,
) -> impl Future<Output = Result<Copied>> + Send + use<> {
    let mut scans = JoinSet::new();
    for instance in 0..checkpoint.instances() {
        let checkpoint = Arc::clone(checkpoint);
        let request = ScanRequest::new(options.slots.clone());
        let mut copy = Copy {
            instance,
            feed: line.feed(),
            known: Arc::clone(known),
            reach: Arc::clone(reach),
            handed_over: Instant::now(),
        };
        scans.spawn_blocking(move || {
            let mut outcome = Ok(());
            let summary = checkpoint.scan(instance, &request, |piece| {
                outcome = copy.take(piece);
                match outcome {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            })?;
            outcome?;
            copy.end()?;
            Ok::<Summary, Error>(summary)
        });
    }
    end(scans, Arc::clone(line.watermark()), options.clone())
}

async fn end(mut scans: JoinSet<Result<Summary>>, watermark: Arc<Watermark>, options: JobOptions) -> Result<Copied> {
    let mut total = Summary::default();
    while let Some(scanned) = scans.join_next().await {
        total = total.merge(scanned.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?);
    }
    // The scans have pushed and flushed everything: what is sent by now is the whole copy.
    watermark.reached(&watermark.mark()).await?;
    let (noted, unmovable) = sort_findings(&total.findings, &options);
    match unmovable.is_empty() {
        true => Ok(Copied { keys: total.keys, bytes: total.bytes, findings: noted }),
        false => Err(Error::Findings {
            what: unmovable.join("; "),
            help: "see `slotmover inspect checkpoint`; corrupt names are left behind with `--leave-corrupt-names`",
        }),
    }
}

/// The copy of one instance.
struct Copy {
    instance: usize,
    feed: Feed,
    known: Arc<Known>,
    reach: Arc<Reach>,
    handed_over: Instant,
}

impl Copy {
    fn take(&mut self, piece: Piece) -> Result<()> {
        learn(&self.known, &piece);
        let complete = piece.part.is_last().then(|| piece.key.clone());
        self.feed.push_blocking(Write::Piece(piece))?;
        match complete {
            Some(key) if self.handed_over.elapsed() >= HAND_OVER => {
                self.feed.flush_blocking()?;
                self.reach.passed(self.instance, &key);
                self.handed_over = Instant::now();
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn end(mut self) -> Result<()> {
        self.feed.flush_blocking()?;
        self.reach.ended(self.instance);
        Ok(())
    }
}

/// Tells findings that may stay behind from those that stop the move.
fn sort_findings(findings: &Findings, options: &JobOptions) -> (Vec<String>, Vec<String>) {
    findings.counts().map(|(kind, count)| (kind, line(findings, kind, count))).fold(
        Default::default(),
        |(mut noted, mut unmovable), (kind, line)| {
            let left = match kind {
                FaultKind::CorruptName => options.leave_corrupt_names,
                // The server itself does not find these, so no client misses them.
                FaultKind::WrongInstance => true,
                kind => !kind.leaves_out(),
            };
            if left { &mut noted } else { &mut unmovable }.push(line);
            (noted, unmovable)
        },
    )
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
