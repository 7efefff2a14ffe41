// SPDX-License-Identifier: Apache-2.0
use bytes::{Bytes, BytesMut};

/// Where the bytes of rows are copied to, once: small ones share an allocation.
///
/// Whoever keeps one small slice keeps its chunk. Pieces are consumed in about the order in which they are made, so that
/// costs a chunk or two per consumer.
pub(super) struct Arena {
    chunk: BytesMut,
}

impl Arena {
    pub(super) fn new() -> Self {
        Self { chunk: BytesMut::new() }
    }

    /// A copy of `bytes`.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() > SHARED_MAX {
            return Bytes::copy_from_slice(bytes);
        }
        if bytes.len() > self.chunk.capacity() {
            self.chunk = BytesMut::with_capacity(CHUNK);
        }
        self.chunk.extend_from_slice(bytes);
        self.chunk.split().freeze()
    }
}

const CHUNK: usize = 64 << 10;

/// What is longer gets its own allocation, so that at most a quarter of a chunk is wasted.
const SHARED_MAX: usize = CHUNK / 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_stay_what_they_were() {
        let mut arena = Arena::new();
        let sizes = [0, 1, 100, SHARED_MAX - 1, SHARED_MAX, SHARED_MAX + 1, 3 * CHUNK, 7];
        let inputs: Vec<Vec<u8>> = (0..100u8).map(|byte| vec![byte; sizes[usize::from(byte) % sizes.len()]]).collect();
        let copies: Vec<Bytes> = inputs.iter().map(|input| arena.copy(input)).collect();
        assert!(copies.iter().zip(&inputs).all(|(copy, input)| copy[..] == input[..]));
    }
}
