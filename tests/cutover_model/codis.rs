// SPDX-License-Identifier: Apache-2.0
//! What is not ours: clients, proxies, nodes and the dashboard.

use super::rules::Turn;
use super::state::{Caller, Dashboard, Node, Proxy, Request, State};
use super::step::Who;

impl Turn<'_> {
    pub(super) fn clients(&mut self) {
        for (at, proxy) in self.state.proxies.iter().enumerate() {
            if proxy.lock.is_none() && proxy.request.is_none() && self.state.clients.begun < self.rules.writes {
                self.step_at(at, Who::Clients, "write", |s| {
                    let request = Request { write: 1 << s.clients.begun, node: proxy.backend, applied: false };
                    s.proxies[at].request = Some(request);
                    s.clients.begun += 1;
                });
            }
            match proxy.request {
                Some(Request { write, node: Node::Target, .. }) => {
                    self.step_at(at, Who::Target, "applies and answers the write", |s| {
                        s.target |= write;
                        s.answer(at);
                    });
                }
                Some(Request { write, node: Node::Source, applied: false }) => {
                    self.step_at(at, Who::Source, "applies the write", |s| {
                        s.source.value |= write;
                        s.proxies[at].request = Some(Request { write, node: Node::Source, applied: true });
                    });
                }
                Some(Request { node: Node::Source, applied: true, .. }) => {
                    self.step_at(at, Who::Source, "logs and answers the write", |s| {
                        s.source.log += 1;
                        s.answer(at);
                    });
                }
                None => {}
            }
        }
        if let Some(value) = self.state.agent.value {
            self.step(Who::Target, "takes the agent's value", |s| {
                s.target = value;
                s.agent.value = None;
                s.agent.position = s.agent.end;
            });
        }
    }

    /// A lock and a push both wait until the slot has no request in flight, if it is not locked already.
    pub(super) fn proxies(&mut self) {
        for (at, proxy) in self.state.proxies.iter().enumerate().filter(|(_, proxy)| proxy.is_quiet()) {
            if let Some(nonce) = proxy.lock_call {
                self.step_at(at, Who::Proxy, "locks the slot and answers", |s| {
                    s.proxies[at].lock_call = None;
                    s.proxies[at].hold(nonce);
                });
            }
            if proxy.push {
                self.step_at(at, Who::Dashboard, "pushes the owner", |s| {
                    s.proxies[at].push = false;
                    s.proxies[at].fill(s.dashboard.owner);
                    s.dashboard.running = s.dashboard.running.filter(|_| s.proxies.iter().any(|proxy| proxy.push));
                });
            }
        }
    }

    pub(super) fn dashboard(&mut self) {
        let Dashboard { agent, guard, running, .. } = self.state.dashboard;
        if running.is_some() {
            return;
        }
        if let Some(owner) = agent {
            self.step(Who::Dashboard, "stores the owner of the agent's assign", |s| {
                s.dashboard.agent = None;
                s.assign(Caller::Agent, owner);
            });
        }
        if let Some(owner) = guard {
            self.step(Who::Dashboard, "stores the owner of the guard's assign", |s| {
                s.dashboard.guard = None;
                s.assign(Caller::Guard, owner);
            });
        }
    }

    pub(super) fn late(&mut self) {
        let State { late, dashboard, proxies, .. } = *self.state;
        for (count, owner) in [(late.assign_source, Node::Source), (late.assign_target, Node::Target)] {
            if count > 0 && dashboard.running.is_none() {
                self.step(Who::Late, late_assign(owner), |s| {
                    *s.late.assigns(owner) -= 1;
                    s.assign(Caller::Nobody, owner);
                });
            }
            if count > 0 {
                self.step(Who::Late, "the assign is lost", |s| *s.late.assigns(owner) -= 1);
            }
        }
        if let Some(value) = late.value {
            self.step(Who::Late, "the value of a lost connection reaches the target", |s| {
                s.target = value;
                s.late.value = None;
            });
            self.step(Who::Late, "the value of a lost connection is lost", |s| s.late.value = None);
        }
        if let Some(request) = late.request {
            self.step(Who::Late, "the request of a dead proxy goes on", |s| s.go_on(request));
        }
        for (at, proxy) in proxies.iter().enumerate() {
            if let Some(nonce) = proxy.late_lock {
                if proxy.is_quiet() {
                    self.step_at(at, Who::Late, "the lock call is taken up after all", |s| {
                        s.proxies[at].late_lock = None;
                        s.proxies[at].hold(nonce);
                    });
                }
                self.step_at(at, Who::Late, "the lock call is lost", |s| s.proxies[at].late_lock = None);
            }
            if let Some(owner) = proxy.late_push {
                if proxy.is_quiet() {
                    self.step_at(at, Who::Late, "the push of a dead dashboard arrives", |s| {
                        s.proxies[at].late_push = None;
                        s.proxies[at].fill(owner);
                    });
                }
                self.step_at(at, Who::Late, "the push is lost", |s| s.proxies[at].late_push = None);
            }
        }
    }
}

fn late_assign(owner: Node) -> &'static str {
    match owner {
        Node::Source => "assign(source) is taken up after all",
        Node::Target => "assign(target) is taken up after all",
    }
}

impl State {
    pub(super) fn assign(&mut self, caller: Caller, owner: Node) {
        self.dashboard.owner = owner;
        self.dashboard.running = Some(caller);
        self.proxies.iter_mut().for_each(|proxy| proxy.push = true);
    }

    fn answer(&mut self, proxy: usize) {
        if let Some(request) = self.proxies[proxy].request.take() {
            self.clients.acknowledged |= request.write;
        }
    }

    /// Nobody hears the answer of such a request.
    fn go_on(&mut self, request: Request) {
        self.late.request = None;
        match request {
            Request { write, node: Node::Target, .. } => self.target |= write,
            Request { write, applied: false, .. } => {
                self.source.value |= write;
                self.late.request = Some(Request { applied: true, ..request });
            }
            Request { applied: true, .. } => self.source.log += 1,
        }
    }
}

impl Proxy {
    fn is_quiet(&self) -> bool {
        self.lock.is_some() || self.request.is_none()
    }

    /// The record that a lock call carries was read before the attempt: it names the source.
    fn hold(&mut self, nonce: u8) {
        self.lock = Some(nonce);
        self.backend = Node::Source;
    }

    pub(super) fn fill(&mut self, owner: Node) {
        self.lock = None;
        self.backend = owner;
    }
}
