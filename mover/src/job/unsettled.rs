// SPDX-License-Identifier: Apache-2.0
//! Keys that were read while the log went on, and what the log says about them afterwards.
//!
//! The log's end was noted before the read, and again after it when every change that the read may have seen was in the
//! log. An entry of the key before the first place was seen by the read. One between the two may or may not have been.
//! With none there, the read is the key's state at the second place.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use replication::{BinlogOffset, Extent};

use crate::job::dirty::Dirty;
use crate::source::{Known, Unsettled, Wanted};

/// Keys that wait for the log to pass by the second place.
#[derive(Debug)]
pub(super) struct Waiting {
    known: Arc<Known>,
    keys: HashMap<Bytes, Read>,
}

#[derive(Debug)]
struct Read {
    what: Unsettled,
    from: BinlogOffset,
    until: BinlogOffset,
}

impl Waiting {
    pub(super) fn new(known: &Arc<Known>) -> Self {
        Self { known: Arc::clone(known), keys: HashMap::new() }
    }

    /// Waits for what was read between these ends of the log, and has landed.
    pub(super) fn add(&mut self, read: Vec<Unsettled>, from: BinlogOffset, until: BinlogOffset, dirty: &mut Dirty) {
        for what in read {
            match (self.keys.len() < WAITING_MAX, what) {
                (true, what) => drop(self.keys.insert(what.key().clone(), Read { what, from, until })),
                (false, Unsettled::Cut(Wanted { key, .. })) => dirty.insert(&key, Extent::Whole),
                // It is not exact then.
                (false, Unsettled::List(_)) => {}
            }
        }
    }

    /// Notes a change, of which the entry ends here, as far as the key's read has not settled it.
    pub(super) fn pass(&mut self, key: &Bytes, extent: Extent, end: BinlogOffset, dirty: &mut Dirty) {
        let Some(Read { what, from, until }) = self.keys.get(key) else { return dirty.insert(key, extent) };
        match what {
            // That it changed must still be seen.
            Unsettled::List(_) if end <= *from && matches!(extent, Extent::Steps(_)) => {
                return dirty.insert(key, Extent::Steps(Vec::new()));
            }
            Unsettled::List(_) if end <= *until => dirty.insert(key, Extent::Whole),
            Unsettled::List(_) => {
                self.known.learn_exact(key);
                dirty.insert(key, extent);
            }
            Unsettled::Cut(wanted) => {
                if end <= *until {
                    dirty.insert(key, wanted.extent.clone());
                }
                dirty.insert(key, extent);
            }
        }
        self.keys.remove(key);
    }

    /// The log has been read up to here.
    pub(super) fn reached(&mut self, position: BinlogOffset) {
        for (key, read) in self.keys.extract_if(|_, read| read.until <= position) {
            if let Unsettled::List(_) = read.what {
                self.known.learn_exact(&key);
            }
        }
    }

    /// Whether a key must still be looked at again that no later change may name.
    pub(super) fn is_unsettled(&self) -> bool {
        self.keys.values().any(|read| matches!(read.what, Unsettled::Cut(_)))
    }

    /// Forgets a key that is about to be read anew.
    pub(super) fn forget(&mut self, key: &Bytes) {
        self.keys.remove(key);
    }

    /// Forgets all of them: the source was flushed.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
    }
}

/// Keys that wait at most. Their names, and those of their elements, are those of a few rounds.
const WAITING_MAX: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use replication::{Cut, ListEnd, ListStep};

    use super::*;

    const FROM: BinlogOffset = BinlogOffset::new(0, 100);
    const UNTIL: BinlogOffset = BinlogOffset::new(1, 50);

    struct Trial {
        known: Arc<Known>,
        waiting: Waiting,
        dirty: Dirty,
    }

    fn trial(what: Unsettled) -> Trial {
        let (known, mut dirty) = (Arc::new(Known::new()), Dirty::default());
        let mut waiting = Waiting::new(&known);
        waiting.add(vec![what], FROM, UNTIL, &mut dirty);
        Trial { known, waiting, dirty }
    }

    fn step() -> ListStep {
        ListStep::Pop { end: ListEnd::Head, count: 1, may_be_served: false }
    }

    impl Trial {
        fn pass(&mut self, extent: Extent, end: BinlogOffset) -> Vec<Extent> {
            self.waiting.pass(&"k".into(), extent, end, &mut self.dirty);
            self.dirty.take(usize::MAX, |_| true).into_iter().map(|wanted| wanted.extent).collect()
        }

        fn is_exact(&self) -> bool {
            self.known.may_step(&"k".into(), &step())
        }
    }

    #[test]
    fn a_list_is_exact_once_the_log_was_silent_about_it() {
        let mut trial = trial(Unsettled::List("k".into()));
        // The read has seen this one.
        assert_eq!(trial.pass(Extent::Steps(vec![step()]), FROM), [Extent::Steps(vec![])]);
        assert!(!trial.is_exact());
        let next = BinlogOffset::new(1, 51);
        assert_eq!(trial.pass(Extent::Steps(vec![step()]), next), [Extent::Steps(vec![step()])]);
        assert!(trial.is_exact());
    }

    #[test]
    fn a_list_is_exact_once_the_log_was_read_past_it() {
        let mut trial = trial(Unsettled::List("k".into()));
        trial.waiting.reached(BinlogOffset::new(1, 49));
        assert!(!trial.is_exact());
        trial.waiting.reached(UNTIL);
        assert!(trial.is_exact());
    }

    #[test]
    fn a_list_that_changed_meanwhile_is_read_again() {
        for end in [BinlogOffset::new(0, 101), UNTIL] {
            let mut trial = trial(Unsettled::List("k".into()));
            assert_eq!(trial.pass(Extent::Steps(vec![step()]), end), [Extent::Whole]);
            trial.waiting.reached(UNTIL);
            assert!(!trial.is_exact());
        }
        let mut trial = trial(Unsettled::List("k".into()));
        assert_eq!(trial.pass(Extent::Elements(vec!["f".into()]), FROM), [Extent::Whole]);
    }

    #[test]
    fn a_cut_is_looked_at_again_with_all_that_was_named_before() {
        let cut = |elements: &[&'static str]| {
            let elements: Vec<Bytes> = elements.iter().map(|element| Bytes::from(*element)).collect();
            Extent::Cut { elements, cut: Cut::LOW }
        };
        let wanted = || Unsettled::Cut(Wanted { key: "k".into(), extent: cut(&["a"]) });
        let again = trial(wanted()).pass(Extent::Elements(vec!["b".into()]), UNTIL);
        let [Extent::Cut { elements, cut: Cut::LOW }] = &again[..] else { panic!("{again:?}") };
        assert_eq!(elements.len(), 2);
        let later = trial(wanted()).pass(Extent::Elements(vec!["b".into()]), BinlogOffset::new(1, 51));
        assert_eq!(later, [Extent::Elements(vec!["b".into()])]);
    }
}
