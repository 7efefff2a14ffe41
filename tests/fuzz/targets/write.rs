// SPDX-License-Identifier: Apache-2.0
//! The encoding of writes, in a frame that is as it must be.

use mover::wire::Compression;

use super::frame::{HEADER, PAYLOAD, repaired, sent, taken};

pub(crate) fn check(input: &[u8]) {
    let mut frame = vec![0; HEADER];
    frame[PAYLOAD..PAYLOAD + 4].copy_from_slice(&(input.len() as u32).to_le_bytes());
    frame.extend_from_slice(input);
    for batch in taken(&repaired(&frame)) {
        // There is one encoding of each write.
        assert_eq!(&sent(&[batch], Compression::Off)[HEADER..], input);
    }
}
