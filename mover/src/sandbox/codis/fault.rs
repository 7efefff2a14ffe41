// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with a cluster, on request.

use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::dashboard::Dashboard;
use super::port::Port;
use super::proxy_server::ProxyServer;
use super::{Codis, CodisError, Seat};

/// Faults. A process that is killed breaks its connections and is forgotten with all that it had not sent; its port stays
/// its own, and connections to it are refused. A process that hangs takes connections and bytes, and does nothing before
/// it is woken; then it does all of it.
impl Codis {
    /// Kills a proxy that runs.
    pub async fn kill_proxy(&self, index: usize) {
        let server = self.cluster.seats().get_mut(index).and_then(|seat| seat.server.take());
        if let Some(server) = server {
            server.kill().await;
        }
    }

    /// Starts a proxy that was killed: at the same addresses, with the same token, and with every slot offline until the
    /// dashboard fills it, which it asks for at once. It returns before that: see [`until_online`](Self::until_online).
    ///
    /// # Errors
    /// When there is no such proxy, or its ports cannot be listened on, as when it runs.
    pub async fn start_proxy(&self, index: usize) -> Result<(), CodisError> {
        let server = self.cluster.start_server(index).await?;
        if let Some(seat) = self.cluster.seats().get_mut(index) {
            seat.server = Some(server);
        }
        Ok(())
    }

    /// Kills a proxy and starts it again.
    ///
    /// # Errors
    /// As [`start_proxy`](Self::start_proxy).
    pub async fn restart_proxy(&self, index: usize) -> Result<(), CodisError> {
        self.kill_proxy(index).await;
        self.start_proxy(index).await
    }

    /// Starts one more proxy and returns its index. It comes online by itself.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn join_proxy(&self) -> Result<usize, CodisError> {
        let take = || Port::take().map_err(CodisError::Listen);
        let seat = Seat { client: take()?, admin: take()?, server: None };
        let index = {
            let mut seats = self.cluster.seats();
            seats.push(seat);
            seats.len() - 1
        };
        self.start_proxy(index).await?;
        Ok(index)
    }

    /// Lets a proxy hang.
    pub fn hang_proxy(&self, index: usize) {
        self.with_proxy(index, |server| server.process.pulse().halt());
    }

    /// Lets a proxy go on that hangs.
    pub fn wake_proxy(&self, index: usize) {
        self.with_proxy(index, |server| server.process.pulse().wake());
    }

    /// Waits until a proxy serves clients.
    ///
    /// # Errors
    /// When it does not within half a minute.
    pub async fn until_online(&self, index: usize) -> Result<(), CodisError> {
        let end = Instant::now() + ONLINE_MAX;
        while !self.is_online(index) {
            if Instant::now() > end {
                return Err(CodisError::NotOnline { index });
            }
            sleep(LOOK_PAUSE).await;
        }
        Ok(())
    }

    /// Kills the dashboard if it runs. What it had sent to a proxy is done there.
    pub async fn kill_dashboard(&self) {
        let dashboard = self.cluster.dashboard().take();
        if let Some(dashboard) = dashboard {
            dashboard.kill().await;
        }
    }

    /// Starts a dashboard that was killed, at the same address. It knows what was stored.
    ///
    /// # Errors
    /// When its port cannot be listened on, as when it runs.
    pub async fn start_dashboard(&self) -> Result<(), CodisError> {
        let cluster = &self.cluster;
        let (addr, interceptor) = (cluster.port.addr(), &cluster.interceptor);
        let started =
            Dashboard::start(&cluster.config, addr, &cluster.coordinator, &cluster.unreachable, interceptor).await;
        *cluster.dashboard() = Some(started.map_err(CodisError::Listen)?);
        Ok(())
    }

    /// Lets the dashboard hang.
    pub fn hang_dashboard(&self) {
        if let Some(dashboard) = &*self.cluster.dashboard() {
            dashboard.process.pulse().halt();
        }
    }

    /// Lets the dashboard go on.
    pub fn wake_dashboard(&self) {
        if let Some(dashboard) = &*self.cluster.dashboard() {
            dashboard.process.pulse().wake();
        }
    }

    /// Lets the dashboard think that a server cannot be reached; the proxies still reach it.
    pub fn server_down(&self, addr: SocketAddr) {
        self.cluster.unreachable.lock().unwrap_or_else(PoisonError::into_inner).insert(addr);
    }

    /// Takes that back.
    pub fn server_up(&self, addr: SocketAddr) {
        self.cluster.unreachable.lock().unwrap_or_else(PoisonError::into_inner).remove(&addr);
    }

    fn with_proxy(&self, index: usize, act: impl FnOnce(&ProxyServer)) {
        if let Some(server) = self.cluster.server(index) {
            act(&server);
        }
    }
}

const ONLINE_MAX: Duration = Duration::from_secs(30);
const LOOK_PAUSE: Duration = Duration::from_millis(2);
