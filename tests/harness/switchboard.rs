// SPDX-License-Identifier: Apache-2.0
//! A routing layer without clients that remembers what it was told, and fails where a test wants it to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use mover::routing::{Owner, Readiness, RoutingControl, Standing};
use mover::{BoxFuture, Error, Result};
use replication::{Slot, SlotSet};

#[derive(Default)]
pub(crate) struct Switchboard {
    state: Mutex<State>,
    is_forgetful: bool,
}

#[derive(Default)]
struct State {
    raised: SlotSet,
    switched: SlotSet,
    calls: Vec<Call>,
    faults: VecDeque<(Call, Fault)>,
    acts: Vec<(Call, Act)>,
}

/// What a test does meanwhile to these slots.
type Act = Arc<dyn Fn(&SlotSet) + Send + Sync>;

/// A method of the control, as far as it changes something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    Prepare,
    /// It changes nothing, so it is not noted; but it may fail.
    Owner,
    Preconditions,
    Raise,
    Holds,
    Switch,
    Lower,
    Finish,
}

/// What goes wrong with a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It fails and has done nothing.
    Refused,
    /// It fails and has been done.
    AnswerLost,
    /// It is never answered.
    Hung,
    /// It answers `Broken` or `NotYet`.
    No,
    /// It is certain that nothing was switched.
    NotSwitched,
    /// Somebody else switches meanwhile.
    Overtaken,
}

impl Switchboard {
    /// One whose calls fail so, each fault once, in this order for each call.
    pub(crate) fn with_faults(faults: &[(Call, Fault)]) -> Self {
        let state = State { faults: faults.iter().copied().collect(), ..State::default() };
        Self { state: Mutex::new(state), is_forgetful: false }
    }

    /// One that does not know of the switches that an earlier process has sent.
    pub(crate) fn forgetful() -> Self {
        Self { is_forgetful: true, ..Self::default() }
    }

    /// The slots that belong to the target by now.
    pub(crate) fn switched(&self) -> SlotSet {
        self.state().switched.clone()
    }

    /// The slots that are fenced now.
    pub(crate) fn raised(&self) -> SlotSet {
        self.state().raised.clone()
    }

    /// How often a fence was raised.
    pub(crate) fn raises(&self) -> usize {
        self.calls().into_iter().filter(|call| *call == Call::Raise).count()
    }

    /// All calls so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Does something at each such call, before it is done; the runtime must have several threads.
    pub(crate) fn on(&self, call: Call, act: impl Fn(&SlotSet) + Send + Sync + 'static) {
        self.state().acts.push((call, Arc::new(act)));
    }

    /// The same for whoever moves the slots back.
    pub(crate) fn reversed(self: &Arc<Self>) -> Arc<dyn RoutingControl> {
        Arc::new(Reversed(Arc::clone(self)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Notes a call and takes the fault that is meant for it.
    fn called(&self, call: Call) -> Option<Fault> {
        self.state().calls.push(call);
        self.fault(call)
    }

    /// Takes the fault that is meant for a call.
    fn fault(&self, call: Call) -> Option<Fault> {
        let mut state = self.state();
        let index = state.faults.iter().position(|(of, _)| *of == call)?;
        state.faults.remove(index).map(|(_, fault)| fault)
    }

    async fn answer(&self, call: Call, slots: &SlotSet, change: impl FnOnce(&mut State)) -> Result<()> {
        let fault = self.called(call);
        let acts: Vec<Act> =
            self.state().acts.iter().filter(|(on, _)| *on == call).map(|(_, act)| act.clone()).collect();
        if !acts.is_empty() {
            // They may wait for a node of the sandbox, whose task may be next on this very thread.
            tokio::task::block_in_place(|| acts.iter().for_each(|act| act(slots)));
        }
        if !matches!(fault, Some(Fault::Refused | Fault::NotSwitched)) {
            change(&mut self.state());
        }
        match fault {
            None => Ok(()),
            Some(Fault::Hung) => std::future::pending().await,
            Some(Fault::NotSwitched) => Err(Error::NotSwitched { what: "the switchboard will not".to_owned() }),
            Some(fault) => Err(Error::Routing { what: format!("{call:?}: {fault:?}") }),
        }
    }
}

impl RoutingControl for Switchboard {
    fn prepare<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.answer(Call::Prepare, slots, |_| ()))
    }

    fn finish(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { self.answer(Call::Finish, &SlotSet::new(), |_| ()).await })
    }

    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>> {
        let owner = if self.state().switched.contains(slot) { Owner::Target } else { Owner::Source };
        Box::pin(async move {
            match self.fault(Call::Owner) {
                None => Ok(owner),
                Some(_) => Err(Error::Routing { what: "the switchboard does not say who owns it".to_owned() }),
            }
        })
    }

    fn knows_earlier_switches(&self) -> bool {
        !self.is_forgetful
    }

    fn preconditions<'a>(&'a self, _: &'a SlotSet) -> BoxFuture<'a, Result<Readiness>> {
        Box::pin(async {
            Ok(match self.called(Call::Preconditions) {
                None => Readiness::Ready,
                Some(Fault::No) => Readiness::NotYet("the switchboard is busy".to_owned()),
                Some(_) => return Err(Error::Routing { what: "the switchboard is the wrong one".to_owned() }),
            })
        })
    }

    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.answer(Call::Raise, slots, |state| state.raised = slots.clone()))
    }

    fn holds<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Standing>> {
        Box::pin(async move {
            let fault = self.called(Call::Holds);
            // Long enough for a write to come in behind the fence.
            tokio::time::sleep(Duration::from_millis(1)).await;
            match fault {
                None if self.raised() == *slots => Ok(Standing::Holds),
                None | Some(Fault::No) => Ok(Standing::Broken("another fence is up, or none".to_owned())),
                Some(Fault::Hung) => std::future::pending().await,
                Some(Fault::Overtaken) => {
                    let mut state = self.state();
                    state.raised = SlotSet::new();
                    state.switched = slots.clone();
                    Err(Error::Routing { what: "the switchboard was slow".to_owned() })
                }
                Some(_) => Err(Error::Routing { what: "the switchboard does not know".to_owned() }),
            }
        })
    }

    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.answer(Call::Switch, slots, |state| {
            state.raised = SlotSet::new();
            slots.iter().for_each(|slot| {
                state.switched.insert(slot);
            });
        }))
    }

    fn lower<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.answer(Call::Lower, slots, |state| state.raised = SlotSet::new()))
    }
}

/// A switchboard for which source and target have changed places.
struct Reversed(Arc<Switchboard>);

impl RoutingControl for Reversed {
    fn prepare<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        self.0.prepare(slots)
    }

    fn finish(&self) -> BoxFuture<'_, Result<()>> {
        self.0.finish()
    }

    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>> {
        Box::pin(async move {
            Ok(match self.0.owner(slot).await? {
                Owner::Source => Owner::Target,
                Owner::Target => Owner::Source,
                other => other,
            })
        })
    }

    fn preconditions<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Readiness>> {
        self.0.preconditions(slots)
    }

    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        self.0.raise(slots)
    }

    fn holds<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Standing>> {
        self.0.holds(slots)
    }

    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.answer(Call::Switch, slots, |state| {
            state.raised = SlotSet::new();
            slots.iter().for_each(|slot| {
                state.switched.remove(slot);
            });
        }))
    }

    fn lower<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        self.0.lower(slots)
    }
}
