// SPDX-License-Identifier: Apache-2.0
//! What Pika's read cache does to the load: which writes pass it by, and which reads it may answer.

use super::{Request, text};

impl Request {
    /// Whether a Pika 4.0.1 with its cache on changes the key and leaves what it has cached of it.
    ///
    /// Recorded on a real server in `tests/fixtures/cache-4.0.1/reads.jsonl`; SETNX, MSETNX, PFADD and PKPATTERNMATCHDEL
    /// after the server's source, which marks none of them as one that updates the cache. LPOP and RPOP with a count take
    /// one element off the copy, however many they take. Of the load's other writes each repeats its change in the cache.
    pub(in super::super) fn bypasses_cache(&self) -> bool {
        match self.name {
            "UNLINK" | "PKPATTERNMATCHDEL" | "SETNX" | "MSETNX" | "PFADD" => true,
            "RPOPLPUSH" | "ZPOPMIN" | "ZPOPMAX" | "GEOADD" => true,
            "LPOP" | "RPOP" => !self.args.is_empty(),
            _ => false,
        }
    }

    /// Whether the reply may come from the cache. HSCAN, SSCAN, ZSCAN, ZCARD, PTTL, PFCOUNT, the reads of streams and the
    /// replies to writes never do.
    pub(in super::super) fn asks_cache(&self) -> bool {
        let names = "GET STRLEN HGET HGETALL HLEN LRANGE LLEN SMEMBERS SISMEMBER SCARD ZSCORE ZRANGE";
        names.split(' ').any(|name| name == self.name)
    }

    /// The command that reads a page of a collection, large enough for any key of the load.
    pub(super) fn scan(name: &'static str) -> Self {
        Self::new(name, ["0", "COUNT", "100000"].map(text))
    }
}
