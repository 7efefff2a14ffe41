// SPDX-License-Identifier: Apache-2.0
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes to be sent, in pieces: small ones are copied together, large ones are only pointed at. Reading consumes it.
#[derive(Default, Debug)]
pub(super) struct Rope {
    whole: VecDeque<Bytes>,
    open: BytesMut,
    length: usize,
    /// Bytes that were copied since it was empty.
    copied: usize,
}

impl Rope {
    /// Appends a copy.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.open.put_slice(bytes);
        self.length += bytes.len();
        self.copied += bytes.len();
    }

    /// Appends `bytes`, without a copy when that is worth it.
    pub(super) fn share(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_MIN {
            return self.put(bytes);
        }
        self.seal();
        self.length += bytes.len();
        self.whole.push_back(bytes.clone());
    }

    /// Makes all that was put readable.
    pub(super) fn seal(&mut self) {
        if !self.open.is_empty() {
            self.whole.push_back(self.open.split().freeze());
        }
    }

    /// Makes it empty, and keeps memory of the usual size.
    pub(super) fn clear(&mut self) {
        self.whole.clear();
        self.open.clear();
        if self.copied > KEPT_MAX {
            self.open = BytesMut::new();
        }
        (self.length, self.copied) = (0, 0);
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        debug_assert!(self.open.is_empty(), "a rope is read only after it was sealed");
        self.length
    }

    fn chunk(&self) -> &[u8] {
        self.whole.front().map_or(&[], |bytes| bytes)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let count = slices.len().min(self.whole.len());
        for (slice, bytes) in slices.iter_mut().zip(&self.whole) {
            *slice = IoSlice::new(bytes);
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        self.length -= count;
        while let Some(front) = self.whole.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.whole.pop_front();
        }
        assert_eq!(count, 0, "nobody consumes more than there is");
    }
}

/// From this size on a pointer and a share of a system call cost less than a copy.
const SHARED_MIN: usize = 2 << 10;

/// Whoever once sent a batch of many megabytes need not hold them for ever.
const KEPT_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_put_comes_out(
            parts in proptest::collection::vec((0..3 * SHARED_MIN, any::<bool>()), 0..20),
            steps in proptest::collection::vec(1..4 * SHARED_MIN, 1..40),
        ) {
            let mut rope = Rope::default();
            let mut expected = Vec::new();
            for (index, (size, shared)) in parts.iter().enumerate() {
                let bytes = Bytes::from(vec![u8::try_from(index).unwrap(); *size]);
                expected.extend_from_slice(&bytes);
                if *shared { rope.share(&bytes) } else { rope.put(&bytes) }
            }
            rope.seal();
            prop_assert_eq!(rope.remaining(), expected.len());
            let mut steps = steps.into_iter().cycle();
            let mut found = Vec::new();
            while rope.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 4];
                let count = rope.chunks_vectored(&mut slices);
                let taken: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
                let step = steps.next().unwrap().min(taken.len());
                found.extend_from_slice(&taken[..step]);
                rope.advance(step);
            }
            prop_assert_eq!(found, expected);
        }
    }
}
