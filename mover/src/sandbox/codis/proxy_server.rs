// SPDX-License-Identifier: Apache-2.0
//! One proxy process: a relay for clients, the slots it was filled with, and what it says of itself.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use replication::{Slot, SlotCount};
use tokio::time::sleep;

use super::client;
use super::config::CodisConfig;
use super::front::{Fault, Front};
use super::intercept::{Interceptor, Place};
use super::model::{ProxyModel, SlotRecord};
use super::process::Process;
use super::{proxy_admin, xauth};
use crate::sandbox::proxy::{Filler, Relay};

/// A running proxy.
#[derive(Debug)]
pub(super) struct ProxyServer {
    pub(super) process: Arc<Process>,
    pub(super) relay: Relay,
    pub(super) model: ProxyModel,
    pub(super) xauth: String,
    closed: AtomicBool,
    password: Option<String>,
    records: Mutex<Vec<SlotRecord>>,
}

/// The addresses of a proxy: for clients and for its API.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProxyAddrs {
    pub(super) client: SocketAddr,
    pub(super) admin: SocketAddr,
}

impl ProxyServer {
    /// Starts one with every slot offline. It asks the dashboard to fill it, again and again until it is online.
    ///
    /// # Errors
    /// When one of its addresses cannot be listened on.
    pub(super) async fn start(
        config: &CodisConfig,
        index: usize,
        addrs: ProxyAddrs,
        dashboard: SocketAddr,
        interceptor: &Arc<Interceptor>,
    ) -> io::Result<Arc<Self>> {
        let process = Process::start();
        let pulse = Arc::clone(process.pulse());
        let relay = Relay::start_empty(addrs.client.port(), config.slot_count, pulse).await?;
        let model = model(config, &process, addrs);
        let xauth = xauth::proxy(&config.product_name, &config.product_auth, &model.token);
        let closed = AtomicBool::new(false);
        let password = Some(config.product_auth.clone()).filter(|auth| !auth.is_empty());
        let records = (0..config.slot_count.get()).map(|id| SlotRecord::offline(id.into())).collect();
        let records = Mutex::new(records);
        let server = Arc::new(Self { process, relay, model, xauth, closed, password, records });
        let (process, interceptor) = (Arc::clone(&server.process), Arc::clone(interceptor));
        let front = Front { process, place: Place::Proxy(index), interceptor };
        front.serve(addrs.admin, proxy_admin::router(Arc::clone(&server))).await?;
        server.register(config, dashboard);
        Ok(server)
    }

    /// Fills slots one after another. Those before a wrong one stay filled.
    ///
    /// # Errors
    /// When a slot is out of range or is to be forwarded in a way that there is not.
    pub(super) async fn fill(&self, filler: &mut Filler<'_>, records: Vec<SlotRecord>) -> Result<(), Fault> {
        for record in records {
            let slot = self.slot(record.id).ok_or_else(|| Fault::new("use of invalid slot id"))?;
            if !matches!(record.forward_method, 0 | 1) {
                return Err(Fault::new("use of invalid forwarder method"));
            }
            let addr = record.backend_addr.clone();
            let (addr, locked) = (Some(&*addr).filter(|addr| !addr.is_empty()), record.locked);
            let keep = || self.records()[usize::from(slot.number())] = record.kept();
            let filled = filler.fill(slot, addr, self.password.as_deref(), locked, keep).await;
            filled.map_err(|_| Fault::new("use of closed router"))?;
        }
        Ok(())
    }

    /// The slots as they were last filled.
    pub(super) fn records(&self) -> MutexGuard<'_, Vec<SlotRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was told to end.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Ends in order: clients that wait are told that their slot is offline, then all is over.
    pub(super) fn close(self: &Arc<Self>) {
        self.closed.store(true, Ordering::SeqCst);
        self.relay.clear();
        let server = Arc::clone(self);
        // Not a task of the process: it ends them.
        tokio::spawn(async move {
            sleep(LAST_WORDS).await;
            server.kill().await;
        });
    }

    /// Ends at once, as after SIGKILL: connections break and nothing is answered any more.
    pub(super) async fn kill(&self) {
        // The API first: nobody is to be told that the relay has stopped.
        self.process.kill().await;
        self.relay.stop().await;
    }

    fn slot(&self, id: i64) -> Option<Slot> {
        let number = u16::try_from(id).ok()?;
        (id < self.model.max_slot_num).then(|| Slot::new(number))
    }

    fn register(self: &Arc<Self>, config: &CodisConfig, dashboard: SocketAddr) {
        let xauth = xauth::dashboard(&config.product_name);
        let path = format!("/api/topom/proxy/online/{xauth}/{}", self.model.admin_addr);
        let (pause, time_max) = (config.intervals.registration, config.push_time_max);
        let server = Arc::downgrade(self);
        let process = Arc::downgrade(&self.process);
        self.process.spawn(async move {
            while let Some((server, process)) = server.upgrade().zip(process.upgrade()) {
                process.pulse().beat().await;
                if server.relay.is_online() {
                    return;
                }
                drop((server, process));
                match client::call(&dashboard.to_string(), "PUT", &path, b"", time_max).await {
                    Ok(_) => return,
                    Err(Fault(why)) => tracing::debug!(why, "a proxy of the sandbox is not yet online"),
                }
                sleep(pause).await;
            }
        });
    }
}

fn model(config: &CodisConfig, process: &Process, addrs: ProxyAddrs) -> ProxyModel {
    let (client, admin) = (addrs.client.to_string(), addrs.admin.to_string());
    ProxyModel {
        id: 0,
        token: xauth::token(&config.product_name, &[&client, &admin]),
        start_time: process.start_time.clone(),
        admin_addr: admin,
        proto_type: "tcp4".to_owned(),
        proxy_addr: client,
        product_name: config.product_name.clone(),
        pid: process.pid,
        pwd: "sandbox".to_owned(),
        sys: "sandbox".to_owned(),
        max_slot_num: slot_number(config.slot_count),
        hostname: "localhost".to_owned(),
        datacenter: String::new(),
    }
}

fn slot_number(count: SlotCount) -> i64 {
    i64::from(count.get())
}

/// How long a proxy that was told to end still writes what it has to say.
const LAST_WORDS: Duration = Duration::from_millis(100);
