// SPDX-License-Identifier: Apache-2.0
//! Which node serves each slot, and the control that a move has over it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mover::routing::{Owner, RoutingControl, Standing};
use mover::{BoxFuture, Error, Result, Slot, SlotCount, SlotSet};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// A lock for each slot: a request holds it for reading until its node has answered, and a fence is the same lock held
/// for writing. The lock is fair: a fence that waits for earlier requests keeps later ones waiting already.
pub(crate) struct Table {
    slots: Vec<Entry>,
    fence: Mutex<BTreeMap<Slot, OwnedRwLockWriteGuard<()>>>,
}

#[derive(Default)]
struct Entry {
    lock: Arc<RwLock<()>>,
    /// It changes under the fence only.
    at_target: AtomicBool,
}

impl Table {
    /// Every slot at the source.
    pub(crate) fn new(count: SlotCount) -> Self {
        Self { slots: (0..count.get()).map(|_| Entry::default()).collect(), fence: Mutex::default() }
    }

    /// Lets a request of this slot in as soon as no fence is up. The guard is to be kept until the node has answered.
    pub(crate) async fn enter(&self, slot: Slot) -> Result<(OwnedRwLockReadGuard<()>, Owner)> {
        let entry = self.entry(slot)?;
        let guard = Arc::clone(&entry.lock).read_owned().await;
        Ok((guard, entry.owner()))
    }

    fn entry(&self, slot: Slot) -> Result<&Entry> {
        let missing = || Error::Routing { what: format!("there is no slot {slot}") };
        self.slots.get(usize::from(slot.number())).ok_or_else(missing)
    }

    fn fence(&self) -> MutexGuard<'_, BTreeMap<Slot, OwnedRwLockWriteGuard<()>>> {
        self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn owner(&self) -> Owner {
        if self.at_target.load(Ordering::Acquire) { Owner::Target } else { Owner::Source }
    }
}

impl RoutingControl for Table {
    fn prepare<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { slots.iter().try_for_each(|slot| self.entry(slot).map(drop)) })
    }

    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>> {
        Box::pin(async move { self.entry(slot).map(Entry::owner) })
    }

    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            self.prepare(slots).await?;
            for slot in slots.iter() {
                if self.fence().contains_key(&slot) {
                    continue;
                }
                // When this future is dropped here, the lock forgets that it was wanted.
                let guard = Arc::clone(&self.entry(slot)?.lock).write_owned().await;
                self.fence().insert(slot, guard);
            }
            Ok(())
        })
    }

    fn holds<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Standing>> {
        Box::pin(async {
            let fence = self.fence();
            Ok(match slots.iter().find(|slot| !fence.contains_key(slot)) {
                None => Standing::Holds,
                Some(slot) => Standing::Broken(format!("slot {slot} is not fenced")),
            })
        })
    }

    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            let mut fence = self.fence();
            for slot in slots.iter() {
                // Without its fence a slot may have had writes that the target does not know of.
                if !fence.contains_key(&slot) && self.entry(slot)?.owner() != Owner::Target {
                    return Err(Error::NotSwitched { what: format!("slot {slot} is not fenced") });
                }
            }
            for slot in slots.iter() {
                self.entry(slot)?.at_target.store(true, Ordering::Release);
                fence.remove(&slot);
            }
            Ok(())
        })
    }

    fn lower<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            self.fence().retain(|slot, _| !slots.contains(*slot));
            Ok(())
        })
    }
}
