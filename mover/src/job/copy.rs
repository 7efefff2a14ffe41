// SPDX-License-Identifier: Apache-2.0
//! One scan of the checkpoint, an instance per thread, into the line.

use std::ops::ControlFlow;
use std::sync::Arc;

use snapshot::{Checkpoint, FaultKind, Findings, Part, Piece, ScanRequest, Summary};
use tokio::task::JoinSet;

use crate::batch::Write;
use crate::flow::Line;
use crate::job::JobOptions;
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

/// Copies the wanted slots and returns when the target has answered for all of it.
pub(super) async fn run(
    checkpoint: &Arc<Checkpoint>,
    options: &JobOptions,
    line: &Line,
    known: &Arc<Known>,
) -> Result<Copied> {
    let mut scans = JoinSet::new();
    for instance in 0..checkpoint.instances() {
        let checkpoint = Arc::clone(checkpoint);
        let known = Arc::clone(known);
        let request = ScanRequest::new(options.slots.clone());
        let mut feed = line.feed();
        scans.spawn_blocking(move || {
            let mut outcome = Ok(());
            let summary = checkpoint.scan(instance, &request, |piece| {
                learn(&known, &piece);
                outcome = feed.push_blocking(Write::Piece(piece));
                match outcome {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            })?;
            outcome?;
            feed.flush_blocking()?;
            Ok::<Summary, Error>(summary)
        });
    }
    let mut total = Summary::default();
    while let Some(scanned) = scans.join_next().await {
        total = total.merge(scanned.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?);
    }
    // The scans have pushed and flushed everything: what is sent by now is the whole copy.
    line.watermark().reached(&line.watermark().mark()).await?;
    let (noted, unmovable) = sort_findings(&total.findings, options);
    match unmovable.is_empty() {
        true => Ok(Copied { keys: total.keys, bytes: total.bytes, findings: noted }),
        false => Err(Error::Findings {
            what: unmovable.join("; "),
            help: "see `slotmover inspect checkpoint`; corrupt names are left behind with `--leave-corrupt-names`",
        }),
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

/// Remembers big keys, so that their first change is already read by element. A key comes here once, so there is nothing
/// to forget, and the many keys of one element need not touch the memory that all threads share.
fn learn(known: &Known, piece: &Piece) {
    let elements = match piece.part {
        Part::Whole if piece.body.len() == 1 => return,
        Part::Whole => piece.body.len(),
        Part::First => usize::MAX,
        Part::Middle | Part::Last => return,
    };
    known.learn(&piece.key, piece.body.kind(), elements, piece.expire_at.is_some());
}

/// Keys that a line about findings names.
const EXAMPLES: usize = 5;
