// SPDX-License-Identifier: Apache-2.0
//! Type, expiry and size of keys, and the small ones among them whole, many at a time.

use bytes::Bytes;
use redis::{Pipeline, Value};
use snapshot::{Body, Kind, Part, Piece, UnixMillis};

use crate::Result;
use crate::batch::Write;
use crate::dialect::Dialect;
use crate::endpoint::Endpoint;
use crate::source::estimate::Estimate;
use crate::source::inquiry::Told;
use crate::source::page::{Big, STRING_PART};
use crate::source::reply::{self, Read, StreamInfo};
use crate::source::reread::{ELEMENTS_AT_ONCE, READ_SIZE, Reading, Wanted};

/// What is known of a key before its elements are read.
#[derive(Debug)]
pub(super) struct Found {
    key: Bytes,
    kind: Kind,
    ttl: Ttl,
    /// Elements, or bytes of a string.
    length: usize,
    /// Of a stream.
    info: StreamInfo,
}

/// The answer to PTTL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ttl {
    None,
    Until(UnixMillis),
    /// It expires, but the answer took too long to say when.
    SomeTime,
    /// The key is gone, the server says; a read decides.
    Gone,
}

impl Ttl {
    /// What the next of these answers says.
    pub(super) fn told(endpoint: &Endpoint, told: &mut Told) -> Result<Self> {
        Ok(match (reply::integer(endpoint, "PTTL", told.answer())?, told.time()) {
            (-1, _) => Self::None,
            (left @ 1.., Some(now)) => Self::Until(UnixMillis(now.0.saturating_add(left.unsigned_abs()))),
            (1.., None) => Self::SomeTime,
            _ => Self::Gone,
        })
    }
}

impl Found {
    /// A string that was read already.
    pub(super) fn string(key: Bytes, ttl: Ttl) -> Self {
        Self { key, kind: Kind::String, ttl, length: 0, info: StreamInfo::default() }
    }

    /// Whether it is read at once, together with others.
    pub(super) fn is_small(&self) -> bool {
        match self.kind {
            Kind::String | Kind::HyperLogLog => self.length <= STRING_PART,
            Kind::Hash | Kind::List | Kind::Set | Kind::Zset => self.length <= SMALL_ELEMENTS,
            Kind::Stream => false,
        }
    }

    /// What reading it in pages begins with; its name when that is not known well enough.
    pub(super) fn big(self) -> Result<Big, Bytes> {
        let Some(expire_at) = self.expiry() else { return Err(self.key) };
        let Self { key, kind, length, info, .. } = self;
        Ok(Big { key, kind, expire_at, info, length })
    }

    /// Whether it may expire, so that the next answer must say exactly when.
    fn may_expire(&self) -> bool {
        matches!(self.ttl, Ttl::Until(_) | Ttl::SomeTime)
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

    /// The expiry of a key that has data; `None` when it is not known, which a later read must settle.
    fn expiry(&self) -> Option<Option<UnixMillis>> {
        match self.ttl {
            Ttl::None => Some(None),
            Ttl::Until(at) => Some(Some(at)),
            // Pika's streams have no expiry, and PTTL answers 0 for them.
            Ttl::Gone if self.kind == Kind::Stream => Some(None),
            Ttl::SomeTime | Ttl::Gone => None,
        }
    }
}

impl Reading<'_> {
    /// Asks for the type of each key, and then for expiry and size. Keys that have no type are gone at once.
    pub(super) async fn find(&mut self, keys: Vec<Bytes>, writes: &mut Vec<Write>) -> Result<Vec<Found>> {
        let mut inquiry = self.reread.inquiry();
        keys.iter().for_each(|key| {
            inquiry.key().cmd("TYPE").arg(&key[..]);
        });
        let told = inquiry.ask(&mut self.reread.client).await?;
        let endpoint = self.reread.client.endpoint().clone();
        let mut named = Vec::with_capacity(keys.len());
        for (key, mut told) in keys.into_iter().zip(told) {
            match reply::kind(&endpoint, told.answer())? {
                Some(kind) => named.push((key, kind)),
                None => writes.push(Write::Remove(key)),
            }
        }
        let mut inquiry = self.reread.inquiry();
        for (key, kind) in &named {
            let questions = inquiry.key().cmd("PTTL").arg(&key[..]).cmd(size_command(*kind)).arg(&key[..]);
            if *kind == Kind::Stream {
                questions.cmd("XINFO").arg("STREAM").arg(&key[..]);
            }
        }
        let told = inquiry.ask(&mut self.reread.client).await?;
        let mut kept = Vec::with_capacity(named.len());
        for ((key, kind), mut told) in named.into_iter().zip(told) {
            let ttl = Ttl::told(&endpoint, &mut told)?;
            let Read::Data(size) = reply::read(&endpoint, size_command(kind), told.answer())? else {
                self.again.push(Wanted::whole(key));
                continue;
            };
            let size = reply::integer(&endpoint, size_command(kind), size)?;
            let info = match kind {
                Kind::Stream => reply::stream_info(told.answer()).unwrap_or_default(),
                _ => StreamInfo::default(),
            };
            kept.push(Found { key, kind, ttl, length: usize::try_from(size).unwrap_or(0), info });
        }
        Ok(kept)
    }

    /// Reads some small keys whole, each with its expiry at one moment.
    pub(super) async fn read_small(&mut self, writes: &mut Vec<Write>) -> Result<()> {
        let small = self.take_small();
        let mut inquiry = self.reread.inquiry().timed(small.iter().any(Found::may_expire));
        for key in &small {
            self.read_command(inquiry.key().cmd("PTTL").arg(&key.key[..]), key);
        }
        let told = inquiry.ask(&mut self.reread.client).await?;
        let mut strings = Vec::new();
        for (mut key, mut told) in small.into_iter().zip(told) {
            let endpoint = self.reread.client.endpoint();
            key.ttl = Ttl::told(endpoint, &mut told)?;
            let Read::Data(value) = reply::read(endpoint, "a read", told.answer())? else {
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
            let is_page = key.kind == Kind::Zset && self.reread.dialect == Dialect::Pika;
            let (rest, body) = if is_page {
                reply::scan_page(endpoint, key.kind, value)?
            } else {
                (Bytes::from_static(b"0"), reply::body(endpoint, key.kind, value)?)
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

    /// The next of the small keys, as many as may be read at once.
    fn take_small(&mut self) -> Vec<Found> {
        let (mut small, mut weight, mut elements) = (Vec::new(), 0, 0);
        while let Some(key) = self.found.front() {
            weight += key.weight(&self.reread.estimate);
            elements += key.elements();
            if !small.is_empty() && (weight > READ_SIZE || elements > ELEMENTS_AT_ONCE) {
                break;
            }
            small.extend(self.found.pop_front());
        }
        small
    }

    /// Tells HyperLogLogs from strings.
    pub(super) async fn read_strings(&mut self, strings: Vec<(Found, Body)>, writes: &mut Vec<Write>) -> Result<()> {
        let dialect = self.reread.dialect;
        let is_doubtful = |body: &Body| dialect == Dialect::Pika && matches!(body.size(), 0 | REGISTERS);
        let doubtful = strings.iter().filter(|(_, body)| is_doubtful(body)).map(|(key, _)| &key.key);
        let mut answers = self.are_hyperloglogs(doubtful.collect()).await?.into_iter();
        for (key, body) in strings {
            let is_hyperloglog = is_doubtful(&body) && answers.next().unwrap_or_default();
            let body = match body {
                Body::String(registers) if is_hyperloglog => Body::HyperLogLog(registers),
                body => body,
            };
            self.complete(key, body, writes);
        }
        Ok(())
    }

    /// Which of these strings are HyperLogLogs: PFCOUNT refuses all others.
    async fn are_hyperloglogs(&mut self, keys: Vec<&Bytes>) -> Result<Vec<bool>> {
        let mut counts = Vec::with_capacity(keys.len());
        if self.in_quarantine.is_some() {
            for key in keys {
                counts.push(self.count_alone(key).await?);
            }
        } else {
            let mut inquiry = self.reread.inquiry();
            for key in keys {
                inquiry.key().cmd("PFCOUNT").arg(&key[..]);
            }
            counts.extend(inquiry.ask(&mut self.reread.client).await?.into_iter().map(|mut told| told.answer()));
        }
        let endpoint = self.reread.client.endpoint();
        let is_one = |count| -> Result<bool> { Ok(matches!(reply::read(endpoint, "PFCOUNT", count)?, Read::Data(_))) };
        counts.into_iter().map(is_one).collect()
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

/// What tells how many elements a key has, or bytes.
pub(super) fn size_command(kind: Kind) -> &'static str {
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
