// SPDX-License-Identifier: Apache-2.0
//! The agent: an attempt from the journal to the switch, its way back, and what it does after a crash.

use super::rules::{Mistake, Turn};
use super::state::{At, Journal, Leave, Node, State, Watch};
use super::step::Who;

impl Turn<'_> {
    pub(super) fn agent(&mut self) {
        match self.state.agent.at {
            At::Following => self.begin(),
            At::Journaled => self.tell(),
            At::Locking => self.lock(),
            At::Draining => self.drain(),
            At::Asking => self.ask(),
            At::Switching => self.switch(),
            At::Lowering => self.lower(),
            At::Resolving => self.resolve(),
            At::Dead => self.step(Who::Agent, "starts again", |s| s.agent.at = At::Resolving),
            At::Switched => {}
        }
    }

    fn begin(&mut self) {
        self.reread(self.state.source.log);
        let attempts = self.state.agent.attempt < self.rules.attempts;
        if attempts && self.may_part() && self.state.is_served_by(Node::Source) {
            self.step(Who::Agent, "journals that it raises a fence", |s| {
                s.agent.at = At::Journaled;
                s.agent.journal = Journal::Raised;
                s.agent.attempt += 1;
                if !s.guard.is_alive() {
                    s.guard.at = Watch::Idle;
                }
            });
        }
    }

    fn tell(&mut self) {
        let end_first = self.makes(Mistake::EndBeforeFence);
        if self.state.guard.at == Watch::Idle {
            self.step(Who::Agent, "tells the guard and sends the lock calls", |s| {
                s.agent.at = At::Locking;
                s.guard.at = Watch::Raised;
                s.agent.end = if end_first { s.source.log } else { 0 };
                s.proxies.iter_mut().for_each(|proxy| proxy.lock_call = Some(s.agent.attempt));
            });
        }
        self.give_up();
        self.kill_guard();
    }

    fn lock(&mut self) {
        let end_first = self.makes(Mistake::EndBeforeFence);
        if self.state.proxies.iter().all(|proxy| proxy.lock_call.is_none()) {
            self.step(Who::Agent, "has all locks and reads the end of the log", |s| {
                s.agent.at = At::Draining;
                s.agent.end = if end_first { s.agent.end } else { s.source.log };
            });
        }
        self.give_up();
    }

    fn drain(&mut self) {
        let State { agent, dashboard, proxies, .. } = *self.state;
        self.reread(agent.end);
        let is_drained = agent.position >= agent.end && agent.value.is_none();
        let locked = proxies.iter().all(|proxy| proxy.lock == Some(agent.attempt));
        let holds = locked && dashboard.owner == Node::Source && dashboard.running.is_none();
        if is_drained && holds {
            let skips_leave = self.makes(Mistake::SwitchWithoutLeave);
            let journals_later = self.makes(Mistake::JournalAfterLeave);
            self.step(Who::Agent, "finds the fence whole, journals that, asks for leave", |s| {
                s.agent.at = if skips_leave { At::Switching } else { At::Asking };
                s.agent.journal = if journals_later { Journal::Raised } else { Journal::MaySwitch };
                s.guard.asked = !skips_leave && s.guard.is_alive();
            });
        }
        self.give_up();
    }

    /// Having asked, it neither lowers nor switches before the answer: the guard alone knows which of the two it does.
    fn ask(&mut self) {
        match self.state.guard.answer {
            Some(Leave::Given) => self.step(Who::Agent, "has leave", |s| {
                s.guard.answer = None;
                s.agent.journal = Journal::MaySwitch;
                s.agent.at = At::Switching;
            }),
            Some(Leave::Refused) => self.step(Who::Agent, "is refused leave", |s| {
                s.guard.answer = None;
                s.agent.at = At::Lowering;
            }),
            None if !self.state.guard.is_alive() => {
                self.step(Who::Agent, "gets no answer any more", |s| s.agent.at = At::Resolving);
            }
            None => self.kill_guard(),
        }
    }

    fn switch(&mut self) {
        if self.state.is_served_by(Node::Target) && self.may_part() {
            self.step(Who::Agent, "sees the slot switched everywhere", |s| {
                s.agent.at = At::Switched;
                part(s);
            });
        } else if self.state.dashboard.agent.is_none() {
            self.step(Who::Agent, "sends assign(target)", |s| s.dashboard.agent = Some(Node::Target));
        } else if self.makes(Mistake::LowerAfterSwitch) {
            self.step(Who::Agent, "has waited long enough and lowers", |s| {
                s.abandon_agents_assign();
                s.agent.at = At::Lowering;
            });
        }
        self.kill_guard();
    }

    fn lower(&mut self) {
        let owner = self.state.dashboard.owner;
        if self.state.is_served_by(owner) && self.may_part() {
            self.step(Who::Agent, "sees the fence lowered everywhere", |s| {
                s.agent.at = At::Following;
                s.agent.journal = Journal::Clear;
                part(s);
            });
        }
        if self.state.dashboard.agent.is_none() {
            self.step(Who::Agent, "sends assign(owner) to lower", |s| s.dashboard.agent = Some(owner));
        } else if self.makes(Mistake::AttemptWhileOwnLowerIsQueued) {
            self.step(Who::Agent, "does not wait for its assign", State::abandon_agents_assign);
        }
        self.kill_guard();
    }

    /// Who starts with a fence in the journal, or whose guard died with the question, asks who owns the slot. If a
    /// switch may be on its way, the answer means something only when it has settled.
    fn resolve(&mut self) {
        let beside = self.makes(Mistake::ResolveBesideTheOldGuard);
        if self.state.guard.is_alive() && !beside {
            return self.kill_guard();
        }
        let early = self.makes(Mistake::ResolveBeforeTheDeadHaveSettled);
        let is_settled = self.is_settled() || early;
        let forward = self.makes(Mistake::RollForwardFromJournal);
        match (self.state.agent.journal, self.state.dashboard.owner) {
            (Journal::Clear, _) => self.step(Who::Agent, "has no fence in its journal", |s| s.agent.at = At::Following),
            (Journal::Raised, _) => self.step(Who::Agent, "has a fence in its journal", |s| s.agent.at = At::Lowering),
            (Journal::MaySwitch, _) if forward => {
                self.step(Who::Agent, "rolls forward as its journal says", |s| s.agent.at = At::Switching);
            }
            (Journal::MaySwitch, _) if !is_settled => {}
            (Journal::MaySwitch, Node::Source) => {
                self.step(Who::Agent, "finds that nothing was switched", |s| s.agent.at = At::Lowering);
            }
            (Journal::MaySwitch, Node::Target) => {
                self.step(Who::Agent, "finds that the slot was switched", |s| s.agent.at = At::Switching);
            }
        }
    }

    /// Whether nothing of this attempt can land any more, so that its guard may forget it.
    fn may_part(&self) -> bool {
        let forgets_the_dead = self.makes(Mistake::AttemptBeforeTheDeadHaveSettled);
        let forgets_its_own = self.makes(Mistake::AttemptWhileOwnLowerIsQueued);
        self.is_answered() && (self.is_settled() || forgets_the_dead || forgets_its_own)
    }

    /// A value that was sent and never answered may still reach the target, and must not do so after a newer one.
    fn reread(&mut self, end: u8) {
        let State { agent, late, .. } = *self.state;
        let early = self.makes(Mistake::ReadAgainBeforeALostValueHasSettled);
        if agent.position < end && agent.value.is_none() && (late.value.is_none() || early) {
            self.step(Who::Agent, "follows the log: reads the key, sends it to the target", |s| {
                s.agent.end = end;
                s.agent.value = Some(s.source.value);
            });
        }
    }

    fn give_up(&mut self) {
        self.step(Who::Agent, "gives the attempt up", |s| s.agent.at = At::Lowering);
    }

    /// A guard that does not answer is killed by its parent, or by who finds it at start.
    fn kill_guard(&mut self) {
        if self.state.guard.is_alive() {
            self.step(Who::Agent, "kills its guard, which does not answer", State::guard_dies);
        }
    }
}

fn part(state: &mut State) {
    if state.guard.is_alive() && !state.guard.orphan {
        state.guard.at = Watch::Idle;
    }
}
