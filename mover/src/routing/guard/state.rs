// SPDX-License-Identifier: Apache-2.0
//! What the guard does about what it hears, without doing it: time and the pipe come in, answers and work go out.
//!
//! ```text
//!            raise               leave                switched
//!   Idle ───────────▶ Raised ───────────▶ MaySwitch ───────────▶ Idle
//!                       │ ▲                 │    │
//!     deadline, or the  │ │    withdraw     │    │  deadline, or the agent is gone
//!     agent is gone     │ └─────────────────┘    │
//!                       ▼                        ▼
//!                   Lowering ◀──┐            Switching
//!                       │       │ later          │
//!                       ▼       │                ▼
//!                   Lowered ────┘            Switched
//! ```
//!
//! One rule decides everything: before leave was given the guard only lowers, afterwards it only switches.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use replication::SlotSet;

use super::message::{Answer, Request};

/// The fence as the guard knows it, and whether it is still needed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Watch {
    fence: Fence,
    leaving: Option<Leaving>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fence {
    /// None is up.
    Idle,
    /// One is being raised or up.
    Raised { slots: SlotSet, deadline: Instant },
    /// The switch may be sent at any moment.
    MaySwitch { slots: SlotSet, deadline: Instant },
    /// We lower it, for the `round`th time after the first. `told`: the agent has said that it is down.
    Lowering { slots: SlotSet, round: u32, told: bool },
    /// We have lowered it. A lock that was on its way may arrive late, so it is lowered again.
    Lowered { slots: SlotSet, round: u32, again: Instant },
    /// We switch it. `told`: the agent has said that it is switched.
    Switching { slots: SlotSet, told: bool },
    /// We have switched it.
    Switched,
    /// The routing layer gets back what the agent changed there.
    Finishing,
    /// The guard may go.
    Ended,
}

/// Why the guard goes when no fence is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Leaving {
    /// The agent is gone and has not tidied up.
    Orphaned,
    /// The agent has tidied up or will do so, or the guard was told to go.
    Dismissed,
}

/// What happens to a guard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Input {
    /// The agent says something.
    Request(Request),
    /// The pipe has ended: the agent is gone, however it ended.
    Closed,
    /// Nothing but time.
    Time,
    /// Somebody asks the guard to go.
    Terminated,
    /// The work that [`Watch::work`] named is done.
    Done,
}

/// What the guard has to do in the routing layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// Lower the fence until it is down; again, when it is not the first time.
    Lower { slots: SlotSet, again: bool },
    /// Switch until the target owns the slots.
    Switch(SlotSet),
    /// Take back what the agent changed.
    Finish,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { fence: Fence::Idle, leaving: None }
    }

    /// Takes an input; requests are answered.
    pub(super) fn on(&mut self, input: Input, now: Instant) -> Option<Answer> {
        // A guard or agent that stood still hears of the deadline first: what comes behind it is late.
        self.pass(now);
        let answer = match input {
            Input::Request(request) => Some(self.request(request, now)),
            Input::Time => None,
            Input::Closed => {
                self.leaving = Some(Leaving::Orphaned);
                self.give_up_waiting();
                None
            }
            Input::Terminated => {
                self.leaving = self.leaving.or(Some(Leaving::Dismissed));
                if let Fence::Raised { slots, .. } = &self.fence {
                    self.fence = Fence::Lowering { slots: slots.clone(), round: 0, told: false };
                }
                None
            }
            Input::Done => {
                self.done(now);
                None
            }
        };
        self.leave();
        answer
    }

    /// What is to be done now; the same until it is done.
    pub(super) fn work(&self) -> Option<Work> {
        match &self.fence {
            Fence::Lowering { slots, round, .. } => Some(Work::Lower { slots: slots.clone(), again: *round > 0 }),
            Fence::Switching { slots, .. } => Some(Work::Switch(slots.clone())),
            Fence::Finishing => Some(Work::Finish),
            _ => None,
        }
    }

    /// When [`Input::Time`] is due.
    pub(super) fn wake(&self) -> Option<Instant> {
        match &self.fence {
            Fence::Raised { deadline, .. } | Fence::MaySwitch { deadline, .. } => Some(*deadline),
            Fence::Lowered { again, .. } => Some(*again),
            _ => None,
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.fence == Fence::Ended
    }

    /// Whether the agent is gone for sure.
    pub(super) fn is_orphaned(&self) -> bool {
        self.leaving == Some(Leaving::Orphaned)
    }

    fn pass(&mut self, now: Instant) {
        match &self.fence {
            Fence::Raised { deadline, .. } | Fence::MaySwitch { deadline, .. } if *deadline <= now => {
                self.give_up_waiting();
            }
            Fence::Lowered { slots, round, again } if *again <= now => {
                self.fence = Fence::Lowering { slots: slots.clone(), round: round + 1, told: false };
            }
            _ => {}
        }
    }

    /// The agent does not go on: back before leave was given, forward afterwards.
    fn give_up_waiting(&mut self) {
        match &self.fence {
            Fence::Raised { slots, .. } => {
                self.fence = Fence::Lowering { slots: slots.clone(), round: 0, told: false };
            }
            Fence::MaySwitch { slots, .. } => {
                self.fence = Fence::Switching { slots: slots.clone(), told: false };
            }
            _ => {}
        }
    }

    fn request(&mut self, request: Request, now: Instant) -> Answer {
        match request {
            Request::Raise { slots, within } => self.raise(slots, now + within),
            Request::Leave { slots } => self.give_leave(&slots, now),
            Request::Withdraw => self.withdraw(),
            Request::Switched | Request::Lowered => {
                match &mut self.fence {
                    Fence::Lowering { told, .. } | Fence::Switching { told, .. } => *told = true,
                    Fence::Raised { .. } | Fence::MaySwitch { .. } => self.fence = Fence::Idle,
                    Fence::Lowered { .. } | Fence::Switched => self.fence = Fence::Idle,
                    Fence::Idle | Fence::Finishing | Fence::Ended => {}
                }
                Answer::Yes
            }
            Request::End => {
                self.leaving = Some(Leaving::Dismissed);
                self.give_up_waiting();
                Answer::Yes
            }
        }
    }

    fn raise(&mut self, slots: SlotSet, deadline: Instant) -> Answer {
        let why = match &self.fence {
            _ if self.leaving.is_some() => "the guard was told to go",
            Fence::Idle | Fence::Switched => {
                self.fence = Fence::Raised { slots, deadline };
                return Answer::Yes;
            }
            // Again, for the first answer was lost or the agent begins anew: clients wait since the first time.
            Fence::Raised { slots: up, deadline: first } | Fence::MaySwitch { slots: up, deadline: first }
                if *up == slots =>
            {
                let deadline = deadline.min(*first);
                self.fence = Fence::Raised { slots, deadline };
                return Answer::Yes;
            }
            Fence::Raised { .. } | Fence::MaySwitch { .. } => "a fence of other slots is up already",
            Fence::Lowering { .. } | Fence::Lowered { .. } => "the guard is lowering the last fence",
            Fence::Switching { .. } => "the guard is switching the last slots",
            Fence::Finishing | Fence::Ended => "the guard is going",
        };
        Answer::No(why.to_owned())
    }

    fn give_leave(&mut self, wanted: &SlotSet, now: Instant) -> Answer {
        let why = match &self.fence {
            Fence::Raised { slots, deadline } | Fence::MaySwitch { slots, deadline } if slots == wanted => {
                // Leave that is given at the last moment must leave a moment for the switch.
                let deadline = (*deadline).max(now + SWITCH_TIME);
                self.fence = Fence::MaySwitch { slots: wanted.clone(), deadline };
                return Answer::Yes;
            }
            Fence::Lowering { .. } | Fence::Lowered { .. } => {
                "the guard has lowered the fence, for this process stood still for too long"
            }
            Fence::Switching { .. } | Fence::Switched => "the guard is switching these slots itself",
            _ => "no fence of these slots was reported to the guard",
        };
        Answer::No(why.to_owned())
    }

    fn withdraw(&mut self) -> Answer {
        match &self.fence {
            Fence::MaySwitch { slots, deadline } => {
                self.fence = Fence::Raised { slots: slots.clone(), deadline: *deadline };
                Answer::Yes
            }
            Fence::Switching { .. } => {
                Answer::No("the guard is switching these slots, for this process stood still for too long".to_owned())
            }
            _ => Answer::Yes,
        }
    }

    fn done(&mut self, now: Instant) {
        self.fence = match &self.fence {
            Fence::Lowering { told: true, .. } | Fence::Switching { told: true, .. } => Fence::Idle,
            Fence::Lowering { slots, round, told: false } => {
                Fence::Lowered { slots: slots.clone(), round: *round, again: now + LATE_LOCKS }
            }
            Fence::Switching { told: false, .. } => Fence::Switched,
            Fence::Finishing => Fence::Ended,
            other => other.clone(),
        };
    }

    fn leave(&mut self) {
        let Some(leaving) = self.leaving else { return };
        let is_down = match &self.fence {
            Fence::Idle | Fence::Switched => true,
            // What a dead agent had sent may still arrive.
            Fence::Lowered { round, .. } => *round >= ROUNDS,
            _ => false,
        };
        if is_down {
            self.fence = match leaving {
                Leaving::Orphaned => Fence::Finishing,
                Leaving::Dismissed => Fence::Ended,
            };
        }
    }
}

/// What is left for a switch when leave is given at the last moment.
const SWITCH_TIME: Duration = Duration::from_millis(500);

/// How long after a lower a lock that was on its way may arrive.
const LATE_LOCKS: Duration = Duration::from_secs(1);

/// How often the fence of an agent that is gone is lowered again.
const ROUNDS: u32 = 2;
