// SPDX-License-Identifier: Apache-2.0
//! What goes wrong: processes die, answers are lost, others break the lock.

use super::rules::Turn;
use super::state::{At, Caller, Guard, Late, Node, Proxy, State, Watch};
use super::step::Who;

impl Turn<'_> {
    pub(super) fn faults(&mut self) {
        let faults = self.state.faults;
        let State { agent, guard, dashboard, .. } = *self.state;
        if faults.agent_dies > 0 && !matches!(agent.at, At::Dead | At::Switched) {
            self.step(Who::Fault, "the agent dies", State::agent_dies);
        }
        if faults.guard_dies > 0 && guard.is_alive() {
            self.step(Who::Fault, "the guard dies", |s| {
                s.faults.guard_dies -= 1;
                s.guard_dies();
            });
        }
        if faults.dashboard_restarts > 0 {
            self.step(Who::Fault, "the dashboard restarts", State::dashboard_restarts);
        }
        let may_break = self.rules.residual_race || !self.is_committed();
        if faults.lock_broken > 0 && may_break && dashboard.running.is_none() {
            self.step(Who::Fault, "the dashboard pushes by itself", |s| {
                s.faults.lock_broken -= 1;
                s.assign(Caller::Nobody, s.dashboard.owner);
            });
        }
        for proxy in 0..self.state.proxies.len() {
            if faults.proxy_restarts > 0 && may_break {
                self.step_at(proxy, Who::Fault, "the proxy restarts", |s| s.proxy_restarts(proxy));
            }
        }
        if faults.answer_lost > 0 {
            self.lost_answers();
        }
    }

    fn lost_answers(&mut self) {
        let State { agent, dashboard, proxies, .. } = *self.state;
        if dashboard.agent.is_some() || dashboard.running == Some(Caller::Agent) {
            self.step(Who::Fault, "the agent loses the answer to its assign", |s| {
                s.faults.answer_lost -= 1;
                s.abandon_agents_assign();
            });
        }
        if dashboard.guard.is_some() || dashboard.running == Some(Caller::Guard) {
            self.step(Who::Fault, "the guard loses the answer to its assign", |s| {
                s.faults.answer_lost -= 1;
                s.abandon_guards_assign();
            });
        }
        if agent.value.is_some() {
            self.step(Who::Fault, "the agent loses its connection to the target", |s| {
                s.faults.answer_lost -= 1;
                move_to(&mut s.late.value, &mut s.agent.value);
            });
        }
        for (at, _) in proxies.iter().enumerate().filter(|(_, proxy)| proxy.lock_call.is_some()) {
            self.step_at(at, Who::Fault, "the agent loses the answer to its lock call", |s| {
                s.faults.answer_lost -= 1;
                s.proxies[at].abandon_lock_call();
                s.fail_locking();
            });
        }
    }
}

impl State {
    fn agent_dies(&mut self) {
        self.faults.agent_dies -= 1;
        self.abandon_agents_assign();
        self.proxies.iter_mut().for_each(Proxy::abandon_lock_call);
        move_to(&mut self.late.value, &mut self.agent.value);
        self.agent.at = At::Dead;
        self.guard.orphan = self.guard.is_alive();
        self.guard.answer = None;
    }

    /// Its answer, if it gave one, can still be read.
    pub(super) fn guard_dies(&mut self) {
        self.abandon_guards_assign();
        self.guard = Guard { at: Watch::Gone, orphan: false, asked: false, answer: self.guard.answer };
    }

    /// Its queue dies with it; the mapping is stored; what it has begun to push may still arrive.
    fn dashboard_restarts(&mut self) {
        self.faults.dashboard_restarts -= 1;
        self.dashboard.agent = None;
        self.dashboard.guard = None;
        self.dashboard.running = None;
        self.late = Late { assign_source: 0, assign_target: 0, ..self.late };
        for proxy in &mut self.proxies {
            if std::mem::take(&mut proxy.push) {
                move_to(&mut proxy.late_push, &mut Some(self.dashboard.owner));
            }
        }
    }

    /// It comes back by itself, open, with the dashboard's mapping. What it had sent may still be executed.
    fn proxy_restarts(&mut self, at: usize) {
        self.faults.proxy_restarts -= 1;
        let proxy = &mut self.proxies[at];
        move_to(&mut self.late.request, &mut proxy.request);
        let was_locking = proxy.lock_call.take().is_some();
        proxy.late_lock = None;
        proxy.late_push = None;
        proxy.push = false;
        proxy.fill(self.dashboard.owner);
        self.dashboard.running = self.dashboard.running.filter(|_| self.proxies.iter().any(|proxy| proxy.push));
        if was_locking {
            self.fail_locking();
        }
    }

    fn fail_locking(&mut self) {
        if self.agent.at == At::Locking {
            self.agent.at = At::Lowering;
        }
    }

    pub(super) fn abandon_agents_assign(&mut self) {
        if let Some(owner) = self.dashboard.agent.take() {
            *self.late.assigns(owner) += 1;
        }
        if self.dashboard.running == Some(Caller::Agent) {
            self.dashboard.running = Some(Caller::Nobody);
        }
    }

    fn abandon_guards_assign(&mut self) {
        if let Some(owner) = self.dashboard.guard.take() {
            *self.late.assigns(owner) += 1;
        }
        if self.dashboard.running == Some(Caller::Guard) {
            self.dashboard.running = Some(Caller::Nobody);
        }
    }
}

impl Late {
    pub(super) fn assigns(&mut self, owner: Node) -> &mut u8 {
        match owner {
            Node::Source => &mut self.assign_source,
            Node::Target => &mut self.assign_target,
        }
    }
}

impl Proxy {
    fn abandon_lock_call(&mut self) {
        move_to(&mut self.late_lock, &mut self.lock_call);
    }
}

impl Guard {
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.at, Watch::Gone | Watch::Ended)
    }
}

/// There is room for one, which the rules and the bounds leave enough.
fn move_to<T>(late: &mut Option<T>, call: &mut Option<T>) {
    if let Some(call) = call.take() {
        assert!(late.replace(call).is_none(), "two late calls of one kind at one place: the state has room for one");
    }
}
