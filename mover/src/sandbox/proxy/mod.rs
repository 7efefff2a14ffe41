// SPDX-License-Identifier: Apache-2.0
//! A small proxy that sends clients to one of two nodes by slot, with a fence for each slot.
//!
//! It behaves as Codis does where a move can tell: requests of a fenced slot wait and get no error, other slots go on, a
//! client's pipeline keeps its order, and a fence is up only when every request of its slots has been answered. What
//! touches more than the keys it names is refused (Codis passes on commands that it does not know).
//!
//! Its queues are bounded by count, not by bytes: a sandbox serves clients of its own.

mod backend;
mod control;
mod pool;
mod relay;
mod route;
mod session;
mod table;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use replication::SlotCount;
use serde::Serialize;

pub(crate) use self::relay::{Filler, Relay};

use self::backend::{Backend, Node};
use self::control::Control;
use self::pool::Pool;
use crate::routing::RoutingControl;
use crate::sandbox::pulse::Pulse;

/// How to start a [`Proxy`].
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// The node that owns every slot at first.
    pub source: SocketAddr,
    /// The node that slots can be switched to.
    pub target: SocketAddr,
    /// What the source is sent as AUTH.
    pub source_password: Option<String>,
    /// What the target is sent as AUTH.
    pub target_password: Option<String>,
    /// How keys are cut into slots.
    pub slot_count: SlotCount,
    /// The loopback port to listen on; 0 takes a free one.
    pub port: u16,
}

impl ProxyConfig {
    /// The 1024 slots of Codis on a free port, without passwords.
    pub fn new(source: SocketAddr, target: SocketAddr) -> Self {
        let (source_password, target_password) = (None, None);
        Self { source, target, source_password, target_password, slot_count: SlotCount::CODIS, port: 0 }
    }
}

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The port is taken or may not be used.
    #[error("cannot listen on port {port} of the loopback address")]
    Listen {
        /// The wanted port.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A running proxy. Dropping it ends it as [`stop`](Self::stop) does, without waiting.
#[derive(Debug)]
pub struct Proxy {
    relay: Relay,
    source: Arc<Backend>,
    target: Arc<Backend>,
}

impl Proxy {
    /// Listens on the loopback address, every slot at the source. The nodes are connected to when they are needed.
    ///
    /// # Errors
    /// When the port cannot be listened on.
    pub async fn start(config: ProxyConfig) -> Result<Self, ProxyError> {
        let pool = Arc::new(Pool::new(Arc::new(Pulse::default())));
        let join = |addr: SocketAddr, password| pool.join(&Node { addr: Arc::from(addr.to_string()), password });
        let source = join(config.source, config.source_password);
        let target = join(config.target, config.target_password);
        let relay = Relay::start(config.port, config.slot_count, Arc::clone(&pool), &source).await;
        let relay = relay.map_err(|source| ProxyError::Listen { port: config.port, source })?;
        Ok(Self { relay, source, target })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.relay.addr()
    }

    /// A handle for a move from the source to the target. It outlives the proxy; then every call fails. A `raise` that
    /// fails or whose future is dropped leaves the fences it has raised: lower them.
    pub fn control(&self) -> Arc<dyn RoutingControl> {
        Arc::new(Control::new(Arc::clone(&self.relay.shared.table), &self.source, &self.target))
    }

    /// A handle for a move back: what it calls the target is the source of this proxy.
    pub fn control_back(&self) -> Arc<dyn RoutingControl> {
        Arc::new(Control::new(Arc::clone(&self.relay.shared.table), &self.target, &self.source))
    }

    /// What it has counted since the start.
    pub fn stats(&self) -> ProxyStats {
        let counters = &self.relay.shared.counters;
        ProxyStats {
            requests: counters.requests.load(Ordering::Relaxed),
            waits: counters.waits.load(Ordering::Relaxed),
            failures: counters.failures.load(Ordering::Relaxed),
            to_source: self.source.keyed(),
            to_target: self.target.keyed(),
        }
    }

    /// Cuts every client off and forgets what is on its way; fences can no longer be raised.
    pub async fn stop(self) {
        self.relay.stop().await;
    }
}

/// What a proxy has counted since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct ProxyStats {
    /// Requests of clients.
    pub requests: u64,
    /// Requests, or keys of them, that had to wait at a fence.
    pub waits: u64,
    /// Requests that got an error because a node could not be reached or went away, or there was none.
    pub failures: u64,
    /// Keyed requests, or keys of them, sent to the source.
    pub to_source: u64,
    /// Keyed requests, or keys of them, sent to the target.
    pub to_target: u64,
}
