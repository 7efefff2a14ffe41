// SPDX-License-Identifier: Apache-2.0
//! Registering proxies and filling them.

use super::{Dashboard, Topom};
use crate::sandbox::codis::client;
use crate::sandbox::codis::front::Fault;
use crate::sandbox::codis::model::ProxyModel;

impl Dashboard {
    /// Registers the proxy at this address, known or not, and fills it.
    ///
    /// # Errors
    /// When it does not answer, belongs to another product, or cannot be filled. It is registered then if it answered.
    pub(super) async fn online(&self, topom: &mut Topom, addr: &str) -> Result<(), Fault> {
        let failed = |what: &str| Fault(format!("proxy@{addr} {what} failed"));
        let time_max = self.config.push_time_max;
        let model = client::call(addr, "GET", "/api/proxy/model", b"", time_max).await;
        let mut model = ProxyModel::decode(&model.map_err(|_| failed("fetch model"))?);
        self.call(&model, "GET", "xping", b"").await.map_err(|_| failed("check xauth"))?;
        self.process.pulse().beat().await;
        let ids = topom.known.proxies.values().map(|proxy| proxy.id);
        let next = ids.max().unwrap_or(0) + 1;
        model.id = topom.known.proxies.get(&model.token).map_or(next, |known| known.id);
        self.coordinator.store_proxy(&model);
        topom.known.proxies.insert(model.token.clone(), model.clone());
        self.fill(topom, &model).await
    }

    /// The same for a proxy that must be new.
    ///
    /// # Errors
    /// As [`online`](Self::online), and when it is registered already.
    pub(super) async fn create(&self, topom: &mut Topom, addr: &str) -> Result<(), Fault> {
        match topom.known.proxies.values().find(|proxy| proxy.admin_addr == addr) {
            Some(known) => Err(Fault(format!("proxy-[{}] already exists", known.token))),
            None => self.online(topom, addr).await,
        }
    }

    /// Fills a registered proxy with all slots and lets it serve clients.
    ///
    /// # Errors
    /// When it is not registered or cannot be filled.
    pub(super) async fn reinit(&self, topom: &Topom, token: &str) -> Result<(), Fault> {
        let proxy = topom.proxy(token)?;
        self.fill(topom, proxy).await
    }

    /// Shuts a proxy down and forgets it.
    ///
    /// # Errors
    /// When it is not registered; without `force` when it does not answer.
    pub(super) async fn remove(&self, topom: &mut Topom, token: &str, force: bool) -> Result<(), Fault> {
        let proxy = topom.proxy(token)?;
        if let Err(Fault(why)) = self.call(proxy, "PUT", "shutdown", b"").await {
            tracing::debug!(why, "a proxy of the sandbox did not shut down");
            if !force {
                return Err(Fault(format!("proxy-[{token}] shutdown failed")));
            }
        }
        self.coordinator.remove_proxy(token);
        topom.known.proxies.remove(token);
        Ok(())
    }

    async fn fill(&self, topom: &Topom, proxy: &ProxyModel) -> Result<(), Fault> {
        let records: Vec<_> = topom.known.slots.iter().map(|mapping| topom.record(mapping)).collect();
        let body = serde_json::to_vec(&records).expect("records have a JSON form");
        let failed = |what: &str| Fault(format!("proxy-[{}] {what} failed", proxy.token));
        self.process.pulse().beat().await;
        self.call(proxy, "PUT", "fillslots", &body).await.map_err(|_| failed("fillslots"))?;
        self.process.pulse().beat().await;
        self.call(proxy, "PUT", "start", b"").await.map_err(|_| failed("start"))
    }

    async fn call(&self, proxy: &ProxyModel, method: &str, what: &str, body: &[u8]) -> Result<(), Fault> {
        let path = self.proxy_path(what, proxy);
        client::call(&proxy.admin_addr, method, &path, body, self.config.push_time_max).await.map(|_| ())
    }
}

impl Topom {
    fn proxy(&self, token: &str) -> Result<&ProxyModel, Fault> {
        self.known.proxies.get(token).ok_or_else(|| Fault(format!("proxy-[{token}] doesn't exist")))
    }
}
