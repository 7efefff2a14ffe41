// SPDX-License-Identifier: Apache-2.0
//! One connection of a sender that wants the target's log: so that a move can be undone from another machine.

use replication::SlotCount;
use replication::binlog::Extract;
use tokio::sync::watch;
use tracing::info;

use crate::dialect::Dialect;
use crate::endpoint::Endpoint;
use crate::receiver::Shared;
use crate::receiver::session::End;
use crate::source::Local;
use crate::wire::{self, Failure, Hello, LogWriter, PART_MAX, Reader, Refusal, Welcome, Writer};
use crate::{Error, Result};

/// A connection that has been greeted, and a target whose files are here.
pub(super) struct Readout {
    target: Local,
    writer: LogWriter,
}

impl Readout {
    /// Answers a greeting. The target is looked at first.
    pub(super) async fn begin(
        shared: &Shared,
        hello: &Hello,
        slots: u16,
        reader: Reader,
        mut writer: Writer,
    ) -> Result<Self, End> {
        let options = &shared.options;
        let found = async {
            let endpoint = Endpoint { database: hello.database, ..options.target.clone() };
            let slot_count = SlotCount::new(slots)
                .ok_or_else(|| endpoint.unfit("it was said to have no slots", "say how many it has"))?;
            let target = Local::connect(&endpoint, slot_count).await?;
            let end = target.end()?;
            Ok((target, end))
        };
        let (target, end) = match found.await {
            Ok(found) => found,
            Err(error) => {
                let error = of_log(error, &options.target);
                wire::refuse(&mut writer, &Refusal::Target(Failure::of(&error))).await?;
                return Err(error.into());
            }
        };
        let welcome = Welcome {
            version: hello.versions.1,
            compression: wire::agreed_compression(hello),
            dialect: Dialect::Pika.to_string(),
            target: options.target.address(),
            run_id: Some(target.node().run().to_owned()).filter(|run| !run.is_empty()),
            batch_max: PART_MAX as u64,
            log_end: Some((end.file, end.position)),
        };
        wire::accept(&mut writer, options.token.as_ref(), hello, &welcome).await?;
        info!(%end, "reads the target's log out");
        let writer = LogWriter::new(reader, writer, hello.job, welcome.compression.is_some());
        Ok(Self { target, writer })
    }

    /// Answers as long as something is asked.
    pub(super) async fn run(mut self: Box<Self>, mut stopping: watch::Receiver<bool>) -> Result<(), End> {
        loop {
            let wanted = tokio::select! {
                wanted = self.writer.wanted() => wanted?,
                _ = stopping.wait_for(|stopping| *stopping) => return Err(End::Stopping),
            };
            let Some(from) = wanted else { return Ok(()) };
            let part = self.target.end().and_then(|end| {
                let part = Extract::read(&self.target.layout().log, from, end, PART_MAX)?;
                Ok((end, part))
            });
            match part {
                Ok((end, part)) => self.writer.tell(end, part).await?,
                Err(error) => {
                    let error = of_log(error, self.target.node().client().endpoint());
                    self.writer.fail(&Failure::of(&error)).await?;
                    return Err(error.into());
                }
            }
        }
    }
}

/// A log that cannot be read is the target's fault, and no broken connection.
fn of_log(error: Error, target: &Endpoint) -> Error {
    match error {
        Error::Binlog(fault) => target.unfit(format!("its log cannot be read: failed to {fault}"), "see its log-path"),
        error => error,
    }
}
