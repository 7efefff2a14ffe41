// SPDX-License-Identifier: Apache-2.0
//! Which node serves each slot, which slots are fenced, and how many requests of each are on their way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use replication::{Slot, SlotCount, SlotSet};
use tokio::sync::Notify;

use super::backend::Backend;

/// One gate for each slot.
#[derive(Debug)]
pub(super) struct Table {
    gates: Box<[Gate]>,
    count: SlotCount,
    stopped: AtomicBool,
}

/// Why slots could not be fenced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum TableError {
    #[error("there is no slot {slot}: the proxy has {count}")]
    NoSlot { slot: Slot, count: SlotCount },
    #[error("the fence of slot {0} was lowered while it was being raised")]
    Lowered(Slot),
    #[error("the proxy has stopped")]
    Stopped,
}

/// No node serves the slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Offline;

impl Table {
    /// Every slot at the same node, or at none; none fenced.
    pub(super) fn new(count: SlotCount, backend: Option<&Arc<Backend>>) -> Arc<Self> {
        let gates = (0..count.get()).map(|_| Gate::at(backend.cloned())).collect();
        Arc::new(Self { gates, count, stopped: AtomicBool::new(false) })
    }

    /// How many slots there are.
    pub(super) fn count(&self) -> SlotCount {
        self.count
    }

    /// Lets a request of this slot through, or `None` while the slot is fenced.
    pub(super) fn try_enter(self: &Arc<Self>, slot: Slot) -> Option<Result<Pass, Offline>> {
        let mut state = self.gates[index(slot)].lock();
        if state.fenced {
            return None;
        }
        let Some(backend) = state.backend.clone() else { return Some(Err(Offline)) };
        state.in_flight += 1;
        Some(Ok(Pass { table: Arc::clone(self), slot, backend }))
    }

    /// Lets a request of this slot through as soon as the slot is not fenced.
    pub(super) async fn enter(self: &Arc<Self>, slot: Slot) -> Result<Pass, Offline> {
        loop {
            // Made before the look, so that no opening between look and wait is missed.
            let opened = self.gates[index(slot)].opened.notified();
            match self.try_enter(slot) {
                Some(entered) => return entered,
                None => opened.await,
            }
        }
    }

    /// Who serves the slot.
    pub(super) fn owner(&self, slot: Slot) -> Result<Option<Arc<Backend>>, TableError> {
        Ok(self.gate(slot)?.lock().backend.clone())
    }

    /// Fences the slots, then waits until no request of theirs is on its way. A call that is dropped or fails leaves the
    /// fences it has raised: they stand until [`open`](Self::open).
    pub(super) async fn fence(&self, slots: &SlotSet) -> Result<(), TableError> {
        self.check(slots)?;
        for slot in slots.iter() {
            self.gates[index(slot)].lock().fenced = true;
        }
        for slot in slots.iter() {
            self.gates[index(slot)].drained(slot).await?;
        }
        // Requests of a stopped proxy were cut off, not answered: a node may still run them.
        self.check(slots)
    }

    /// The same for one slot.
    pub(super) async fn fence_one(&self, slot: Slot) -> Result<(), TableError> {
        let gate = self.gate(slot)?;
        gate.lock().fenced = true;
        gate.drained(slot).await?;
        self.check_running()
    }

    /// Whether all of the slots are fenced and none has a request on its way.
    pub(super) fn fenced(&self, slots: &SlotSet) -> Result<bool, TableError> {
        self.check(slots)?;
        Ok(slots.iter().all(|slot| {
            let state = self.gates[index(slot)].lock();
            state.fenced && state.in_flight == 0
        }))
    }

    /// Takes the fences down; with `owner`, everything goes there from now on.
    pub(super) fn open(&self, slots: &SlotSet, owner: Option<&Arc<Backend>>) -> Result<(), TableError> {
        self.check(slots)?;
        for slot in slots.iter() {
            self.gates[index(slot)].open(|state| {
                if let Some(owner) = owner {
                    state.backend = Some(Arc::clone(owner));
                }
            });
        }
        Ok(())
    }

    /// Gives one slot, which must exist, to a node or to none, and takes its fence down or leaves it.
    pub(super) fn set(&self, slot: Slot, backend: Option<Arc<Backend>>, fenced: bool) {
        let gate = &self.gates[index(slot)];
        match fenced {
            true => gate.lock().backend = backend,
            false => gate.open(|state| state.backend = backend),
        }
    }

    /// Takes every slot from its node and every fence down: who waits is told that the slot is offline.
    pub(super) fn clear(&self) {
        self.gates.iter().for_each(|gate| gate.open(|state| state.backend = None));
    }

    /// From now on no fence can be raised.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    fn check(&self, slots: &SlotSet) -> Result<(), TableError> {
        self.check_running()?;
        slots.last().map_or(Ok(()), |last| self.gate(last).map(|_| ()))
    }

    fn check_running(&self) -> Result<(), TableError> {
        match self.stopped.load(Ordering::SeqCst) {
            true => Err(TableError::Stopped),
            false => Ok(()),
        }
    }

    fn gate(&self, slot: Slot) -> Result<&Gate, TableError> {
        self.gates.get(index(slot)).ok_or(TableError::NoSlot { slot, count: self.count })
    }
}

/// The right of one request to be on its way; given back when dropped, which must not be before the node has answered.
#[derive(Debug)]
pub(super) struct Pass {
    table: Arc<Table>,
    slot: Slot,
    backend: Arc<Backend>,
}

impl Pass {
    /// The node this request may go to.
    pub(super) fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let gate = &self.table.gates[index(self.slot)];
        let mut state = gate.lock();
        state.in_flight -= 1;
        let drained = state.fenced && state.in_flight == 0;
        drop(state);
        if drained {
            gate.drained.notify_waiters();
        }
    }
}

#[derive(Debug)]
struct Gate {
    state: Mutex<State>,
    opened: Notify,
    drained: Notify,
}

#[derive(Debug)]
struct State {
    backend: Option<Arc<Backend>>,
    fenced: bool,
    in_flight: usize,
}

impl Gate {
    fn at(backend: Option<Arc<Backend>>) -> Self {
        let state = Mutex::new(State { backend, fenced: false, in_flight: 0 });
        Self { state, opened: Notify::new(), drained: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.fenced = false;
        drop(state);
        self.opened.notify_waiters();
        // Whoever is still raising this fence must learn that it is gone.
        self.drained.notify_waiters();
    }

    async fn drained(&self, slot: Slot) -> Result<(), TableError> {
        loop {
            let drained = self.drained.notified();
            let (fenced, in_flight) = {
                let state = self.lock();
                (state.fenced, state.in_flight)
            };
            match (fenced, in_flight) {
                (false, _) => return Err(TableError::Lowered(slot)),
                (true, 0) => return Ok(()),
                (true, _) => drained.await,
            }
        }
    }
}

fn index(slot: Slot) -> usize {
    usize::from(slot.number())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::super::backend::Node;
    use crate::sandbox::pulse::Pulse;

    const SOON: Duration = Duration::from_millis(50);

    /// Two backends that are never connected to.
    struct Ends {
        source: Arc<Backend>,
        target: Arc<Backend>,
        _lanes: JoinSet<()>,
    }

    fn ends() -> Ends {
        let mut lanes = JoinSet::new();
        let mut start = |addr: &str| {
            Backend::start(&Node { addr: Arc::from(addr), password: None }, &Arc::new(Pulse::default()), &mut lanes)
        };
        Ends { source: start("source:1"), target: start("target:1"), _lanes: lanes }
    }

    fn table(ends: &Ends) -> Arc<Table> {
        Table::new(SlotCount::CODIS, Some(&ends.source))
    }

    fn one() -> SlotSet {
        [Slot::new(7)].into_iter().collect()
    }

    #[tokio::test]
    async fn a_fence_waits_for_what_is_on_its_way() {
        let ends = ends();
        let table = table(&ends);
        let pass = table.enter(Slot::new(7)).await;
        assert!(timeout(SOON, table.fence(&one())).await.is_err(), "a request is on its way");
        assert_eq!(table.fenced(&one()), Ok(false));
        drop(pass);
        assert_eq!(table.fence(&one()).await, Ok(()));
        assert_eq!(table.fenced(&one()), Ok(true));
        assert!(table.try_enter(Slot::new(7)).is_none());
        assert!(table.try_enter(Slot::new(8)).is_some());
    }

    #[tokio::test]
    async fn the_waiting_go_where_the_slot_went() {
        let ends = ends();
        let table = table(&ends);
        table.fence(&one()).await.expect("nothing is on its way");
        let waiting = tokio::spawn({
            let table = Arc::clone(&table);
            async move { table.enter(Slot::new(7)).await.expect("it is served").backend().addr().to_owned() }
        });
        tokio::time::sleep(SOON).await;
        assert!(!waiting.is_finished());
        table.open(&one(), Some(&ends.target)).expect("the slot exists");
        assert_eq!(waiting.await.expect("no panic"), "target:1");
        table.open(&one(), None).expect("lowering what is not raised does nothing");
        let owner = table.owner(Slot::new(7)).expect("the slot exists").expect("it is served");
        assert_eq!(owner.addr(), "target:1");
    }

    #[tokio::test]
    async fn a_slot_without_a_node_is_offline_and_still_has_a_fence() {
        let ends = ends();
        let table = table(&ends);
        table.fence(&one()).await.expect("nothing is on its way");
        table.set(Slot::new(7), None, true);
        assert!(table.try_enter(Slot::new(7)).is_none(), "it is fenced");
        table.set(Slot::new(7), None, false);
        assert_eq!(table.try_enter(Slot::new(7)).expect("it is not fenced").err(), Some(Offline));
        table.fence(&SlotSet::all(SlotCount::CODIS)).await.expect("nothing is on its way");
        table.clear();
        assert_eq!(table.enter(Slot::new(8)).await.err(), Some(Offline));
    }

    #[tokio::test]
    async fn lowering_ends_a_raise_that_still_waits() {
        let ends = ends();
        let table = table(&ends);
        let _pass = table.enter(Slot::new(7)).await;
        let raising = tokio::spawn({
            let table = Arc::clone(&table);
            async move { table.fence(&one()).await }
        });
        tokio::time::sleep(SOON).await;
        table.open(&one(), None).expect("the slot exists");
        assert_eq!(raising.await.expect("no panic"), Err(TableError::Lowered(Slot::new(7))));
    }

    #[tokio::test]
    async fn refuses_what_it_cannot_fence() {
        let table = Table::new(SlotCount::new(4).expect("not zero"), None);
        let error = TableError::NoSlot { slot: Slot::new(7), count: SlotCount::new(4).expect("not zero") };
        assert_eq!(table.fence(&one()).await, Err(error));
        assert_eq!(table.open(&one(), None), Err(error));
        table.stop();
        assert_eq!(table.fence(&SlotSet::new()).await, Err(TableError::Stopped));
    }
}
