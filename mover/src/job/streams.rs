// SPDX-License-Identifier: Apache-2.0
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use snapshot::Kind;

use crate::batch::Write;
use crate::dialect::Dialect;

/// Streams that were written whole to a Pika, until it was looked at what it shows of them: there may be entries of an
/// earlier stream among them.
#[derive(Debug)]
pub(super) struct WrittenStreams {
    dialect: Dialect,
    names: Mutex<HashSet<Bytes>>,
}

impl WrittenStreams {
    /// Of a target of this dialect; a Redis has no such entries.
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, names: Mutex::default() }
    }

    /// Notes what is about to be written.
    pub(super) fn note(&self, write: &Write) {
        if self.dialect != Dialect::Pika {
            return;
        }
        match write {
            Write::Piece(piece) if piece.body.kind() != Kind::Stream => drop(self.names().remove(&piece.key)),
            // Copied: a slice would keep the answer that it was read in.
            Write::Piece(piece) => drop(self.names().insert(Bytes::copy_from_slice(&piece.key))),
            Write::Remove(key) => drop(self.names().remove(key)),
            Write::Patch(_) | Write::Steps(_) => {}
        }
    }

    /// Those that have not been looked at and are wanted; they are forgotten.
    pub(super) fn take(&self, is_wanted: impl Fn(&Bytes) -> bool) -> Vec<Bytes> {
        self.names().extract_if(|name| is_wanted(name)).collect()
    }

    /// Whether there are so many that they should not wait any longer.
    pub(super) fn are_many(&self) -> bool {
        self.names().len() >= MANY
    }

    fn names(&self) -> MutexGuard<'_, HashSet<Bytes>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MANY: usize = 1 << 12;

#[cfg(test)]
mod tests {
    use snapshot::{Body, Part, Piece, StreamId};

    use super::*;
    use crate::dialect::HyperLogLogPolicy;

    fn whole(key: &'static str, body: Body) -> Write {
        Write::Piece(Piece { key: key.into(), part: Part::Whole, expire_at: None, body })
    }

    fn stream(key: &'static str) -> Write {
        whole(key, Body::Stream { entries: Vec::new(), last_id: StreamId::new(1, 1) })
    }

    #[test]
    fn only_what_is_a_stream_still_is_looked_at() {
        let streams = WrittenStreams::new(Dialect::Pika);
        let writes =
            [stream("a"), stream("b"), stream("c"), whole("a", Body::String("v".into())), Write::Remove("b".into())];
        writes.iter().for_each(|write| streams.note(write));
        assert_eq!(streams.take(|name| name != "c"), [""; 0]);
        assert_eq!(streams.take(|_| true), ["c"]);
        assert_eq!(streams.take(|_| true), [""; 0], "once is enough");
    }

    #[test]
    fn a_redis_need_not_be_looked_at() {
        let streams = WrittenStreams::new(Dialect::Redis { hyperloglog: HyperLogLogPolicy::Raw });
        streams.note(&stream("a"));
        assert_eq!(streams.take(|_| true), [""; 0]);
    }
}
