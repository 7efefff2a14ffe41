// SPDX-License-Identifier: Apache-2.0
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use replication::{BinlogOffset, Extent, ListStep};

/// Keys that a follower has seen change, for whoever asked to be told.
#[derive(Default)]
pub(super) struct Noted {
    watched: Option<Watched>,
    since: Option<Backlog>,
}

/// Some keys, and what the log names of them from a place on.
struct Watched {
    from: BinlogOffset,
    keys: HashMap<Bytes, Touched>,
}

/// What of a key the log has named: the follower reads just that again.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Touched {
    /// All of it.
    is_whole: bool,
    /// More of it than is remembered.
    is_unclear: bool,
    /// Elements at the ends that it does not name.
    is_cut: bool,
    elements: HashSet<Bytes>,
    /// Of a list, whose elements have no names.
    steps: Vec<ListStep>,
}

impl Touched {
    /// Whether anything of it was.
    pub(super) fn is_any(&self) -> bool {
        *self != Self::default()
    }

    /// Whether all of it was.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Whether nobody can tell what of it was.
    pub(super) fn is_unclear(&self) -> bool {
        self.is_unclear
    }

    /// Whether elements that only the older of two readings has may have gone unnamed.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// What was done to a list.
    pub(super) fn steps(&self) -> &[ListStep] {
        &self.steps
    }

    /// The elements.
    pub(super) fn elements(&self) -> impl Iterator<Item = &Bytes> {
        self.elements.iter()
    }

    /// Takes a change in.
    pub(super) fn add(&mut self, extent: &Extent) {
        let elements = match extent {
            Extent::Whole | Extent::Value { .. } => return self.is_whole = true,
            Extent::Steps(steps) => {
                if self.steps.len() + steps.len() > STEPS_MAX {
                    self.is_unclear = true;
                } else {
                    self.steps.extend(steps.iter().map(|step| step.clone().detached()));
                }
                return;
            }
            Extent::Elements(elements) => elements,
            Extent::Cut { elements, cut } => {
                self.is_cut |= cut.is_open();
                elements
            }
        };
        if self.elements.len() + elements.len() > ELEMENTS_MAX {
            self.is_unclear = true;
        } else {
            self.elements.extend(elements.iter().map(|element| Bytes::copy_from_slice(element)));
        }
    }
}

/// Keys that are to be looked at some time: no more than fit into a bounded memory.
#[derive(Default)]
pub(super) struct Backlog {
    keys: HashSet<Bytes>,
    size: usize,
    /// Changes of keys for which there was no room.
    passed_over: u64,
}

impl Noted {
    /// So much of a key has changed, as an entry says that begins at `start`.
    pub(super) fn note(&mut self, key: &[u8], extent: &Extent, start: BinlogOffset) {
        if let Some(touched) = self.watched.as_mut().filter(|watched| start >= watched.from)
            && let Some(touched) = touched.keys.get_mut(key)
        {
            touched.add(extent);
        }
        if let Some(since) = &mut self.since {
            // A copy, for the key itself is a part of a larger piece of memory.
            since.add(&Bytes::copy_from_slice(key));
        }
    }

    /// Remembers what of these keys changes behind this place in the log: for a short time.
    pub(super) fn watch(&mut self, from: BinlogOffset, keys: impl Iterator<Item = Bytes>) {
        self.watched = Some(Watched { from, keys: keys.map(|key| (key, Touched::default())).collect() });
    }

    /// What of the keys that were to be watched has changed since.
    pub(super) fn touched(&mut self) -> HashMap<Bytes, Touched> {
        self.watched.take().map(|watched| watched.keys).unwrap_or_default()
    }

    /// From now on gathers keys that change, however long that is.
    pub(super) fn gather(&mut self) {
        self.since.get_or_insert_default();
    }

    /// Takes out some of the keys that were gathered, and how many changes were passed over since that was last asked.
    pub(super) fn take(&mut self, most: usize) -> (Vec<Bytes>, u64) {
        let Some(since) = &mut self.since else { return (Vec::new(), 0) };
        let keys: Vec<Bytes> = since.keys.iter().take(most).cloned().collect();
        for key in &keys {
            since.keys.remove(key);
            since.size -= cost(key);
        }
        (keys, std::mem::take(&mut since.passed_over))
    }
}

impl Backlog {
    fn add(&mut self, key: &Bytes) {
        match self.size + cost(key) > BACKLOG_SIZE && !self.keys.contains(key) {
            true => self.passed_over += 1,
            false if self.keys.insert(key.clone()) => self.size += cost(key),
            false => {}
        }
    }
}

/// What a key takes, about.
fn cost(key: &Bytes) -> usize {
    key.len() + 2 * size_of::<Bytes>()
}

/// Steps that are remembered of one list.
const STEPS_MAX: usize = 128;

/// Names of elements that are remembered of one key.
const ELEMENTS_MAX: usize = 1 << 16;

/// Memory for keys that were gathered: some ten thousand at least.
const BACKLOG_SIZE: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn note(noted: &mut Noted, key: &[u8]) {
        noted.note(key, &Extent::Whole, BinlogOffset::new(0, 0));
    }

    #[test]
    fn what_is_gathered_is_bounded() {
        let mut noted = Noted::default();
        note(&mut noted, b"before");
        noted.gather();
        let long = "k".repeat(10_000);
        (0..2000).for_each(|number| note(&mut noted, format!("{long}{number}").as_bytes()));
        note(&mut noted, format!("{long}0").as_bytes());
        let (keys, passed_over) = noted.take(usize::MAX);
        assert_eq!(keys.len() as u64 + passed_over, 2000);
        assert!(passed_over > 0 && keys.iter().map(cost).sum::<usize>() <= BACKLOG_SIZE);
        // Its room is free again.
        note(&mut noted, b"after");
        assert_eq!(noted.take(10), (vec![Bytes::from("after")], 0));
        assert_eq!(noted.take(10), (vec![], 0));
    }

    #[test]
    fn only_what_is_named_behind_the_place_is_touched() {
        let mut noted = Noted::default();
        let (before, from) = (BinlogOffset::new(0, 9), BinlogOffset::new(0, 10));
        noted.watch(from, ["a", "b", "c"].map(Bytes::from).into_iter());
        let elements = |names: &[&'static str]| Extent::Elements(names.iter().map(|name| Bytes::from(*name)).collect());
        noted.note(b"a", &Extent::Whole, before);
        noted.note(b"a", &elements(&["x"]), from);
        let trim = ListStep::Trim { first: 0, last: 9 };
        noted.note(b"b", &Extent::Steps(vec![trim.clone()]), from);
        noted.note(b"d", &Extent::Whole, from);
        let touched = noted.touched();
        let a = &touched[&Bytes::from("a")];
        assert!(a.is_any() && !a.is_whole() && !a.is_unclear());
        assert_eq!(a.elements().collect::<Vec<_>>(), ["x"]);
        assert_eq!(touched[&Bytes::from("b")].steps(), [trim]);
        assert!(!touched[&Bytes::from("c")].is_any());
        assert_eq!(touched.len(), 3);
        assert!(noted.touched().is_empty());
    }
}
