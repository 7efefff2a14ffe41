// SPDX-License-Identifier: Apache-2.0
//! The bytes of a frame. All numbers are little-endian.
//!
//! ```text
//!  0      4       5      6             7   8     16         24    28     32        36         40         44
//!  ├ SLMV ┼ version ┼ kind ┼ compression ┼ 0 ┼ job ┼ sequence ┼ raw ┼ rest ┼ payload ┼ checksum ┼ checksum ┤ payload …
//!    magic                                                     length        length    of the     of bytes
//!                                                                                      payload    0 to 40
//! ```
//!
//! `raw` bytes are in the payload once it is decompressed, and `rest` bytes of the same batch follow in frames with the same
//! sequence number; so the first frame of a batch says how large it is. The header has a checksum of its own: a length that
//! was damaged is found before a single byte is waited for because of it.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::error::{Error, Result};

/// What a frame says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) is_compressed: bool,
    pub(super) job: u64,
    pub(super) sequence: u64,
    pub(super) raw: u32,
    pub(super) rest: u32,
    pub(super) payload: u32,
    pub(super) checksum: u32,
}

/// What a frame is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Challenge = 1,
    Hello = 2,
    Welcome = 3,
    Refusal = 4,
    /// Writes, or a part of them.
    Batch = 5,
    /// The target has answered every batch up to this one; what those that are counted have done to the number of keys.
    Ack = 6,
    /// This batch was not done, and no other one will be.
    Failure = 7,
    /// A part of the target's log is wanted.
    Wanted = 8,
    /// What it is.
    Part = 9,
    /// Its bytes.
    Bytes = 10,
    /// As a batch, and the target is asked what its writes do to the number of keys.
    Counted = 11,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Challenge,
        Self::Hello,
        Self::Welcome,
        Self::Refusal,
        Self::Batch,
        Self::Ack,
        Self::Failure,
        Self::Wanted,
        Self::Part,
        Self::Bytes,
        Self::Counted,
    ];
}

impl Header {
    /// The header of a frame that has no more to it than its plain payload.
    pub(super) fn plain(kind: Kind, job: u64, sequence: u64, payload: &[u8]) -> Self {
        let length = u32::try_from(payload.len()).expect("messages are small");
        let checksum = crc32fast::hash(payload);
        Self { kind, is_compressed: false, job, sequence, raw: length, rest: 0, payload: length, checksum }
    }

    pub(super) fn encode(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.kind as u8;
        bytes[6] = u8::from(self.is_compressed);
        bytes[8..16].copy_from_slice(&self.job.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        for (at, number) in [(24, self.raw), (28, self.rest), (32, self.payload), (36, self.checksum)] {
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32fast::hash(&bytes[..40]);
        bytes[40..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEADER_SIZE]) -> Result<Self> {
        let magic = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if magic != MAGIC {
            return Err(Error::Magic { found: magic });
        }
        // Before the checksum: another version may keep it elsewhere.
        if bytes[4] != VERSION {
            return Err(Error::Version { found: bytes[4], expected: VERSION });
        }
        let short = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(short(at)) | u64::from(short(at + 4)) << 32;
        if crc32fast::hash(&bytes[..40]) != short(40) {
            return Err(Error::Checksum { part: "header" });
        }
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == bytes[5]);
        let kind = kind.ok_or(Error::Unexpected { what: "it is of no kind that there is" })?;
        let is_compressed = match (bytes[6], bytes[7]) {
            (0, 0) => false,
            (1, 0) => true,
            _ => return Err(Error::Unexpected { what: "it is compressed in no way that there is" }),
        };
        let header = Self {
            kind,
            is_compressed,
            job: long(8),
            sequence: long(16),
            raw: short(24),
            rest: short(28),
            payload: short(32),
            checksum: short(36),
        };
        match header.is_compressed || header.raw == header.payload {
            true => Ok(header),
            false => Err(Error::Malformed { what: "a plain frame has two lengths" }),
        }
    }

    /// The header at the front of the stream; `None` where the stream ends before it. Its first byte may take for ever.
    pub(super) async fn read(reader: &mut (impl AsyncRead + Unpin)) -> Result<Option<Self>> {
        let mut bytes = [0; HEADER_SIZE];
        match reader.read(&mut bytes[..1]).await {
            Ok(0) => return Ok(None),
            // TLS says so when the other end closes without a word. Between two frames that is an end like any other.
            Err(fault) if fault.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            read => drop(read?),
        }
        fill(reader, &mut bytes[1..]).await?;
        Self::decode(&bytes).map(Some)
    }

    /// Fills `buffer`, which must be as long as the payload, and checks it.
    pub(super) async fn read_payload(&self, reader: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> Result<()> {
        assert_eq!(buffer.len(), self.payload as usize, "room for the payload and nothing else");
        fill(reader, buffer).await?;
        match crc32fast::hash(buffer) == self.checksum {
            true => Ok(()),
            false => Err(Error::Checksum { part: "payload" }),
        }
    }
}

/// Reads a whole small frame of one of the greetings.
pub(super) async fn read_message(reader: &mut (impl AsyncRead + Unpin), limit: usize) -> Result<(Header, Vec<u8>)> {
    let header = Header::read(reader).await?.ok_or(Error::Truncated)?;
    if header.payload as usize > limit {
        return Err(Error::TooLarge { size: header.payload.into(), limit: limit as u64 });
    }
    if header.is_compressed || header.rest != 0 {
        return Err(Error::Unexpected { what: "a message is neither compressed nor in parts" });
    }
    let mut payload = vec![0; header.payload as usize];
    header.read_payload(reader, &mut payload).await?;
    Ok((header, payload))
}

async fn fill(reader: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> Result<()> {
    match timeout(STALL, reader.read_exact(buffer)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(fault)) if fault.kind() == ErrorKind::UnexpectedEof => Err(Error::Truncated),
        Ok(Err(fault)) => Err(Error::Io(fault)),
        Err(_) => Err(Error::Silent(STALL)),
    }
}

/// The version of the protocol that this is.
pub(super) const VERSION: u8 = 2;

/// Bytes before the payload.
pub(super) const HEADER_SIZE: usize = 44;

/// The most that one frame carries. Larger batches travel in several, so that neither end needs their compressed form as
/// a whole, and so that a frame takes no longer than [`STALL`] on any link worth using.
pub(super) const FRAME_MAX: usize = 1 << 20;

/// The largest message beside batches.
pub(super) const MESSAGE_MAX: usize = 4 << 10;

/// How long a frame that has begun may take, and the next one of a batch that has begun.
pub(super) const STALL: Duration = Duration::from_secs(60);

const MAGIC: [u8; 4] = *b"SLMV";

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { job: 7, sequence: 9, rest: 4, ..Header::plain(Kind::Batch, 0, 0, b"payload") }
    }

    #[test]
    fn a_header_round_trips() {
        let header = header();
        assert_eq!(Header::decode(&header.encode()).unwrap(), header);
        assert_eq!(&header.encode()[..8], b"SLMV\x02\x05\0\0");
    }

    #[test]
    fn no_flip_of_a_bit_passes() {
        let bytes = header().encode();
        for bit in 0..HEADER_SIZE * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = header().encode();
        bytes[4] = 0;
        assert!(matches!(Header::decode(&bytes), Err(Error::Version { found: 0, expected: VERSION })));
    }

    #[tokio::test]
    async fn a_message_that_is_too_large_is_not_read() {
        let header = Header::plain(Kind::Hello, 0, 0, &[0; MESSAGE_MAX + 1]).encode();
        let read = read_message(&mut &header[..], MESSAGE_MAX).await;
        assert!(matches!(read, Err(Error::TooLarge { .. })), "{read:?}");
    }
}
