// SPDX-License-Identifier: Apache-2.0
//! The guard: it acts when its deadline passes or its agent is dead. The deadline may pass at any time, which is an
//! agent that is stopped.

use super::rules::{Mistake, Turn};
use super::state::{Leave, Node, State, Watch};
use super::step::Who;

impl Turn<'_> {
    pub(super) fn guard(&mut self) {
        let State { guard, dashboard, .. } = *self.state;
        if guard.asked && guard.is_alive() {
            let given = guard.at == Watch::Raised;
            self.step(Who::Guard, if given { "gives leave" } else { "refuses leave" }, |s| {
                s.guard.asked = false;
                s.guard.at = if given { Watch::MaySwitch } else { s.guard.at };
                // Who started again does not read the pipe of its predecessor.
                s.guard.answer = (!guard.orphan).then_some(if given { Leave::Given } else { Leave::Refused });
            });
        }
        match guard.at {
            Watch::Gone | Watch::Ended | Watch::Idle => {}
            Watch::Raised => self.step(Who::Guard, "sees the deadline pass", |s| s.guard.at = Watch::Lowering),
            Watch::MaySwitch => {
                let lowers = self.makes(Mistake::GuardLowersAfterLeave);
                self.step(Who::Guard, "sees the deadline pass after leave", |s| {
                    s.guard.at = if lowers { Watch::Lowering } else { Watch::Forward };
                });
            }
            Watch::Lowering if dashboard.guard.is_none() => {
                let owner = dashboard.owner;
                self.step(Who::Guard, "sends assign(owner) to lower", |s| s.dashboard.guard = Some(owner));
            }
            Watch::Forward if dashboard.guard.is_none() && !self.state.is_served_by(Node::Target) => {
                self.step(Who::Guard, "sends assign(target)", |s| s.dashboard.guard = Some(Node::Target));
            }
            Watch::Lowering | Watch::Forward => {}
        }
        if guard.orphan && self.may_leave() {
            self.step(Who::Guard, "has nothing left to watch and ends", |s| {
                s.guard_dies();
                s.guard.at = Watch::Ended;
            });
        }
    }

    /// Late lock calls of the dead agent may hold clients again, so that no lock standing now is not enough.
    fn may_leave(&self) -> bool {
        let State { guard, dashboard, .. } = self.state;
        let is_done = match guard.at {
            Watch::Idle => true,
            Watch::Lowering => self.state.is_served_by(dashboard.owner),
            Watch::Forward => self.state.is_served_by(Node::Target),
            Watch::Gone | Watch::Ended | Watch::Raised | Watch::MaySwitch => false,
        };
        is_done && dashboard.guard.is_none() && (self.is_settled() || self.makes(Mistake::GuardLeavesEarly))
    }
}
