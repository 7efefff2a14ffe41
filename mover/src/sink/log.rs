// SPDX-License-Identifier: Apache-2.0
//! The log of a target whose files are on another machine, as its receiver reads it out.

use replication::binlog::Mirror;
use replication::{BinlogOffset, SlotCount};
use tracing::info;

use crate::Result;
use crate::dialect::Dialect;
use crate::endpoint::Client;
use crate::sink::ReceiverOptions;
use crate::wire::{Compression, LogReader, Terms, Told};

/// A receiver that reads the log out, one part after the other.
pub struct RemoteLog {
    options: ReceiverOptions,
    terms: Terms,
    server: Client,
    /// None while a question has no answer: whoever asked it may have lost patience in the middle.
    connection: Option<LogReader>,
    end: BinlogOffset,
}

impl RemoteLog {
    /// Connects, and checks that the receiver is one of this server, a Pika of so many slots. The lower half of `job` counts
    /// the attempts at what the upper half names.
    ///
    /// # Errors
    /// As [`Receiver::connect`](crate::sink::Receiver::connect); and [`Error::Unfit`](crate::Error::Unfit) when the log is
    /// not where the receiver is, either.
    pub async fn connect(options: ReceiverOptions, server: Client, slot_count: SlotCount, job: u64) -> Result<Self> {
        let terms = Terms {
            job,
            database: server.endpoint().database,
            raw_hyperloglogs: false,
            compresses: options.compression != Compression::Off,
            log_of_slots: Some(slot_count.get()),
        };
        let mut log = Self { options, terms, server, connection: None, end: BinlogOffset::default() };
        log.connection = Some(log.greet().await?);
        info!(receiver = log.options.endpoint.address(), end = %log.end, "the receiver reads the log out");
        Ok(log)
    }

    /// Where the log ended when this was last known. It has come at least so far.
    pub fn end(&self) -> BinlogOffset {
        self.end
    }

    /// Brings a mirror up to where the log ends now, and tells where that is.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost) when the receiver goes away, [`Error::Unfit`](crate::Error::Unfit) when what comes
    /// next is not in the log any more, and [`Error::Binlog`](crate::Error::Binlog) when the mirror cannot be written.
    pub async fn follow(&mut self, mirror: &mut Mirror) -> Result<BinlogOffset> {
        let mut wanted = None;
        loop {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.greet().await?,
            };
            let told = connection.fetch(mirror.end()).await.map_err(|error| self.options.endpoint.lost(error))?;
            let part = match told {
                Told::Part(end, part) => {
                    self.end = end;
                    part
                }
                Told::Failed(failure) => return Err(failure.into_error(&self.options.endpoint.address())),
            };
            self.connection = Some(connection);
            mirror.append(&part)?;
            let wanted = *wanted.get_or_insert(self.end);
            if mirror.end() >= wanted {
                return Ok(wanted);
            }
        }
    }

    async fn greet(&mut self) -> Result<LogReader> {
        let ((reader, writer), welcome) = self.options.greet(&self.terms).await?;
        self.options.check(&welcome, self.server.clone(), Dialect::Pika).await?;
        let Some((file, position)) = welcome.log_end else {
            let help = "run the same version of slotmover on both machines";
            return Err(self.options.endpoint.unfit("it does not read out logs", help));
        };
        self.end = BinlogOffset::new(file, position);
        Ok(LogReader::new(reader, writer, self.terms.job))
    }
}

impl std::fmt::Debug for RemoteLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteLog").field("options", &self.options).field("end", &self.end).finish_non_exhaustive()
    }
}
