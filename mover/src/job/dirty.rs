// SPDX-License-Identifier: Apache-2.0
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use replication::{Cut, Extent, ListStep};

use crate::job::steps::Steps;
use crate::source::Wanted;

/// Keys that changed and have not been read since: each once, however often it changed.
#[derive(Default, Debug)]
pub(super) struct Dirty {
    keys: HashMap<Bytes, Part>,
    size: usize,
}

#[derive(Debug)]
enum Part {
    All,
    Value { length: usize },
    Elements(Elements),
    Steps(Steps),
}

#[derive(Default, Debug)]
struct Elements {
    names: HashSet<Bytes>,
    size: usize,
    cut: Cut,
}

impl Dirty {
    /// Notes a change. It copies what it keeps: a slice of the log would hold a block of it in memory.
    pub(super) fn insert(&mut self, key: &Bytes, extent: Extent) {
        // Whoever goes on although it is full gets less exact answers, not more memory.
        let extent = if self.size > FULL_SIZE { Extent::Whole } else { extent };
        match self.keys.get_mut(key) {
            Some(part) => {
                self.size -= part.size();
                part.add(extent);
                self.size += part.size();
            }
            None => {
                let part = Part::of(extent);
                self.size += key_size(key) + part.size();
                self.keys.insert(Bytes::copy_from_slice(key), part);
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

    /// Forgets what is known of lists but that they changed: their steps begin at no known state any more.
    pub(super) fn forget_steps(&mut self) {
        for part in self.keys.values_mut().filter(|part| matches!(part, Part::Steps(_))) {
            self.size -= part.size();
            *part = Part::All;
        }
    }

    /// Takes those keys out for which this is so.
    pub(super) fn remove(&mut self, is_one: impl Fn(&[u8]) -> bool) -> Vec<Bytes> {
        self.take(usize::MAX, is_one).into_iter().map(|wanted| wanted.key).collect()
    }

    /// Takes out what is to be read of those keys for which this is so, until it has so many bytes.
    pub(super) fn take(&mut self, bytes: usize, is_due: impl Fn(&[u8]) -> bool) -> Vec<Wanted> {
        let Self { keys, size } = self;
        let mut taken = 0;
        let due = keys.extract_if(|key, part| {
            let is_taken = taken < bytes && is_due(key);
            if is_taken {
                taken += key_size(key) + part.size();
            }
            is_taken
        });
        let due: Vec<Wanted> = due.map(|(key, part)| Wanted { key, extent: part.into() }).collect();
        *size -= taken;
        due
    }
}

impl Part {
    fn of(extent: Extent) -> Self {
        let mut part = match extent {
            Extent::Whole => return Self::All,
            Extent::Value { length } => return Self::Value { length },
            Extent::Elements(_) | Extent::Cut { .. } => Self::Elements(Elements::default()),
            Extent::Steps(_) => Self::Steps(Steps::default()),
        };
        part.add(extent);
        part
    }

    fn add(&mut self, extent: Extent) {
        match (&mut *self, extent) {
            (Self::All, _) => {}
            (Self::Value { length: known }, Extent::Value { length }) => *known = length,
            (Self::Elements(known), Extent::Elements(elements)) => known.add(&elements, Cut::default()),
            (Self::Elements(known), Extent::Cut { elements, cut }) => known.add(&elements, cut),
            (Self::Steps(known), Extent::Steps(steps)) => steps.into_iter().for_each(|step: ListStep| known.push(step)),
            // The key is of another type by now, or all of it changed.
            (part, _) => *part = Self::All,
        }
    }

    /// Bytes of memory, about.
    fn size(&self) -> usize {
        match self {
            Self::All | Self::Value { .. } => 0,
            Self::Elements(elements) => elements.size,
            Self::Steps(steps) => steps.size(),
        }
    }
}

impl Elements {
    fn add(&mut self, names: &[Bytes], cut: Cut) {
        for name in names {
            if !self.names.contains(name) {
                self.size += ENTRY_SIZE + name.len();
                self.names.insert(Bytes::copy_from_slice(name));
            }
        }
        self.cut = self.cut.and(cut);
    }
}

impl From<Part> for Extent {
    fn from(part: Part) -> Self {
        match part {
            Part::All => Self::Whole,
            Part::Value { length } => Self::Value { length },
            Part::Elements(Elements { names, cut, .. }) => {
                let elements = names.into_iter().collect();
                match cut == Cut::default() {
                    true => Self::Elements(elements),
                    false => Self::Cut { elements, cut },
                }
            }
            Part::Steps(steps) => Self::Steps(steps.into_inner()),
        }
    }
}

fn key_size(key: &Bytes) -> usize {
    ENTRY_SIZE + size_of::<Part>() + key.len()
}

/// What an entry of a hash table takes beside its bytes, about.
const ENTRY_SIZE: usize = 128;

/// With so many bytes it is full: far more than a round, or what waits for the copy, may have.
const FULL_SIZE: usize = 48 << 20;

#[cfg(test)]
mod tests {
    use replication::ListEnd;

    use super::*;

    fn push(element: &'static str) -> Extent {
        Extent::Steps(vec![ListStep::Push { end: ListEnd::Head, elements: vec![element.into()], onto_existing: false }])
    }

    #[test]
    fn a_whole_change_swallows_those_of_elements() {
        let mut dirty = Dirty::default();
        dirty.insert(&"h".into(), Extent::Elements(vec!["a".into()]));
        dirty.insert(&"h".into(), Extent::Elements(vec!["a".into(), "b".into()]));
        let [Wanted { extent: Extent::Elements(elements), .. }] = &dirty.take(usize::MAX, |_| true)[..] else {
            panic!("one key")
        };
        assert_eq!(elements.len(), 2);
        dirty.insert(&"h".into(), Extent::Elements(vec!["a".into()]));
        dirty.insert(&"h".into(), Extent::Whole);
        dirty.insert(&"h".into(), Extent::Elements(vec!["c".into()]));
        assert_eq!(dirty.take(usize::MAX, |_| true), [Wanted::whole("h")]);
        assert!(dirty.is_empty());
    }

    #[test]
    fn of_strings_the_newest_length_counts_until_more_is_in_doubt() {
        let mut dirty = Dirty::default();
        for extent in [Extent::Value { length: 100 }, Extent::Value { length: 5 }] {
            dirty.insert(&"s".into(), extent);
        }
        let five = Wanted { key: "s".into(), extent: Extent::Value { length: 5 } };
        assert_eq!(dirty.take(usize::MAX, |_| true), [five]);
        for other in [Extent::Whole, Extent::Elements(vec!["a".into()]), push("a")] {
            dirty.insert(&"s".into(), Extent::Value { length: 5 });
            dirty.insert(&"s".into(), other.clone());
            assert_eq!(dirty.take(usize::MAX, |_| true), [Wanted::whole("s")]);
            dirty.insert(&"s".into(), other);
            dirty.insert(&"s".into(), Extent::Value { length: 5 });
            assert_eq!(dirty.take(usize::MAX, |_| true), [Wanted::whole("s")]);
        }
    }

    #[test]
    fn what_is_not_due_stays() {
        let mut dirty = Dirty::default();
        dirty.insert(&"h".into(), Extent::Elements(vec!["a".into(), "b".into()]));
        dirty.insert(&"i".into(), Extent::Elements(vec!["a".into()]));
        let size = dirty.size();
        assert_eq!(dirty.take(usize::MAX, |key| key == b"i").len(), 1);
        assert!(dirty.size() < size && dirty.len() == 1);
        dirty.insert(&"h".into(), Extent::Whole);
        assert_eq!(dirty.take(usize::MAX, |_| true), [Wanted::whole("h")]);
        assert_eq!(dirty.size(), 0);
    }

    #[test]
    fn a_key_of_two_types_is_read_whole() {
        let mut dirty = Dirty::default();
        dirty.insert(&"k".into(), push("a"));
        dirty.insert(&"k".into(), Extent::Elements(vec!["a".into()]));
        dirty.insert(&"k".into(), push("b"));
        assert_eq!(dirty.take(usize::MAX, |_| true), [Wanted::whole("k")]);
    }

    #[test]
    fn cuts_and_elements_are_added_up() {
        let mut dirty = Dirty::default();
        dirty.insert(&"z".into(), Extent::Elements(vec!["a".into()]));
        dirty.insert(&"z".into(), Extent::Cut { elements: vec!["a".into()], cut: Cut::LOW });
        dirty.insert(&"z".into(), Extent::Cut { elements: vec![], cut: Cut { low: Some(3.0), ..Cut::default() } });
        let extent = Extent::Cut { elements: vec!["a".into()], cut: Cut { low: Some(3.0), ..Cut::default() } };
        assert_eq!(dirty.take(usize::MAX, |_| true), [Wanted { key: "z".into(), extent }]);
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut dirty = Dirty::default();
        let element = |number: usize| Bytes::from(vec![u8::try_from(number % 251).unwrap(); 1 << 20].repeat(1));
        dirty.insert(&"l".into(), push("a"));
        for number in 0..80 {
            let extent = Extent::Elements(vec![element(number)]);
            dirty.insert(&Bytes::from(format!("h{}", number % 60)), extent);
        }
        assert!(dirty.size() < FULL_SIZE + (2 << 20), "{}", dirty.size());
        dirty.forget_steps();
        assert_eq!(dirty.remove(|key| key == b"l"), ["l"]);
        dirty.remove(|_| true);
        assert_eq!(dirty.size, 0);
    }
}
