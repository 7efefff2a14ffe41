// SPDX-License-Identifier: Apache-2.0
//! Native migrations: the states that a slot goes through and what the proxies are told in each. No key is moved.
//!
//! ```text
//! pending ─▶ preparing ─▶ prepared ─▶ migrating ─▶ finished ─▶ at rest in the new group
//!            stored       pushed,     pushed,      stored,
//!                         stored      stored       pushed
//! ```

use std::collections::HashSet;

use tokio::time::sleep;

use super::{Dashboard, Topom};
use crate::sandbox::codis::front::Fault;
use crate::sandbox::codis::model::SlotMapping;

impl Dashboard {
    /// Takes native migrations as far as they go: no two of them at the same time that share a group.
    pub(super) async fn migrate(&self) {
        let (mut groups, mut planned) = (HashSet::new(), Vec::new());
        while planned.len() < PARALLEL {
            let mut topom = self.lock().await;
            let Some(mapping) = topom.next_action(&groups) else { break };
            groups.extend([mapping.group_id, mapping.action.target_id]);
            planned.push(mapping.id);
            if let Err(fault) = self.prepare(&mut topom, mapping).await {
                return complain(&fault);
            }
        }
        if planned.is_empty() || !self.copy(&planned).await {
            return;
        }
        for id in planned {
            let mut topom = self.lock().await;
            if let Err(fault) = self.complete(&mut topom, id).await {
                return complain(&fault);
            }
        }
    }

    /// From wherever it is up to `migrating`.
    async fn prepare(&self, topom: &mut Topom, mut mapping: SlotMapping) -> Result<(), Fault> {
        if mapping.action.state == "pending" {
            self.store(topom, mapping.state("preparing"));
        }
        if mapping.action.state == "preparing" {
            if let Err(fault) = self.push(topom, &[mapping.state("prepared").clone()]).await {
                // What this one fails with nobody hears either.
                let back = self.push(topom, &[mapping.state("preparing").clone()]).await;
                back.unwrap_or_else(|fault| complain(&fault));
                return Err(fault);
            }
            self.store(topom, &mapping);
        }
        if mapping.action.state == "prepared" {
            self.push(topom, &[mapping.state("migrating").clone()]).await?;
            self.store(topom, &mapping);
        }
        Ok(())
    }

    /// Takes its time; `false` where native migrations are disabled.
    async fn copy(&self, slots: &[i64]) -> bool {
        let count = i64::try_from(slots.len()).unwrap_or(i64::MAX);
        {
            let mut topom = self.lock().await;
            if topom.disabled {
                return false;
            }
            topom.executor = count;
        }
        sleep(self.config.copy_time).await;
        self.lock().await.executor = 0;
        true
    }

    /// To the end, unless someone else has decided on the slot meanwhile.
    async fn complete(&self, topom: &mut Topom, id: i64) -> Result<(), Fault> {
        let mut mapping = topom.slot(id)?.clone();
        match &*mapping.action.state {
            "migrating" => self.store(topom, mapping.state("finished")),
            "finished" => {}
            _ => return Err(Fault(format!("slot-[{id}] action state is invalid"))),
        }
        self.push(topom, &[mapping.clone()]).await?;
        self.store(topom, &SlotMapping::at(id, mapping.action.target_id));
        Ok(())
    }
}

impl Topom {
    /// The next migration to go on with, else to begin with if that is not disabled, apart from these groups.
    fn next_action(&self, groups: &HashSet<i64>) -> Option<SlotMapping> {
        let is_free = |mapping: &&SlotMapping| {
            mapping.is_busy() && !groups.contains(&mapping.group_id) && !groups.contains(&mapping.action.target_id)
        };
        let is_pending = |mapping: &SlotMapping| mapping.action.state == "pending";
        let first = |pending: bool| {
            let free = self.known.slots.iter().filter(is_free).filter(|mapping| is_pending(mapping) == pending);
            free.min_by_key(|mapping| mapping.action.index)
        };
        first(false).or_else(|| if self.disabled { None } else { first(true) }).cloned()
    }
}

impl SlotMapping {
    /// The same in another state.
    fn state(&mut self, state: &str) -> &Self {
        state.clone_into(&mut self.action.state);
        self
    }
}

fn complain(Fault(why): &Fault) {
    tracing::debug!(why, "a native migration of the sandbox did not go on");
}

const PARALLEL: usize = 100;
