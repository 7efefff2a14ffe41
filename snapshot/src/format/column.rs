// SPDX-License-Identifier: Apache-2.0
use std::cmp::Ordering;
use std::fmt;

use super::comparator::{compare_list_keys, compare_score_keys};

/// A column family of a Pika 4.0 instance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Column {
    /// Strings, and one meta row per collection.
    Default,
    /// Fields of hashes.
    Hash,
    /// Members of sets.
    Set,
    /// Elements of lists.
    List,
    /// Members of sorted sets with their scores: complete and authoritative.
    Zset,
    /// Members of sorted sets by score: an index derived from [`Column::Zset`].
    ZsetScore,
    /// Entries of streams.
    Stream,
}

impl Column {
    /// All of them, in the order in which Pika opens them.
    pub const ALL: [Self; 7] =
        [Self::Default, Self::Hash, Self::Set, Self::List, Self::Zset, Self::ZsetScore, Self::Stream];

    /// Its name in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Hash => "hash_data_cf",
            Self::Set => "set_data_cf",
            Self::List => "list_data_cf",
            Self::Zset => "zset_data_cf",
            Self::ZsetScore => "zset_score_cf",
            Self::Stream => "stream_data_cf",
        }
    }

    /// The order of its keys.
    pub fn compare(self, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            Self::List => compare_list_keys(a, b),
            Self::ZsetScore => compare_score_keys(a, b),
            Self::Default | Self::Hash | Self::Set | Self::Zset | Self::Stream => a.cmp(b),
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
