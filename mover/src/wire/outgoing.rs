// SPDX-License-Identifier: Apache-2.0
//! Batches on their way out.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::compress::{Compression, Compressor};
use super::encode::{Encoded, encode};
use super::error::{Error, Result};
use super::frame::{FRAME_MAX, HEADER_SIZE, Header, Kind};
use super::judge::{Judge, Seen};
use super::traffic::Traffic;
use super::{Failure, message};
use crate::batch::{Batch, KeyCounts};

/// The sending end of a connection that has been greeted.
pub(crate) struct Outgoing<W> {
    writer: W,
    job: u64,
    sequence: u64,
    /// That of the batch that is being sent.
    kind: Kind,
    limit: u64,
    compressor: Option<Compressor>,
    judge: Judge,
    /// A frame in the making, and its raw bytes where they lie in several pieces. Both keep their memory.
    frame: Vec<u8>,
    gathered: Vec<u8>,
    last: Instant,
    traffic: Arc<Traffic>,
}

impl<W: AsyncWrite + Unpin> Outgoing<W> {
    /// For batches of `limit` bytes at most, as encoded.
    pub(crate) fn new(writer: W, job: u64, limit: u64, compression: Compression, traffic: Arc<Traffic>) -> Self {
        let compressor = (compression != Compression::Off).then(|| Compressor::new(compression.level()));
        Self {
            writer,
            job,
            sequence: 0,
            kind: Kind::Batch,
            limit,
            compressor,
            judge: Judge::new(compression),
            frame: Vec::new(),
            gathered: Vec::new(),
            last: Instant::now(),
            traffic,
        }
    }

    /// Sends a batch. It returns when the network has taken it.
    ///
    /// # Errors
    /// [`Error::TooLarge`] before anything of it was sent, and whatever the connection ends with.
    pub(crate) async fn send(&mut self, batch: &Batch) -> Result<()> {
        let is_small = batch.size() <= SMALL_BATCH;
        let Encoded { mut parts, size } = encode(batch, if is_small { usize::MAX } else { LARGE_SLICE });
        if size as u64 > self.limit {
            return Err(Error::TooLarge { size: size as u64, limit: self.limit });
        }
        assert!(size > 0, "there is something in every batch");
        self.sequence += 1;
        self.kind = if batch.is_counted() { Kind::Counted } else { Kind::Batch };
        let mut rest = size;
        // In order, each dropped once it is sent; they only count references to what the batch holds.
        parts.reverse();
        while rest > 0 {
            let chunk = take(&mut parts, FRAME_MAX.min(rest));
            let raw = chunk.iter().map(Bytes::len).sum();
            rest -= raw;
            self.send_frame(&chunk, raw, rest).await?;
        }
        self.writer.flush().await?;
        Ok(())
    }

    async fn send_frame(&mut self, chunk: &[Bytes], raw: usize, rest: usize) -> Result<()> {
        let begin = Instant::now();
        let is_compressed = self.judge.wants() && self.compress(chunk, raw, rest);
        let compressing = begin.elapsed();
        let sent = match is_compressed {
            true => {
                self.writer.write_all(&self.frame).await?;
                self.frame.len()
            }
            false => {
                let mut checksum = crc32fast::Hasher::new();
                chunk.iter().for_each(|part| checksum.update(part));
                let header = self.header(false, raw, rest, raw, checksum.finalize()).encode();
                write_parts(&mut self.writer, &header, chunk).await?;
                HEADER_SIZE + raw
            }
        };
        self.traffic.count(sent, raw);
        let passed = self.last.elapsed();
        self.last = Instant::now();
        let writing = (self.last - begin).saturating_sub(compressing);
        self.judge.note(Seen { raw: raw as u64, sent: sent as u64, compressing, writing, passed });
        Ok(())
    }

    /// Puts the whole frame into `self.frame`, unless that is not worth it.
    fn compress(&mut self, chunk: &[Bytes], raw: usize, rest: usize) -> bool {
        let Some(compressor) = &mut self.compressor else { return false };
        let bytes = match chunk {
            [one] => &one[..],
            parts => {
                self.gathered.clear();
                parts.iter().for_each(|part| self.gathered.extend_from_slice(part));
                &self.gathered
            }
        };
        self.frame.clear();
        self.frame.resize(HEADER_SIZE, 0);
        // Of a frame that is large a little is tried first.
        if bytes.len() >= TRIED_FROM {
            let middle = bytes.len() / 2;
            let length = compressor.compress(&bytes[middle..middle + TRIED], &mut self.frame);
            if length * 6 > TRIED * 5 {
                return false;
            }
            self.frame.truncate(HEADER_SIZE);
        }
        let length = compressor.compress(bytes, &mut self.frame);
        if length >= raw {
            return false;
        }
        let checksum = crc32fast::hash(&self.frame[HEADER_SIZE..]);
        let header = self.header(true, raw, rest, length, checksum).encode();
        self.frame[..HEADER_SIZE].copy_from_slice(&header);
        true
    }

    fn header(&self, is_compressed: bool, raw: usize, rest: usize, payload: usize, checksum: u32) -> Header {
        let number = |size: usize| u32::try_from(size).expect("a batch is never as large as 4 GiB");
        Header {
            kind: self.kind,
            is_compressed,
            job: self.job,
            sequence: self.sequence,
            raw: number(raw),
            rest: number(rest),
            payload: number(payload),
            checksum,
        }
    }
}

/// Tells the other end that the target has answered everything up to `sequence`, and what all of it has done to the number
/// of keys.
pub(crate) async fn acknowledge(
    writer: &mut (impl AsyncWrite + Unpin),
    job: u64,
    sequence: u64,
    counts: KeyCounts,
) -> Result<()> {
    let KeyCounts { created, deleted, unclear } = counts;
    let payload = [created, deleted, unclear].map(u64::to_le_bytes).concat();
    let header = Header::plain(Kind::Ack, job, sequence, &payload).encode();
    writer.write_all(&[&header[..], &payload].concat()).await?;
    writer.flush().await?;
    Ok(())
}

/// Tells the other end that this batch was not done, and why, and that nothing more will be.
pub(crate) async fn fail(
    writer: &mut (impl AsyncWrite + Unpin),
    job: u64,
    sequence: u64,
    failure: &Failure,
) -> Result<()> {
    message::write(writer, Kind::Failure, (job, sequence), b"", failure).await
}

/// Takes `size` bytes from the front of the parts, of which the last one is the first.
fn take(parts: &mut Vec<Bytes>, size: usize) -> Vec<Bytes> {
    let (mut taken, mut left) = (Vec::new(), size);
    while let Some(part) = parts.last_mut().filter(|_| left > 0) {
        match part.len() > left {
            true => {
                taken.push(part.split_to(left));
                left = 0;
            }
            false => {
                left -= part.len();
                taken.extend(parts.pop());
            }
        }
    }
    taken
}

/// Writes a header and what follows it without bringing them together.
async fn write_parts(writer: &mut (impl AsyncWrite + Unpin), header: &[u8], parts: &[Bytes]) -> Result<()> {
    let mut left: Vec<&[u8]> = std::iter::once(header).chain(parts.iter().map(|part| &part[..])).collect();
    let mut first = 0;
    while first < left.len() {
        let slices: Vec<IoSlice<'_>> = left[first..].iter().take(SLICES_MAX).map(|slice| IoSlice::new(slice)).collect();
        let mut written = writer.write_vectored(&slices).await?;
        if written == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into());
        }
        while written > 0 {
            let step = written.min(left[first].remaining());
            left[first].advance(step);
            written -= step;
            if left[first].is_empty() {
                first += 1;
            }
        }
        while left.get(first).is_some_and(|slice| slice.is_empty()) {
            first += 1;
        }
    }
    Ok(())
}

/// A batch up to here is encoded in one piece: cheaper than many slices.
const SMALL_BATCH: usize = 256 << 10;

/// In a larger batch, a slice from here on is not copied.
const LARGE_SLICE: usize = 16 << 10;

/// Slices in one call to the system.
const SLICES_MAX: usize = 64;

/// From this size on a frame's compression is first tried on so many bytes of it.
const TRIED_FROM: usize = 256 << 10;
const TRIED: usize = 32 << 10;
