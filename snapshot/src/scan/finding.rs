// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use replication::Slot;

use crate::format::{Column, KeyError, ValueError};

/// What the rows of a checkpoint disagree about: all of it counted, the first of it kept.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Findings {
    counts: BTreeMap<FaultKind, u64>,
    kept: Vec<Finding>,
}

impl Findings {
    /// How many findings are kept with their keys, so that memory stays bounded.
    pub const KEPT_MAX: usize = 100;

    /// How many there are of a kind.
    pub fn count(&self, kind: FaultKind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    /// How many there are of each kind that occurs.
    pub fn counts(&self) -> impl Iterator<Item = (FaultKind, u64)> + '_ {
        self.counts.iter().map(|(&kind, &count)| (kind, count))
    }

    /// The first [`Findings::KEPT_MAX`].
    pub fn kept(&self) -> &[Finding] {
        &self.kept
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Adds those of another scan.
    pub fn merge(&mut self, other: Self) {
        for (kind, count) in other.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        let room = Self::KEPT_MAX - self.kept.len();
        self.kept.extend(other.kept.into_iter().take(room));
    }

    pub(super) fn add(&mut self, key: &[u8], fault: Fault) {
        *self.counts.entry(fault.kind()).or_default() += 1;
        if self.kept.len() < Self::KEPT_MAX {
            self.kept.push(Finding { key: Bytes::copy_from_slice(key), fault });
        }
    }
}

/// One disagreement.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    /// The user's key; with [`Fault::CorruptName`] the key of the row as it is stored.
    pub key: Bytes,
    /// What is wrong with it.
    pub fault: Fault,
}

impl fmt::Display for Finding {
    /// The key is escaped as in a string literal; that of a row whose name is corrupt stands there in hex as well.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.key.escape_ascii())?;
        if self.fault.kind() == FaultKind::CorruptName {
            write!(f, " (row {:x})", self.key)?;
        }
        write!(f, ": {}", self.fault)
    }
}

/// What can be wrong with a key.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// The name cannot be read, so nobody knows which key it is.
    CorruptName(KeyError),
    /// The row lies in an instance where the server does not look for its slot.
    WrongInstance {
        /// The slot of the key.
        slot: Slot,
        /// Where it lies.
        instance: usize,
    },
    /// The type byte is none that Pika 4.0 writes.
    UnknownType {
        /// The byte.
        tag: u8,
    },
    /// The value is not of its type's form.
    BadValue(ValueError),
    /// A row of the collection is not of its form. The row is left out, the rest of the key is not.
    BadRow {
        /// Where the row stands.
        column: Column,
        /// What is wrong with it.
        why: RowError,
    },
    /// The server counted another number of elements than there are rows. The rows are taken.
    CountMismatch {
        /// What the meta row says.
        count: i64,
        /// How many there are.
        rows: u64,
    },
    /// Indices of a list are missing. The elements that are there are taken.
    ListGap {
        /// How many are missing.
        missing: u64,
    },
    /// The server counted another number of entries than the stream has, which may then show ghosts of an earlier
    /// incarnation. The rows are taken.
    StreamLength {
        /// What the meta row says.
        length: i64,
        /// How many there are.
        rows: u64,
    },
    /// Scores are no numbers; a Redis target refuses them.
    NanScore {
        /// How many.
        members: u64,
    },
    /// The stream counts as deleted, yet it has rows.
    RowsOfEmptyStream,
    /// The meta row counts elements, but there are no rows. The key is not created.
    EmptyCollection {
        /// What the meta row says.
        count: i64,
    },
}

impl Fault {
    /// Its kind.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::CorruptName(_) => FaultKind::CorruptName,
            Self::WrongInstance { .. } => FaultKind::WrongInstance,
            Self::UnknownType { .. } => FaultKind::UnknownType,
            Self::BadValue(_) => FaultKind::BadValue,
            Self::BadRow { .. } => FaultKind::BadRow,
            Self::CountMismatch { .. } => FaultKind::CountMismatch,
            Self::ListGap { .. } => FaultKind::ListGap,
            Self::StreamLength { .. } => FaultKind::StreamLength,
            Self::NanScore { .. } => FaultKind::NanScore,
            Self::RowsOfEmptyStream => FaultKind::RowsOfEmptyStream,
            Self::EmptyCollection { .. } => FaultKind::EmptyCollection,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CorruptName(why) => write!(f, "{why}"),
            Self::WrongInstance { slot, instance } => write!(f, "slot {slot} does not belong to instance {instance}"),
            Self::UnknownType { tag } => write!(f, "type {tag} is unknown"),
            Self::BadValue(why) => write!(f, "{why}"),
            Self::BadRow { column, why } => write!(f, "a row of {column} is left out: {why}"),
            Self::CountMismatch { count, rows } => write!(f, "the server counts {count} elements, there are {rows}"),
            Self::ListGap { missing } => write!(f, "{missing} indices of the list are missing"),
            Self::StreamLength { length, rows } => write!(f, "the server counts {length} entries, there are {rows}"),
            Self::NanScore { members } => write!(f, "{members} scores are no numbers"),
            Self::RowsOfEmptyStream => f.write_str("the stream counts as deleted but has rows"),
            Self::EmptyCollection { count } => write!(f, "the server counts {count} elements, there are none"),
        }
    }
}

/// Why a row of a collection cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RowError {
    /// Its key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its value.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// The kinds of [`Fault`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FaultKind {
    /// See [`Fault::CorruptName`].
    CorruptName,
    /// See [`Fault::WrongInstance`].
    WrongInstance,
    /// See [`Fault::UnknownType`].
    UnknownType,
    /// See [`Fault::BadValue`].
    BadValue,
    /// See [`Fault::BadRow`].
    BadRow,
    /// See [`Fault::CountMismatch`].
    CountMismatch,
    /// See [`Fault::ListGap`].
    ListGap,
    /// See [`Fault::StreamLength`].
    StreamLength,
    /// See [`Fault::NanScore`].
    NanScore,
    /// See [`Fault::RowsOfEmptyStream`].
    RowsOfEmptyStream,
    /// See [`Fault::EmptyCollection`].
    EmptyCollection,
}

impl FaultKind {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CorruptName => "corrupt_name",
            Self::WrongInstance => "wrong_instance",
            Self::UnknownType => "unknown_type",
            Self::BadValue => "bad_value",
            Self::BadRow => "bad_row",
            Self::CountMismatch => "count_mismatch",
            Self::ListGap => "list_gap",
            Self::StreamLength => "stream_length",
            Self::NanScore => "nan_score",
            Self::RowsOfEmptyStream => "rows_of_empty_stream",
            Self::EmptyCollection => "empty_collection",
        }
    }

    /// Whether something that may be data of the user was not handed out.
    pub const fn leaves_out(self) -> bool {
        match self {
            Self::CorruptName | Self::WrongInstance | Self::UnknownType | Self::BadValue | Self::BadRow => true,
            Self::CountMismatch | Self::ListGap | Self::StreamLength | Self::NanScore => false,
            // The server hides such keys itself.
            Self::RowsOfEmptyStream | Self::EmptyCollection => false,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_first_and_counts_all() {
        let mut findings = Findings::default();
        for number in 0..150u64 {
            findings.add(&number.to_le_bytes(), Fault::NanScore { members: number });
        }
        let mut other = Findings::default();
        other.add(b"k\0", Fault::CorruptName(KeyError::DamagedName { excess: 3 }));
        let text = other.kept()[0].to_string();
        assert_eq!(text, r"`k\x00` (row 6b00): the server has lost the last 3 bytes of the name");

        let before = other.clone();
        findings.merge(before);
        assert_eq!((findings.count(FaultKind::NanScore), findings.count(FaultKind::CorruptName)), (150, 1));
        assert_eq!(findings.kept().len(), Findings::KEPT_MAX);
        other.merge(findings);
        assert_eq!(other.kept().len(), Findings::KEPT_MAX);
        assert_eq!(other.kept()[0].key, "k\0");
        assert_eq!(other.counts().map(|(_, count)| count).sum::<u64>(), 152);
    }
}
