// SPDX-License-Identifier: Apache-2.0
//! What the entries of the log mean for whoever follows it.

use bytes::Bytes;
use replication::binlog::Item;
use replication::{Change, Effect, Extent};
use tracing::info;

use super::Follower;
use crate::job::unknown;
use crate::source::STRONG_REPLICATION;
use crate::{Error, Result};

impl Follower {
    /// Reads the log into the dirty set, until that is full or the log's end is reached; whether it is.
    pub(super) async fn collect(&mut self, full: usize) -> Result<(u64, bool)> {
        let outcome = self.read_log(full).await?;
        self.waiting.reached(self.tail.position());
        Ok(outcome)
    }

    async fn read_log(&mut self, full: usize) -> Result<(u64, bool)> {
        if self.flush_due {
            if self.reach.is_some() {
                return Ok((0, false));
            }
            self.flush().await?;
        }
        let (mut changes, mut items) = (0, 0);
        while self.dirty.size() < full && items < ROUND_ITEMS {
            items += 1;
            let Some(item) = self.tail.next()? else { return Ok((changes, true)) };
            self.check_term(&item)?;
            let (list, known) = match Effect::of_item(&item, self.source.endpoint().names.renames()) {
                Effect::Ignored => continue,
                Effect::Changes(list) => (list, true),
                Effect::Unknown(list) => (list, false),
            };
            let changes_before = self.changes;
            for change in list {
                match change {
                    Change::Anything => self.pass_unnamed(&item, known)?,
                    Change::All if self.reach.is_some() => {
                        self.flush_due = true;
                        return Ok((changes, false));
                    }
                    Change::All => self.flush().await?,
                    Change::Key { key, .. } if self.done.as_ref().is_some_and(|done| done.has(&key, item.end)) => {}
                    Change::Key { key, extent } if self.slots.contains(self.slot_count.slot_of(&key)) => {
                        changes += 1;
                        self.changes += 1;
                        self.noted.note(&key, &extent, item.start);
                        self.remember(&key);
                        // A checkpoint need not end where it says: what is behind that may be in it already.
                        let is_in_doubt = item.start < self.exact_from && matches!(extent, Extent::Steps(_));
                        let extent = if is_in_doubt { Extent::Whole } else { extent };
                        self.waiting.pass(&key, extent, item.end, &mut self.dirty);
                    }
                    Change::Key { key, .. } => self.late.look(&key, self.slot_count.slot_of(&key), item.start),
                }
            }
            if !known && self.changes > changes_before {
                self.unknown.note(&item);
            }
            if items % ITEMS_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok((changes, false))
    }

    /// Remembers that a key has just changed.
    fn remember(&mut self, key: &Bytes) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Bytes::copy_from_slice(key));
    }

    /// Ends the attempt behind an entry after which any key may have another value: only a new checkpoint tells. What
    /// happens at the source once no slot is followed any more concerns none of ours.
    ///
    /// # Errors
    /// [`Error::Unnamed`].
    fn pass_unnamed(&self, item: &Item, is_known: bool) -> Result<()> {
        self.unknown.note_unnamed(item);
        if self.slots.is_empty() {
            return Ok(());
        }
        let (side, command) = (self.source.endpoint().side, unknown::name_of(item));
        Err(Error::Unnamed { side, command, offset: item.start, is_known })
    }

    /// # Errors
    /// [`Error::Unfit`] for an entry of a node whose log runs ahead of its data.
    fn check_term(&self, item: &Item) -> Result<()> {
        let Some((term, offset)) = unknown::has_strong_replication(item) else { return Ok(()) };
        let what = format!("the entry at {offset} of its log has the term {term}, so it has strong replication");
        Err(self.source.endpoint().unfit(what, STRONG_REPLICATION))
    }

    /// The source was emptied. What is on the line lands first, for it would come back behind the purge. What is in the dirty
    /// set stays there: a write may land between the flush and its entry, so keys logged shortly before it may exist, and
    /// those that were read already are read once more.
    async fn flush(&mut self) -> Result<()> {
        self.flushed = true;
        self.flush_due = false;
        self.known.forget_lists();
        self.dirty.forget_steps();
        self.waiting.clear();
        self.land(self.watermark.mark()).await?;
        let purged = self.target.purge(&self.slots).await?;
        self.watermark.count_deleted(purged);
        for key in std::mem::take(&mut self.recent) {
            self.dirty.insert(&key, Extent::Whole);
        }
        info!(purged, "the source was flushed, and so were these slots at the target");
        Ok(())
    }
}

/// Keys that are read once more after a flush: more than are logged while one is under way.
const RECENT_MAX: usize = 4096;

/// Items in one round, those of other slots among them.
const ROUND_ITEMS: u64 = 131_072;

/// Items after which others may run on the thread: a few milliseconds.
const ITEMS_AT_ONCE: u64 = 4096;
