// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;
use std::time::{Duration, Instant};

use replication::BinlogOffset;

use crate::Result;
use crate::flow::{Mark, Watermark};
use crate::job::journal::{Entry, Journal, Place};
use crate::record::Offset;

/// Writes down now and then how far the target is, so that whoever comes after us need not begin again.
pub(super) struct Trail {
    journal: Arc<Journal>,
    /// True once the line has landed up to there.
    next: Option<Step>,
    /// What was written last, and when.
    last: Option<(Stand, Instant)>,
    has_told_late: bool,
}

struct Step {
    mark: Mark,
    stand: Stand,
}

/// How far the target is.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Stand {
    /// Every change before it is there; while the copy goes on, every change of a key that is behind these places.
    pub(super) offset: BinlogOffset,
    pub(super) places: Option<Vec<Place>>,
}

impl Trail {
    pub(super) fn new(journal: &Arc<Journal>) -> Self {
        Self { journal: Arc::clone(journal), next: None, last: None, has_told_late: false }
    }

    /// The target will be there once the line has come to this mark.
    pub(super) fn will_be(&mut self, stand: Stand, mark: Mark) {
        let is_new = self.last.as_ref().is_none_or(|(last, _)| *last != stand);
        if self.next.is_none() && is_new {
            self.next = Some(Step { mark, stand });
        }
    }

    /// Writes down that writes came too late: whoever comes after us begins behind them, and does not see them.
    pub(super) async fn tell_late(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.has_told_late, true) {
            self.journal.note(Entry::Late).await?;
        }
        Ok(())
    }

    /// Writes down where the target is, if that is known and was not written just now.
    pub(super) async fn write(&mut self, watermark: &Watermark) -> Result<()> {
        let is_due = self.last.as_ref().is_none_or(|(_, at)| at.elapsed() >= STEP);
        let Some(Step { stand, .. }) = self.next.take_if(|next| is_due && watermark.has_reached(&next.mark)) else {
            return Ok(());
        };
        let offset = Offset(stand.offset);
        self.journal
            .note(match stand.places.clone() {
                Some(places) => Entry::Copied { places, offset },
                None => Entry::Followed { offset },
            })
            .await?;
        self.last = Some((stand, Instant::now()));
        Ok(())
    }
}

/// Between two entries: what is done again after a crash is little more than what was done in this time.
const STEP: Duration = Duration::from_millis(300);
