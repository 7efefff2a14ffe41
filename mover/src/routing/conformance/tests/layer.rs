// SPDX-License-Identifier: Apache-2.0
//! A routing layer without a network that can break each rule in several ways.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use replication::{Slot, SlotSet};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use crate::routing::conformance::{Answer, Held, Rig, SLOTS};
use crate::routing::{Owner, RoutingControl, Standing};
use crate::{BoxFuture, Error, Result};

/// What is wrong with a layer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Fault {
    None,
    // What is allowed.
    RaiseGivesUpEarly,
    // Rule 0.
    TargetAnswersAtFirst,
    HoldsNothingBack,
    TooFewSlots,
    // Rule 1.
    RaiseDoesNotWait,
    RaiseNeverReturns,
    RequestsPass,
    RequestsPassAtOneEntrance,
    RequestsFail,
    // Rule 2.
    RaisesAreCounted,
    LowerOfNothingFails,
    SecondSwitchFails,
    SecondPrepareFails,
    SecondFinishFails,
    // Rule 3.
    DroppedRaiseIsForgotten,
    DroppedRaiseComesLate,
    // Rule 4.
    LowerSwitches,
    LowerTakesBack,
    // Rule 5.
    SwitchDoesNothing,
    SwitchLeavesTheFence,
    SwitchTakesAll,
    SwitchReleasesFirst,
    DroppedSwitchIsTakenForDone,
    // Rule 6.
    AlwaysHolds,
    NeverHolds,
    HoldsForAny,
    HoldsFromMemory,
    // Rule 7.
    UnknownIsPrepared,
    UnknownIsRaised,
    UnknownIsSwitched,
    UnknownHasAnOwner,
}

/// The layer and its rig.
pub(super) struct Layer {
    fault: Fault,
    world: watch::Sender<World>,
    memory: watch::Sender<Memory>,
}

/// What the proxies would know.
#[derive(Clone, Default)]
struct World {
    at_target: BTreeSet<Slot>,
    fenced: BTreeSet<Slot>,
    in_flight: BTreeMap<Slot, usize>,
}

/// What the control remembers of its calls, which no control should need.
#[derive(Default)]
struct Memory {
    raised: BTreeMap<Slot, usize>,
    switched: BTreeSet<Slot>,
    calls: BTreeSet<&'static str>,
}

impl Layer {
    pub(super) fn new(fault: Fault) -> Arc<Self> {
        Arc::new(Self { fault, world: watch::Sender::default(), memory: watch::Sender::default() })
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Whether this was called before, and with this fault must not be called twice.
    fn refuses_a_second(&self, method: &'static str, fault: Fault) -> bool {
        let mut is_first = true;
        self.memory.send_modify(|memory| is_first = memory.calls.insert(method));
        !is_first && self.has(fault)
    }

    fn refuse_unknown(&self, slots: &SlotSet, allowed: Fault) -> Result<()> {
        match slots.last() {
            Some(last) if last == UNKNOWN && !self.has(allowed) => fail("there is no such slot"),
            _ => Ok(()),
        }
    }

    /// Lets a request in as soon as its slot is not fenced, and says who is to answer it.
    async fn enter(world: &watch::Sender<World>, slot: Slot, ignores_the_fence: bool) -> Owner {
        let mut owner = None;
        while owner.is_none() {
            let mut changes = world.subscribe();
            world.send_if_modified(|world| {
                if ignores_the_fence || !world.fenced.contains(&slot) {
                    *world.in_flight.entry(slot).or_default() += 1;
                    owner = Some(if world.at_target.contains(&slot) { Owner::Target } else { Owner::Source });
                }
                owner.is_some()
            });
            if owner.is_none() {
                let _ = changes.changed().await;
            }
        }
        owner.unwrap()
    }

    fn leave(world: &watch::Sender<World>, slot: Slot) {
        world.send_modify(|world| *world.in_flight.entry(slot).or_default() -= 1);
    }

    fn fence(world: &mut World, slots: &SlotSet) {
        world.fenced.extend(slots.iter());
    }

    fn unfence(world: &mut World, slots: &SlotSet) {
        slots.iter().for_each(|slot| {
            world.fenced.remove(&slot);
        });
    }
}

impl Rig for Arc<Layer> {
    fn control(&self) -> &dyn RoutingControl {
        &**self
    }

    fn slots(&self) -> SlotSet {
        let missing = usize::from(self.has(Fault::TooFewSlots));
        (0..u16::try_from(SLOTS - missing).unwrap()).map(Slot::new).collect()
    }

    fn unknown_slot(&self) -> Option<Slot> {
        Some(UNKNOWN)
    }

    fn entrances(&self) -> usize {
        2
    }

    fn request(&self, slot: Slot, entrance: usize) -> Answer {
        let layer = Self::clone(self);
        Box::pin(async move {
            let passes = match layer.fault {
                Fault::RequestsPass => true,
                Fault::RequestsPassAtOneEntrance => entrance == 1,
                Fault::RequestsFail if layer.world.borrow().fenced.contains(&slot) => {
                    return Err("TRYAGAIN".to_owned());
                }
                _ => false,
            };
            let owner = Layer::enter(&layer.world, slot, passes).await;
            Layer::leave(&layer.world, slot);
            Ok(if layer.has(Fault::TargetAnswersAtFirst) { Owner::Target } else { owner })
        })
    }

    fn hold(&self, slot: Slot, _: usize) -> BoxFuture<'_, Result<Held, String>> {
        Box::pin(async move {
            let owner = Layer::enter(&self.world, slot, false).await;
            let (release, released) = oneshot::channel::<()>();
            let (world, waits) = (self.world.clone(), !self.has(Fault::HoldsNothingBack));
            let answer = async move {
                if waits {
                    released.await.map_err(|error| error.to_string())?;
                }
                Layer::leave(&world, slot);
                Ok(owner)
            };
            let answer = tokio::spawn(answer);
            let answer = async move { answer.await.map_err(|error| error.to_string())? };
            Ok(Held::new(move || release.send(()).unwrap_or_default(), Box::pin(answer)))
        })
    }

    fn break_fence<'a>(&'a self, slots: &'a SlotSet) -> Option<BoxFuture<'a, Result<(), String>>> {
        self.world.send_modify(|world| Layer::unfence(world, slots));
        Some(Box::pin(async { Ok(()) }))
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(30)
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(600)
    }
}

impl RoutingControl for Layer {
    fn prepare<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            self.refuse_unknown(slots, Fault::UnknownIsPrepared)?;
            match self.refuses_a_second("prepare", Fault::SecondPrepareFails) {
                true => fail("it is prepared already"),
                false => Ok(()),
            }
        })
    }

    fn finish(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            match self.refuses_a_second("finish", Fault::SecondFinishFails) {
                true => fail("it is finished already"),
                false => Ok(()),
            }
        })
    }

    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>> {
        Box::pin(async move {
            self.refuse_unknown(&SlotSet::from_iter([slot]), Fault::UnknownHasAnOwner)?;
            Ok(if self.world.borrow().at_target.contains(&slot) { Owner::Target } else { Owner::Source })
        })
    }

    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.refuse_unknown(slots, Fault::UnknownIsRaised)?;
            if self.has(Fault::DroppedRaiseComesLate) {
                let (world, slots) = (self.world.clone(), slots.clone());
                let late = tokio::spawn(async move {
                    sleep(Duration::from_millis(5)).await;
                    world.send_modify(|world| Self::fence(world, &slots));
                });
                let _ = late.await;
            }
            self.world.send_modify(|world| Self::fence(world, slots));
            let empty =
                |world: &World| slots.iter().all(|slot| world.in_flight.get(&slot).is_none_or(|&count| count == 0));
            match self.fault {
                Fault::RaiseDoesNotWait => {}
                Fault::RaiseNeverReturns => std::future::pending().await,
                Fault::RaiseGivesUpEarly if !empty(&self.world.borrow()) => return fail("a request is on its way"),
                _ => drop(self.world.subscribe().wait_for(empty).await),
            }
            // As a remote layer: there is always something to wait for.
            tokio::task::yield_now().await;
            self.memory.send_modify(|memory| {
                slots.iter().for_each(|slot| *memory.raised.entry(slot).or_default() += 1);
            });
            Ok(())
        })
    }

    fn holds<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Standing>> {
        Box::pin(async move {
            let fenced = |slot| self.world.borrow().fenced.contains(&slot);
            let remembered = |slot| self.memory.borrow().raised.contains_key(&slot);
            let holds = match self.fault {
                Fault::AlwaysHolds => true,
                Fault::NeverHolds => false,
                Fault::HoldsForAny => slots.iter().any(fenced),
                Fault::HoldsFromMemory => slots.iter().all(remembered),
                _ => slots.iter().all(fenced),
            };
            Ok(if holds { Standing::Holds } else { Standing::Broken("it is down".to_owned()) })
        })
    }

    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.refuse_unknown(slots, Fault::UnknownIsSwitched)?;
            let is_at_target = slots.iter().all(|slot| self.world.borrow().at_target.contains(&slot));
            let is_known = slots.iter().all(|slot| self.memory.borrow().switched.contains(&slot));
            self.memory.send_modify(|memory| memory.switched.extend(slots.iter()));
            match self.fault {
                Fault::SwitchDoesNothing => return Ok(()),
                Fault::SecondSwitchFails if is_at_target => return fail("it is switched already"),
                Fault::DroppedSwitchIsTakenForDone if is_known => return Ok(()),
                Fault::SwitchReleasesFirst => {
                    self.world.send_modify(|world| Self::unfence(world, slots));
                    sleep(Duration::from_millis(1)).await;
                }
                _ => tokio::task::yield_now().await,
            }
            let all = SlotSet::all(replication::SlotCount::CODIS);
            let taken = if self.has(Fault::SwitchTakesAll) { &all } else { slots };
            self.world.send_modify(|world| {
                world.at_target.extend(taken.iter());
                if !self.has(Fault::SwitchLeavesTheFence) {
                    Self::unfence(world, slots);
                }
            });
            self.memory.send_modify(|memory| memory.raised.retain(|slot, _| !slots.contains(*slot)));
            Ok(())
        })
    }

    fn lower<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut raises = 0;
            self.memory.send_modify(|memory| {
                for slot in slots.iter() {
                    let count = memory.raised.remove(&slot).unwrap_or_default();
                    raises = raises.max(count);
                    if self.has(Fault::RaisesAreCounted) && count > 1 {
                        memory.raised.insert(slot, count - 1);
                    }
                }
            });
            let was_switched = slots.iter().any(|slot| self.memory.borrow().switched.contains(&slot));
            match self.fault {
                Fault::RaisesAreCounted if raises > 1 => return Ok(()),
                Fault::LowerOfNothingFails if raises == 0 && !was_switched => return fail("it is not raised"),
                Fault::DroppedRaiseIsForgotten if raises == 0 => return Ok(()),
                _ => {}
            }
            self.world.send_modify(|world| {
                Self::unfence(world, slots);
                match self.fault {
                    Fault::LowerSwitches => world.at_target.extend(slots.iter()),
                    Fault::LowerTakesBack => world.at_target.retain(|slot| !slots.contains(*slot)),
                    _ => {}
                }
            });
            Ok(())
        })
    }
}

fn fail<T>(what: &str) -> Result<T> {
    Err(Error::Routing { what: what.to_owned() })
}

pub(super) const UNKNOWN: Slot = Slot::new(1024);
