// SPDX-License-Identifier: Apache-2.0
//! The fence: every proxy locks the slots, and says so when it is asked again.

use std::sync::Arc;
use std::time::Duration;

use replication::SlotSet;

use crate::routing::Standing;
use crate::routing::codis::calls::{Purpose, overlap};
use crate::routing::codis::check;
use crate::routing::codis::core::{Core, Fence, Post, Survey};
use crate::routing::codis::model::Record;
use crate::routing::codis::nonce::Nonce;
use crate::{Error, Result};

impl Core {
    /// Locks the slots at every proxy.
    pub(super) async fn raise(&self, slots: &SlotSet) -> Result<()> {
        if self.sent(slots).is_some() {
            let what =
                format!("the switch of slots {slots} was sent and is not done, so there is no way back to a fence");
            return Err(Error::Routing { what });
        }
        let fence = self.new_fence(slots).await?;
        let lock = |post: &Post| {
            let records: Vec<_> = post.records.iter().map(|record| locked(record, fence.nonce)).collect();
            self.cluster.fill(&post.proxy, &records, Purpose::Lock, LOCK_PATIENCE)
        };
        let locks: Vec<_> = fence.posts.iter().map(lock).collect();
        let mut faults = Vec::new();
        for (post, lock) in fence.posts.iter().zip(locks) {
            if let Err(fault) = lock.wait().await {
                faults.push(format!("{} {fault}", post.proxy));
            }
        }
        if faults.is_empty() {
            faults = self.not_standing(&fence).await;
        }
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Error::Routing { what: format!("slots {slots} are not locked: {}", faults.join("; ")) }),
        }
    }

    /// Whether every proxy still holds the slots and nothing has changed that could make one let go.
    pub(super) async fn holds(&self, slots: &SlotSet) -> Result<Standing> {
        let Some(fence) = self.fence(slots).filter(|fence| fence.slots == *slots) else {
            return Ok(Standing::Broken(format!("no fence was raised at slots {slots}")));
        };
        if let Some(call) = self.cluster.calls().oldest() {
            return Ok(Standing::Broken(format!("{call} has not been answered yet")));
        }
        let overview = self.cluster.overview(HOLDS_PATIENCE);
        let faults = self.not_standing(&fence).await;
        if !faults.is_empty() {
            return Ok(Standing::Broken(faults.join("; ")));
        }
        let overview = overview.wait().await.map_err(|fault| self.dashboard_fault(&fault))?;
        let changed = check::changed(&overview, &fence.start_time, &fence.proxies(), &self.sides, slots);
        Ok(changed.map_or(Standing::Holds, Standing::Broken))
    }

    /// The fence that is about to be raised, remembered before the first lock is sent.
    async fn new_fence(&self, slots: &SlotSet) -> Result<Arc<Fence>> {
        // It may be up already, wholly or in part.
        if let Some(fence) = self.fence(slots).filter(|fence| fence.slots == *slots) {
            return Ok(fence);
        }
        let recent = self.memory().survey.take();
        let survey = match recent.filter(|survey| survey.slots == *slots && survey.at.elapsed() < RECENT) {
            Some(survey) => survey,
            None => self.survey(slots).await?.map_err(|what| Error::Routing { what })?,
        };
        let Survey { start_time, posts, .. } = survey;
        let nonce = Nonce::new(self.sides.source.group);
        let fence = Arc::new(Fence { slots: slots.clone(), nonce, start_time, posts });
        let mut memory = self.memory();
        memory.fences.retain(|fence| !overlap(&fence.slots, slots));
        memory.fences.push(Arc::clone(&fence));
        Ok(fence)
    }

    /// Reads the records back: a body that a proxy cannot read is answered as if all were well.
    async fn not_standing(&self, fence: &Fence) -> Vec<String> {
        let told = self.ask(fence.proxies(), &fence.slots, &[], HOLDS_PATIENCE).await;
        let fault = |(proxy, records): (_, Result<Vec<Record>, _>)| match records {
            Ok(records) => Some(format!("{proxy} {}", check::broken(&records, &self.sides.source, fence.nonce)?)),
            Err(fault) => Some(format!("{proxy} {fault}")),
        };
        told.into_iter().filter_map(fault).collect()
    }
}

/// The whole record, locked: a fill replaces all of it.
fn locked(record: &Record, nonce: Nonce) -> Record {
    Record { locked: true, backend_addr_group_id: nonce.get(), ..record.clone() }
}

/// A proxy answers a lock when the last request of the slots has been answered. Clients wait meanwhile, so one that
/// takes longer than this is let be.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

const HOLDS_PATIENCE: Duration = Duration::from_millis(300);

/// How old the records may be that are sent back with a lock.
const RECENT: Duration = Duration::from_secs(1);
