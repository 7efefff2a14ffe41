// SPDX-License-Identifier: Apache-2.0
//! Who sends clients to nodes, and how a slot's clients are held for a moment.

mod manual;

pub use manual::{Manual, Operator};

use replication::{Slot, SlotSet};

use crate::{BoxFuture, Result};

/// The layer that sends clients to nodes: all that an embedding proxy must provide.
///
/// Every method is idempotent: doing it again after a lost answer does no harm.
pub trait RoutingControl: Send + Sync {
    /// Who serves the slot now, as the routing layer itself says.
    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>>;

    /// Raises the fence. When it returns `Ok`, no request for these slots is in flight at the source and none will be
    /// sent to any node before [`switch`](Self::switch) or [`lower`](Self::lower). Clients wait; they get no error.
    ///
    /// # Errors
    /// When any part of the layer could not be fenced; the caller lowers everything then.
    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>>;

    /// Whether the fence still stands, asked of the layer itself.
    fn holds<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<bool>>;

    /// Gives the slots to the target and lets the waiting clients go there.
    ///
    /// # Errors
    /// The switch may have happened all the same: ask [`owner`](Self::owner), do not lower.
    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>>;

    /// Lowers the fence without a switch: the waiting clients go to the source.
    fn lower<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>>;
}

/// Who serves a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The node the slot is to leave.
    Source,
    /// The node the slot is to go to.
    Target,
    /// Another node, by its name, or different ones at different places.
    Other(String),
}
