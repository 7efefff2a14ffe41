// SPDX-License-Identifier: Apache-2.0
//! What is asked of a dashboard and its proxies, and what they are told.
//!
//! A call is sent when it is made; waiting for its answer is another thing. So many are made side by side.

use std::sync::Arc;
use std::time::Duration;

use replication::SlotSet;
use serde::Deserialize;

use crate::endpoint::Password;
use crate::routing::codis::calls::{Calls, Purpose};
use crate::routing::codis::http::{Answer, Fault, Http};
use crate::routing::codis::model::{Mapping, Overview, Proxy, Record, RecordsOf};
use crate::routing::codis::xauth::Xauth;

/// A dashboard, by its address, and all proxies that it knows.
#[derive(Debug)]
pub(super) struct Cluster {
    http: Http,
    calls: Arc<Calls>,
    dashboard: String,
    product: String,
    product_auth: Password,
}

impl Cluster {
    /// The one whose dashboard is at `dashboard`, as HOST:PORT. Its name is asked for.
    ///
    /// # Errors
    /// When the dashboard does not answer, or not as one.
    pub(super) async fn find(dashboard: &str, product_auth: Password) -> Result<(Self, Overview), Fault> {
        let calls = Arc::new(Calls::default());
        let http = Http::new(Arc::clone(&calls));
        let dashboard = dashboard.to_owned();
        let mut cluster = Self { http, calls, dashboard, product: String::new(), product_auth };
        let overview = cluster.overview(CONNECT_PATIENCE).wait().await?;
        cluster.product.clone_from(&overview.config.product_name);
        Ok((cluster, overview))
    }

    /// The address of the dashboard.
    pub(super) fn dashboard(&self) -> &str {
        &self.dashboard
    }

    /// The name of the product.
    pub(super) fn product(&self) -> &str {
        &self.product
    }

    /// The calls that change something and are under way.
    pub(super) fn calls(&self) -> &Calls {
        &self.calls
    }

    /// All that the dashboard knows.
    pub(super) fn overview(&self, patience: Duration) -> Answer<Overview> {
        self.http.get(&self.dashboard, "/topom", patience, |json| serde_json::from_slice(json))
    }

    /// Whether the dashboard takes our xauth.
    pub(super) fn ping_dashboard(&self) -> Answer<()> {
        let path = format!("/api/topom/xping/{}", self.dashboard_xauth().reveal());
        self.http.get(&self.dashboard, &path, CONNECT_PATIENCE, |_| Ok(()))
    }

    /// Whether a proxy takes our xauth.
    pub(super) fn ping(&self, proxy: &Proxy) -> Answer<()> {
        let path = format!("/api/proxy/xping/{}", self.xauth(proxy).reveal());
        self.http.get(&proxy.admin_addr, &path, CONNECT_PATIENCE, |_| Ok(()))
    }

    /// Which proxy, and which life of it, listens at the address of `proxy`.
    pub(super) fn identity(&self, proxy: &Proxy, patience: Duration) -> Answer<Identity> {
        self.http.peek(&proxy.admin_addr, "/api/proxy/model", patience, |json| serde_json::from_slice(json))
    }

    /// What a proxy holds for `slots`.
    pub(super) fn records(&self, proxy: &Proxy, slots: &SlotSet, patience: Duration) -> Answer<Vec<Record>> {
        let wanted = RecordsOf(slots.clone());
        self.http.get(&proxy.admin_addr, "/proxy/slots", patience, move |json| wanted.read(json))
    }

    /// Replaces records of a proxy. A body that it cannot read is answered as if all were well: read them back.
    pub(super) fn fill(&self, proxy: &Proxy, records: &[Record], purpose: Purpose, patience: Duration) -> Answer<()> {
        let slots = records.iter().map(|record| replication::Slot::new(record.id)).collect();
        let call = self.calls.open(&proxy.admin_addr, purpose, &slots);
        let path = format!("/api/proxy/fillslots/{}", self.xauth(proxy).reveal());
        self.http.put(&proxy.admin_addr, &path, &records, call, patience)
    }

    /// Has the dashboard store the mappings and push them to all proxies, unlocked.
    pub(super) fn assign(&self, mappings: &[Mapping], purpose: Purpose, patience: Duration) -> Answer<()> {
        let slots = mappings.iter().map(|mapping| replication::Slot::new(mapping.id)).collect();
        self.order("slots/assign", "", &mappings, purpose, &slots, patience)
    }

    /// Has the dashboard forget what it remembers of the coordinator.
    pub(super) fn reload(&self, patience: Duration) -> Answer<()> {
        self.order("reload", "", &(), Purpose::Setting, &SlotSet::new(), patience)
    }

    /// Stops the dashboard's own mover, or lets it go on.
    pub(super) fn disable_actions(&self, disabled: bool) -> Answer<()> {
        let value = if disabled { "/1" } else { "/0" };
        self.order("slots/action/disabled", value, &(), Purpose::Setting, &SlotSet::new(), CONNECT_PATIENCE)
    }

    fn order(
        &self,
        what: &str,
        argument: &str,
        body: &impl serde::Serialize,
        purpose: Purpose,
        slots: &SlotSet,
        patience: Duration,
    ) -> Answer<()> {
        let call = self.calls.open(&self.dashboard, purpose, slots);
        let path = format!("/api/topom/{what}/{}{argument}", self.dashboard_xauth().reveal());
        self.http.put(&self.dashboard, &path, body, call, patience)
    }

    fn dashboard_xauth(&self) -> Xauth {
        Xauth::of_dashboard(&self.product)
    }

    fn xauth(&self, proxy: &Proxy) -> Xauth {
        Xauth::of_proxy(&self.product, &self.product_auth, &proxy.token)
    }
}

/// Who a proxy says it is.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Identity {
    pub(super) token: String,
    pub(super) start_time: String,
}

impl Identity {
    /// Whether it is this life of this proxy.
    pub(super) fn is(&self, proxy: &Proxy) -> bool {
        self.token == proxy.token && self.start_time == proxy.start_time
    }
}

/// How long a server may take where no client waits for it.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
