// SPDX-License-Identifier: Apache-2.0
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytesize::ByteSize;

use crate::wire::Traffic;

/// What a receiver has done so far.
#[derive(Default, Debug)]
pub struct Status {
    pub(super) traffic: Arc<Traffic>,
    pub(super) commands: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) senders: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl Status {
    /// Bytes of batches that came over the network.
    pub fn wire_bytes(&self) -> u64 {
        self.traffic.wire_bytes()
    }

    /// What was in them before compression.
    pub fn raw_bytes(&self) -> u64 {
        self.traffic.raw_bytes()
    }

    /// Commands that the target was sent.
    pub fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// Batches that the target has answered.
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Connections of senders that were welcome.
    pub fn senders(&self) -> u64 {
        self.senders.load(Ordering::Relaxed)
    }

    /// Connections that were not.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes ({}) came over the network, {} bytes ({}) before compression: {} batches, {} commands; {} \
             connections were welcome, {} were refused",
            self.wire_bytes(),
            ByteSize(self.wire_bytes()),
            self.raw_bytes(),
            ByteSize(self.raw_bytes()),
            self.batches(),
            self.commands(),
            self.senders(),
            self.refused(),
        )
    }
}
