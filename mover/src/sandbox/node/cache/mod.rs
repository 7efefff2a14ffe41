// SPDX-License-Identifier: Apache-2.0
//! The read cache, with the faults that Pika 4.0.1 ships it with.
//!
//! ```text
//! read ─▶ answer from the cache ─hit──────────────────────────────▶ reply, as of whenever the key was cached
//!              └─miss─▶ lock the key ─▶ execute ─▶ fill the cache ─▶ reply
//! write ─▶ lock the key ─▶ execute ─▶ repeat the change in the cache ─▶ reply
//! ```
//!
//! Each row of the command table says which of these a command does. Many writes do none of it, and some repeat another
//! change than they made: what the cache then holds is stale until the key is deleted, expires in the cache or is evicted.
//! A transaction neither asks nor fills the cache, so its reads are the truth.
//!
//! Lifetimes are whole seconds. The server hands milliseconds to the cache as seconds in many places, so most copies
//! outlive their key a thousand times over.
//!
//! One thing differs: where the server loads collections on a thread of its own, here the read that misses fills.

pub(super) mod answers;
pub(super) mod loads;
pub(super) mod updates;
mod value;
mod zset;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lru::LruCache;
use snapshot::UnixMillis;

use self::value::Cached;
use super::call::Call;
use super::fault::Fault;
use super::reply::Reply;

/// Answers a read from the cache; `None` is a miss.
pub(super) type Answer = fn(&Cache, &Call<'_>) -> Option<Reply>;
/// Puts what a read needed into the cache, and may put cached parts into its reply.
pub(super) type Fill = fn(&Cache, &Call<'_>, Reply) -> Reply;
/// Repeats in the cache what a write did, or what the server takes that for.
pub(super) type Update = fn(&Cache, &Call<'_>, &Reply);

/// What a command does with the cache.
#[derive(Clone, Copy, Default)]
pub(super) struct CacheUse {
    /// How it is answered from the cache.
    pub(super) answer: Option<Answer>,
    /// What it puts into the cache after a miss.
    pub(super) fill: Option<Fill>,
    /// What it changes there after it wrote.
    pub(super) update: Option<Update>,
    /// How it words a wrong type after a miss, where it then does so in another way.
    pub(super) wording: Option<fn(Fault) -> Fault>,
}

/// Copies of keys, least recently used ones given up first.
pub(super) struct Cache {
    is_on: AtomicBool,
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

struct Shard {
    keys: LruCache<Bytes, Cached>,
    /// About how much memory the keys take.
    bytes: usize,
}

/// What INFO tells of the cache.
pub(super) struct CacheStats {
    pub(super) keys: usize,
    pub(super) bytes: usize,
    pub(super) hits: u64,
    pub(super) misses: u64,
}

impl Cache {
    pub(super) fn new(is_on: bool) -> Self {
        let shard = || Mutex::new(Shard { keys: LruCache::unbounded(), bytes: 0 });
        Self {
            is_on: AtomicBool::new(is_on),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// Whether it is asked and filled.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Switches it on or off. Off, it is empty.
    pub(super) fn switch(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Release);
        if !is_on {
            self.clear();
        }
    }

    /// Forgets all keys.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = locked(shard);
            shard.keys.clear();
            shard.bytes = 0;
        }
    }

    pub(super) fn stats(&self) -> CacheStats {
        let mut stats = CacheStats {
            keys: 0,
            bytes: 0,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        };
        for shard in &self.shards {
            let shard = locked(shard);
            stats.keys += shard.keys.len();
            stats.bytes += shard.bytes;
        }
        stats
    }

    /// Answers a read that asks the cache, if the cache can.
    pub(super) fn answer(&self, usage: &CacheUse, call: &Call<'_>) -> Option<Reply> {
        let answer = usage.answer.filter(|_| self.is_on())?;
        let reply = answer(self, call);
        let counter = if reply.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        reply
    }

    /// Fills the cache after a read that missed. The caller holds the locks of its keys.
    pub(super) fn fill(&self, usage: &CacheUse, call: &Call<'_>, reply: Reply) -> Reply {
        match usage.fill {
            Some(fill) if self.is_on() && !reply.is_error() => fill(self, call, reply),
            _ => reply,
        }
    }

    /// Words the fault of a read that missed.
    pub(super) fn word(&self, usage: &CacheUse, fault: Fault) -> Fault {
        match usage.wording {
            Some(wording) if self.is_on() => wording(fault),
            _ => fault,
        }
    }

    /// Repeats in the cache what a write did. The caller holds the locks of its keys.
    pub(super) fn update(&self, usage: &CacheUse, call: &Call<'_>, reply: &Reply) {
        if let Some(update) = usage.update
            && self.is_on()
            && !reply.is_error()
        {
            update(self, call, reply);
        }
    }

    /// Looks at the copy of a key.
    fn look<R>(&self, key: &Bytes, now: UnixMillis, read: impl FnOnce(&Cached) -> Option<R>) -> Option<R> {
        let mut shard = self.shard(key);
        shard.drop_expired(key, now);
        read(shard.keys.get(key)?)
    }

    /// Keeps a copy, unless there is one of any type.
    fn insert(&self, key: &Bytes, now: UnixMillis, cached: Cached) {
        let mut shard = self.shard(key);
        shard.drop_expired(key, now);
        // Looked at under the lock: a cache that is switched off meanwhile is cleared after this, or sees no copy.
        if !self.is_on() || shard.keys.contains(key) || cached.weight() > KEY_BYTES_MAX {
            return;
        }
        shard.bytes += cached.weight();
        // The request's own slice would keep all of the request in memory.
        shard.keys.put(Bytes::copy_from_slice(key), cached);
        shard.shrink();
    }

    /// Changes the copy of a key, if there is one. A collection that it empties is dropped.
    fn change(&self, key: &Bytes, call: &Call<'_>, change: impl FnOnce(&mut Cached)) {
        let mut shard = self.shard(key);
        shard.drop_expired(key, call.now);
        let Some(cached) = shard.keys.get_mut(key) else {
            return;
        };
        let before = cached.weight();
        change(cached);
        cached.grow(call.args.iter().map(Bytes::len).sum());
        let after = cached.weight();
        let is_useless = cached.value.is_emptied() || after > KEY_BYTES_MAX;
        shard.bytes = shard.bytes + after - before;
        if is_useless {
            shard.drop_key(key);
        }
        shard.shrink();
    }

    /// Drops the copy of a key.
    fn remove(&self, key: &Bytes) {
        self.shard(key).drop_key(key);
    }

    fn shard(&self, key: &Bytes) -> MutexGuard<'_, Shard> {
        locked(&self.shards[self.hasher.hash_one(key) as usize % SHARDS])
    }
}

impl Shard {
    fn drop_expired(&mut self, key: &Bytes, now: UnixMillis) {
        if self.keys.peek(key).is_some_and(|cached| cached.is_expired(now)) {
            self.drop_key(key);
        }
    }

    fn drop_key(&mut self, key: &Bytes) {
        if let Some(cached) = self.keys.pop(key) {
            self.bytes -= cached.weight();
        }
    }

    fn shrink(&mut self) {
        while self.bytes > SHARD_BYTES_MAX
            && let Some((_, cached)) = self.keys.pop_lru()
        {
            self.bytes -= cached.weight();
        }
    }
}

/// Locks a shard. A change that panicked may have left a wrong copy behind, which is what this cache is for.
fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

const SHARDS: usize = 16;
/// Together the shards take 64 MiB at most.
const SHARD_BYTES_MAX: usize = 4 << 20;
/// A longer value is not kept.
const KEY_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::value::Value;
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn string(size: usize) -> Cached {
        Cached::new(Value::String(Bytes::from(vec![b'x'; size])), None)
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let cache = Cache::new(true);
        for number in 0..10_000 {
            cache.insert(&Bytes::from(format!("k{number}")), NOW, string(32 << 10));
        }
        assert!(cache.stats().bytes <= SHARDS * SHARD_BYTES_MAX, "{}", cache.stats().bytes);
        let is_kept = |name: &'static str| cache.look(&Bytes::from(name), NOW, |_| Some(())).is_some();
        assert!(is_kept("k9999") && !is_kept("k0"));
        cache.insert(&Bytes::from("long"), NOW, string(KEY_BYTES_MAX + 1));
        assert!(!is_kept("long"));
        cache.clear();
        assert_eq!((cache.stats().keys, cache.stats().bytes), (0, 0));
    }

    #[test]
    fn a_copy_expires_and_is_not_replaced_before() {
        let cache = Cache::new(true);
        let key = Bytes::from("k");
        let lasting = Some(UnixMillis(NOW.0 + 1000));
        cache.insert(&key, NOW, Cached::new(Value::String(Bytes::from("old")), lasting));
        cache.insert(&key, NOW, Cached::new(Value::String(Bytes::from("new")), None));
        let text = |now| cache.look(&key, now, |cached| cached.value.string().cloned());
        assert_eq!(text(NOW), Some(Bytes::from("old")));
        assert_eq!(text(UnixMillis(NOW.0 + 1001)), None);
    }

    #[test]
    fn off_it_keeps_nothing() {
        let cache = Cache::new(true);
        cache.insert(&Bytes::from("k"), NOW, string(1));
        cache.switch(false);
        cache.insert(&Bytes::from("k"), NOW, string(1));
        assert_eq!(cache.stats().keys, 0);
    }
}
