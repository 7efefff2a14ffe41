// SPDX-License-Identifier: Apache-2.0
//! Big keys, a page at a time. A page is of so many bytes, as far as the pages before it tell.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use bytes::{Bytes, BytesMut};
use rand::RngExt as _;
use redis::{Cmd, Value};
use snapshot::{Body, Kind, Part, Piece, StreamId, UnixMillis};

use crate::Result;
use crate::endpoint::Endpoint;
use crate::source::estimate::Estimate;
use crate::source::inquiry::Told;
use crate::source::reply::{self, Read, StreamInfo};
use crate::source::small::size_command;

/// A pattern that matches everything and that, as good as surely, no other scan uses.
///
/// Pika keeps the place behind each page under the key, the pattern and the cursor's number, which is the sum of the pages'
/// counts. Two scans of one key with the same pattern and counts would go on at each other's places, and elements between
/// the two places would be missed. Within a process no two have one pattern; another process, as a comparison beside a job,
/// begins with another one and other counts. And where it can be told, what was read is held against the key's size.
#[derive(Clone, Debug)]
pub(super) struct ScanPattern(Arc<str>);

impl ScanPattern {
    pub(super) fn unique() -> Self {
        static FIRST: LazyLock<usize> = LazyLock::new(|| rand::rng().random_range(0..STARS_MAX));
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        // One star alone is what clients use.
        let stars = 2 + (*FIRST + NUMBER.fetch_add(1, Ordering::Relaxed)) % STARS_MAX;
        Self("*".repeat(stars).into())
    }
}

/// A key before its pages are read.
#[derive(Debug)]
pub(super) struct Big {
    pub(super) key: Bytes,
    pub(super) kind: Kind,
    pub(super) expire_at: Option<UnixMillis>,
    /// Of a stream.
    pub(super) info: StreamInfo,
    /// Elements, or bytes of a string.
    pub(super) length: usize,
}

/// A read of one big key in pages. It holds one page back, so that the last piece is known to be the last.
#[derive(Debug)]
pub(super) struct Paging {
    big: Big,
    pattern: ScanPattern,
    position: Position,
    /// Elements that the next page is asked for.
    count: usize,
    estimate: Estimate,
    held: Option<Body>,
    begun: bool,
    elements: usize,
    /// How many there were at the last page.
    size: Option<usize>,
    /// Whether the first entry of a stream is the one that the server takes for it.
    knows_first_entry: bool,
}

#[derive(Debug)]
enum Position {
    /// The cursor of a scan.
    Cursor(Bytes),
    /// An index into a list.
    Index(usize),
    /// The least id of a stream that has not been read.
    Id(StreamId),
    /// What there is of a string already, as one buffer.
    Buffer(BytesMut),
    /// Where the next part of a string begins; each is a piece of its own.
    Offset(usize),
    End,
}

/// What a step of a paged read gives.
#[derive(Debug)]
pub(super) enum Step {
    /// A piece, or nothing yet.
    Piece(Option<Piece>),
    /// The last piece, and the number of elements in all; no piece for a key that is gone.
    Done(Option<Piece>, usize),
    /// The key has another type or length by now.
    Changed,
}

/// How big strings are given out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strings {
    /// Whole, as a target must get them.
    Whole,
    /// In parts of equal length, for whoever only looks at them once.
    Parts,
}

impl Paging {
    pub(super) fn new(big: Big, pattern: ScanPattern, strings: Strings) -> Self {
        let position = match big.kind {
            Kind::List => Position::Index(0),
            Kind::Stream => Position::Id(StreamId::default()),
            Kind::String | Kind::HyperLogLog => match strings {
                Strings::Whole => Position::Buffer(BytesMut::with_capacity(big.length)),
                Strings::Parts => Position::Offset(0),
            },
            Kind::Hash | Kind::Set | Kind::Zset => Position::Cursor(Bytes::from_static(b"0")),
        };
        let (count, estimate) = (PAGE_FIRST + rand::rng().random_range(0..PAGE_FIRST), Estimate::new());
        Self {
            big,
            pattern,
            position,
            count,
            estimate,
            held: None,
            begun: false,
            elements: 0,
            size: None,
            knows_first_entry: false,
        }
    }

    pub(super) fn key(&self) -> &Bytes {
        &self.big.key
    }

    pub(super) fn kind(&self) -> Kind {
        self.big.kind
    }

    pub(super) fn expires(&self) -> bool {
        self.big.expire_at.is_some()
    }

    /// Whether it gave another number of elements than there were all the time, as when two scans go on at each other's places.
    pub(super) fn has_lost_its_place(&self) -> bool {
        self.size == Some(self.big.length) && self.elements != self.big.length
    }

    /// Whether a stream that was read whole loses its first entries when it is trimmed, and no others.
    pub(super) fn knows_first_entry(&self) -> bool {
        self.knows_first_entry
    }

    /// About how many bytes the next page has; `usual` is what elements of other keys weigh.
    pub(super) fn weight(&self, usual: &Estimate) -> usize {
        match (&self.position, self.elements) {
            (Position::Buffer(_) | Position::Offset(_), _) => self.part(),
            (Position::End, _) => 0,
            (_, 0) => usual.weight(self.count),
            _ => self.estimate.weight(self.count),
        }
    }

    /// Bytes of a string that are read at once. The server reads all of it each time, so there are not too many parts; both
    /// sides of a comparison cut strings of one length alike.
    fn part(&self) -> usize {
        (self.big.length / STRING_PARTS).clamp(STRING_PART, STRING_PART_MAX)
    }

    /// What to ask for the next page; nothing when only the piece held back is left.
    pub(super) fn command(&self) -> Option<Cmd> {
        let mut command = Cmd::new();
        let key = &self.big.key[..];
        match &self.position {
            Position::Index(index) => {
                command.arg("LRANGE").arg(key).arg(*index).arg(index + self.count - 1);
            }
            Position::Id(id) => {
                command.arg("XRANGE").arg(key).arg(id.to_string()).arg("+").arg("COUNT").arg(self.count);
            }
            Position::Cursor(cursor) => {
                let name = match self.big.kind {
                    Kind::Hash => "HSCAN",
                    Kind::Set => "SSCAN",
                    _ => "ZSCAN",
                };
                command.arg(name).arg(key).arg(&cursor[..]);
                command.arg("MATCH").arg(&*self.pattern.0).arg("COUNT").arg(self.count);
            }
            Position::Buffer(buffer) => {
                command.arg("GETRANGE").arg(key).arg(buffer.len()).arg(buffer.len() + self.part() - 1);
            }
            Position::Offset(offset) => {
                command.arg("GETRANGE").arg(key).arg(*offset).arg(offset + self.part() - 1);
            }
            Position::End => return None,
        }
        Some(command)
    }

    /// What is to be asked beside it: how many elements there are, where a scan may lose its place.
    pub(super) fn size_command(&self) -> Option<&'static str> {
        matches!(self.position, Position::Cursor(_)).then(|| size_command(self.big.kind))
    }

    /// Goes on by the answers to [`command`](Self::command) and [`size_command`](Self::size_command), or by none where there
    /// was nothing to ask.
    ///
    /// # Errors
    /// [`Error::Reply`](crate::Error::Reply).
    pub(super) fn step(&mut self, endpoint: &Endpoint, told: Option<Told>) -> Result<Step> {
        let Some(mut told) = told else { return Ok(self.done()) };
        let Read::Data(value) = reply::read(endpoint, "a page", told.answer())? else { return Ok(Step::Changed) };
        if matches!(self.position, Position::Buffer(_) | Position::Offset(_)) {
            return self.string_step(endpoint, value);
        }
        let page = self.take(endpoint, value)?;
        self.elements += page.len();
        self.estimate.learn(page.len(), page.size());
        self.count = self.estimate.elements(PAGE_SIZE).min(self.count * PAGE_GROWTH).min(PAGE_ELEMENTS);
        let held = match page.is_empty() {
            true => None,
            false => self.held.replace(page),
        };
        self.size = match told.answer() {
            Value::Int(size) => usize::try_from(size).ok(),
            _ => None,
        };
        if !matches!(self.position, Position::End) {
            return Ok(Step::Piece(held.map(|body| self.piece(body, false))));
        }
        // Two pages may be at hand now: the one held back goes first, the last one waits for the next step.
        match held {
            Some(body) => Ok(Step::Piece(Some(self.piece(body, false)))),
            None => Ok(self.done()),
        }
    }

    /// A part of a string. It may be one of another value than the part before: then an entry of the log will say so, and
    /// a comparison finds it.
    fn string_step(&mut self, endpoint: &Endpoint, value: Value) -> Result<Step> {
        let Body::String(part) = reply::body(endpoint, Kind::String, value)? else {
            unreachable!("the body of a string is one")
        };
        let before = match &self.position {
            Position::Buffer(buffer) => buffer.len(),
            Position::Offset(offset) => *offset,
            _ => 0,
        };
        let end = before + part.len();
        let is_last = end == self.big.length;
        if part.len() != self.part().min(self.big.length - before) {
            return Ok(Step::Changed);
        }
        let body = match &mut self.position {
            Position::Buffer(buffer) => {
                buffer.extend_from_slice(&part);
                match is_last {
                    true => Bytes::from(std::mem::take(buffer)),
                    false => return Ok(Step::Piece(None)),
                }
            }
            position => {
                *position = Position::Offset(end);
                part
            }
        };
        let piece = self.piece(Body::String(body), is_last);
        Ok(if is_last { Step::Done(Some(piece), 1) } else { Step::Piece(Some(piece)) })
    }

    /// The piece held back, as the last one.
    fn done(&mut self) -> Step {
        // A stream that was emptied keeps its last id, a deleted one has none.
        let last_id = self.big.info.last_id;
        let emptied = self.big.kind == Kind::Stream && !self.begun && last_id != StreamId::default();
        let empty = || emptied.then(|| Body::Stream { entries: Vec::new(), last_id });
        let last = self.held.take().or_else(empty).map(|body| self.piece(body, true));
        Step::Done(last, self.elements)
    }

    /// The elements of a page; moves the position behind it.
    fn take(&mut self, endpoint: &Endpoint, value: Value) -> Result<Body> {
        let (kind, count) = (self.big.kind, self.count);
        let (next, body) = match &self.position {
            Position::Cursor(_) => {
                let (cursor, body) = reply::scan_page(endpoint, kind, value)?;
                match &cursor[..] {
                    b"0" => (Position::End, body),
                    _ => (Position::Cursor(cursor), body),
                }
            }
            Position::Index(index) => {
                let body = reply::body(endpoint, kind, value)?;
                (if body.len() < count { Position::End } else { Position::Index(index + count) }, body)
            }
            Position::Id(_) | Position::Buffer(_) | Position::Offset(_) | Position::End => {
                let mut body = reply::body(endpoint, kind, value)?;
                let mut next = Position::End;
                if let Body::Stream { entries, last_id } = &mut body {
                    *last_id = self.big.info.last_id;
                    if self.elements == 0 {
                        self.knows_first_entry =
                            entries.first().is_some_and(|first| first.id == self.big.info.first_id);
                    }
                    if let Some(last) = entries.last().filter(|_| entries.len() == count) {
                        next = last.id.successor().map_or(Position::End, Position::Id);
                    }
                }
                (next, body)
            }
        };
        self.position = next;
        Ok(body)
    }

    fn piece(&mut self, body: Body, last: bool) -> Piece {
        let part = match (std::mem::replace(&mut self.begun, true), last) {
            (false, true) => Part::Whole,
            (false, false) => Part::First,
            (true, false) => Part::Middle,
            (true, true) => Part::Last,
        };
        Piece { key: self.big.key.clone(), part, expire_at: self.big.expire_at, body }
    }
}

/// More readers than a job ever has at a time, and not so many that a server takes long over them.
const STARS_MAX: usize = 250;

/// Elements in the first page of a key, of which nothing is known yet.
const PAGE_FIRST: usize = 16;

/// How much longer than the page before a page may be.
const PAGE_GROWTH: usize = 8;

/// Elements in one page at most: some hundred microseconds of the server's time.
pub(super) const PAGE_ELEMENTS: usize = 512;

/// Bytes that a page is meant to have.
pub(super) const PAGE_SIZE: usize = 512 << 10;

/// Bytes of a string that are read at once, at the least and at the most.
pub(super) const STRING_PART: usize = 2 << 20;
const STRING_PART_MAX: usize = 8 << 20;

/// In so many parts a string is read, unless they are too small or too large.
const STRING_PARTS: usize = 16;
