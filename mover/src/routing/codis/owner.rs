// SPDX-License-Identifier: Apache-2.0
//! Who serves a slot, as the dashboard and every proxy say.

use std::time::Duration;

use replication::{Slot, SlotSet};

use crate::Result;
use crate::routing::Owner;
use crate::routing::codis::check;
use crate::routing::codis::core::{Core, View};
use crate::routing::codis::model::{Mapping, Overview, Record};
use crate::routing::codis::topology::{Side, Sides};

impl Core {
    /// Who serves `slot`. A proxy that does not answer does not count.
    pub(super) async fn owner(&self, slot: Slot) -> Result<Owner> {
        let view = self.look(&SlotSet::from_iter([slot]), &[], PATIENCE).await;
        match &view.overview {
            Ok(overview) => Ok(judge(&view, overview, &self.sides, slot)),
            Err(fault) => Err(self.dashboard_fault(fault)),
        }
    }
}

fn judge(view: &View, overview: &Overview, sides: &Sides, slot: Slot) -> Owner {
    let stats = &overview.stats;
    let by_mapping = match stats.mapping(slot) {
        Some(mapping) if check::is_active(mapping) => Owner::Other(format!("{}, being moved", mapping.group_id)),
        Some(Mapping { group_id, .. }) if *group_id == sides.source.group => Owner::Source,
        Some(Mapping { group_id, .. }) if *group_id == sides.target.group => Owner::Target,
        Some(Mapping { group_id, .. }) => Owner::Other(group_id.to_string()),
        None => Owner::Other("nobody".to_owned()),
    };
    let mut says = vec![format!("the dashboard says {}", name(&by_mapping))];
    let mut agreed = true;
    for (proxy, records) in &view.proxies {
        let Some(record) = records.as_ref().ok().and_then(|records| records.first()) else { continue };
        let by_proxy = by_record(record, sides, overview);
        agreed &= by_proxy == by_mapping;
        says.push(format!("{proxy} says {}", name(&by_proxy)));
    }
    match (agreed, by_mapping) {
        (true, owner @ (Owner::Source | Owner::Target)) => owner,
        _ => Owner::Other(says.join(", ")),
    }
}

fn by_record(record: &Record, sides: &Sides, overview: &Overview) -> Owner {
    let is_at = |side: &Side| {
        let master = overview.stats.group(side.group).and_then(|group| group.master());
        record.backend_addr == side.master || master == Some(record.backend_addr.as_str())
    };
    match () {
        () if !record.migrate_from.is_empty() => Owner::Other(format!("{}, being moved", record.backend_addr)),
        () if is_at(&sides.source) => Owner::Source,
        () if is_at(&sides.target) => Owner::Target,
        () if record.backend_addr.is_empty() => Owner::Other("nobody".to_owned()),
        () => Owner::Other(record.backend_addr.clone()),
    }
}

fn name(owner: &Owner) -> &str {
    match owner {
        Owner::Source => "the source",
        Owner::Target => "the target",
        Owner::Other(other) => other,
    }
}

const PATIENCE: Duration = Duration::from_millis(500);
