// SPDX-License-Identifier: Apache-2.0
//! What must be so before the first byte moves.

use tracing::info;

use crate::Result;
use crate::endpoint::Endpoint;
use crate::job::JobOptions;
use crate::sink::{Receiver, Sink, Target};
use crate::source::{Local, LocalOptions};

/// Both sides, looked at and found fit.
pub(super) struct Plan {
    pub(super) source: Local,
    pub(super) target: Target,
    /// What stands before the target, where it is.
    pub(super) receiver: Option<Receiver>,
}

impl Plan {
    /// Checks everything that can be known, and empties the target's slots if that was asked for.
    pub(super) async fn make(source: &Endpoint, target: &Endpoint, options: &JobOptions) -> Result<Self> {
        let job = format!("{}-{}", std::process::id(), snapshot::UnixMillis::now().0);
        let local = LocalOptions {
            database: options.database,
            slot_count: options.slot_count,
            work_dir: options.work_dir.clone(),
            job,
        };
        let beyond = options.slots.last().filter(|last| last.number() >= options.slot_count.get());
        if let Some(slot) = beyond {
            let what = format!("it has {} slots, none of the number {slot}", options.slot_count);
            return Err(source.unfit(what, "choose slots that exist"));
        }
        if source.address() == target.address() {
            return Err(target.unfit("it is the source", "name another node as the target"));
        }
        let source = Local::connect(source, local).await?;
        let mut target = Target::connect(target, options.slot_count, options.hyperloglog).await?;
        check_apart(&source, &target).await?;
        let receiver = match &options.receiver {
            Some(receiver) => Some(Receiver::connect(receiver.clone(), &target).await?),
            None => None,
        };
        clear(&mut target, options).await?;
        Ok(Self { source, target, receiver })
    }

    /// A connection for batches.
    pub(super) async fn sink(&self) -> Result<Box<dyn Sink>> {
        match &self.receiver {
            Some(receiver) => Ok(Box::new(receiver.sink().await?)),
            None => Ok(Box::new(self.target.sink().await?)),
        }
    }
}

/// One server may have two addresses, and emptying the target's slots would then empty the source's.
async fn check_apart(source: &Local, target: &Target) -> Result<()> {
    let (source, target_info) = (source.client().info("server").await?, target.client().info("server").await?);
    match (source.get("run_id"), target_info.get("run_id")) {
        (Some(one), Some(other)) if one == other => {
            Err(target.endpoint().unfit("it is the source by another address", "name another node as the target"))
        }
        _ => Ok(()),
    }
}

/// Deletes what the target holds of the slots, or refuses it.
async fn clear(target: &mut Target, options: &JobOptions) -> Result<()> {
    if options.replace {
        let purged = target.purge(&options.slots).await?;
        info!(purged, "deleted keys of these slots at the target");
        return Ok(());
    }
    let mut cursor = Some("0".to_owned());
    while let Some(at) = cursor {
        let (keys, next) = target.keys(&options.slots, &at).await?;
        if let Some(key) = keys.first() {
            let what = format!("it already holds keys of these slots, such as `{}`", key.escape_ascii());
            return Err(target.endpoint().unfit(what, "say `--replace` to delete them first"));
        }
        cursor = next;
    }
    Ok(())
}
