// SPDX-License-Identifier: Apache-2.0
//! Type, expiry and size of keys, and the small ones among them whole, many at a time.

use bytes::Bytes;
use redis::{Pipeline, Value};
use snapshot::{Body, Kind, Part, Piece, StreamId, UnixMillis};

use crate::Result;
use crate::batch::Write;
use crate::dialect::Dialect;
use crate::endpoint::Endpoint;
use crate::source::estimate::Estimate;
use crate::source::page::{Big, STRING_PART};
use crate::source::reply::{self, Read};
use crate::source::reread::{ELEMENTS_AT_ONCE, READ_SIZE, Reading, Wanted};

/// What is known of a key before its elements are read.
#[derive(Debug)]
pub(super) struct Found {
    key: Bytes,
    kind: Kind,
    ttl: Ttl,
    /// Elements, or bytes of a string.
    length: usize,
    last_id: StreamId,
}

/// The answer to PTTL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ttl {
    None,
    Until(UnixMillis),
    /// The key is gone, the server says; a read decides.
    Gone,
}

impl Ttl {
    pub(super) fn of_reply(endpoint: &Endpoint, asked: UnixMillis, reply: Value) -> Result<Self> {
        Ok(match reply::integer(endpoint, "PTTL", reply)? {
            -1 => Self::None,
            left @ 1.. => Self::Until(UnixMillis(asked.0 + left.unsigned_abs())),
            _ => Self::Gone,
        })
    }
}

impl Found {
    /// A string that was read already.
    pub(super) fn string(key: Bytes, ttl: Ttl) -> Self {
        Self { key, kind: Kind::String, ttl, length: 0, last_id: StreamId::default() }
    }

    /// Whether it is read at once, together with others.
    pub(super) fn is_small(&self) -> bool {
        match self.kind {
            Kind::String | Kind::HyperLogLog => self.length <= STRING_PART,
            Kind::Hash | Kind::List | Kind::Set | Kind::Zset => self.length <= SMALL_ELEMENTS,
            Kind::Stream => false,
        }
    }

    /// What reading it in pages begins with; its name when the server says that it is gone.
    pub(super) fn big(self) -> Result<Big, Bytes> {
        let Some(expire_at) = self.expiry() else { return Err(self.key) };
        let Self { key, kind, length, last_id, .. } = self;
        Ok(Big { key, kind, expire_at, last_id, length })
    }

    /// Bytes of a string; none of anything else.
    pub(super) fn string_length(&self) -> usize {
        match self.kind {
            Kind::String | Kind::HyperLogLog => self.length,
            _ => 0,
        }
    }

    /// The key.
    pub(super) fn into_key(self) -> Bytes {
        self.key
    }

    fn elements(&self) -> usize {
        match self.kind {
            Kind::String | Kind::HyperLogLog => 0,
            _ => self.length,
        }
    }

    fn weight(&self, estimate: &Estimate) -> usize {
        match self.kind {
            Kind::String | Kind::HyperLogLog => self.length,
            _ => estimate.weight(self.length),
        }
    }

    /// The expiry of a key that has data; `None` when the server says it is gone, which a later read must settle.
    fn expiry(&self) -> Option<Option<UnixMillis>> {
        match self.ttl {
            Ttl::None => Some(None),
            Ttl::Until(at) => Some(Some(at)),
            // Pika's streams have no expiry, and PTTL answers 0 for them.
            Ttl::Gone if self.kind == Kind::Stream => Some(None),
            Ttl::Gone => None,
        }
    }
}

impl Reading<'_> {
    /// Asks type, expiry and size of each key. Keys that have no type are gone at once.
    pub(super) async fn find(&mut self, keys: Vec<Bytes>, writes: &mut Vec<Write>) -> Result<Vec<Found>> {
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
            let ttl = Ttl::of_reply(&endpoint, asked, ttl)?;
            let Some(kind) = reply::kind(&endpoint, kind)? else {
                writes.push(Write::Remove(key));
                continue;
            };
            pipeline.cmd(size_command(kind)).arg(&key[..]);
            if kind == Kind::Stream {
                pipeline.cmd("XINFO").arg("STREAM").arg(&key[..]);
            }
            found.push(Found { key, kind, ttl, length: 0, last_id: StreamId::default() });
        }
        let mut sizes = self.reread.client.ask_all(&mut pipeline).await?.into_iter();
        let mut kept = Vec::with_capacity(found.len());
        for mut key in found {
            let size = sizes.next().unwrap_or_default();
            if key.kind == Kind::Stream {
                key.last_id = sizes.next().and_then(reply::last_id).unwrap_or_default();
            }
            match reply::read(&endpoint, size_command(key.kind), size)? {
                Read::TypeChanged => self.again.push(Wanted::whole(key.key)),
                Read::Data(size) => {
                    let size = reply::integer(&endpoint, size_command(key.kind), size)?;
                    key.length = usize::try_from(size).unwrap_or(0);
                    kept.push(key);
                }
            }
        }
        Ok(kept)
    }

    /// Reads some small keys whole.
    pub(super) async fn read_small(&mut self, writes: &mut Vec<Write>) -> Result<()> {
        let (mut small, mut weight, mut elements) = (Vec::new(), 0, 0);
        while let Some(key) = self.found.front() {
            weight += key.weight(&self.reread.estimate);
            elements += key.elements();
            if !small.is_empty() && (weight > READ_SIZE || elements > ELEMENTS_AT_ONCE) {
                break;
            }
            small.extend(self.found.pop_front());
        }
        let mut pipeline = Pipeline::with_capacity(small.len());
        small.iter().for_each(|key| self.read_command(&mut pipeline, key));
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
            self.reread.estimate.learn(body.len(), body.size());
            match &rest[..] {
                b"0" => self.complete(key, body, writes),
                // It grew while it was read.
                _ => self.again.push(Wanted::whole(key.key)),
            }
        }
        self.read_strings(strings, writes).await
    }

    /// Tells HyperLogLogs from strings.
    pub(super) async fn read_strings(&mut self, strings: Vec<(Found, Body)>, writes: &mut Vec<Write>) -> Result<()> {
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
            self.complete(key, body, writes);
        }
        Ok(())
    }

    /// Turns a complete read into a write.
    fn complete(&mut self, key: Found, body: Body, writes: &mut Vec<Write>) {
        let is_string = matches!(body, Body::String(_) | Body::HyperLogLog(_));
        if body.is_empty() && !is_string {
            writes.push(Write::Remove(key.key));
            return;
        }
        let Some(expire_at) = key.expiry() else {
            self.again.push(Wanted::whole(key.key));
            return;
        };
        self.learn(&key.key, key.kind, body.len(), expire_at.is_some());
        writes.push(Write::Piece(Piece { key: key.key, part: Part::Whole, expire_at, body }));
    }

    fn read_command(&self, pipeline: &mut Pipeline, key: &Found) {
        let name = &key.key[..];
        match key.kind {
            Kind::String | Kind::HyperLogLog => pipeline.cmd("GET").arg(name),
            Kind::Hash => pipeline.cmd("HGETALL").arg(name),
            Kind::Set => pipeline.cmd("SMEMBERS").arg(name),
            Kind::List => pipeline.cmd("LRANGE").arg(name).arg(0).arg(-1),
            Kind::Zset if self.reread.dialect == Dialect::Pika => {
                pipeline.cmd("ZSCAN").arg(name).arg(0).arg("COUNT").arg(8 * SMALL_ELEMENTS)
            }
            Kind::Zset => pipeline.cmd("ZRANGE").arg(name).arg(0).arg(-1).arg("WITHSCORES"),
            Kind::Stream => unreachable!("streams are paged, their last id is part of them"),
        };
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

/// A key of more elements is read in pages: what they weigh must be seen before many of them are asked for.
const SMALL_ELEMENTS: usize = 16;

/// Bytes of a HyperLogLog's registers.
const REGISTERS: usize = 1 << 17;
