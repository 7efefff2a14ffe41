// SPDX-License-Identifier: Apache-2.0
//! All that the protocol and its surroundings remember: one slot with one key, two proxies, two nodes.

/// A set of writes, one bit each. A node's value of the key is the set of the writes that it has applied.
pub(super) type Writes = u8;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct State {
    pub(super) agent: Agent,
    pub(super) guard: Guard,
    pub(super) dashboard: Dashboard,
    pub(super) proxies: [Proxy; 2],
    pub(super) source: Source,
    pub(super) target: Writes,
    pub(super) clients: Clients,
    pub(super) late: Late,
    /// What may still go wrong.
    pub(super) faults: Faults,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Agent {
    pub(super) at: At,
    pub(super) journal: Journal,
    /// The number of the attempt, which is the nonce of its locks too; 0 before the first.
    pub(super) attempt: u8,
    /// The end of the source's log as this attempt read it. From `MaySwitch` on it stands in the journal.
    pub(super) end: u8,
    /// Up to where the log has been applied to the target.
    pub(super) position: u8,
    /// What was read at the source and is on its way to the target.
    pub(super) value: Option<Writes>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum At {
    Following,
    /// The raise stands in the journal, the guard is to hear of it.
    Journaled,
    /// The lock calls are sent.
    Locking,
    /// All locks were answered and the end of the log is read.
    Draining,
    /// The guard was asked for leave.
    Asking,
    Switching,
    Lowering,
    /// It does not know what an earlier process, or its guard, has done.
    Resolving,
    Switched,
    Dead,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Journal {
    Clear,
    Raised,
    MaySwitch,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Guard {
    pub(super) at: Watch,
    /// The process that started it is dead, so its pipe ends.
    pub(super) orphan: bool,
    /// A question for leave that waits in the pipe.
    pub(super) asked: bool,
    /// An answer that waits in the pipe back.
    pub(super) answer: Option<Leave>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Watch {
    /// There is none, or it was killed.
    Gone,
    /// It saw that nothing was left to do.
    Ended,
    Idle,
    Raised,
    Lowering,
    /// Leave was given.
    MaySwitch,
    Forward,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Leave {
    Given,
    Refused,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Node {
    Source,
    Target,
}

/// The mapping, and the `assign` calls that wait for its mutex, which takes them in any order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Dashboard {
    pub(super) owner: Node,
    /// The call that each of the two waits for, if it is not running yet.
    pub(super) agent: Option<Node>,
    pub(super) guard: Option<Node>,
    /// The call that has the mutex: the owner is stored, the pushes to proxies are under way.
    pub(super) running: Option<Caller>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Caller {
    Agent,
    Guard,
    /// Nobody waits for the answer any more.
    Nobody,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Proxy {
    /// The nonce of the lock that holds the slot.
    pub(super) lock: Option<u8>,
    pub(super) backend: Node,
    /// The one request in flight.
    pub(super) request: Option<Request>,
    /// The agent's lock call, with its nonce, that waits for the request in flight.
    pub(super) lock_call: Option<u8>,
    /// The running call's push is still to come.
    pub(super) push: bool,
    /// A lock call that nobody waits for any more.
    pub(super) late_lock: Option<u8>,
    /// A push of a dashboard that is dead.
    pub(super) late_push: Option<Node>,
}

/// A write. The source applies first and logs later; the answer comes after both.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Request {
    pub(super) write: Writes,
    pub(super) node: Node,
    pub(super) applied: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Source {
    pub(super) value: Writes,
    pub(super) log: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Clients {
    pub(super) begun: u8,
    pub(super) acknowledged: Writes,
}

/// What nobody waits for any more and may still land.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Late {
    pub(super) assign_source: u8,
    pub(super) assign_target: u8,
    pub(super) value: Option<Writes>,
    /// A request of a proxy that is dead.
    pub(super) request: Option<Request>,
}

/// How often each kind of fault may still happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Faults {
    pub(super) agent_dies: u8,
    pub(super) guard_dies: u8,
    pub(super) dashboard_restarts: u8,
    pub(super) proxy_restarts: u8,
    pub(super) lock_broken: u8,
    pub(super) answer_lost: u8,
}

impl State {
    pub(super) fn new(faults: Faults) -> Self {
        let proxy = Proxy {
            lock: None,
            backend: Node::Source,
            request: None,
            lock_call: None,
            push: false,
            late_lock: None,
            late_push: None,
        };
        let agent = Agent { at: At::Following, journal: Journal::Clear, attempt: 0, end: 0, position: 0, value: None };
        Self {
            agent,
            guard: Guard { at: Watch::Gone, orphan: false, asked: false, answer: None },
            dashboard: Dashboard { owner: Node::Source, agent: None, guard: None, running: None },
            proxies: [proxy; 2],
            source: Source { value: 0, log: 0 },
            target: 0,
            clients: Clients { begun: 0, acknowledged: 0 },
            late: Late { assign_source: 0, assign_target: 0, value: None, request: None },
            faults,
        }
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.proxies.iter().any(|proxy| proxy.lock.is_some())
    }

    /// Every proxy serves the slot from its owner, and the dashboard answers that it has nothing under way.
    pub(super) fn is_served_by(&self, node: Node) -> bool {
        let served = self.proxies.iter().all(|proxy| proxy.lock.is_none() && proxy.backend == node);
        served && self.dashboard.owner == node && self.dashboard.running.is_none()
    }

    /// Clients can write at both nodes.
    pub(super) fn has_two_owners(&self) -> bool {
        let [one, other] = &self.proxies;
        one.lock.is_none() && other.lock.is_none() && one.backend != other.backend
    }

    /// An acknowledged write is missing where the slot belongs.
    pub(super) fn has_lost_a_write(&self) -> bool {
        self.lacks_a_write(self.dashboard.owner)
    }

    /// A client can read less than was acknowledged.
    pub(super) fn shows_stale_values(&self) -> bool {
        self.proxies.iter().any(|proxy| proxy.lock.is_none() && self.lacks_a_write(proxy.backend))
    }

    fn lacks_a_write(&self, node: Node) -> bool {
        let value = match node {
            Node::Source => self.source.value,
            Node::Target => self.target,
        };
        self.clients.acknowledged & !value != 0
    }

    /// The leak that the journaled end and the source's log give away, at any time later.
    pub(super) fn leak_shows(&self) -> bool {
        self.agent.journal == Journal::MaySwitch && self.source.log > self.agent.end
    }
}
