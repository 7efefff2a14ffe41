// SPDX-License-Identifier: Apache-2.0
//! What callers may do with slots.

use super::{Dashboard, Topom};
use crate::sandbox::codis::front::Fault;
use crate::sandbox::codis::model::{Group, SlotAction, SlotMapping};

impl Dashboard {
    /// Gives slots to groups: stores that, then tells the proxies. A native migration of such a slot is forgotten.
    ///
    /// # Errors
    /// When there is no such slot or group: nothing was done. When a proxy could not be told: it is stored all the same,
    /// and the other proxies know.
    pub(super) async fn assign(&self, topom: &mut Topom, wanted: &[SlotMapping]) -> Result<(), Fault> {
        for SlotMapping { id, group_id, action } in wanted {
            topom.slot(*id)?;
            topom.served_group(*group_id)?;
            if !action.state.is_empty() {
                return Err(Fault(format!("invalid slot-[{id}] action = {}", action.state)));
            }
        }
        for SlotMapping { group_id, .. } in wanted {
            self.change_group(topom, *group_id, |group| group.out_of_sync = true);
        }
        let mappings: Vec<_> = wanted.iter().map(|wanted| SlotMapping::at(wanted.id, wanted.group_id)).collect();
        mappings.iter().for_each(|mapping| self.store(topom, mapping));
        self.push(topom, &mappings).await
    }

    /// Takes slots from their groups: their clients get errors.
    ///
    /// # Errors
    /// As [`assign`](Self::assign).
    pub(super) async fn assign_offline(&self, topom: &mut Topom, wanted: &[SlotMapping]) -> Result<(), Fault> {
        for SlotMapping { id, group_id, .. } in wanted {
            topom.slot(*id)?;
            if *group_id != 0 {
                return Err(Fault(format!("group of slot-[{id}] should be 0")));
            }
        }
        let mappings: Vec<_> = wanted.iter().map(|wanted| SlotMapping::at(wanted.id, 0)).collect();
        mappings.iter().for_each(|mapping| self.store(topom, mapping));
        self.push(topom, &mappings).await
    }

    /// Lets a slot wait for its native migration.
    ///
    /// # Errors
    /// When it has one already, is there already, or there is no such slot or group.
    pub(super) fn create_action(&self, topom: &mut Topom, id: i64, group: i64) -> Result<(), Fault> {
        topom.served_group(group)?;
        topom.slot(id)?.may_go_to(group)?;
        self.begin_action(topom, id, group);
        Ok(())
    }

    /// The same for a number of idle slots of a group; fewer is no error.
    ///
    /// # Errors
    /// When there is no such target group.
    pub(super) fn create_some(&self, topom: &mut Topom, from: i64, to: i64, count: i64) -> Result<(), Fault> {
        topom.served_group(to)?;
        let count = usize::try_from(count).unwrap_or(0);
        let idle = |mapping: &&SlotMapping| !mapping.is_busy() && mapping.group_id == from && from != to;
        let ids: Vec<_> = topom.known.slots.iter().filter(idle).map(|mapping| mapping.id).take(count).collect();
        ids.into_iter().for_each(|id| self.begin_action(topom, id, to));
        Ok(())
    }

    /// The same for all slots from `first` to `last`.
    ///
    /// # Errors
    /// On the first slot that cannot wait; then none does.
    pub(super) fn create_range(&self, topom: &mut Topom, first: i64, last: i64, group: i64) -> Result<(), Fault> {
        if first < 0 || first > last || topom.slot(last).is_err() {
            return Err(Fault(format!("invalid slot range [{first},{last}]")));
        }
        topom.served_group(group)?;
        for id in first..=last {
            topom.slot(id)?.may_go_to(group)?;
        }
        (first..=last).for_each(|id| self.begin_action(topom, id, group));
        Ok(())
    }

    /// Takes back a native migration that has not begun.
    ///
    /// # Errors
    /// When there is none, or it has begun.
    pub(super) fn remove_action(&self, topom: &mut Topom, id: i64) -> Result<(), Fault> {
        let mapping = topom.slot(id)?;
        match &*mapping.action.state {
            "" => Err(Fault(format!("slot-[{id}] action doesn't exist"))),
            "pending" => {
                let idle = SlotMapping::at(id, mapping.group_id);
                self.store(topom, &idle);
                Ok(())
            }
            _ => Err(Fault(format!("slot-[{id}] action isn't pending"))),
        }
    }

    /// Tells the proxies again where the slots of a group are.
    ///
    /// # Errors
    /// When there is no such group or a proxy could not be told.
    pub(super) async fn resync(&self, topom: &mut Topom, group: i64) -> Result<(), Fault> {
        topom.group(group)?;
        self.push_group(topom, group).await?;
        self.change_group(topom, group, |group| group.out_of_sync = false);
        Ok(())
    }

    /// Stores a mapping and knows it.
    pub(super) fn store(&self, topom: &mut Topom, mapping: &SlotMapping) {
        self.coordinator.store_slot(mapping);
        let known = topom.known.slots.iter_mut().find(|known| known.id == mapping.id);
        *known.expect("a slot is checked before it is stored") = mapping.clone();
    }

    /// Changes and stores a group, if there is one.
    pub(super) fn change_group(&self, topom: &mut Topom, id: i64, change: impl FnOnce(&mut Group)) {
        if let Some(group) = topom.known.groups.get_mut(&id) {
            change(group);
            self.coordinator.store_group(group);
        }
    }

    fn begin_action(&self, topom: &mut Topom, id: i64, target_id: i64) {
        let busy = topom.known.slots.iter().filter(|mapping| mapping.is_busy());
        let index = busy.map(|mapping| mapping.action.index).max().unwrap_or(0) + 1;
        let action = SlotAction { index, state: "pending".to_owned(), target_id };
        let group_id = topom.slot(id).map_or(0, |mapping| mapping.group_id);
        self.store(topom, &SlotMapping { id, group_id, action });
    }
}

impl Topom {
    /// The mapping of a slot.
    ///
    /// # Errors
    /// When there is no such slot.
    pub(super) fn slot(&self, id: i64) -> Result<&SlotMapping, Fault> {
        let found = usize::try_from(id).ok().and_then(|index| self.known.slots.get(index));
        found.ok_or_else(|| Fault(format!("slot-[{id}] doesn't exist")))
    }

    fn group(&self, id: i64) -> Result<&Group, Fault> {
        self.known.groups.get(&id).ok_or_else(|| Fault(format!("group-[{id}] doesn't exist")))
    }

    fn served_group(&self, id: i64) -> Result<&Group, Fault> {
        match self.group(id)? {
            group if group.servers.is_empty() => Err(Fault(format!("group-[{id}] is empty"))),
            group => Ok(group),
        }
    }
}

impl SlotMapping {
    fn may_go_to(&self, group: i64) -> Result<(), Fault> {
        match self {
            Self { id, .. } if self.is_busy() => Err(Fault(format!("slot-[{id}] action already exists"))),
            Self { id, group_id, .. } if *group_id == group => {
                Err(Fault(format!("slot-[{id}] already in group-[{group}]")))
            }
            _ => Ok(()),
        }
    }
}
