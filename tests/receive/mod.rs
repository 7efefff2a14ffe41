// SPDX-License-Identifier: Apache-2.0
//! Moves through a receiver on the target's machine.

mod assault;
mod job;
mod program;
mod strangers;
mod tls;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use mover::job::Report;
use mover::sink::ReceiverOptions;
use mover::{Error, Job, JobOptions, Side, SlotCount, SlotSet};

use crate::harness::{Source, Switchboard, endpoint};

/// Moves slots of `source` to `target` through a receiver.
async fn moved(
    source: &Source,
    target: SocketAddr,
    receiver: ReceiverOptions,
    change: impl FnOnce(&mut JobOptions),
) -> Result<Report, Error> {
    let mut options = JobOptions::new(SlotSet::all(SlotCount::CODIS));
    options.receiver = Some(receiver);
    options.cutover.group = NonZeroUsize::MAX;
    options.retry_for = Duration::ZERO;
    change(&mut options);
    let routing = Arc::new(Switchboard::with_faults(&[]));
    let (from, to) = (endpoint(Side::Source, source.addr()), endpoint(Side::Target, target));
    Job::new(from, to, options, routing).run().await
}
