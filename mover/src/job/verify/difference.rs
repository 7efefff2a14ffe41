// SPDX-License-Identifier: Apache-2.0
use std::fmt;

use bytes::Bytes;
use snapshot::{Kind, UnixMillis};

/// How a key differs between both sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Difference {
    /// Only the source has it.
    Missing,
    /// Only the target has it.
    Extra,
    Kind {
        source: Kind,
        target: Kind,
    },
    /// Of a string.
    Value,
    /// Of anything else: so many elements.
    Count {
        source: u64,
        target: u64,
    },
    /// As many elements, but not the same ones, or in another order.
    Elements(Kind),
    LastId,
    Expiry {
        source: Option<UnixMillis>,
        target: Option<UnixMillis>,
    },
    /// It changed while it was read.
    Unsettled,
}

/// A key that is not the same on both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Differing {
    pub(super) key: Bytes,
    pub(super) how: Difference,
}

impl From<(Bytes, Difference)> for Differing {
    fn from((key, how): (Bytes, Difference)) -> Self {
        Self { key, how }
    }
}

impl From<Differing> for (Bytes, Difference) {
    fn from(Differing { key, how }: Differing) -> Self {
        (key, how)
    }
}

/// The first of them, each in a few words.
pub(super) fn examples(differing: &[Differing]) -> Vec<String> {
    differing.iter().take(EXAMPLES).map(ToString::to_string).collect()
}

impl fmt::Display for Differing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.key.escape_ascii(), self.how)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing at the target"),
            Self::Extra => f.write_str("is only at the target"),
            Self::Kind { source, target } => write!(f, "is a {source} at the source, a {target} at the target"),
            Self::Value => f.write_str("has another value"),
            Self::Count { source, target } => {
                write!(f, "has {source} elements at the source, {target} at the target")
            }
            Self::Elements(Kind::Hash) => f.write_str("has another field or value of one"),
            Self::Elements(Kind::List) => f.write_str("has another element, or in another order"),
            Self::Elements(Kind::Zset) => f.write_str("has another member or score of one"),
            Self::Elements(Kind::Stream) => f.write_str("has another entry"),
            Self::Elements(_) => f.write_str("has another member"),
            Self::LastId => f.write_str("has another last id"),
            Self::Expiry { source, target } => {
                write!(f, "expires {} at the source, {} at the target", When(*source), When(*target))
            }
            Self::Unsettled => f.write_str("changes while it is read"),
        }
    }
}

struct When(Option<UnixMillis>);

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(at) => write!(f, "in {} s", at.since(UnixMillis::now()).as_secs()),
            None => f.write_str("never"),
        }
    }
}

/// Keys that a message names.
pub(super) const EXAMPLES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_in_a_few_words() {
        let text = |how| Differing { key: Bytes::from_static(b"k\n"), how }.to_string();
        assert_eq!(text(Difference::Missing), "`k\\n` is missing at the target");
        let kinds = Difference::Kind { source: Kind::Hash, target: Kind::String };
        assert_eq!(text(kinds), "`k\\n` is a hash at the source, a string at the target");
        let expiry = Difference::Expiry { source: Some(UnixMillis(u64::MAX)), target: None };
        assert!(text(expiry).ends_with(" s at the source, never at the target"));
    }
}
