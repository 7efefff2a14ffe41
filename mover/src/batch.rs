// SPDX-License-Identifier: Apache-2.0
//! What travels down the line.

use bytes::Bytes;
use replication::ListStep;
use snapshot::{Body, Piece};

/// One thing to do to one key of the target.
#[derive(Clone, PartialEq, Debug)]
pub enum Write {
    /// A part of a key; the first part replaces whatever the target has.
    Piece(Piece),
    /// Some elements of a key that the target already has.
    Patch(Patch),
    /// What was done to a list of which the target has exactly the state before. Unlike all others this must not be done
    /// twice: a line sends a batch once, and whoever goes on after a loss begins with a whole read of each list.
    Steps(Steps),
    /// The source has no such key.
    Remove(Bytes),
}

/// Changed elements of a hash, set, sorted set or stream.
#[derive(Clone, PartialEq, Debug)]
pub struct Patch {
    /// The user's key.
    pub key: Bytes,
    /// Elements to set, with their values.
    pub set: Body,
    /// Fields, members or stream ids that are gone.
    pub remove: Vec<Bytes>,
}

/// Steps of a list, in order.
#[derive(Clone, PartialEq, Debug)]
pub struct Steps {
    /// The user's key.
    pub key: Bytes,
    /// The steps.
    pub steps: Vec<ListStep>,
}

impl Patch {
    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

impl Write {
    /// The key it is about.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Piece(piece) => &piece.key,
            Self::Patch(patch) => &patch.key,
            Self::Steps(steps) => &steps.key,
            Self::Remove(key) => key,
        }
    }

    /// Bytes of user data in it.
    pub fn size(&self) -> usize {
        match self {
            Self::Piece(piece) => piece.size(),
            Self::Patch(patch) => {
                patch.key.len() + patch.set.size() + patch.remove.iter().map(Bytes::len).sum::<usize>()
            }
            Self::Steps(steps) => steps.key.len() + steps.steps.iter().map(ListStep::size).sum::<usize>(),
            Self::Remove(key) => key.len(),
        }
    }

    /// Whether its key is complete with it.
    fn completes(&self) -> bool {
        match self {
            Self::Piece(piece) => piece.part.is_last(),
            Self::Patch(_) | Self::Steps(_) | Self::Remove(_) => true,
        }
    }
}

/// Writes that travel together, in order.
#[derive(Default, Debug)]
pub struct Batch {
    writes: Vec<Write>,
    bytes: usize,
    is_counted: bool,
}

/// Keys that came to the target or left it by some writes, as its answers tell. A stream without entries is no key here: a
/// Pika neither lists nor deletes one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct KeyCounts {
    /// Keys that were not there before a write, and were behind it.
    pub created: u64,
    /// Keys that were there before a write, and were not behind it.
    pub deleted: u64,
    /// Writes of which the answers do not tell: with one of these the other numbers are none.
    pub unclear: u64,
}

impl KeyCounts {
    /// Adds what other writes have done.
    pub fn add(&mut self, other: Self) {
        self.created += other.created;
        self.deleted += other.deleted;
        self.unclear += other.unclear;
    }

    /// What came to it since it was `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            created: self.created.saturating_sub(earlier.created),
            deleted: self.deleted.saturating_sub(earlier.deleted),
            unclear: self.unclear.saturating_sub(earlier.unclear),
        }
    }
}

impl Batch {
    /// An empty batch; whether the target is asked what its writes do to the number of keys.
    pub fn new(is_counted: bool) -> Self {
        Self { is_counted, ..Self::default() }
    }

    /// Whether the target is asked what its writes do to the number of keys, which takes a few commands more.
    pub fn is_counted(&self) -> bool {
        self.is_counted
    }

    /// Appends a write.
    pub fn push(&mut self, write: Write) {
        self.bytes += write.size();
        self.writes.push(write);
    }

    /// The writes.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Bytes of user data in it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keys that are complete with it.
    pub fn keys(&self) -> u64 {
        self.writes.iter().filter(|write| write.completes()).count() as u64
    }

    /// Bytes that it is worth on the line: user data and a share for each write.
    pub fn size(&self) -> usize {
        self.bytes + self.writes.len() * WRITE_OVERHEAD
    }

    /// Whether it is as large as a batch should be that has so many bytes and writes.
    pub fn fills(&self, size: usize, writes: usize) -> bool {
        self.size() >= size || self.writes.len() >= writes
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// What a write costs beside the user's bytes.
const WRITE_OVERHEAD: usize = 32;
