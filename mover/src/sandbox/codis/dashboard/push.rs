// SPDX-License-Identifier: Apache-2.0
//! Telling the proxies where slots are.

use tokio::task::JoinSet;

use super::{Dashboard, Topom};
use crate::sandbox::codis::client;
use crate::sandbox::codis::front::Fault;
use crate::sandbox::codis::model::{ProxyModel, SlotMapping, SlotRecord};
use crate::sandbox::codis::xauth;

impl Dashboard {
    /// Fills these slots at every registered proxy, in parallel, and waits for all of them.
    ///
    /// # Errors
    /// When one could not be filled; the others are.
    pub(super) async fn push(&self, topom: &Topom, mappings: &[SlotMapping]) -> Result<(), Fault> {
        if mappings.is_empty() {
            return Ok(());
        }
        let records: Vec<_> = mappings.iter().map(|mapping| topom.record(mapping)).collect();
        let body = serde_json::to_vec(&records).expect("records have a JSON form");
        self.process.pulse().beat().await;
        let mut calls = JoinSet::new();
        for proxy in topom.known.proxies.values() {
            let (proxy, body, time_max) = (proxy.clone(), body.clone(), self.config.push_time_max);
            let path = self.proxy_path("fillslots", &proxy);
            calls.spawn(async move {
                let called = client::call(&proxy.admin_addr, "PUT", &path, &body, time_max).await;
                called.map(|_| ()).map_err(|Fault(why)| (proxy.token, why))
            });
        }
        let mut failed = None;
        while let Some(ended) = calls.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err((token, why))) => {
                    tracing::debug!(token, why, "a proxy of the sandbox was not filled");
                    failed = Some(token);
                }
                Err(error) => tracing::error!(%error, "a call of the sandbox's dashboard failed"),
            }
        }
        self.process.pulse().beat().await;
        match failed {
            None => Ok(()),
            Some(token) => Err(Fault(format!("proxy-[{token}] resync slots failed"))),
        }
    }

    /// Fills every slot of a group, or on its way to it, at every proxy.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub(super) async fn push_group(&self, topom: &Topom, group: i64) -> Result<(), Fault> {
        let of_group = |mapping: &&SlotMapping| mapping.group_id == group || mapping.action.target_id == group;
        let mappings: Vec<_> = topom.known.slots.iter().filter(of_group).cloned().collect();
        self.push(topom, &mappings).await
    }

    /// The path of a call to a proxy.
    pub(super) fn proxy_path(&self, call: &str, proxy: &ProxyModel) -> String {
        let xauth = xauth::proxy(&self.config.product_name, &self.config.product_auth, &proxy.token);
        format!("/api/proxy/{call}/{xauth}")
    }
}

impl Topom {
    /// What the proxies are told about a slot.
    pub(super) fn record(&self, mapping: &SlotMapping) -> SlotRecord {
        let SlotMapping { id, group_id, action } = mapping;
        let base = SlotRecord { forward_method: SEMI_ASYNC, ..SlotRecord::offline(*id) };
        let at =
            |group: i64| SlotRecord { backend_addr: self.master(group), backend_addr_group_id: group, ..base.clone() };
        match &*action.state {
            "preparing" => at(*group_id),
            "prepared" | "migrating" => SlotRecord {
                locked: action.state == "prepared",
                migrate_from: self.master(*group_id),
                migrate_from_group_id: *group_id,
                ..at(action.target_id)
            },
            "finished" => at(action.target_id),
            _ => SlotRecord { replica_groups: self.replicas(*group_id), ..at(*group_id) },
        }
    }

    fn master(&self, group: i64) -> String {
        self.known.groups.get(&group).map(|group| group.master().to_owned()).unwrap_or_default()
    }

    /// The healthy servers of a group that has several, its master among them. All are on this machine, so that none is
    /// nearer than another.
    fn replicas(&self, group: i64) -> Vec<Vec<String>> {
        let Some(group) = self.known.groups.get(&group).filter(|group| group.servers.len() > 1) else {
            return Vec::new();
        };
        let healthy = group.servers.iter().filter(|server| server.replica_group && server.state == 0);
        let healthy: Vec<_> = healthy.map(|server| server.server.clone()).collect();
        if healthy.is_empty() { Vec::new() } else { vec![healthy] }
    }
}

/// What `migration_method` is when nobody sets it.
const SEMI_ASYNC: i64 = 1;
