// SPDX-License-Identifier: Apache-2.0
//! What lies in a checkpoint or a binlog, to read or for other programs: `slotmover inspect`.
//!
//! Both write as they read, so that the memory does not grow with the data. In JSON each line is one object, and bytes are
//! base64 (the standard alphabet, padded). An output that is closed early, as by `head`, is a quiet end.

mod binlog;
mod checkpoint;

use std::io;

use base64::display::Base64Display;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD};

pub use binlog::{BinlogOptions, binlog};
pub use checkpoint::{CheckpointOptions, checkpoint};

/// Why something cannot be inspected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The checkpoint cannot be read.
    #[error("failed to read the checkpoint: {0}")]
    Checkpoint(#[from] snapshot::Error),
    /// The binlog cannot be read.
    #[error("failed to {0}")]
    Binlog(#[from] replication::Error),
    /// The output cannot be written.
    #[error("failed to write the output: {0}")]
    Output(#[from] io::Error),
}

/// Turns an output that was closed early into a quiet end.
fn quiet(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Bytes as base64.
fn base64(bytes: &[u8]) -> Base64Display<'_, 'static, GeneralPurpose> {
    Base64Display::new(bytes, &STANDARD)
}

#[cfg(test)]
mod testing {
    use std::path::{Path, PathBuf};

    /// What the golden server left.
    pub(super) fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pika-4.0.1")
    }

    /// An output that is closed after some bytes.
    pub(super) struct Closing(pub(super) usize);

    impl std::io::Write for Closing {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
