// SPDX-License-Identifier: Apache-2.0
//! The dashboard process: it decides where slots are and tells the proxies.
//!
//! One mutex is held by whatever it does, while it waits for proxies too: one proxy that hangs holds all up.

mod action;
mod api;
mod health;
mod probe;
mod proxies;
mod push;
mod slots;
mod statistics;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::sleep;

use super::config::CodisConfig;
use super::coordinator::{Coordinator, Stored};
use super::front::{Fault, Front};
use super::intercept::{Interceptor, Place};
use super::model::DashboardModel;
use super::process::Process;
use super::xauth;

/// A running dashboard.
#[derive(Debug)]
pub(super) struct Dashboard {
    pub(super) process: Arc<Process>,
    config: CodisConfig,
    coordinator: Arc<Coordinator>,
    unreachable: Unreachable,
    model: DashboardModel,
    xauth: String,
    /// The main mutex. It is fair, where that of Codis is not quite.
    topom: Mutex<Topom>,
}

/// Servers that the dashboard is to think cannot be reached.
pub(super) type Unreachable = Arc<StdMutex<HashSet<SocketAddr>>>;

/// What is done again and again.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// Statistics of the proxies, and bringing online those that are not.
    Proxies,
    /// Statistics of the servers.
    Servers,
    /// A check of the servers in one state.
    Check(u8),
    /// Native migrations.
    Migrate,
}

/// What the main mutex protects.
#[derive(Debug)]
struct Topom {
    /// The dashboard's picture of what the coordinator has, ahead of it where it says so.
    known: Stored,
    /// Microseconds between two steps of a native migration. Gone with the process.
    interval: i64,
    /// Whether native migrations may not begin. Gone with the process.
    disabled: bool,
    /// Native migrations that copy right now.
    executor: i64,
    proxy_stats: BTreeMap<String, Value>,
    server_stats: BTreeMap<String, Value>,
}

impl Dashboard {
    /// Starts one that knows what the coordinator has.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub(super) async fn start(
        config: &CodisConfig,
        addr: SocketAddr,
        coordinator: &Arc<Coordinator>,
        unreachable: &Unreachable,
        interceptor: &Arc<Interceptor>,
    ) -> io::Result<Arc<Self>> {
        let process = Process::start();
        let model = DashboardModel {
            token: xauth::token(&config.product_name, &[&addr.to_string()]),
            start_time: process.start_time.clone(),
            admin_addr: addr.to_string(),
            product_name: config.product_name.clone(),
            pid: process.pid,
            pwd: "sandbox".to_owned(),
            sys: "sandbox".to_owned(),
        };
        let dashboard = Arc::new(Self {
            process: Arc::clone(&process),
            config: config.clone(),
            coordinator: Arc::clone(coordinator),
            unreachable: Arc::clone(unreachable),
            xauth: xauth::dashboard(&config.product_name),
            model,
            topom: Mutex::new(Topom::knowing(coordinator.load())),
        });
        let front = Front { process, place: Place::Dashboard, interceptor: Arc::clone(interceptor) };
        front.serve(addr, api::router(Arc::clone(&dashboard))).await?;
        dashboard.work();
        Ok(dashboard)
    }

    /// Ends at once, as after SIGKILL. What was sent to a proxy may still be done there.
    pub(super) async fn kill(&self) {
        self.process.kill().await;
    }

    /// What it does without being asked.
    fn work(self: &Arc<Self>) {
        let intervals = self.config.intervals;
        for (work, pause) in [
            (Work::Proxies, intervals.statistics),
            (Work::Servers, intervals.statistics),
            (Work::Check(health::NORMAL), intervals.check),
            (Work::Check(health::SUSPECT), intervals.failover),
            (Work::Check(health::OFFLINE), intervals.failover),
            (Work::Migrate, intervals.action),
        ] {
            let dashboard = Arc::clone(self);
            self.process.spawn(async move {
                loop {
                    dashboard.process.pulse().beat().await;
                    dashboard.turn(work).await;
                    sleep(pause).await;
                }
            });
        }
    }

    async fn turn(&self, work: Work) {
        match work {
            Work::Proxies => self.refresh_proxies().await,
            Work::Servers => self.refresh_servers().await,
            Work::Check(state) => self.check(state).await,
            Work::Migrate => self.migrate().await,
        }
    }

    async fn lock(&self) -> MutexGuard<'_, Topom> {
        let topom = self.topom.lock().await;
        self.process.pulse().beat().await;
        topom
    }

    /// Takes the main mutex for a caller who knows the product.
    async fn enter(&self, xauth: &str) -> Result<MutexGuard<'_, Topom>, Fault> {
        let topom = self.lock().await;
        match xauth == self.xauth {
            true => Ok(topom),
            false => Err(Fault::new("invalid xauth, please check product name & auth")),
        }
    }

    fn is_unreachable(&self, addr: &str) -> bool {
        let unreachable = self.unreachable.lock().unwrap_or_else(PoisonError::into_inner);
        addr.parse().is_ok_and(|addr: SocketAddr| unreachable.contains(&addr))
    }

    fn password(&self) -> Option<&str> {
        Some(&*self.config.product_auth).filter(|auth| !auth.is_empty())
    }
}

impl Topom {
    /// A new process that has read the coordinator.
    fn knowing(known: Stored) -> Self {
        let (proxy_stats, server_stats) = (BTreeMap::new(), BTreeMap::new());
        Self { known, interval: 0, disabled: false, executor: 0, proxy_stats, server_stats }
    }
}
