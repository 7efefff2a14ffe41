// SPDX-License-Identifier: Apache-2.0
//! Reading live keys, from the source to move them and from both sides to compare them.
//!
//! The server's own answers have traps. TYPE names keys that are gone, a missing key has a TTL of 0 or -2, and ZRANGE
//! is wrong where a score is -inf: so an empty read decides whether a key is there, and sorted sets are read with
//! ZSCAN. A HyperLogLog says it is a string, only PFCOUNT tells. A type may change between two questions: then the key
//! is to be read again.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use redis::{Pipeline, Value};
use replication::Extent;
use snapshot::{Body, Kind, Part, Piece, StreamId, UnixMillis};

use crate::Result;
use crate::batch::Write;
use crate::dialect::Dialect;
use crate::endpoint::Client;
use crate::source::elements;
use crate::source::known::Known;
use crate::source::page::{PAGE_ELEMENTS, Paging, ScanPattern, Step};
use crate::source::reply::{self, Read};

/// A key to be read, and how much of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The user's key.
    pub key: Bytes,
    /// All of it, or some elements.
    pub extent: Extent,
}

impl Wanted {
    /// The whole of `key`.
    pub fn whole(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), extent: Extent::Whole }
    }
}

/// Reads live keys of one server.
pub struct Reread {
    client: Client,
    dialect: Dialect,
    known: Arc<Known>,
    pattern: ScanPattern,
}

impl Reread {
    /// A reader of the server behind `client`.
    pub fn new(client: Client, dialect: Dialect, known: Arc<Known>) -> Self {
        Self { client, dialect, known, pattern: ScanPattern::unique() }
    }

    /// Begins to read `wanted`.
    pub fn read(&mut self, wanted: Vec<Wanted>) -> Reading<'_> {
        Reading { reread: self, queue: wanted.into(), big: VecDeque::new(), again: Vec::new() }
    }
}

/// A read that is under way: memory for one group of small keys or one page of a big one.
pub struct Reading<'a> {
    reread: &'a mut Reread,
    queue: VecDeque<Wanted>,
    big: VecDeque<Paging>,
    again: Vec<Wanted>,
}

/// What is known of a key before its elements are read.
#[derive(Debug)]
struct Found {
    key: Bytes,
    kind: Kind,
    ttl: Ttl,
    elements: usize,
}

impl Found {
    /// About how many bytes a whole read of it gives; a page if it is big.
    fn weight(&self) -> usize {
        match self.kind {
            Kind::String | Kind::HyperLogLog => self.elements,
            _ => self.elements.min(PAGE_ELEMENTS) * ELEMENT_SIZE,
        }
    }
}

/// The answer to PTTL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ttl {
    None,
    Until(UnixMillis),
    /// The key is gone, the server says; a read decides.
    Gone,
}

impl Reading<'_> {
    /// The next writes; `None` when everything has been read.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost), [`Error::Reply`](crate::Error::Reply).
    pub async fn next(&mut self) -> Result<Option<Vec<Write>>> {
        if let Some(paging) = self.big.pop_front() {
            return self.page(paging).await.map(Some);
        }
        if self.queue.is_empty() {
            return Ok(None);
        }
        let count = self.queue.len().min(GROUP_KEYS);
        let group: Vec<Wanted> = self.queue.drain(..count).collect();
        self.group(group).await.map(Some)
    }

    /// Keys that changed under the read, to be read again.
    pub fn again(self) -> Vec<Wanted> {
        self.again
    }

    async fn group(&mut self, group: Vec<Wanted>) -> Result<Vec<Write>> {
        let mut writes = Vec::with_capacity(group.len());
        let mut whole = Vec::with_capacity(group.len());
        let mut by_element = Vec::new();
        for wanted in group {
            match wanted.extent {
                Extent::Elements(elements) => match self.reread.known.kind(&wanted.key) {
                    Some(kind) if elements.len() <= PAGE_ELEMENTS => by_element.push((wanted.key, kind, elements)),
                    _ => whole.push(wanted.key),
                },
                Extent::Whole => whole.push(wanted.key),
            }
        }
        if !by_element.is_empty() {
            let (patches, changed) = elements::read(&mut self.reread.client, by_element).await?;
            writes.extend(patches.into_iter().map(Write::Patch));
            whole.extend(changed);
        }
        for key in &whole {
            self.reread.known.forget(key);
        }
        let mut part = Vec::new();
        let mut weight = 0;
        for key in self.find(whole, &mut writes).await? {
            weight += key.weight();
            part.push(key);
            if weight > READ_SIZE {
                self.read_small(std::mem::take(&mut part), &mut writes).await?;
                weight = 0;
            }
        }
        self.read_small(part, &mut writes).await?;
        Ok(writes)
    }

    /// Asks type, expiry and size of each key. Keys that have no type are gone at once.
    async fn find(&mut self, keys: Vec<Bytes>, writes: &mut Vec<Write>) -> Result<Vec<Found>> {
        let mut pipeline = Pipeline::with_capacity(2 * keys.len());
        for key in &keys {
            pipeline.cmd("TYPE").arg(&key[..]).cmd("PTTL").arg(&key[..]);
        }
        let asked = UnixMillis::now();
        let mut replies = self.reread.client.ask_all(&mut pipeline).await?.into_iter();
        let mut found = Vec::with_capacity(keys.len());
        let mut pipeline = Pipeline::with_capacity(keys.len());
        let endpoint = self.reread.client.endpoint().clone();
        for key in keys {
            let (kind, ttl) = (replies.next().unwrap_or_default(), replies.next().unwrap_or_default());
            let ttl = match reply::integer(&endpoint, "PTTL", ttl)? {
                -1 => Ttl::None,
                left @ 1.. => Ttl::Until(UnixMillis(asked.0 + left.unsigned_abs())),
                _ => Ttl::Gone,
            };
            let Some(kind) = reply::kind(&endpoint, kind)? else {
                writes.push(Write::Remove(key));
                continue;
            };
            pipeline.cmd(size_command(kind)).arg(&key[..]);
            found.push(Found { key, kind, ttl, elements: 0 });
        }
        let sizes = self.reread.client.ask_all(&mut pipeline).await?;
        let mut kept = Vec::with_capacity(found.len());
        for (mut key, size) in found.into_iter().zip(sizes) {
            match reply::read(&endpoint, size_command(key.kind), size)? {
                Read::TypeChanged => self.again.push(Wanted::whole(key.key)),
                Read::Data(size) => {
                    let size = reply::integer(&endpoint, size_command(key.kind), size)?;
                    key.elements = usize::try_from(size).unwrap_or(0);
                    kept.push(key);
                }
            }
        }
        Ok(kept)
    }

    /// Reads small keys whole and leaves the big ones to be paged.
    async fn read_small(&mut self, found: Vec<Found>, writes: &mut Vec<Write>) -> Result<()> {
        let mut small = Vec::with_capacity(found.len());
        let mut pipeline = Pipeline::with_capacity(found.len());
        for key in found {
            let is_string = key.kind == Kind::String;
            if is_string || key.elements <= PAGE_ELEMENTS && key.kind != Kind::Stream {
                self.read_command(&mut pipeline, &key);
                small.push(key);
            } else {
                self.begin_paging(key).await?;
            }
        }
        let replies = self.reread.client.ask_all(&mut pipeline).await?;
        let mut strings = Vec::new();
        for (key, value) in small.into_iter().zip(replies) {
            let endpoint = self.reread.client.endpoint();
            let Read::Data(value) = reply::read(endpoint, "a read", value)? else {
                self.again.push(Wanted::whole(key.key));
                continue;
            };
            if key.kind == Kind::String {
                // A nil tells a missing string from an empty one.
                match value {
                    Value::Nil => writes.push(Write::Remove(key.key)),
                    value => strings.push((key, reply::body(endpoint, Kind::String, value)?)),
                }
                continue;
            }
            let (rest, body) = match key.kind == Kind::Zset && self.reread.dialect == Dialect::Pika {
                true => reply::scan_page(endpoint, key.kind, value)?,
                false => (Bytes::from_static(b"0"), reply::body(endpoint, key.kind, value)?),
            };
            match &rest[..] {
                b"0" => self.finish(key, body, writes),
                // It grew while it was read.
                _ => self.again.push(Wanted::whole(key.key)),
            }
        }
        self.read_strings(strings, writes).await
    }

    /// Tells HyperLogLogs from strings.
    async fn read_strings(&mut self, strings: Vec<(Found, Body)>, writes: &mut Vec<Write>) -> Result<()> {
        let doubtful = |body: &Body| self.reread.dialect == Dialect::Pika && matches!(body.size(), 0 | REGISTERS);
        let mut pipeline = Pipeline::new();
        for (key, _) in strings.iter().filter(|(_, body)| doubtful(body)) {
            pipeline.cmd("PFCOUNT").arg(&key.key[..]);
        }
        let doubts: Vec<bool> = strings.iter().map(|(_, body)| doubtful(body)).collect();
        let mut counts = self.reread.client.ask_all(&mut pipeline).await?.into_iter();
        for ((key, body), doubt) in strings.into_iter().zip(doubts) {
            let body = match (doubt, body) {
                (true, Body::String(registers)) => {
                    let count = counts.next().unwrap_or_default();
                    match reply::read(self.reread.client.endpoint(), "PFCOUNT", count)? {
                        Read::Data(_) => Body::HyperLogLog(registers),
                        Read::TypeChanged => Body::String(registers),
                    }
                }
                (_, body) => body,
            };
            self.finish(key, body, writes);
        }
        Ok(())
    }

    /// Turns a complete read into a write.
    fn finish(&mut self, key: Found, body: Body, writes: &mut Vec<Write>) {
        let is_string = matches!(body, Body::String(_) | Body::HyperLogLog(_));
        if body.is_empty() && !is_string {
            writes.push(Write::Remove(key.key));
            return;
        }
        let Some(expire_at) = expiry(&key) else {
            self.again.push(Wanted::whole(key.key));
            return;
        };
        self.reread.known.learn(&key.key, key.kind, body.len(), expire_at.is_some());
        writes.push(Write::Piece(Piece { key: key.key, part: Part::Whole, expire_at, body }));
    }

    async fn begin_paging(&mut self, key: Found) -> Result<()> {
        let Some(expire_at) = expiry(&key) else {
            self.again.push(Wanted::whole(key.key));
            return Ok(());
        };
        let mut last_id = StreamId::default();
        if key.kind == Kind::Stream {
            let mut pipeline = Pipeline::with_capacity(1);
            pipeline.cmd("XINFO").arg("STREAM").arg(&key.key[..]);
            let info = self.reread.client.ask_all(&mut pipeline).await?.pop().unwrap_or_default();
            last_id = reply::last_id(info).unwrap_or_default();
        }
        let pattern = self.reread.pattern.clone();
        self.big.push_back(Paging::new(key.key, key.kind, expire_at, last_id, pattern));
        Ok(())
    }

    async fn page(&mut self, mut paging: Paging) -> Result<Vec<Write>> {
        let step = match paging.finish() {
            Some(step) => step,
            None => paging.step(&mut self.reread.client).await?,
        };
        match step {
            Step::Piece(piece) => {
                self.big.push_front(paging);
                Ok(piece.map(Write::Piece).into_iter().collect())
            }
            Step::Done(None, _) => Ok(vec![Write::Remove(paging.key().clone())]),
            Step::Done(Some(piece), elements) => {
                self.reread.known.learn(paging.key(), paging.kind(), elements, paging.expires());
                Ok(vec![Write::Piece(piece)])
            }
            Step::TypeChanged => {
                self.again.push(Wanted::whole(paging.key().clone()));
                Ok(Vec::new())
            }
        }
    }

    fn read_command(&self, pipeline: &mut Pipeline, key: &Found) {
        let name = &key.key[..];
        match key.kind {
            Kind::String | Kind::HyperLogLog => pipeline.cmd("GET").arg(name),
            Kind::Hash => pipeline.cmd("HGETALL").arg(name),
            Kind::Set => pipeline.cmd("SMEMBERS").arg(name),
            Kind::List => pipeline.cmd("LRANGE").arg(name).arg(0).arg(-1),
            Kind::Zset if self.reread.dialect == Dialect::Pika => {
                pipeline.cmd("ZSCAN").arg(name).arg(0).arg("COUNT").arg(2 * PAGE_ELEMENTS)
            }
            Kind::Zset => pipeline.cmd("ZRANGE").arg(name).arg(0).arg(-1).arg("WITHSCORES"),
            Kind::Stream => unreachable!("streams are paged, for their last id is asked first"),
        };
    }
}

/// The expiry of a key that has data; `None` when the server says it is gone, which a later read must settle.
fn expiry(key: &Found) -> Option<Option<UnixMillis>> {
    match key.ttl {
        Ttl::None => Some(None),
        Ttl::Until(at) => Some(Some(at)),
        // Pika's streams have no expiry, and PTTL answers 0 for them.
        Ttl::Gone if key.kind == Kind::Stream => Some(None),
        Ttl::Gone => None,
    }
}

fn size_command(kind: Kind) -> &'static str {
    match kind {
        Kind::String | Kind::HyperLogLog => "STRLEN",
        Kind::Hash => "HLEN",
        Kind::List => "LLEN",
        Kind::Set => "SCARD",
        Kind::Zset => "ZCARD",
        Kind::Stream => "XLEN",
    }
}

/// Keys in one pipeline of questions.
const GROUP_KEYS: usize = 128;

/// Bytes that one pipeline of reads may give, about, or one string that is larger.
const READ_SIZE: usize = 4 << 20;

/// What an element is taken to weigh before it is read.
const ELEMENT_SIZE: usize = 256;

/// Bytes of a HyperLogLog's registers.
const REGISTERS: usize = 1 << 17;
