// SPDX-License-Identifier: Apache-2.0
//! What survives a dashboard: the mapping, the groups and the list of proxies, in memory behind it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::config::CodisConfig;
use super::model::{Group, GroupServer, ProxyModel, SlotMapping};

/// The memory of all dashboards of a cluster.
#[derive(Debug)]
pub(super) struct Coordinator {
    stored: Mutex<Stored>,
}

/// What is stored, and what a dashboard knows of it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) slots: Vec<SlotMapping>,
    pub(super) groups: BTreeMap<i64, Group>,
    /// By their tokens.
    pub(super) proxies: BTreeMap<String, ProxyModel>,
}

impl Coordinator {
    /// With every slot at the first group.
    pub(super) fn new(config: &CodisConfig) -> Self {
        let first = config.groups.first().map_or(0, |(id, _)| i64::from(*id));
        let slots = (0..config.slot_count.get()).map(|id| SlotMapping::at(id.into(), first)).collect();
        let groups = config.groups.iter().map(|(id, servers)| {
            let servers = servers.iter().map(|addr| GroupServer { server: addr.to_string(), ..GroupServer::default() });
            let id = i64::from(*id);
            (id, Group { id, servers: servers.collect(), ..Group::default() })
        });
        let stored = Stored { slots, groups: groups.collect(), proxies: BTreeMap::new() };
        Self { stored: Mutex::new(stored) }
    }

    /// All of it.
    pub(super) fn load(&self) -> Stored {
        self.lock().clone()
    }

    /// Stores the mapping of a slot, which must exist.
    pub(super) fn store_slot(&self, mapping: &SlotMapping) {
        let mut stored = self.lock();
        let index = usize::try_from(mapping.id).expect("the dashboard has checked the slot");
        stored.slots[index] = mapping.clone();
    }

    pub(super) fn store_group(&self, group: &Group) {
        self.lock().groups.insert(group.id, group.clone());
    }

    pub(super) fn store_proxy(&self, proxy: &ProxyModel) {
        self.lock().proxies.insert(proxy.token.clone(), proxy.clone());
    }

    pub(super) fn remove_proxy(&self, token: &str) {
        self.lock().proxies.remove(token);
    }

    /// The mapping of a slot, if there is one.
    pub(super) fn mapping(&self, index: usize) -> Option<SlotMapping> {
        self.lock().slots.get(index).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
