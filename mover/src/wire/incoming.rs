// SPDX-License-Identifier: Apache-2.0
//! What comes in: batches at a receiver, their answers at a sender.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::time::timeout;

use super::Failure;
use super::compress::Decompressor;
use super::decode::decode;
use super::error::{Error, Result, malformed};
use super::frame::{FRAME_MAX, HEADER_SIZE, Header, Kind, STALL};
use super::traffic::Traffic;
use crate::batch::{Batch, KeyCounts};

/// The receiving end of a connection that has been greeted.
pub(crate) struct Incoming<R> {
    reader: R,
    job: u64,
    sequence: u64,
    limit: u64,
    may_be_compressed: bool,
    decompressor: Decompressor,
    /// The payload of a compressed frame. It keeps its memory.
    payload: Vec<u8>,
    traffic: Arc<Traffic>,
}

/// A batch whose first header has come.
#[derive(Debug)]
pub(crate) struct Announced {
    header: Header,
    /// How many bytes it has, uncompressed. That is below the limit.
    size: usize,
    /// What its elements may take beside that.
    elements_max: usize,
}

/// A batch that has come whole.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) batch: Batch,
    /// Bytes of memory that it takes.
    pub(crate) memory: usize,
}

impl Announced {
    /// Bytes of memory that it may take: itself, and as many elements as may be in it.
    pub(crate) fn memory_max(&self) -> usize {
        self.size + self.elements_max
    }
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// Batches of `limit` bytes at most, uncompressed.
    pub(crate) fn new(reader: R, job: u64, limit: u64, may_be_compressed: bool, traffic: Arc<Traffic>) -> Self {
        Self {
            reader,
            job,
            sequence: 0,
            limit,
            may_be_compressed,
            decompressor: Decompressor::new(),
            payload: Vec::new(),
            traffic,
        }
    }

    /// Waits for the next batch and says how large it is, before any memory is taken for it. `None` is the end.
    ///
    /// # Errors
    /// Whatever is not as it must be. Nothing may be read any more then.
    pub(crate) async fn announced(&mut self) -> Result<Option<Announced>> {
        let Some(header) = Header::read(&mut self.reader).await? else { return Ok(None) };
        self.sequence += 1;
        self.check(&header)?;
        let size = u64::from(header.raw) + u64::from(header.rest);
        match size {
            0 => Err(malformed("a batch of nothing")),
            _ if size > self.limit => Err(Error::TooLarge { size, limit: self.limit }),
            _ => {
                // The limit is one of memory, so what is below it is a size.
                let size = size as usize;
                let elements_max = size.saturating_mul(ELEMENT_GROWTH).min(self.limit as usize / ELEMENTS_SHARE);
                Ok(Some(Announced { header, size, elements_max }))
            }
        }
    }

    /// The batch that was announced, all of it.
    ///
    /// # Errors
    /// As [`announced`](Self::announced).
    pub(crate) async fn batch(&mut self, announced: Announced) -> Result<Arrived> {
        let Announced { mut header, size, elements_max } = announced;
        // The size was checked. The memory is only touched as far as bytes come.
        let mut whole = vec![0; size];
        let mut at = 0;
        loop {
            let raw = &mut whole[at..at + header.raw as usize];
            match header.is_compressed {
                true => {
                    self.payload.resize(header.payload as usize, 0);
                    header.read_payload(&mut self.reader, &mut self.payload).await?;
                    self.decompressor.decompress(&self.payload, raw)?;
                }
                false => header.read_payload(&mut self.reader, raw).await?,
            }
            self.traffic.count(HEADER_SIZE + header.payload as usize, header.raw as usize);
            at += header.raw as usize;
            if header.rest == 0 {
                break;
            }
            // Memory waits for it, so its time is limited.
            let next = timeout(STALL, Header::read(&mut self.reader)).await.map_err(|_| Error::Silent(STALL))?;
            let next = next?.ok_or(Error::Truncated)?;
            self.check(&next)?;
            if next.kind != header.kind || u64::from(next.raw) + u64::from(next.rest) != u64::from(header.rest) {
                return Err(malformed("a part that is not what was left"));
            }
            header = next;
        }
        let (batch, elements) = decode(Bytes::from(whole), elements_max, header.kind == Kind::Counted)?;
        Ok(Arrived { batch, memory: size + elements })
    }

    /// The stream itself, when there is nothing more to be taken from it.
    pub(crate) fn into_reader(self) -> R {
        self.reader
    }

    fn check(&self, header: &Header) -> Result<()> {
        if !matches!(header.kind, Kind::Batch | Kind::Counted) {
            return Err(Error::Unexpected { what: "it is no batch" });
        }
        if header.job != self.job {
            return Err(Error::Job { found: header.job, expected: self.job });
        }
        if header.sequence != self.sequence {
            return Err(Error::Order { found: header.sequence, expected: self.sequence });
        }
        if header.is_compressed && !self.may_be_compressed {
            return Err(Error::Unexpected { what: "it is compressed, which was not agreed on" });
        }
        if header.raw == 0 || header.raw as usize > FRAME_MAX {
            return Err(malformed("a frame of nothing, or of more than a frame may have"));
        }
        // Whoever compresses sends what does not become smaller as it is.
        match header.payload <= header.raw {
            true => Ok(()),
            false => Err(malformed("a frame that compression has made larger")),
        }
    }
}

/// What a receiver says about batches.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The target has answered every batch up to this one, and all of them together have done this to the number of keys.
    Done(u64, KeyCounts),
    /// No batch will be done any more.
    Failed(Failure),
}

/// Waits for the next answer; `None` is the end.
pub(crate) async fn answer(reader: &mut (impl AsyncRead + Unpin), job: u64) -> Result<Option<Answer>> {
    let Some(header) = Header::read(reader).await? else { return Ok(None) };
    if header.job != job {
        return Err(Error::Job { found: header.job, expected: job });
    }
    if header.payload as usize > ANSWER_MAX || header.is_compressed {
        return Err(Error::TooLarge { size: header.payload.into(), limit: ANSWER_MAX as u64 });
    }
    let mut payload = vec![0; header.payload as usize];
    header.read_payload(reader, &mut payload).await?;
    match header.kind {
        Kind::Ack => Ok(Some(Answer::Done(header.sequence, counts(&payload)?))),
        Kind::Failure => Ok(Some(Answer::Failed(super::message::parse(&payload)?))),
        _ => Err(Error::Unexpected { what: "it answers nothing" }),
    }
}

/// What an acknowledgement says of the number of keys.
fn counts(payload: &[u8]) -> Result<KeyCounts> {
    match payload.as_chunks() {
        ([created, deleted, unclear], []) => {
            let number = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
            Ok(KeyCounts { created: number(created), deleted: number(deleted), unclear: number(unclear) })
        }
        _ => Err(malformed("an acknowledgement of another length")),
    }
}

/// A write or an element has a few bytes at least, and takes so many times as much in memory at most.
const ELEMENT_GROWTH: usize = 64;

/// Small elements are copied when they become commands, so of the limit they may take this part. At the least memory that
/// a receiver may have it is four times what senders of ours need.
const ELEMENTS_SHARE: usize = 5;

/// The largest answer: one that tells of a failure, with the name of a key in it.
const ANSWER_MAX: usize = 64 << 10;
