// SPDX-License-Identifier: Apache-2.0
use std::collections::HashSet;

use bytes::Bytes;

/// Keys that a follower has seen change, for whoever asked to be told.
#[derive(Default)]
pub(super) struct Noted {
    touched: Option<HashSet<Bytes>>,
    since: Option<Backlog>,
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
    /// A key has changed.
    pub(super) fn note(&mut self, key: &[u8]) {
        if self.touched.is_none() && self.since.is_none() {
            return;
        }
        // A copy, for the key itself is a part of a larger piece of memory.
        let key = Bytes::copy_from_slice(key);
        if let Some(since) = &mut self.since {
            since.add(&key);
        }
        if let Some(touched) = &mut self.touched {
            touched.insert(key);
        }
    }

    /// From now on remembers which keys change, all of them: for a short time.
    pub(super) fn watch(&mut self) {
        self.touched = Some(HashSet::new());
    }

    /// The keys that changed since [`watch`](Self::watch).
    pub(super) fn touched(&mut self) -> HashSet<Bytes> {
        self.touched.take().unwrap_or_default()
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

/// Memory for keys that were gathered: some ten thousand at least.
const BACKLOG_SIZE: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gathered_is_bounded() {
        let mut noted = Noted::default();
        noted.note(b"before");
        noted.gather();
        let long = "k".repeat(10_000);
        (0..2000).for_each(|number| noted.note(format!("{long}{number}").as_bytes()));
        noted.note(format!("{long}0").as_bytes());
        let (keys, passed_over) = noted.take(usize::MAX);
        assert_eq!(keys.len() as u64 + passed_over, 2000);
        assert!(passed_over > 0 && keys.iter().map(cost).sum::<usize>() <= BACKLOG_SIZE);
        // Its room is free again.
        noted.note(b"after");
        assert_eq!(noted.take(10), (vec![Bytes::from("after")], 0));
        assert_eq!(noted.take(10), (vec![], 0));
    }

    #[test]
    fn what_is_touched_is_told_to_whoever_asked() {
        let mut noted = Noted::default();
        noted.gather();
        noted.watch();
        noted.note(b"a");
        assert_eq!(noted.touched(), HashSet::from([Bytes::from("a")]));
        noted.note(b"b");
        assert!(noted.touched().is_empty());
        let (mut keys, _) = noted.take(2);
        keys.sort_unstable();
        assert_eq!(keys, [Bytes::from("a"), Bytes::from("b")]);
    }
}
