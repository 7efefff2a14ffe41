// SPDX-License-Identifier: Apache-2.0
//! Slots: which part of the key space a key belongs to.
//!
//! The hash is CRC-32 (the zlib polynomial, not Redis Cluster's CRC-16) of the key or of its hash tag, modulo the slot
//! count. Source: `src/pstd/src/pika_codis_slot.cc` of Pika 4.0.1 and `pkg/proxy/mapper.go` of Codis.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// One slot: a number below the [`SlotCount`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(u16);

impl Slot {
    /// The slot of this number.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The RocksDB instance that holds this slot's keys, of `instances` in all.
    pub fn instance(self, instances: usize) -> usize {
        usize::from(self.0) % instances.max(1)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Into how many slots the key space is cut: Pika's `default-slot-num`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotCount(NonZeroU16);

impl SlotCount {
    /// The 1024 slots of Codis.
    pub const CODIS: Self = Self(NonZeroU16::new(1024).expect("1024 is not zero"));

    /// `count` slots; `None` for zero.
    pub const fn new(count: u16) -> Option<Self> {
        match NonZeroU16::new(count) {
            Some(count) => Some(Self(count)),
            None => None,
        }
    }

    /// The number of slots.
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// The slot of a user key.
    pub fn slot_of(self, key: &[u8]) -> Slot {
        let hash = crc32fast::hash(hashed_part(key));
        let slot = hash % u32::from(self.0.get());
        Slot(u16::try_from(slot).expect("a remainder of a u16 fits a u16"))
    }
}

impl fmt::Display for SlotCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The hash tag, even an empty one, or else the whole key.
fn hashed_part(key: &[u8]) -> &[u8] {
    let tag = || {
        let open = key.iter().position(|&byte| byte == b'{')? + 1;
        let length = key[open..].iter().position(|&byte| byte == b'}')?;
        Some(&key[open..open + length])
    };
    tag().unwrap_or(key)
}

/// A set of slots, written as `1,5-9`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SlotSet {
    words: Vec<u64>,
}

impl SlotSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every slot there is.
    pub fn all(count: SlotCount) -> Self {
        (0..count.get()).map(Slot).collect()
    }

    /// Adds a slot; `true` when it was not there before.
    pub fn insert(&mut self, slot: Slot) -> bool {
        let (word, bit) = place(slot);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let before = self.words[word];
        self.words[word] |= bit;
        before & bit == 0
    }

    /// Takes a slot out; `true` when it was there.
    pub fn remove(&mut self, slot: Slot) -> bool {
        let (word, bit) = place(slot);
        let Some(entry) = self.words.get_mut(word) else {
            return false;
        };
        let was = *entry & bit != 0;
        *entry &= !bit;
        // Equality compares words, so no empty ones may trail.
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
        was
    }

    /// Whether the slot is in the set.
    pub fn contains(&self, slot: Slot) -> bool {
        let (word, bit) = place(slot);
        self.words.get(word).is_some_and(|entry| entry & bit != 0)
    }

    /// How many slots it holds.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The slots in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..=u16::MAX).take(self.words.len() * 64).map(Slot).filter(|&slot| self.contains(slot))
    }

    /// The greatest slot.
    pub fn last(&self) -> Option<Slot> {
        self.iter().last()
    }
}

fn place(slot: Slot) -> (usize, u64) {
    (usize::from(slot.0 / 64), 1 << (slot.0 % 64))
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        let mut set = Self::new();
        for slot in slots {
            set.insert(slot);
        }
        set
    }
}

impl fmt::Display for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut slots = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = slots.next() {
            let mut last = first;
            while let Some(next) = slots.next_if(|next| next.0 == last.0 + 1) {
                last = next;
            }
            f.write_str(separator)?;
            separator = ",";
            match last == first {
                true => write!(f, "{first}")?,
                false => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotSet({self})")
    }
}

impl FromStr for SlotSet {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fault = |part: &str| ParseError { part: part.to_owned() };
        let mut set = Self::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: u16 = first.trim().parse().map_err(|_| fault(part))?;
            let last: u16 = last.trim().parse().map_err(|_| fault(part))?;
            if first > last {
                return Err(fault(part));
            }
            for slot in first..=last {
                set.insert(Slot(slot));
            }
        }
        Ok(set)
    }
}

/// A text that is no slot set.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{part}` is neither a slot nor a range of slots: write them as 1,5-9")]
pub struct ParseError {
    part: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slots_of_the_reference() {
        let vectors: [(&[u8], u16); 12] = [
            (b"", 0),
            (b"foo", 289),
            (b"bar", 170),
            (b"{tag}x", 899),
            (b"tag", 899),
            (b"{}abc", 0),
            (b"a{b", 76),
            (b"a}{b}c", 1017),
            (b"{a{b}}c", 76),
            (b"key:{user1000}.following", 870),
            (b"a\0b", 113),
            (b"_internal:slotkey:4migrate:0", 599),
        ];
        for (key, slot) in vectors {
            assert_eq!(SlotCount::CODIS.slot_of(key), Slot(slot), "{key:?}");
        }
    }

    #[test]
    fn rejects_what_is_no_set() {
        for text in ["", "x", "1,", "5-1", "-1", "1-2-3", "70000"] {
            assert!(text.parse::<SlotSet>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(numbers in proptest::collection::btree_set(0u16..2000, 1..60)) {
            let set: SlotSet = numbers.iter().copied().map(Slot).collect();
            prop_assert_eq!(set.len(), numbers.len());
            prop_assert!(set.iter().map(Slot::number).eq(numbers.iter().copied()));
            prop_assert_eq!(set.to_string().parse::<SlotSet>().expect("own text parses"), set);
        }

        #[test]
        fn removal_undoes_insertion(numbers in proptest::collection::vec(0u16..300, 0..40), extra in 0u16..300) {
            let set: SlotSet = numbers.iter().copied().map(Slot).collect();
            let mut changed = set.clone();
            if changed.insert(Slot(extra)) {
                prop_assert!(changed.remove(Slot(extra)));
            }
            prop_assert_eq!(changed, set);
        }
    }
}
