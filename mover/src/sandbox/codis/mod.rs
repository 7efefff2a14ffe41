// SPDX-License-Identifier: Apache-2.0
//! A Codis cluster in this process: a dashboard and proxies that speak the HTTP API of the real ones, quirks and all, in
//! front of the sandbox's own way of routing.
//!
//! ```text
//!  who moves slots ──HTTP──▶ dashboard ──HTTP──▶ proxy API          coordinator: what survives a dashboard
//!        └───────────────────HTTP──────────────────▲ │ fill         process: what can be killed and stopped
//!                              clients ──RESP──▶ relay ──▶ nodes    front, intercept: a request's way
//! ```
//!
//! It is held to what a real Codis did (`tests`): failures with status 800, `OK` to garbage, a lock that is a barrier and
//! that nobody takes down but a push, pushes that take locks down behind one's back, a dashboard that stands still with a
//! proxy that hangs, and a mapping that is committed although a proxy could not be told.
//!
//! This it does not share: keys are not moved by a native migration, and a slot in one is served by its new node at once;
//! reads always go to the master; replicas are never promoted; a request waits for its node without a limit, where Codis
//! gives up after 30 s and the node may run it later; clients need no password; a command that touches more than its own
//! key is refused; groups cannot be changed; and answers are never compressed.

mod client;
mod config;
mod coordinator;
mod dashboard;
mod fault;
mod front;
mod intercept;
mod lenient;
mod model;
mod port;
mod process;
mod proxy_admin;
mod proxy_server;
#[cfg(test)]
mod tests;
mod xauth;

pub use self::config::{CodisConfig, Intervals};
pub use self::intercept::{Action, Event, Moment, Place};
pub use self::model::{SlotAction, SlotMapping, SlotRecord};

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use replication::Slot;

use self::coordinator::Coordinator;
use self::dashboard::{Dashboard, Unreachable};
use self::intercept::Interceptor;
use self::port::Port;
use self::proxy_server::{ProxyAddrs, ProxyServer};
use crate::BoxFuture;

/// Why a cluster, or a part of it, did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodisError {
    /// There cannot be such a cluster.
    #[error("there cannot be such a cluster: {what}")]
    Config {
        /// What is wrong with its configuration.
        what: &'static str,
    },
    /// There is no free port, or it may not be listened on.
    #[error("a server of the cluster cannot listen")]
    Listen(#[source] io::Error),
    /// There is no proxy of this index.
    #[error("there is no proxy {index}")]
    NoProxy {
        /// The index that was asked for.
        index: usize,
    },
    /// A proxy was not brought online: the dashboard does not answer, or cannot fill it.
    #[error("proxy {index} did not come online in time")]
    NotOnline {
        /// Its index.
        index: usize,
    },
}

/// A handle of a running cluster; its clones are handles of the same. When the last one is dropped, all ends as with
/// [`stop`](Self::stop), without waiting. A callback that keeps a handle keeps the cluster until it is stopped.
#[derive(Clone, Debug)]
pub struct Codis {
    cluster: Arc<Cluster>,
}

#[derive(Debug)]
struct Cluster {
    config: CodisConfig,
    coordinator: Arc<Coordinator>,
    unreachable: Unreachable,
    interceptor: Arc<Interceptor>,
    port: Port,
    dashboard: Mutex<Option<Arc<Dashboard>>>,
    seats: Mutex<Vec<Seat>>,
}

/// The place of a proxy, which may be empty.
#[derive(Debug)]
struct Seat {
    client: Port,
    admin: Port,
    server: Option<Arc<ProxyServer>>,
}

impl Codis {
    /// Starts the dashboard and the proxies; all are online when this returns. The nodes are connected to when they are
    /// needed.
    ///
    /// # Errors
    /// When the configuration makes no sense, or a server does not start.
    pub async fn start(config: CodisConfig) -> Result<Self, CodisError> {
        if config.groups.iter().any(|(id, _)| !(1..=GROUP_MAX).contains(id)) {
            return Err(CodisError::Config { what: "a group's number is not from 1 to 9999" });
        }
        let cluster = Arc::new(Cluster {
            coordinator: Arc::new(Coordinator::new(&config)),
            config,
            unreachable: Unreachable::default(),
            interceptor: Arc::default(),
            port: Port::take().map_err(CodisError::Listen)?,
            dashboard: Mutex::default(),
            seats: Mutex::default(),
        });
        let codis = Self { cluster };
        codis.start_dashboard().await?;
        for _ in 0..codis.cluster.config.proxies {
            let index = codis.join_proxy().await?;
            codis.until_online(index).await?;
        }
        Ok(codis)
    }

    /// Where the dashboard's API is, as `http://host:port`.
    pub fn dashboard_url(&self) -> String {
        format!("http://{}", self.cluster.port.addr())
    }

    /// Where clients connect, by the index of the proxy.
    pub fn proxy_addrs(&self) -> Vec<SocketAddr> {
        self.cluster.seats().iter().map(|seat| seat.client.addr()).collect()
    }

    /// Where the proxies' APIs are, by the index of the proxy.
    pub fn admin_addrs(&self) -> Vec<SocketAddr> {
        self.cluster.seats().iter().map(|seat| seat.admin.addr()).collect()
    }

    /// The mapping of a slot, if there is such a slot, as the coordinator has it.
    pub fn mapping(&self, slot: Slot) -> Option<SlotMapping> {
        self.cluster.coordinator.mapping(usize::from(slot.number()))
    }

    /// What a proxy that runs has been told last about a slot. It asks the proxy's memory and never waits.
    pub fn slot_record(&self, proxy: usize, slot: Slot) -> Option<SlotRecord> {
        let index = usize::from(slot.number());
        self.cluster.server(proxy).and_then(|server| server.records().get(index).cloned())
    }

    /// The locks that proxies hold, by proxy and slot.
    pub fn locks(&self) -> Vec<(usize, Slot)> {
        let seats = self.cluster.seats();
        let servers = seats.iter().enumerate().filter_map(|(index, seat)| Some((index, seat.running()?)));
        let mut locks = Vec::new();
        for (index, server) in servers {
            let records = server.records();
            let locked = (0..).zip(records.iter()).filter(|(_, record)| record.locked);
            locks.extend(locked.map(|(number, _)| (index, Slot::new(number))));
        }
        locks
    }

    /// Whether a proxy runs and serves clients.
    pub fn is_online(&self, proxy: usize) -> bool {
        self.cluster.server(proxy).is_some_and(|server| server.relay.is_online())
    }

    /// Shows each request to this callback from now on, before it is handled and again before it is answered. The request
    /// waits for it. It may do whatever a test may, such as killing the server that the request is for.
    pub fn on_request<F, T>(&self, callback: F)
    where
        F: Fn(Event) -> T + Send + Sync + 'static,
        T: Future<Output = Action> + Send + 'static,
    {
        let boxed = move |event| -> BoxFuture<'static, Action> { Box::pin(callback(event)) };
        self.cluster.interceptor.set(Some(Arc::new(boxed)));
    }

    /// Shows requests to nobody from now on.
    pub fn off_request(&self) {
        self.cluster.interceptor.set(None);
    }

    /// Ends everything; connections break.
    pub async fn stop(&self) {
        self.off_request();
        self.kill_dashboard().await;
        let servers: Vec<_> = self.cluster.seats().iter_mut().filter_map(|seat| seat.server.take()).collect();
        for server in servers {
            server.kill().await;
        }
    }
}

impl Cluster {
    fn seats(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dashboard(&self) -> MutexGuard<'_, Option<Arc<Dashboard>>> {
        self.dashboard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A proxy that runs.
    fn server(&self, index: usize) -> Option<Arc<ProxyServer>> {
        self.seats().get(index)?.running().cloned()
    }

    async fn start_server(&self, index: usize) -> Result<Arc<ProxyServer>, CodisError> {
        let addrs = {
            let seats = self.seats();
            let seat = seats.get(index).ok_or(CodisError::NoProxy { index })?;
            ProxyAddrs { client: seat.client.addr(), admin: seat.admin.addr() }
        };
        let started = ProxyServer::start(&self.config, index, addrs, self.port.addr(), &self.interceptor).await;
        started.map_err(CodisError::Listen)
    }
}

impl Seat {
    /// The proxy, unless it was killed or has ended by itself.
    fn running(&self) -> Option<&Arc<ProxyServer>> {
        self.server.as_ref().filter(|server| !server.process.has_ended())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Their tasks hold them.
        if let Some(dashboard) = self.dashboard().take() {
            dashboard.process.abandon();
        }
        for server in self.seats().iter_mut().filter_map(|seat| seat.server.take()) {
            server.process.abandon();
        }
    }
}

const GROUP_MAX: u32 = 9999;
