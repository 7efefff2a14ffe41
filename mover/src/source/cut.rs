// SPDX-License-Identifier: Apache-2.0
//! Which elements are gone where the log says only that some are.
//!
//! ZPOPMIN, a range of ranks or scores, and XADD with MAXLEN take elements off an end without naming them. The target has
//! them still, and its order is the source's. So the target is asked for its elements from that end on, and the source
//! which of them it has. Members that the log does not name have the score that they always had: the first of them that
//! the source still has, at a score that every removal would have reached, has nothing gone behind it.
//!
//! A stream of Pika 4.0 loses its first entries only as long as it knows which one is the first: after the newest was
//! deleted it does not, until the one that it takes for the first is deleted as well. Then it is read whole.

use std::collections::HashSet;

use bytes::Bytes;
use redis::{Cmd, Value};
use replication::Cut;
use snapshot::{Body, Kind, StreamEntry, StreamId};

use crate::Result;
use crate::dialect::Dialect;
use crate::endpoint::{Client, Endpoint};
use crate::source::estimate::Estimate;
use crate::source::inquiry::{Inquiry, Told};
use crate::source::page::{PAGE_ELEMENTS, PAGE_SIZE};
use crate::source::reply::{self, Read};

/// A sorted set or stream that lost elements at its ends.
#[derive(Debug)]
pub(super) struct CutKey {
    pub(super) key: Bytes,
    pub(super) kind: Kind,
    /// Those that the log names.
    pub(super) elements: Vec<Bytes>,
    pub(super) cut: Cut,
}

/// The elements that the target, of this dialect, has and the source has not, besides those that the log names; `None` where
/// the whole key must be read to know.
///
/// # Errors
/// As [`Client::ask_all`].
pub(super) async fn gone(
    source: &mut Client,
    target: &mut Client,
    dialect: Dialect,
    keys: Vec<CutKey>,
) -> Result<Vec<(CutKey, Option<Vec<Bytes>>)>> {
    let mut outcomes = Vec::with_capacity(keys.len());
    let mut keys = keys.into_iter().peekable();
    while keys.peek().is_some() {
        let mut some: Vec<Search> = keys.by_ref().take(KEYS_AT_ONCE).map(Search::new).collect();
        fronts(source, &mut some).await?;
        while some.iter().any(|search| search.side.is_some()) {
            step(source, target, dialect, &mut some).await?;
        }
        outcomes.extend(some.into_iter().map(|search| (search.key, search.gone)));
    }
    Ok(outcomes)
}

/// A walk over the elements of one key at the target.
struct Search {
    key: CutKey,
    named: HashSet<Bytes>,
    gone: Option<Vec<Bytes>>,
    gone_size: usize,
    side: Option<Side>,
    /// Elements of this side that have been looked at.
    seen: usize,
    count: usize,
    estimate: Estimate,
    /// A stream's first entry at the source.
    front: StreamId,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Side {
    /// From the low end on; a member below this score does not end it.
    Low(f64),
    /// From the high end on.
    High(f64),
    /// The first entries of a stream, from here on.
    Entries(StreamId),
}

impl Search {
    fn new(key: CutKey) -> Self {
        let side = match (key.kind, key.cut) {
            (Kind::Stream, _) => Some(Side::Entries(StreamId::default())),
            (_, Cut { low: Some(score), .. }) => Some(Side::Low(score)),
            (_, Cut { high: Some(score), .. }) => Some(Side::High(score)),
            (_, Cut { low: None, high: None, .. }) => None,
        };
        let named = key.elements.iter().cloned().collect();
        let (gone, estimate) = (Some(Vec::new()), Estimate::new());
        Self { key, named, gone, gone_size: 0, side, seen: 0, count: PAGE_FIRST, estimate, front: StreamId::default() }
    }

    /// What to ask the target.
    fn command(&self, side: Side) -> Cmd {
        let mut command = Cmd::new();
        let (key, from, to) = (&self.key.key[..], self.seen as i64, (self.seen + self.count) as i64);
        match side {
            // ZRANGE of a Pika is wrong where a score is -inf.
            Side::Low(_) => command.arg("ZREVRANGE").arg(key).arg(-to).arg(-from - 1).arg("WITHSCORES"),
            Side::High(_) => command.arg("ZREVRANGE").arg(key).arg(from).arg(to - 1).arg("WITHSCORES"),
            Side::Entries(id) => {
                command.arg("XRANGE").arg(key).arg(id.to_string()).arg(self.front.to_string());
                command.arg("COUNT").arg(self.count)
            }
        };
        command
    }

    fn give_up(&mut self) {
        (self.gone, self.side) = (None, None);
    }

    /// The next side, if this one is done.
    fn turn(&mut self, is_done: bool) {
        self.count = self.estimate.elements(PAGE_SIZE).min(self.count * 2).min(PAGE_ELEMENTS);
        if is_done {
            self.side = match (self.side, self.key.cut.high) {
                (Some(Side::Low(_)), Some(score)) => Some(Side::High(score)),
                _ => None,
            };
            self.seen = 0;
        }
        if self.seen > SEEN_MAX || self.gone_size > GONE_SIZE_MAX {
            self.give_up();
        }
    }

    fn is_gone(&mut self, element: Bytes) {
        self.gone_size += element.len() + size_of::<Bytes>();
        self.gone.get_or_insert_default().push(element);
    }

    /// Takes members of the target, and the scores that the source has for them.
    fn judge(&mut self, members: Vec<(Bytes, f64)>, scores: Vec<Option<f64>>) {
        let is_all = members.len() < self.count;
        self.seen += members.len();
        let mut has_end = false;
        for ((member, score), at_source) in members.into_iter().zip(scores) {
            if self.named.contains(&member) {
                continue;
            }
            match at_source {
                None => self.is_gone(member),
                // Where a score is -inf, Pika's own removals may have passed over it.
                Some(same) if same == score && score > f64::NEG_INFINITY => {
                    has_end |= match self.side {
                        Some(Side::Low(least)) => score >= least,
                        Some(Side::High(greatest)) => score <= greatest,
                        Some(Side::Entries(_)) | None => false,
                    };
                }
                // It changed a moment ago; the log will say so.
                Some(_) => {}
            }
        }
        self.turn(is_all || has_end);
    }

    /// Takes entries of the target up to the source's first one.
    fn judge_entries(&mut self, ids: &[StreamId]) {
        self.seen += ids.len();
        let is_all = ids.len() < self.count;
        let front = self.front;
        for id in ids.iter().filter(|id| **id < front) {
            self.is_gone(id.to_string().into());
        }
        match ids.last().and_then(|id| id.successor()) {
            Some(next) if !is_all && next <= self.front => self.side = Some(Side::Entries(next)),
            _ => self.side = None,
        }
        let is_done = self.side.is_none();
        self.turn(is_done);
    }
}

/// Asks the source for the first entries of streams, and whether it takes them for the first.
async fn fronts(source: &mut Client, searches: &mut [Search]) -> Result<()> {
    let is_stream = |search: &&mut Search| search.key.kind == Kind::Stream;
    let mut inquiry = Inquiry::of(Dialect::Pika);
    for search in searches.iter_mut().filter(is_stream) {
        let questions = inquiry.key().cmd("XRANGE").arg(&search.key.key[..]).arg("-").arg("+").arg("COUNT").arg(1);
        questions.cmd("XINFO").arg("STREAM").arg(&search.key.key[..]);
    }
    let told = inquiry.ask(source).await?;
    for (search, mut told) in searches.iter_mut().filter(is_stream).zip(told) {
        let first = match reply::read(source.endpoint(), "XRANGE", told.answer())? {
            Read::Data(value) => reply::entries(value).and_then(|entries| entries.first().map(|entry| entry.id)),
            Read::TypeChanged => None,
        };
        match first.filter(|first| reply::stream_info(told.answer()).is_some_and(|info| info.first_id == *first)) {
            Some(first) => search.front = first,
            None => search.give_up(),
        }
    }
    Ok(())
}

/// A page of every search that goes on.
async fn step(source: &mut Client, target: &mut Client, dialect: Dialect, searches: &mut [Search]) -> Result<()> {
    let mut inquiry = Inquiry::of(dialect);
    let open = |search: &&mut Search| search.side.is_some();
    for search in searches.iter_mut().filter(open) {
        if let Some(side) = search.side {
            inquiry.key().add_command(search.command(side));
        }
    }
    let told = inquiry.ask(target).await?;
    let mut pages = Vec::new();
    let mut inquiry = Inquiry::of(Dialect::Pika);
    for (search, mut told) in searches.iter_mut().filter(open).zip(told) {
        let Read::Data(value) = reply::read(target.endpoint(), "a page", told.answer())? else {
            search.give_up();
            continue;
        };
        if let Some(Side::Entries(_)) = search.side {
            let nonsense = || target.endpoint().answered("XRANGE", "something else than entries");
            let entries = reply::entries(value).ok_or_else(nonsense)?;
            search.estimate.learn(entries.len(), entries.iter().map(StreamEntry::size).sum());
            search.judge_entries(&entries.into_iter().map(|entry| entry.id).collect::<Vec<_>>());
            continue;
        }
        let body = reply::body(target.endpoint(), Kind::Zset, value)?;
        search.estimate.learn(body.len(), body.size());
        let Body::Zset(members) = body else { unreachable!("the body of a sorted set is one") };
        let questions = inquiry.key();
        for (member, _) in &members {
            questions.cmd("ZSCORE").arg(&search.key.key[..]).arg(&member[..]);
        }
        pages.push((search, members));
    }
    let told = inquiry.ask(source).await?;
    for ((search, members), told) in pages.into_iter().zip(told) {
        match scores(source.endpoint(), told)? {
            Some(scores) => search.judge(members, scores),
            None => search.give_up(),
        }
    }
    Ok(())
}

/// The answers to ZSCORE; `None` when the key has another type by now.
fn scores(endpoint: &Endpoint, answers: Told) -> Result<Option<Vec<Option<f64>>>> {
    let mut scores = Vec::new();
    for answer in answers {
        scores.push(match reply::read(endpoint, "ZSCORE", answer)? {
            Read::TypeChanged => return Ok(None),
            Read::Data(Value::Nil) => None,
            Read::Data(value) => {
                let score = reply::bulk(value).and_then(|text| reply::score_of(&text));
                Some(score.ok_or_else(|| endpoint.answered("ZSCORE", "something else than a score"))?)
            }
        });
    }
    Ok(Some(scores))
}

/// Keys of which a page is asked at once.
const KEYS_AT_ONCE: usize = 16;

/// Elements in the first page of a key.
const PAGE_FIRST: usize = 16;

/// Beyond so many elements a whole read is as good.
const SEEN_MAX: usize = 1 << 16;

/// Bytes of the elements that are gone, at most.
const GONE_SIZE_MAX: usize = 4 << 20;
