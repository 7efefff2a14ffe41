// SPDX-License-Identifier: Apache-2.0
use super::Findings;
use crate::piece::{Kind, Piece};

/// What a scan has seen. Only keys of the wanted slots count, except for [`Summary::rows`] and for names and places that
/// are wrong.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Summary {
    /// Keys handed out to their end.
    pub keys: u64,
    /// Elements in them; a string counts as one.
    pub elements: u64,
    /// Bytes of user data in them, the key counted in each piece.
    pub bytes: u64,
    /// Rows read in all column families.
    pub rows: u64,
    /// Of the keys, streams that have no entries any more: a server neither lists nor deletes one.
    pub without_entries: u64,
    /// Keys left out because their time is over.
    pub skipped_expired: u64,
    /// Of those, keys that still lived when the dump was complete.
    pub expired_since: u64,
    /// Meta rows of deleted or emptied collections.
    pub skipped_stale: u64,
    /// The server's own sets of slot keys, which are left out.
    pub internal: u64,
    /// What the rows disagree about.
    pub findings: Findings,
    /// Whether the scan came to the end; not so when the visitor broke it off.
    pub complete: bool,
    kinds: [u64; KINDS],
}

impl Summary {
    /// How many of the keys are of a type.
    pub fn keys_of(&self, kind: Kind) -> u64 {
        self.kinds[kind as usize]
    }

    /// Adds what the scan of another instance has seen. The whole is complete when both are.
    pub fn merge(self, other: Self) -> Self {
        let mut findings = self.findings;
        findings.merge(other.findings);
        Self {
            keys: self.keys + other.keys,
            elements: self.elements + other.elements,
            bytes: self.bytes + other.bytes,
            rows: self.rows + other.rows,
            without_entries: self.without_entries + other.without_entries,
            skipped_expired: self.skipped_expired + other.skipped_expired,
            expired_since: self.expired_since + other.expired_since,
            skipped_stale: self.skipped_stale + other.skipped_stale,
            internal: self.internal + other.internal,
            findings,
            complete: self.complete && other.complete,
            kinds: std::array::from_fn(|kind| self.kinds[kind] + other.kinds[kind]),
        }
    }

    pub(super) fn add(&mut self, piece: &Piece) {
        self.elements += piece.body.len() as u64;
        self.bytes += piece.size() as u64;
        if piece.part.is_last() {
            self.keys += 1;
            self.kinds[piece.body.kind() as usize] += 1;
        }
    }
}

const KINDS: usize = Kind::Stream as usize + 1;
