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
mod route;
mod session;
mod table;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use replication::SlotCount;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use self::backend::{Backend, Node};
use self::control::Control;
use self::session::{Counters, Shared};
use self::table::{End, Table};
use crate::routing::RoutingControl;

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
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
    lanes: JoinSet<()>,
}

impl Proxy {
    /// Listens on the loopback address, every slot at the source. The nodes are connected to when they are needed.
    ///
    /// # Errors
    /// When the port cannot be listened on.
    pub async fn start(config: ProxyConfig) -> Result<Self, ProxyError> {
        let fault = |source| ProxyError::Listen { port: config.port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await.map_err(fault)?;
        let addr = listener.local_addr().map_err(fault)?;
        let mut lanes = JoinSet::new();
        let source = Node { addr: config.source, password: config.source_password };
        let target = Node { addr: config.target, password: config.target_password };
        let shared = Arc::new(Shared {
            table: Table::new(config.slot_count),
            source: Backend::start(&source, &mut lanes),
            target: Backend::start(&target, &mut lanes),
            counters: Counters::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { addr, shared, accepting, lanes })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A handle for a move from the source to the target. It outlives the proxy; then every call fails. A `raise` that
    /// fails or whose future is dropped leaves the fences it has raised: lower them.
    pub fn control(&self) -> Arc<dyn RoutingControl> {
        Arc::new(Control::new(Arc::clone(&self.shared.table), End::Target))
    }

    /// A handle for a move back: what it calls the target is the source of this proxy.
    pub fn control_back(&self) -> Arc<dyn RoutingControl> {
        Arc::new(Control::new(Arc::clone(&self.shared.table), End::Source))
    }

    /// What it has counted since the start.
    pub fn stats(&self) -> ProxyStats {
        let counters = &self.shared.counters;
        ProxyStats {
            requests: counters.requests.load(Ordering::Relaxed),
            waits: counters.waits.load(Ordering::Relaxed),
            failures: counters.failures.load(Ordering::Relaxed),
            to_source: counters.to_source.load(Ordering::Relaxed),
            to_target: counters.to_target.load(Ordering::Relaxed),
        }
    }

    /// Cuts every client off and forgets what is on its way; fences can no longer be raised.
    pub async fn stop(mut self) {
        self.shared.table.stop();
        self.accepting.abort();
        // An aborted task ends with the error that says so.
        let _ = (&mut self.accepting).await;
        self.lanes.shutdown().await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.table.stop();
        self.accepting.abort();
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
    /// Requests that got an error because a node could not be reached or went away.
    pub failures: u64,
    /// Keyed requests, or keys of them, sent to the source.
    pub to_source: u64,
    /// Keyed requests, or keys of them, sent to the target.
    pub to_target: u64,
}

/// Takes clients on until it is aborted; the sessions end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    let mut number = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    sessions.spawn(session::run(stream, number, Arc::clone(&shared)));
                    number += 1;
                }
                Err(error) => {
                    tracing::warn!(%error, "sandbox proxy cannot accept a client");
                    // Most often there are no more file descriptors: let some client go first.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = sessions.join_next() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "sandbox proxy lost a client"),
                Err(error) => tracing::error!(%error, "a session of the sandbox proxy failed"),
            },
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
