// SPDX-License-Identifier: Apache-2.0
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of batches, counted alike at both ends: frames with their headers, and what was in them before compression.
/// Greetings, acknowledgements and what TLS adds do not count.
#[derive(Default, Debug)]
pub struct Traffic {
    wire: AtomicU64,
    raw: AtomicU64,
}

impl Traffic {
    /// Bytes that went over the network.
    pub fn wire_bytes(&self) -> u64 {
        self.wire.load(Ordering::Relaxed)
    }

    /// Bytes of the encoded writes.
    pub fn raw_bytes(&self) -> u64 {
        self.raw.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, wire: usize, raw: usize) {
        self.wire.fetch_add(wire as u64, Ordering::Relaxed);
        self.raw.fetch_add(raw as u64, Ordering::Relaxed);
    }
}
