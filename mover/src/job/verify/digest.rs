// SPDX-License-Identifier: Apache-2.0
//! What is left of a key to compare it by: a few bytes however big it is.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use snapshot::{Body, Kind, StreamEntry, StreamId, UnixMillis, score_text};

use crate::Result;
use crate::batch::Write;
use crate::dialect::Dialect;
use crate::job::verify::difference::Difference;
use crate::source::{Reread, Wanted};

/// The digest of one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Digest {
    kind: Kind,
    elements: u64,
    /// A sum over the elements where their order is nothing, a chain where it is something.
    sum: u64,
    expire_at: Option<UnixMillis>,
    /// The greatest id that a stream has given out.
    last_id: StreamId,
}

impl Digest {
    /// How this digest of the source differs from that of the target; expiries are the same within
    /// [`EXPIRY_TOLERANCE`].
    pub(super) fn difference(&self, target: &Self) -> Option<Difference> {
        let expiries = match (self.expire_at, target.expire_at) {
            (None, None) => true,
            (Some(one), Some(two)) => one.since(two).max(two.since(one)) <= EXPIRY_TOLERANCE,
            _ => false,
        };
        let is_value = matches!(self.kind, Kind::String | Kind::HyperLogLog);
        let how = if self.kind != target.kind {
            Difference::Kind { source: self.kind, target: target.kind }
        } else if is_value && (self.elements, self.sum) != (target.elements, target.sum) {
            Difference::Value
        } else if self.elements != target.elements {
            Difference::Count { source: self.elements, target: target.elements }
        } else if self.sum != target.sum {
            Difference::Elements(self.kind)
        } else if self.last_id != target.last_id {
            Difference::LastId
        } else if !expiries {
            Difference::Expiry { source: self.expire_at, target: target.expire_at }
        } else {
            return None;
        };
        Some(how)
    }

    /// Whether it is a stream without entries. For a Pika that is as good as none: it neither lists nor deletes one, and the
    /// next XADD begins it anew (`StreamsDel` and `XAdd` in `redis_streams.cc`).
    fn is_emptied_stream(&self) -> bool {
        self.kind == Kind::Stream && self.elements == 0
    }

    /// Whether the key expires some time.
    pub(super) fn expires(&self) -> bool {
        self.expire_at.is_some()
    }

    /// That of a key that holds this and does not expire.
    #[cfg(test)]
    pub(super) fn of(body: &Body) -> Self {
        let mut digest = Self::new(body.kind(), None);
        digest.add(body);
        digest
    }

    fn new(kind: Kind, expire_at: Option<UnixMillis>) -> Self {
        Self { kind, elements: 0, sum: 0, expire_at, last_id: StreamId::default() }
    }

    fn add(&mut self, body: &Body) {
        match body {
            // Or a part of it: both sides are cut at the same places.
            Body::String(value) | Body::HyperLogLog(value) => self.chain(value),
            Body::Hash(fields) => fields.iter().for_each(|pair| self.mix(pair)),
            Body::List(elements) => elements.iter().for_each(|element| self.chain(element)),
            Body::Set(members) => members.iter().for_each(|member| self.mix(member)),
            // Scores compare by their text, so NaN equals itself; a Redis keeps small ones as integers, where -0 is 0.
            Body::Zset(members) => {
                members.iter().for_each(|(member, score)| self.mix(&(member, score_text(*score + 0.0))));
            }
            Body::Stream { entries, last_id } => {
                entries.iter().for_each(|StreamEntry { id, fields }| self.chain(&(id, fields)));
                // Pika may hold entries above its own last id, when its clock went back.
                let greatest = entries.last().map_or(*last_id, |entry| entry.id.max(*last_id));
                self.last_id = self.last_id.max(greatest);
            }
        }
    }

    fn mix(&mut self, element: &impl Hash) {
        self.elements += 1;
        self.sum = self.sum.wrapping_add(hash(element));
    }

    fn chain(&mut self, element: &impl Hash) {
        self.elements += 1;
        self.sum = hash(&(self.sum, element));
    }
}

/// What one side has.
pub(super) struct Digests {
    /// Of those keys that exist, but for streams without entries where both sides are Pikas.
    pub(super) of: HashMap<Bytes, Digest>,
    /// Keys that changed while they were read.
    pub(super) again: Vec<Bytes>,
    /// Bytes of user data that were read.
    pub(super) bytes: usize,
}

/// The digests of `keys`.
///
/// A type is what the key would land as in `dialect`, so that a HyperLogLog moved as raw bytes compares with them.
pub(super) async fn read(reread: &mut Reread, dialect: Dialect, keys: &[Bytes]) -> Result<Digests> {
    let (mut digests, mut bytes) = (HashMap::with_capacity(keys.len()), 0);
    let mut reading = reread.read(keys.iter().cloned().map(Wanted::whole).collect());
    while let Some(writes) = reading.next().await? {
        for write in writes {
            match write {
                Write::Piece(piece) => {
                    let kind = dialect.lands_as(piece.body.kind());
                    let new = || Digest::new(kind, piece.expire_at);
                    bytes += piece.size();
                    digests.entry(piece.key.clone()).or_insert_with(new).add(&piece.body);
                }
                Write::Remove(key) => drop(digests.remove(&key)),
                Write::Patch(_) | Write::Steps(_) => unreachable!("a whole read gives pieces"),
            }
        }
    }
    let (again, _) = reading.finish();
    let again = again.into_iter().map(|wanted| wanted.key).collect();
    if dialect == Dialect::Pika {
        digests.retain(|_, digest| !digest.is_emptied_stream());
    }
    Ok(Digests { of: digests, again, bytes })
}

fn hash(element: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    element.hash(&mut hasher);
    hasher.finish()
}

/// A target with expiries in whole seconds, rounded up, and the time between the two readings.
const EXPIRY_TOLERANCE: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &Digest, two: &Digest) -> bool {
        one.difference(two).is_none()
    }

    #[test]
    fn order_counts_where_it_matters() {
        let set = |members: [&'static str; 2]| Digest::of(&Body::Set(members.map(Bytes::from).to_vec()));
        let list = |elements: [&'static str; 2]| Digest::of(&Body::List(elements.map(Bytes::from).to_vec()));
        assert!(same(&set(["a", "b"]), &set(["b", "a"])));
        assert!(!same(&list(["a", "b"]), &list(["b", "a"])));
        assert!(!same(&set(["a", "b"]), &list(["a", "b"])));
    }

    #[test]
    fn fields_and_values_do_not_run_together() {
        let hash =
            |field: &'static str, value: &'static str| Digest::of(&Body::Hash(vec![(field.into(), value.into())]));
        assert!(!same(&hash("ab", "c"), &hash("a", "bc")));
    }

    #[test]
    fn minus_zero_is_zero_and_nan_is_itself() {
        let zset = |score| Digest::of(&Body::Zset(vec![("member".into(), score)]));
        assert!(same(&zset(-0.0), &zset(0.0)));
        assert!(same(&zset(f64::NAN), &zset(f64::NAN)));
        assert!(!same(&zset(f64::MIN_POSITIVE), &zset(0.0)));
    }

    #[test]
    fn expiries_may_differ_by_the_targets_resolution() {
        let at = |millis| Digest::new(Kind::String, Some(UnixMillis(millis)));
        assert!(same(&at(10_000), &at(11_000)));
        assert!(!same(&at(10_000), &at(12_000)));
        assert!(!same(&at(10_000), &Digest::new(Kind::String, None)));
    }
}
