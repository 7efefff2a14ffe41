// SPDX-License-Identifier: Apache-2.0
//! The proxy's routing table as a move sees it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use replication::{Slot, SlotSet};

use super::backend::Backend;
use super::table::{Table, TableError};
use crate::BoxFuture;
use crate::routing::{Owner, RoutingControl, Standing};
use crate::{Error, Result};

/// A handle of the table. A [`raise`](RoutingControl::raise) that fails or is dropped leaves the fences it has raised,
/// as Codis does: the caller lowers them. A fence [`holds`](RoutingControl::holds) for the handle that raised it.
#[derive(Debug)]
pub(super) struct Control {
    table: Arc<Table>,
    /// How often the slots had been opened when their fence was raised.
    raised: Mutex<BTreeMap<Slot, u64>>,
    source: Arc<Backend>,
    target: Arc<Backend>,
}

impl Control {
    /// For a move from `source` to `target`.
    pub(super) fn new(table: Arc<Table>, source: &Arc<Backend>, target: &Arc<Backend>) -> Self {
        Self { table, raised: Mutex::default(), source: Arc::clone(source), target: Arc::clone(target) }
    }

    fn raised(&self) -> MutexGuard<'_, BTreeMap<Slot, u64>> {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RoutingControl for Control {
    fn prepare<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(self.table.check(slots)?) })
    }

    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>> {
        let owner = self.table.owner(slot).map(|owner| match owner {
            Some(owner) if owner.addr() == self.target.addr() => Owner::Target,
            Some(owner) if owner.addr() == self.source.addr() => Owner::Source,
            Some(other) => Owner::Other(other.addr().to_owned()),
            None => Owner::Other("nobody".to_owned()),
        });
        Box::pin(async { Ok(owner?) })
    }

    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            let before = self.table.openings(slots)?;
            self.table.fence(slots).await?;
            self.raised().extend(before);
            Ok(())
        })
    }

    fn holds<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Standing>> {
        Box::pin(async {
            if !self.table.fenced(slots)? {
                return Ok(Standing::Broken("the fence is not up".to_owned()));
            }
            let (now, before) = (self.table.openings(slots)?, self.raised());
            Ok(match now.iter().find(|(slot, openings)| before.get(slot) != Some(openings)) {
                None => Standing::Holds,
                Some((slot, _)) => {
                    Standing::Broken(format!("the fence of slot {slot} is another than was raised here"))
                }
            })
        })
    }

    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(self.table.open(slots, Some(&self.target))?) })
    }

    fn lower<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(self.table.open(slots, None)?) })
    }
}

impl From<TableError> for Error {
    fn from(error: TableError) -> Self {
        Self::Routing { what: error.to_string() }
    }
}
