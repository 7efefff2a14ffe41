// SPDX-License-Identifier: Apache-2.0
//! Big keys, a page at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use redis::Cmd;
use snapshot::{Body, Kind, Part, Piece, StreamId, UnixMillis};

use crate::Result;
use crate::endpoint::Client;
use crate::source::reply::{self, Read};

/// A pattern that matches everything and that no other scan of this process uses.
///
/// Pika keeps the place behind each page under the key, the pattern and the cursor's number, and the numbers of all scans
/// are the same. Two scans of one key with one pattern would continue at each other's places, and elements between the
/// two places would be missed.
#[derive(Clone, Debug)]
pub(super) struct ScanPattern(Arc<str>);

impl ScanPattern {
    pub(super) fn unique() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        // One star alone is what clients use.
        let stars = 2 + NUMBER.fetch_add(1, Ordering::Relaxed) % STARS_MAX;
        Self("*".repeat(stars).into())
    }
}

/// A read of one big key in pages. It holds one page back, so that the last piece is known to be the last.
#[derive(Debug)]
pub(super) struct Paging {
    key: Bytes,
    kind: Kind,
    expire_at: Option<UnixMillis>,
    /// What XINFO said before the first page.
    last_id: StreamId,
    pattern: ScanPattern,
    position: Position,
    held: Option<Body>,
    begun: bool,
    elements: usize,
}

#[derive(Debug)]
enum Position {
    /// The cursor of a scan.
    Cursor(Bytes),
    /// An index into a list.
    Index(usize),
    /// The least id of a stream that has not been read.
    Id(StreamId),
    End,
}

/// What a step of a paged read gives.
#[derive(Debug)]
pub(super) enum Step {
    /// A piece, or nothing yet.
    Piece(Option<Piece>),
    /// The last piece, and the number of elements in all; no piece for a key that is gone.
    Done(Option<Piece>, usize),
    /// The key has another type by now.
    TypeChanged,
}

impl Paging {
    pub(super) fn new(
        key: Bytes,
        kind: Kind,
        expire_at: Option<UnixMillis>,
        last_id: StreamId,
        pattern: ScanPattern,
    ) -> Self {
        let position = match kind {
            Kind::List => Position::Index(0),
            Kind::Stream => Position::Id(StreamId::default()),
            _ => Position::Cursor(Bytes::from_static(b"0")),
        };
        Self { key, kind, expire_at, last_id, pattern, position, held: None, begun: false, elements: 0 }
    }

    pub(super) fn key(&self) -> &Bytes {
        &self.key
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn expires(&self) -> bool {
        self.expire_at.is_some()
    }

    /// Reads the next page.
    ///
    /// # Errors
    /// As [`Client::ask_all`].
    pub(super) async fn step(&mut self, client: &mut Client) -> Result<Step> {
        let mut pipeline = redis::Pipeline::with_capacity(1);
        pipeline.add_command(self.command());
        let value = client.ask_all(&mut pipeline).await?.pop().unwrap_or_default();
        let page = match reply::read(client.endpoint(), "a page", value)? {
            Read::TypeChanged => return Ok(Step::TypeChanged),
            Read::Data(value) => self.take(client, value)?,
        };
        self.elements += page.len();
        let held = match page.is_empty() {
            true => None,
            false => self.held.replace(page),
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

    /// Whether all pages are read and only the piece held back is left.
    pub(super) fn finish(&mut self) -> Option<Step> {
        match self.position {
            Position::End => Some(self.done()),
            _ => None,
        }
    }

    /// The piece held back, as the last one.
    fn done(&mut self) -> Step {
        // A stream that was emptied keeps its last id, a deleted one has none.
        let emptied = self.kind == Kind::Stream && !self.begun && self.last_id != StreamId::default();
        let empty = || emptied.then(|| Body::Stream { entries: Vec::new(), last_id: self.last_id });
        let last = self.held.take().or_else(empty).map(|body| self.piece(body, true));
        Step::Done(last, self.elements)
    }

    fn command(&self) -> Cmd {
        let mut command = Cmd::new();
        match (&self.position, self.kind) {
            (Position::Index(index), _) => {
                command.arg("LRANGE").arg(&self.key[..]).arg(*index).arg(index + PAGE_ELEMENTS - 1);
            }
            (Position::Id(id), _) => {
                command.arg("XRANGE").arg(&self.key[..]).arg(id.to_string()).arg("+");
                command.arg("COUNT").arg(PAGE_ELEMENTS);
            }
            (Position::Cursor(cursor), kind) => {
                let name = match kind {
                    Kind::Hash => "HSCAN",
                    Kind::Set => "SSCAN",
                    _ => "ZSCAN",
                };
                command.arg(name).arg(&self.key[..]).arg(&cursor[..]);
                command.arg("MATCH").arg(&*self.pattern.0).arg("COUNT").arg(PAGE_ELEMENTS);
            }
            (Position::End, _) => unreachable!("no page is asked for behind the last one"),
        }
        command
    }

    /// The elements of a page; moves the position behind it.
    fn take(&mut self, client: &Client, value: redis::Value) -> Result<Body> {
        match &self.position {
            Position::Cursor(_) => {
                let (cursor, body) = reply::scan_page(client.endpoint(), self.kind, value)?;
                self.position = match &cursor[..] {
                    b"0" => Position::End,
                    _ => Position::Cursor(cursor),
                };
                Ok(body)
            }
            Position::Index(index) => {
                let next = index + PAGE_ELEMENTS;
                let body = reply::body(client.endpoint(), self.kind, value)?;
                self.position = if body.len() < PAGE_ELEMENTS { Position::End } else { Position::Index(next) };
                Ok(body)
            }
            Position::Id(_) | Position::End => {
                let mut body = reply::body(client.endpoint(), self.kind, value)?;
                let mut next = Position::End;
                if let Body::Stream { entries, last_id } = &mut body {
                    *last_id = self.last_id;
                    if let Some(last) = entries.last().filter(|_| entries.len() == PAGE_ELEMENTS) {
                        next = successor(last.id).map_or(Position::End, Position::Id);
                    }
                }
                self.position = next;
                Ok(body)
            }
        }
    }

    fn piece(&mut self, body: Body, last: bool) -> Piece {
        let part = match (std::mem::replace(&mut self.begun, true), last) {
            (false, true) => Part::Whole,
            (false, false) => Part::First,
            (true, false) => Part::Middle,
            (true, true) => Part::Last,
        };
        Piece { key: self.key.clone(), part, expire_at: self.expire_at, body }
    }
}

fn successor(id: StreamId) -> Option<StreamId> {
    match id.sequence.checked_add(1) {
        Some(sequence) => Some(StreamId::new(id.millis, sequence)),
        None => Some(StreamId::new(id.millis.checked_add(1)?, 0)),
    }
}

/// More readers than a job ever has at a time.
const STARS_MAX: usize = 64;

/// Elements in one page: at a kilobyte each half a megabyte, and a few hundred microseconds of the server's time.
pub(super) const PAGE_ELEMENTS: usize = 512;
