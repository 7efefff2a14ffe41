// SPDX-License-Identifier: Apache-2.0
//! How a step and the state after it read in a trace.

use std::fmt;

use super::state::{Node, Source, State};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    pub(super) who: Who,
    pub(super) what: &'static str,
    pub(super) proxy: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    Clients,
    Source,
    Target,
    Proxy,
    Dashboard,
    Agent,
    Guard,
    Late,
    Fault,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.who {
            Who::Clients => "clients",
            Who::Source => "source",
            Who::Target => "target",
            Who::Proxy => "proxy",
            Who::Dashboard => "dashboard",
            Who::Agent => "agent",
            Who::Guard => "guard",
            Who::Late => "late:",
            Who::Fault => "fault:",
        };
        write!(f, "{who} {}", self.what)?;
        self.proxy.map_or(Ok(()), |proxy| write!(f, ", at {}", PROXIES[proxy]))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { agent, guard, dashboard, late, .. } = self;
        write!(f, "agent {:?}, guard {:?}; owner {}", agent.at, guard.at, name(dashboard.owner))?;
        for (proxy, name_of_proxy) in self.proxies.iter().zip(PROXIES) {
            let held = if proxy.lock.is_some() { "locked" } else { "open" };
            write!(f, ", {name_of_proxy} {held} on {}", name(proxy.backend))?;
        }
        let Source { value, log } = self.source;
        write!(f, "; source {value:03b} log {log}, target {:03b}, ", self.target)?;
        write!(f, "acknowledged {:03b}", self.clients.acknowledged)?;
        let queued = [("agent's", dashboard.agent), ("guard's", dashboard.guard)];
        let queued = queued.into_iter().filter_map(|(whose, owner)| Some((whose, owner?)));
        let late = [(late.assign_source, Node::Source), (late.assign_target, Node::Target)];
        let late = late.into_iter().filter(|(count, _)| *count > 0).map(|(_, owner)| ("late", owner));
        for (whose, owner) in queued.chain(late) {
            write!(f, "; queued: {whose} assign({})", name(owner))?;
        }
        Ok(())
    }
}

const PROXIES: [&str; 2] = ["A", "B"];

fn name(node: Node) -> &'static str {
    match node {
        Node::Source => "source",
        Node::Target => "target",
    }
}
