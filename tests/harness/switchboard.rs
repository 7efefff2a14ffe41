// SPDX-License-Identifier: Apache-2.0
//! A routing layer without clients that remembers what it was told.

use std::sync::Mutex;

use mover::BoxFuture;
use mover::Result;
use mover::routing::{Owner, RoutingControl, Standing};
use replication::{Slot, SlotSet};

#[derive(Default)]
pub(crate) struct Switchboard {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    raised: SlotSet,
    switched: SlotSet,
    raises: usize,
}

impl Switchboard {
    /// The slots that belong to the target by now.
    pub(crate) fn switched(&self) -> SlotSet {
        self.state.lock().unwrap().switched.clone()
    }

    /// How often a fence was raised.
    pub(crate) fn raises(&self) -> usize {
        self.state.lock().unwrap().raises
    }

    fn with<T: Send + 'static>(&self, change: impl FnOnce(&mut State) -> T) -> BoxFuture<'_, Result<T>> {
        let value = change(&mut self.state.lock().unwrap());
        Box::pin(async move { Ok(value) })
    }
}

impl RoutingControl for Switchboard {
    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>> {
        self.with(|state| if state.switched.contains(slot) { Owner::Target } else { Owner::Source })
    }

    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        self.with(|state| {
            state.raises += 1;
            state.raised = slots.clone();
        })
    }

    fn holds<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Standing>> {
        self.with(|state| match state.raised == *slots {
            true => Standing::Holds,
            false => Standing::Broken("another fence is up, or none".to_owned()),
        })
    }

    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        self.with(|state| {
            state.raised = SlotSet::new();
            slots.iter().for_each(|slot| {
                state.switched.insert(slot);
            });
        })
    }

    fn lower<'a>(&'a self, _: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        self.with(|state| state.raised = SlotSet::new())
    }
}
