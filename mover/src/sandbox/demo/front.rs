// SPDX-License-Identifier: Apache-2.0
//! What stands between the clients and the nodes.

use std::net::SocketAddr;
use std::sync::Arc;

use super::DemoError;
use crate::routing::RoutingControl;
use crate::routing::{Codis, CodisOptions};
use crate::sandbox::codis::{self, CodisConfig};
use crate::sandbox::proxy::{Proxy, ProxyConfig};

/// One proxy with a control of its own, or a whole Codis that is controlled from outside.
pub(super) enum Front {
    Proxy(Proxy),
    Codis { cluster: codis::Codis, control: Arc<Codis> },
}

impl Front {
    pub(super) async fn proxy(source: SocketAddr, target: SocketAddr) -> Result<Self, DemoError> {
        Ok(Self::Proxy(Proxy::start(ProxyConfig::new(source, target)).await?))
    }

    /// A dashboard and two proxies, with groups of one node each.
    pub(super) async fn codis(source: SocketAddr, target: SocketAddr) -> Result<Self, DemoError> {
        let cluster = codis::Codis::start(CodisConfig::pair(source, target)).await?;
        let options = CodisOptions::new(cluster.dashboard_url(), source.to_string(), target.to_string());
        let control = Arc::new(Codis::connect(options).await?);
        Ok(Self::Codis { cluster, control })
    }

    /// Where clients connect.
    pub(super) fn addrs(&self) -> Vec<SocketAddr> {
        match self {
            Self::Proxy(proxy) => vec![proxy.addr()],
            Self::Codis { cluster, .. } => cluster.proxy_addrs(),
        }
    }

    pub(super) fn control(&self) -> Arc<dyn RoutingControl> {
        match self {
            Self::Proxy(proxy) => proxy.control(),
            Self::Codis { control, .. } => Arc::clone(control) as _,
        }
    }

    pub(super) async fn stop(self) {
        match self {
            Self::Proxy(proxy) => proxy.stop().await,
            Self::Codis { cluster, .. } => cluster.stop().await,
        }
    }
}
