// SPDX-License-Identifier: Apache-2.0
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use replication::Extent;

use crate::source::Wanted;

/// Keys that changed and have not been read since: each once, however often it changed.
#[derive(Default, Debug)]
pub(super) struct Dirty {
    keys: HashMap<Bytes, Elements>,
}

#[derive(Debug)]
enum Elements {
    All,
    Some(HashSet<Bytes>),
}

impl Dirty {
    /// Notes a change. It copies what it keeps: a slice of the log would hold a block of it in memory.
    pub(super) fn insert(&mut self, key: &Bytes, extent: Extent) {
        let key = Bytes::copy_from_slice(key);
        let entry = self.keys.entry(key).or_insert_with(|| Elements::Some(HashSet::new()));
        match (entry, extent) {
            (Elements::All, _) => {}
            (entry, Extent::Whole) => *entry = Elements::All,
            (Elements::Some(known), Extent::Elements(elements)) => {
                known.extend(elements.iter().map(|element| Bytes::copy_from_slice(element)));
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

    /// Takes those keys out for which this is so.
    pub(super) fn remove(&mut self, is_one: impl Fn(&[u8]) -> bool) -> Vec<Bytes> {
        self.keys.extract_if(|key, _| is_one(key)).map(|(key, _)| key).collect()
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> Vec<Wanted> {
        let keys = std::mem::take(&mut self.keys);
        keys.into_iter()
            .map(|(key, elements)| {
                let extent = match elements {
                    Elements::All => Extent::Whole,
                    Elements::Some(elements) => Extent::Elements(elements.into_iter().collect()),
                };
                Wanted { key, extent }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_change_swallows_those_of_elements() {
        let mut dirty = Dirty::default();
        dirty.insert(&"h".into(), Extent::Elements(vec!["a".into()]));
        dirty.insert(&"h".into(), Extent::Elements(vec!["a".into(), "b".into()]));
        let [Wanted { extent: Extent::Elements(elements), .. }] = &dirty.take()[..] else { panic!("one key") };
        assert_eq!(elements.len(), 2);
        dirty.insert(&"h".into(), Extent::Elements(vec!["a".into()]));
        dirty.insert(&"h".into(), Extent::Whole);
        dirty.insert(&"h".into(), Extent::Elements(vec!["c".into()]));
        assert_eq!(dirty.take(), [Wanted::whole("h")]);
        assert!(dirty.is_empty());
    }
}
