// SPDX-License-Identifier: Apache-2.0
//! What a sender says to a receiver, as the receiver takes it, and the answers, as the sender takes them.
//!
//! ```text
//! 0        1
//! | repair | a stream of frames ...
//!   bit 0: with such marks, numbers and checksums as the receiver wants, so that what lies behind them is reached
//! ```

use mover::batch::Batch;
use mover::wire::{Compression, Error, recorded};
use tokio::runtime::{Builder, Runtime};

pub(crate) fn check(input: &[u8]) {
    let Some((flags, stream)) = input.split_first() else { return };
    let stream = match flags & 1 {
        1 => repaired(stream),
        _ => stream.to_vec(),
    };
    taken(&stream);
    // Whatever they are, they are not waited for without end.
    let _ = RUNTIME.with(|runtime| runtime.block_on(recorded::answered(&stream, JOB)));
}

/// The batches that a receiver takes from a stream; sent again they are the same.
pub(crate) fn taken(stream: &[u8]) -> Vec<Batch> {
    let (batches, error) = RUNTIME.with(|runtime| runtime.block_on(recorded::received(stream, JOB, LIMIT)));
    if let Some(error) = error {
        assert!(!matches!(error, Error::Silent(_) | Error::Io(_)), "{error}");
    }
    for compression in [Compression::Off, Compression::Zstd(1)] {
        let again = sent(&batches, compression);
        let (received, error) = RUNTIME.with(|runtime| runtime.block_on(recorded::received(&again, JOB, LIMIT)));
        assert!(error.is_none(), "{error:?}");
        // By their bytes: a score that is no number equals nothing.
        assert_eq!(sent(&received, Compression::Off), sent(&batches, Compression::Off));
    }
    batches
}

/// What a sender sends of these batches.
pub(crate) fn sent(batches: &[Batch], compression: Compression) -> Vec<u8> {
    RUNTIME.with(|runtime| runtime.block_on(recorded::sent(batches, JOB, LIMIT, compression))).unwrap()
}

/// The stream with every header that begins in it made one that a receiver reads, but for the lengths in it.
pub(crate) fn repaired(stream: &[u8]) -> Vec<u8> {
    let mut stream = stream.to_vec();
    let (mut at, mut sequence, mut rest) = (0, 0, 0);
    while stream.len() - at >= HEADER {
        let (header, behind) = stream[at..].split_at_mut(HEADER);
        sequence += u64::from(rest == 0);
        // A batch whose effect is counted has a kind of its own.
        let kind = if header[5] == 11 { 11 } else { 5 };
        header[..6].copy_from_slice(&[b'S', b'L', b'M', b'V', 2, kind]);
        header[6] &= 1;
        header[7] = 0;
        header[8..16].copy_from_slice(&JOB.to_le_bytes());
        header[16..24].copy_from_slice(&sequence.to_le_bytes());
        rest = number(header, REST);
        let payload = (number(header, PAYLOAD) as usize).min(behind.len());
        put(header, PAYLOAD, payload as u32);
        if header[6] == 0 {
            put(header, RAW, payload as u32);
        }
        put(header, CHECKSUM, crc32fast::hash(&behind[..payload]));
        let checksum = crc32fast::hash(&header[..HEADER - 4]);
        put(header, HEADER - 4, checksum);
        at += HEADER + payload;
    }
    stream
}

fn number(header: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(header[at..at + 4].try_into().unwrap())
}

fn put(header: &mut [u8], at: usize, number: u32) {
    header[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

/// Bytes of a header, and where in it some numbers stand.
pub(crate) const HEADER: usize = 44;
pub(crate) const PAYLOAD: usize = 32;
const RAW: usize = 24;
const REST: usize = 28;
const CHECKSUM: usize = 36;

const JOB: u64 = 7;

/// The largest batch, so that what may be taken for one is little.
const LIMIT: u64 = 32 << 10;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
}
