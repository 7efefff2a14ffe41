// SPDX-License-Identifier: Apache-2.0
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use replication::Extent;

use crate::source::Wanted;

/// Keys that changed and have not been read since: each once, however often it changed.
#[derive(Default, Debug)]
pub(super) struct Dirty {
    keys: HashMap<Bytes, Elements>,
    size: usize,
}

#[derive(Debug)]
enum Elements {
    All,
    Some(HashSet<Bytes>),
}

impl Dirty {
    /// Notes a change. It copies what it keeps: a slice of the log would hold a block of it in memory.
    pub(super) fn insert(&mut self, key: &Bytes, extent: Extent) {
        if !self.keys.contains_key(key) {
            self.size += weight(key);
            self.keys.insert(Bytes::copy_from_slice(key), Elements::Some(HashSet::new()));
        }
        let entry = self.keys.get_mut(key).expect("it was put there if it was missing");
        match (entry, extent) {
            (Elements::All, _) => {}
            (entry, Extent::Whole) => {
                self.size -= entry.weight();
                *entry = Elements::All;
            }
            (Elements::Some(known), Extent::Elements(elements)) => {
                for element in elements {
                    if !known.contains(&element) {
                        self.size += weight(&element);
                        known.insert(Bytes::copy_from_slice(&element));
                    }
                }
            }
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.keys.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Takes those keys out for which this is so.
    pub(super) fn remove(&mut self, is_one: impl Fn(&[u8]) -> bool) -> Vec<Bytes> {
        self.take(is_one).into_iter().map(|wanted| wanted.key).collect()
    }

    /// Takes out what is to be read of those keys for which this is so.
    pub(super) fn take(&mut self, is_due: impl Fn(&[u8]) -> bool) -> Vec<Wanted> {
        let Self { keys, size } = self;
        let due = keys.extract_if(|key, _| is_due(key));
        due.map(|(key, elements)| {
            *size -= weight(&key) + elements.weight();
            let extent = match elements {
                Elements::All => Extent::Whole,
                Elements::Some(elements) => Extent::Elements(elements.into_iter().collect()),
            };
            Wanted { key, extent }
        })
        .collect()
    }
}

impl Elements {
    fn weight(&self) -> usize {
        match self {
            Self::All => 0,
            Self::Some(elements) => elements.iter().map(weight).sum(),
        }
    }
}

/// What a key or an element takes beside the table's own room.
fn weight(bytes: &Bytes) -> usize {
    bytes.len() + ENTRY
}

/// Handle, hash table and allocator.
const ENTRY: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_change_swallows_those_of_elements() {
        let mut dirty = Dirty::default();
        dirty.insert(&"h".into(), Extent::Elements(vec!["a".into()]));
        dirty.insert(&"h".into(), Extent::Elements(vec!["a".into(), "b".into()]));
        let [Wanted { extent: Extent::Elements(elements), .. }] = &dirty.take(|_| true)[..] else { panic!("one key") };
        assert_eq!(elements.len(), 2);
        dirty.insert(&"h".into(), Extent::Elements(vec!["a".into()]));
        dirty.insert(&"h".into(), Extent::Whole);
        dirty.insert(&"h".into(), Extent::Elements(vec!["c".into()]));
        assert_eq!(dirty.take(|_| true), [Wanted::whole("h")]);
        assert!(dirty.is_empty());
        assert_eq!(dirty.size(), 0);
    }

    #[test]
    fn what_is_not_due_stays() {
        let mut dirty = Dirty::default();
        dirty.insert(&"h".into(), Extent::Elements(vec!["a".into(), "b".into()]));
        dirty.insert(&"i".into(), Extent::Elements(vec!["a".into()]));
        let size = dirty.size();
        assert_eq!(dirty.take(|key| key == b"i").len(), 1);
        assert!(dirty.size() < size && dirty.len() == 1);
        dirty.insert(&"h".into(), Extent::Whole);
        assert_eq!(dirty.take(|_| true), [Wanted::whole("h")]);
        assert_eq!(dirty.size(), 0);
    }
}
