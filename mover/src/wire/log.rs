// SPDX-License-Identifier: Apache-2.0
//! The target's log on its way to a sender, which asks for one part after the other.
//!
//! ```text
//!  sender                                receiver
//!    │ Wanted 1 (from) ─────────────────▶ │
//!    │ ◀──────── Part 1 (end, next, size) │      the log ends there, and the next part begins there
//!    │ ◀─────────────────── Bytes 1 (…) ─ │      where there are any
//!    │ Wanted 2 (from) ─────────────────▶ │
//! ```

use bytes::Bytes;
use replication::BinlogOffset;
use replication::binlog::Extract;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::compress::{Compression, Compressor, Decompressor};
use super::error::{Error, Result, malformed};
use super::frame::{FRAME_MAX, Header, Kind, MESSAGE_MAX, STALL, read_message};
use super::{Failure, Reader, Writer, message};

/// What a sender is told at a time.
#[derive(Debug)]
pub(crate) enum Told {
    /// Where the log ends, and the part of it that was asked for.
    Part(BinlogOffset, Extract),
    /// There is none.
    Failed(Failure),
}

/// The sender's end of a connection that was greeted for the log.
pub(crate) struct LogReader {
    reader: Reader,
    writer: Writer,
    job: u64,
    sequence: u64,
    decompressor: Decompressor,
}

impl LogReader {
    pub(crate) fn new(reader: Reader, writer: Writer, job: u64) -> Self {
        Self { reader, writer, job, sequence: 0, decompressor: Decompressor::new() }
    }

    /// Asks for the part that begins at `from`. When it is dropped before it is done, nothing may be asked any more.
    ///
    /// # Errors
    /// Whatever is not as it must be, and what the connection ends with.
    pub(crate) async fn fetch(&mut self, from: BinlogOffset) -> Result<Told> {
        self.sequence += 1;
        message::write(&mut self.writer, Kind::Wanted, (self.job, self.sequence), b"", &Wanted { from: pair(from) })
            .await?;
        timeout(STALL, self.told()).await.map_err(|_| Error::Silent(STALL))?
    }

    async fn told(&mut self) -> Result<Told> {
        let (header, payload) = read_message(&mut self.reader, FAILURE_MAX).await?;
        self.check(&header)?;
        match header.kind {
            Kind::Part => {}
            Kind::Failure => return Ok(Told::Failed(message::parse(&payload)?)),
            _ => return Err(Error::Unexpected { what: "it is no part of a log" }),
        }
        let Part { end, next, size } = message::parse(&payload)?;
        let bytes = if size == 0 { Vec::new() } else { self.bytes(size).await? };
        Ok(Told::Part(offset(end), Extract { bytes, next: offset(next) }))
    }

    async fn bytes(&mut self, size: u32) -> Result<Vec<u8>> {
        let header = Header::read(&mut self.reader).await?.ok_or(Error::Truncated)?;
        self.check(&header)?;
        if header.kind != Kind::Bytes || header.raw != size || header.rest != 0 {
            return Err(Error::Unexpected { what: "it has not the bytes that were announced" });
        }
        if header.raw as usize > FRAME_MAX || header.payload > header.raw {
            return Err(malformed("a frame of more than a frame may have"));
        }
        let mut payload = vec![0; header.payload as usize];
        header.read_payload(&mut self.reader, &mut payload).await?;
        if !header.is_compressed {
            return Ok(payload);
        }
        let mut raw = vec![0; size as usize];
        self.decompressor.decompress(&payload, &mut raw)?;
        Ok(raw)
    }

    fn check(&self, header: &Header) -> Result<()> {
        check(header, self.job, self.sequence)
    }
}

/// The receiver's end.
pub(crate) struct LogWriter {
    reader: Reader,
    writer: Writer,
    job: u64,
    sequence: u64,
    compressor: Option<Compressor>,
}

impl LogWriter {
    pub(crate) fn new(reader: Reader, writer: Writer, job: u64, is_compressed: bool) -> Self {
        let compressor = is_compressed.then(|| Compressor::new(Compression::Auto.level()));
        Self { reader, writer, job, sequence: 0, compressor }
    }

    /// Waits until a part is wanted, and tells from where on; `None` is the end.
    ///
    /// # Errors
    /// Whatever is not as it must be, and what the connection ends with.
    pub(crate) async fn wanted(&mut self) -> Result<Option<BinlogOffset>> {
        let Some(header) = Header::read(&mut self.reader).await? else { return Ok(None) };
        self.sequence += 1;
        check(&header, self.job, self.sequence)?;
        if header.kind != Kind::Wanted || header.is_compressed || header.rest != 0 {
            return Err(Error::Unexpected { what: "it asks for no part of a log" });
        }
        if header.payload as usize > MESSAGE_MAX {
            return Err(Error::TooLarge { size: header.payload.into(), limit: MESSAGE_MAX as u64 });
        }
        let mut payload = vec![0; header.payload as usize];
        header.read_payload(&mut self.reader, &mut payload).await?;
        let Wanted { from } = message::parse(&payload)?;
        Ok(Some(offset(from)))
    }

    /// Answers with a part of [`PART_MAX`] bytes at most, of a log that ends at `end`.
    ///
    /// # Errors
    /// Whatever the connection ends with.
    pub(crate) async fn tell(&mut self, end: BinlogOffset, part: Extract) -> Result<()> {
        let Extract { bytes, next } = part;
        let size = u32::try_from(bytes.len()).expect("a part is smaller than 4 GiB");
        let about = Part { end: pair(end), next: pair(next), size };
        message::write(&mut self.writer, Kind::Part, (self.job, self.sequence), b"", &about).await?;
        if size > 0 {
            let (payload, is_compressed) = self.payload(bytes.into());
            let plain = Header::plain(Kind::Bytes, self.job, self.sequence, &payload);
            let header = Header { is_compressed, raw: size, ..plain }.encode();
            self.writer.write_all(&header).await?;
            self.writer.write_all(&payload).await?;
            self.writer.flush().await?;
        }
        Ok(())
    }

    /// Answers that there is none, and none will be.
    ///
    /// # Errors
    /// Whatever the connection ends with.
    pub(crate) async fn fail(&mut self, failure: &Failure) -> Result<()> {
        message::write(&mut self.writer, Kind::Failure, (self.job, self.sequence), b"", failure).await
    }

    fn payload(&mut self, bytes: Bytes) -> (Bytes, bool) {
        let Some(compressor) = &mut self.compressor else { return (bytes, false) };
        let mut compressed = Vec::new();
        match compressor.compress(&bytes, &mut compressed) < bytes.len() {
            true => (compressed.into(), true),
            false => (bytes, false),
        }
    }
}

/// Asks for a part.
#[derive(Serialize, Deserialize)]
struct Wanted {
    from: (u32, u64),
}

/// What a part is, in front of its bytes.
#[derive(Serialize, Deserialize)]
struct Part {
    end: (u32, u64),
    next: (u32, u64),
    size: u32,
}

fn check(header: &Header, job: u64, sequence: u64) -> Result<()> {
    if header.job != job {
        return Err(Error::Job { found: header.job, expected: job });
    }
    match header.sequence == sequence {
        true => Ok(()),
        false => Err(Error::Order { found: header.sequence, expected: sequence }),
    }
}

fn pair(offset: BinlogOffset) -> (u32, u64) {
    (offset.file, offset.position)
}

fn offset((file, position): (u32, u64)) -> BinlogOffset {
    BinlogOffset::new(file, position)
}

/// Bytes of a log in one part: it travels in one frame.
pub(crate) const PART_MAX: usize = FRAME_MAX;

/// The largest message of a failure.
const FAILURE_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex, split};

    use super::*;

    fn ends(is_compressed: bool) -> (LogReader, LogWriter) {
        let (one, other) = duplex(1 << 16);
        let ((reader, writer), (own_reader, own_writer)) = (split(one), split(other));
        let sender = LogReader::new(Box::new(reader), Box::new(writer), 7);
        (sender, LogWriter::new(Box::new(own_reader), Box::new(own_writer), 7, is_compressed))
    }

    #[tokio::test]
    async fn parts_come_as_they_are() {
        let (from, end) = (BinlogOffset::new(3, 10), BinlogOffset::new(4, 1 << 40));
        for is_compressed in [false, true] {
            let (mut sender, mut receiver) = ends(is_compressed);
            let random: Vec<u8> =
                (0..3000u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
            for bytes in [vec![], vec![7; PART_MAX], random] {
                let part = Extract { bytes, next: BinlogOffset::new(4, 0) };
                let answer = async {
                    assert_eq!(receiver.wanted().await.unwrap(), Some(from));
                    receiver.tell(end, part.clone()).await.unwrap();
                };
                let (told, ()) = tokio::join!(sender.fetch(from), answer);
                assert!(matches!(told.unwrap(), Told::Part(at, found) if at == end && found == part));
            }
        }
    }

    #[tokio::test]
    async fn a_failure_and_an_end_are_told() {
        let (mut sender, mut receiver) = ends(true);
        let answer = async {
            receiver.wanted().await.unwrap();
            receiver.fail(&Failure::Stopping).await.unwrap();
        };
        let (told, ()) = tokio::join!(sender.fetch(BinlogOffset::default()), answer);
        assert!(matches!(told.unwrap(), Told::Failed(Failure::Stopping)));
        drop(sender);
        assert_eq!(receiver.wanted().await.unwrap(), None);
    }

    #[tokio::test]
    async fn no_flip_of_a_bit_passes() {
        let (end, bytes) = (BinlogOffset::new(1, 700), vec![9; 300]);
        let (said, mut heard) = duplex(1 << 16);
        let mut receiver = LogWriter::new(Box::new(tokio::io::empty()), Box::new(said), 7, true);
        receiver.sequence = 1;
        receiver.tell(end, Extract { bytes, next: end }).await.unwrap();
        drop(receiver);
        let mut answer = Vec::new();
        heard.read_to_end(&mut answer).await.unwrap();
        let fetch = |answer: Vec<u8>| async move {
            let reader = Box::new(std::io::Cursor::new(answer));
            LogReader::new(reader, Box::new(tokio::io::sink()), 7).fetch(BinlogOffset::default()).await
        };
        assert!(fetch(answer.clone()).await.is_ok());
        for bit in 0..answer.len() * 8 {
            let mut damaged = answer.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(fetch(damaged).await.is_err(), "bit {bit}");
        }
        for length in 0..answer.len() {
            assert!(fetch(answer[..length].to_vec()).await.is_err(), "cut at {length}");
        }
    }

    #[tokio::test]
    async fn what_belongs_to_another_question_is_refused() {
        let (mut sender, mut receiver) = ends(false);
        receiver.sequence = 5;
        let part = Extract { bytes: vec![1], next: BinlogOffset::default() };
        let (told, sent) =
            tokio::join!(sender.fetch(BinlogOffset::default()), receiver.tell(BinlogOffset::default(), part));
        sent.unwrap();
        assert!(matches!(told, Err(Error::Order { found: 5, expected: 1 })), "{told:?}");
    }
}
