// SPDX-License-Identifier: Apache-2.0
//! Two real Pikas behind a real Codis with two proxies.

use std::sync::Arc;

use mover::routing::{Codis as Control, CodisOptions, RoutingControl};
use mover::sandbox::load::{LoadConfig, Tag};
use mover::{Job, JobOptions, Side};
use replication::{SlotCount, SlotSet};

use super::{PikaServer, RealCodis, endpoint};

pub(crate) struct RealCluster {
    pub(crate) source: PikaServer,
    pub(crate) target: PikaServer,
    pub(crate) codis: RealCodis,
    password: String,
    _dir: tempfile::TempDir,
}

impl RealCluster {
    /// All slots at the source; nothing, and a line that says so, where the programs are not named.
    pub(crate) async fn start() -> Option<Self> {
        Self::with_password("").await
    }

    /// One whose servers have this password, and whose parts among themselves have it as well.
    pub(crate) async fn with_password(password: &str) -> Option<Self> {
        let (program, programs) = (PikaServer::program()?, RealCodis::programs()?);
        let dir = tempfile::tempdir().unwrap();
        let settings = [("requirepass", password), ("masterauth", password)];
        let source = PikaServer::with(&program, &dir.path().join("source"), &settings).await;
        let target = PikaServer::with(&program, &dir.path().join("target"), &settings).await;
        let codis = RealCodis::start(programs, &[source.addr(), target.addr()], password).await;
        Some(Self { source, target, codis, password: password.to_owned(), _dir: dir })
    }

    pub(crate) async fn control(&self) -> Control {
        let (source, target) = (self.source.addr().to_string(), self.target.addr().to_string());
        Control::connect(CodisOptions::new(self.codis.dashboard_addr().to_string(), source, target)).await.unwrap()
    }

    /// The same for a way back.
    pub(crate) async fn control_back(&self) -> Control {
        let (source, target) = (self.source.addr().to_string(), self.target.addr().to_string());
        Control::connect(CodisOptions::new(self.codis.dashboard_addr().to_string(), target, source)).await.unwrap()
    }

    /// A job that moves these slots.
    pub(crate) async fn job(&self, slots: SlotSet) -> Job {
        self.job_with(Arc::new(self.control().await), slots)
    }

    /// The same with this routing.
    pub(crate) fn job_with(&self, routing: Arc<dyn RoutingControl>, slots: SlotSet) -> Job {
        let (source, target) = (endpoint(Side::Source, self.source.addr()), endpoint(Side::Target, self.target.addr()));
        Job::new(source, target, JobOptions::new(slots), routing)
    }

    /// A load on these slots through both proxies.
    pub(crate) fn load(&self, slots: &SlotSet) -> LoadConfig {
        let tags = Tag::of_slots(slots.iter(), SlotCount::CODIS);
        // A proxy sends GET and SET to a server on another connection than the rest, as it is shipped.
        LoadConfig {
            in_order: false,
            nodes: vec![self.source.addr(), self.target.addr()],
            node_password: Some(self.password.clone()).filter(|password| !password.is_empty()),
            ..LoadConfig::new(self.codis.proxy_addrs().to_vec(), tags)
        }
    }

    /// The slots that the dashboard has at the target.
    pub(crate) fn switched(&self) -> SlotSet {
        let target = self.target.addr().to_string();
        let at_target = self.codis.mappings().into_iter().filter(|record| record.backend_addr == target);
        at_target.map(|record| replication::Slot::new(record.id)).collect()
    }
}
