// SPDX-License-Identifier: Apache-2.0
//! Listens for clients and sends their requests to the nodes of their slots: what every proxy of the sandbox is made of.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use replication::{Slot, SlotCount};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::backend::{Backend, Node};
use super::pool::Pool;
use super::session;
use super::table::Table;
use crate::sandbox::pulse::Pulse;

/// A running relay. Dropping it ends it as [`stop`](Self::stop) does, without waiting.
#[derive(Debug)]
pub(crate) struct Relay {
    addr: SocketAddr,
    pub(super) shared: Arc<Shared>,
    accepting: std::sync::Mutex<JoinSet<()>>,
}

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) table: Arc<Table>,
    pub(super) pool: Arc<Pool>,
    pub(super) keyless: Keyless,
    /// Held while slots are filled: one fill at a time.
    pub(super) filling: Mutex<()>,
    pub(super) online: AtomicBool,
    pub(super) pulse: Arc<Pulse>,
    pub(super) counters: Counters,
}

/// Who answers what belongs to no slot.
#[derive(Debug)]
pub(super) enum Keyless {
    /// Always the same node.
    Home(Arc<Backend>),
    /// The node of a slot taken at random, as in Codis, and after its fence.
    AnySlot,
}

/// Counted since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) waits: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) sessions: AtomicU64,
}

impl Shared {
    fn new(table: Arc<Table>, pool: Arc<Pool>, keyless: Keyless, pulse: Arc<Pulse>) -> Self {
        let (filling, online, counters) = (Mutex::default(), AtomicBool::new(false), Counters::default());
        Self { table, pool, keyless, filling, online, pulse, counters }
    }
}

impl Relay {
    /// Listens on the loopback address. Every slot and all that belongs to none goes to `home`.
    ///
    /// # Errors
    /// When the port cannot be listened on.
    pub(super) async fn start(port: u16, count: SlotCount, pool: Arc<Pool>, home: &Arc<Backend>) -> io::Result<Self> {
        let pulse = Arc::default();
        let (table, keyless) = (Table::new(count, Some(home)), Keyless::Home(Arc::clone(home)));
        let relay = Self::listen(port, Shared::new(table, pool, keyless, pulse)).await?;
        relay.go_online();
        Ok(relay)
    }

    /// Listens on the loopback address, with no slot at any node, and refuses clients until it is
    /// [online](Self::go_online).
    ///
    /// # Errors
    /// When the port cannot be listened on.
    pub(crate) async fn start_empty(port: u16, count: SlotCount, pulse: Arc<Pulse>) -> io::Result<Self> {
        let pool = Arc::new(Pool::new(Arc::clone(&pulse)));
        Self::listen(port, Shared::new(Table::new(count, None), pool, Keyless::AnySlot, pulse)).await
    }

    async fn listen(port: u16, shared: Shared) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(shared);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { addr, shared, accepting: accepting.into() })
    }

    /// Where clients connect.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on clients are served.
    pub(crate) fn go_online(&self) {
        self.shared.online.store(true, Ordering::SeqCst);
    }

    /// Whether clients are served.
    pub(crate) fn is_online(&self) -> bool {
        self.shared.online.load(Ordering::SeqCst)
    }

    /// The one who may fill slots, as soon as nobody else does.
    pub(crate) async fn filler(&self) -> Filler<'_> {
        Filler { shared: &self.shared, _only: self.shared.filling.lock().await }
    }

    /// Requests of clients, and those among them that got an error because there was no way to a node.
    pub(crate) fn requests(&self) -> (u64, u64) {
        let counters = &self.shared.counters;
        (counters.requests.load(Ordering::Relaxed), counters.failures.load(Ordering::Relaxed))
    }

    /// Clients that have ever connected.
    pub(crate) fn sessions(&self) -> u64 {
        self.shared.counters.sessions.load(Ordering::Relaxed)
    }

    /// Takes every slot from its node: who waits at a fence is told that the slot is offline.
    pub(crate) fn clear(&self) {
        self.shared.table.clear();
    }

    /// Cuts every client off and forgets what is on its way; fences can no longer be raised.
    pub(crate) async fn stop(&self) {
        self.shared.table.stop();
        let mut accepting = std::mem::take(&mut *self.accepting.lock().unwrap_or_else(PoisonError::into_inner));
        accepting.shutdown().await;
        self.shared.pool.stop().await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.table.stop();
    }
}

/// The right to fill slots; nobody else has it meanwhile.
pub(crate) struct Filler<'a> {
    shared: &'a Shared,
    _only: tokio::sync::MutexGuard<'a, ()>,
}

impl Filler<'_> {
    /// Fences a slot, waits until no request of it is on its way, runs `then`, and only then sends the slot to `addr`, or
    /// nowhere, and takes the fence down unless `locked`. It does not wait for a slot that is fenced already: there is
    /// nothing on its way.
    ///
    /// # Errors
    /// When there is no such slot or the relay has stopped.
    pub(crate) async fn fill(
        &mut self,
        slot: Slot,
        addr: Option<&str>,
        password: Option<&str>,
        locked: bool,
        then: impl FnOnce(),
    ) -> Result<(), crate::Error> {
        let table = &self.shared.table;
        table.fence_one(slot).await?;
        self.shared.pulse.beat().await;
        let node = |addr: &str| Node { addr: Arc::from(addr), password: password.map(str::to_owned) };
        let backend = addr.map(|addr| self.shared.pool.join(&node(addr)));
        then();
        table.set(slot, backend, locked);
        Ok(())
    }
}

/// Takes clients on until it is aborted; the sessions end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    let mut number = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    shared.counters.sessions.fetch_add(1, Ordering::Relaxed);
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
