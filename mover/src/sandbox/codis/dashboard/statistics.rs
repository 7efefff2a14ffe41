// SPDX-License-Identifier: Apache-2.0
//! What the dashboard shows of its proxies and servers. It is asked for without the main mutex.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Dashboard, Topom, probe};
use crate::sandbox::codis::client;
use crate::sandbox::codis::front::Fault;
use crate::sandbox::codis::model::{Group, ProxyModel, SlotMapping};
use crate::sandbox::codis::process::unix_seconds;

impl Dashboard {
    /// Asks every proxy, and brings online those that say that they are not.
    pub(super) async fn refresh_proxies(&self) {
        let mut calls = JoinSet::new();
        let proxies: Vec<_> = self.lock().await.known.proxies.values().cloned().collect();
        for proxy in proxies {
            let (path, time_max) = (self.proxy_path("stats", &proxy), self.config.push_time_max);
            calls.spawn(async move {
                let call = client::call(&proxy.admin_addr, "GET", &path, b"", time_max);
                (proxy.clone(), timeout(ANSWER_MAX, call).await.ok())
            });
        }
        let (mut stats, mut offline) = (BTreeMap::new(), Vec::new());
        for (proxy, answer) in calls.join_all().await {
            if let Some(Ok(answer)) = &answer {
                let is = |name: &str| answer[name].as_bool().unwrap_or_default();
                if !is("online") && !is("closed") {
                    offline.push(proxy.admin_addr);
                }
            }
            stats.insert(proxy.token, entry(answer));
        }
        self.lock().await.proxy_stats = stats;
        for addr in offline {
            let mut topom = self.lock().await;
            if let Err(Fault(why)) = self.online(&mut topom, &addr).await {
                tracing::debug!(why, "a proxy of the sandbox is not yet online");
            }
        }
    }

    /// Asks every server.
    pub(super) async fn refresh_servers(&self) {
        let mut calls = JoinSet::new();
        let servers = self.lock().await.known.servers();
        for addr in servers {
            let (unreachable, password) = (self.is_unreachable(&addr), self.password().map(str::to_owned));
            calls.spawn(async move {
                let answer = match unreachable {
                    true => Some(Err(Fault::new("connection refused"))),
                    false => timeout(ANSWER_MAX, probe::info(&addr, password.as_deref()))
                        .await
                        .ok()
                        .map(|info| info.map(|fields| json!(fields)).map_err(|error| Fault(error.to_string()))),
                };
                (addr, entry(answer))
            });
        }
        let stats = calls.join_all().await.into_iter().collect();
        self.lock().await.server_stats = stats;
    }
}

/// Everything, in the form of `/topom/stats`.
#[derive(Serialize)]
pub(super) struct Stats<'a> {
    closed: bool,
    slots: &'a [SlotMapping],
    group: Listed<'a, Group>,
    proxy: Listed<'a, ProxyModel>,
    slot_action: Value,
    sentinels: Value,
}

/// Models and what they were last heard to say.
#[derive(Serialize)]
struct Listed<'a, T> {
    models: Vec<&'a T>,
    stats: &'a BTreeMap<String, Value>,
}

impl Topom {
    /// One picture of it all.
    pub(super) fn stats(&self) -> Stats<'_> {
        let known = &self.known;
        let mut proxies: Vec<_> = known.proxies.values().collect();
        proxies.sort_by_key(|proxy| proxy.id);
        Stats {
            closed: false,
            slots: &known.slots,
            group: Listed { models: known.groups.values().collect(), stats: &self.server_stats },
            proxy: Listed { models: proxies, stats: &self.proxy_stats },
            slot_action: json!({
                "interval": self.interval,
                "disabled": self.disabled,
                "progress": { "status": "" },
                "executor": self.executor,
            }),
            sentinels: json!({ "model": { "out_of_sync": false }, "stats": {}, "masters": {} }),
        }
    }
}

/// What was answered, or why not, or that there was no answer in time.
fn entry(answer: Option<Result<Value, Fault>>) -> Value {
    let unixtime = unix_seconds();
    match answer {
        Some(Ok(stats)) => json!({ "stats": stats, "unixtime": unixtime }),
        Some(Err(fault)) => json!({ "error": fault.json(), "unixtime": unixtime }),
        None => json!({ "unixtime": unixtime, "timeout": true }),
    }
}

const ANSWER_MAX: Duration = Duration::from_secs(1);
