// SPDX-License-Identifier: Apache-2.0
//! The numbers of keys that must add up: `before + created = after + expired + deleted`.
//!
//! The checkpoint tells what there was. The target's answers to the follower tell what came and went. The source's answers to
//! the clean-up tell what was left. No server announces the end of a key whose time is over, so what is missing has expired.
//! In a reverse window the way back changes the source: then the source's answers to that belong to the sum as well.
//!
//! An attempt that breaks off leaves writes without answers. The next attempt cannot tell whether these created or deleted
//! keys, so a job that goes on behind it reports no numbers rather than wrong ones.

use serde::Serialize;

use crate::batch::KeyCounts;
use crate::job::Job;

/// How many keys a move found, saw come and go, and left. A number that is not known is none.
///
/// `before + created = after + expired + deleted`. A stream without entries is no key here: a Pika neither lists nor deletes
/// one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct KeyBalance {
    /// Keys that lived when the checkpoint was complete, as it tells. Not known where the job went on behind an interruption
    /// or was given a limit on commands; `created` and `deleted` are not either then.
    pub before: Option<u64>,
    /// Keys that the log brought to a target that did not have them, as it answered; in a reverse window those that came to
    /// the source by the target's log. A key that the target had let expire meanwhile, for its new expiry had not come yet, is
    /// one that expired and one that was created.
    pub created: Option<u64>,
    /// Keys that the log took from a target that had them, as it answered; in a reverse window those that the target's log
    /// took from the source.
    pub deleted: Option<u64>,
    /// Keys that expired at either side: what is left of the sum. Known where all the others are and do add up.
    pub expired: Option<u64>,
    /// Keys that the source still had when they were deleted there, as it answered. Not known where its keys are kept, and
    /// where bringing changes back was interrupted.
    pub after: Option<u64>,
}

impl KeyBalance {
    /// What is known once every slot is at the target.
    pub(super) fn of_move(before: u64, counts: KeyCounts) -> Self {
        match counts.unclear {
            0 => Self {
                before: Some(before),
                created: Some(counts.created),
                deleted: Some(counts.deleted),
                ..Self::default()
            },
            _ => Self { before: Some(before), ..Self::default() },
        }
    }

    /// Takes what was brought back to the source, and what it had at the end. Says what is wrong where that does not add up.
    pub(super) fn close(&mut self, brought_back: KeyCounts, after: u64) -> Option<String> {
        let add = |number: Option<u64>, more| number.filter(|_| brought_back.unclear == 0).map(|number| number + more);
        self.created = add(self.created, brought_back.created);
        self.deleted = add(self.deleted, brought_back.deleted);
        self.after = Some(after);
        let (before, created, deleted) = (self.before?, self.created?, self.deleted?);
        let (there, gone) = (before + created, deleted + after);
        self.expired = there.checked_sub(gone);
        let more = gone.checked_sub(there).filter(|more| *more > 0)?;
        Some(format!(
            "the numbers of keys do not add up: {before} before and {created} created are {more} fewer than {deleted} \
             deleted and {after} after; somebody else wrote to one of the servers"
        ))
    }
}

impl Job {
    /// Whether the target is asked what comes and goes. A question costs a command, so that a limit on commands would halve
    /// what is followed; and who goes on behind an interruption would count only a part.
    pub(super) fn counts_keys(&self) -> bool {
        self.options.command_rate.is_none() && self.journal.read(|state| !state.is_written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: KeyCounts = KeyCounts { created: 0, deleted: 0, unclear: 0 };

    fn balance(before: u64, created: u64, deleted: u64) -> KeyBalance {
        KeyBalance::of_move(before, KeyCounts { created, deleted, unclear: 0 })
    }

    #[test]
    fn what_is_missing_has_expired() {
        let mut balance = balance(10, 5, 4);
        assert_eq!((balance.close(NOTHING, 9), balance.expired), (None, Some(2)));
        assert_eq!((balance.close(NOTHING, 11), balance.expired, balance.after), (None, Some(0), Some(11)));
    }

    #[test]
    fn what_was_brought_back_belongs_to_it() {
        let mut moved = balance(10, 5, 4);
        let back = KeyCounts { created: 3, deleted: 1, unclear: 0 };
        assert_eq!((moved.close(back, 12), moved.created, moved.deleted), (None, Some(8), Some(5)));
        assert_eq!(moved.expired, Some(1));
        let mut unclear = balance(10, 5, 4);
        assert_eq!(unclear.close(KeyCounts { unclear: 1, ..back }, 12), None);
        assert_eq!((unclear.created, unclear.deleted, unclear.expired), (None, None, None));
    }

    #[test]
    fn what_does_not_add_up_is_said() {
        let mut balance = balance(10, 5, 4);
        let finding = balance.close(NOTHING, 13).unwrap();
        assert!(finding.contains("10 before and 5 created are 2 fewer than 4 deleted and 13 after"), "{finding}");
        assert_eq!((balance.expired, balance.after), (None, Some(13)));
    }

    #[test]
    fn an_unknown_number_leaves_the_rest_unknown() {
        let mut unknown = KeyBalance::default();
        assert_eq!((unknown.close(NOTHING, 7), unknown.after, unknown.expired), (None, Some(7), None));
        let mut unclear = KeyBalance::of_move(3, KeyCounts { created: 1, deleted: 1, unclear: 1 });
        assert_eq!((unclear.before, unclear.created, unclear.deleted), (Some(3), None, None));
        assert_eq!((unclear.close(NOTHING, 3), unclear.expired), (None, None));
        let text = serde_json::to_string(&unclear).unwrap();
        assert_eq!(text, r#"{"before":3,"created":null,"deleted":null,"expired":null,"after":3}"#);
    }
}
