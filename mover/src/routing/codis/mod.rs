// SPDX-License-Identifier: Apache-2.0
//! Codis as it is: a dashboard that knows which group serves a slot, and proxies that it tells.
//!
//! A proxy that is sent a slot's record with `locked` set answers when nothing of the slot is in flight, and holds its
//! clients from then on, without an error. The dashboard knows nothing of that lock, and whatever it pushes takes it
//! off; nothing else does. So the lock bears a mark, is read back from every proxy before the switch, and the dashboard is
//! asked whether it has reason to push anything.
//!
//! ```text
//! survey   dashboard and proxies are well and agree, nothing of ours is unanswered
//! raise    every proxy locks the whole records, with our mark; read back
//! holds    all marks still there, the same lives of the same proxies, the dashboard quiet
//! switch   the dashboard stores the target and pushes it, unlocked; read back; only forward from here
//! lower    the dashboard pushes who owns the slots, or our marks are taken off by hand; read back
//! ```
//!
//! Its downside: between `holds` and the switch a push of the dashboard could still take a lock off, for Codis knows no
//! compare-and-set. What may lead to such a push is looked for; what slips through shows in the source's binlog.

mod calls;
mod check;
mod cluster;
mod core;
mod http;
mod lower;
mod model;
mod nonce;
mod owner;
mod raise;
mod survey;
mod switch;
mod topology;
mod xauth;

use std::sync::Arc;

use replication::{Slot, SlotCount, SlotSet};
use tracing::{info, warn};

use self::cluster::Cluster;
use self::core::{Core, Native};
use self::http::Fault;
use self::model::{Overview, Proxy};
use self::topology::Sides;
use crate::endpoint::Password;
use crate::routing::{Owner, Readiness, RoutingControl, Standing};
use crate::{BoxFuture, Error, Result};

/// Which dashboard, and what to move from where to where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CodisOptions {
    /// The dashboard's admin address, as `HOST:PORT` or `http://HOST:PORT`.
    pub dashboard: String,
    /// The `product_auth` that dashboard and proxies are configured with, which is the password of their servers; empty
    /// when there is none.
    pub product_auth: Password,
    /// `HOST:PORT` of the node that the slots leave.
    pub source: String,
    /// `HOST:PORT` of the node that the slots go to.
    pub target: String,
    /// The group of the source, when the dashboard knows its master by another address.
    pub source_group: Option<u32>,
    /// The group of the target, likewise.
    pub target_group: Option<u32>,
    /// How keys are cut into slots.
    pub slot_count: SlotCount,
    /// Whether [`finish`](RoutingControl::finish) lets the dashboard's own slot moves go on even if it was not this
    /// [`Codis`] that stopped them, but one whose process is gone.
    pub restore_native_actions: bool,
}

impl CodisOptions {
    /// A move between two addresses through a dashboard without a password; 1024 slots.
    pub fn new(dashboard: impl Into<String>, source: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            dashboard: dashboard.into(),
            product_auth: Password::new(""),
            source: source.into(),
            target: target.into(),
            source_group: None,
            target_group: None,
            slot_count: SlotCount::CODIS,
            restore_native_actions: false,
        }
    }
}

/// The proxies behind a Codis dashboard.
#[derive(Clone, Debug)]
pub struct Codis {
    core: Arc<Core>,
}

impl Codis {
    /// Asks the dashboard for its product, its proxies and the two groups, and makes sure that everybody lets us in.
    /// Nothing is changed.
    ///
    /// # Errors
    /// [`Error::Routing`] when the dashboard does not answer, has another slot count, knows no group of source or target,
    /// or when it or a proxy does not take `product_auth`.
    pub async fn connect(options: CodisOptions) -> Result<Self> {
        let fault = |what: String| Error::Routing { what };
        let dashboard = host_and_port(&options.dashboard).map_err(fault)?;
        let name = format!("the dashboard at {dashboard}");
        let found = Cluster::find(&dashboard, options.product_auth.clone()).await;
        let (cluster, overview) = found.map_err(|why| fault(format!("{name} {why}")))?;
        let slots = overview.config.max_slot_num.unwrap_or_default();
        if slots != u32::from(options.slot_count.get()) {
            let count = options.slot_count;
            return Err(fault(format!("{name} has {slots} slots and not {count}; both sides must cut keys alike")));
        }
        cluster.ping_dashboard().wait().await.map_err(|why| fault(format!("{name} {why}")))?;
        let Overview { stats, .. } = overview;
        check_password(&cluster, &stats.proxy.models).await?;
        let sides = Sides::find(&options, &stats).await?;
        let (product, proxies) = (cluster.product(), stats.proxy.models.len());
        let (source, target) = (&sides.source, &sides.target);
        info!(product, proxies, source = %source.group, target = %target.group, "connected to the codis dashboard");
        let core = Arc::new(Core::new(cluster, sides, stats.proxy.models));
        if options.restore_native_actions {
            core.memory().native = Native::StoppedByUs;
        }
        Ok(Self { core })
    }

    /// Whether [`finish`](RoutingControl::finish) has the dashboard's own slot moves to let go on. Whoever may have to
    /// finish after a crash should know.
    pub fn must_restore(&self) -> bool {
        self.core.memory().native == Native::StoppedByUs
    }
}

impl RoutingControl for Codis {
    fn prepare<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.core.prepare(slots))
    }

    fn finish(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.core.finish())
    }

    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>> {
        Box::pin(self.core.owner(slot))
    }

    fn preconditions<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Readiness>> {
        Box::pin(async move {
            Ok(match self.core.survey(slots).await? {
                Ok(survey) => {
                    self.core.memory().survey = Some(survey);
                    Readiness::Ready
                }
                Err(reason) => Readiness::NotYet(reason),
            })
        })
    }

    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.core.raise(slots))
    }

    fn holds<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Standing>> {
        Box::pin(self.core.holds(slots))
    }

    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.core.switch(slots))
    }

    fn lower<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.core.lower(slots))
    }
}

/// A wrong password must be found before anything moves. A proxy that is not there now is waited for later.
async fn check_password(cluster: &Cluster, proxies: &[Proxy]) -> Result<()> {
    let pings: Vec<_> = proxies.iter().map(|proxy| (proxy, cluster.ping(proxy))).collect();
    for (proxy, ping) in pings {
        match ping.wait().await {
            Ok(()) => {}
            Err(Fault::Refused { cause, .. }) => {
                let what = format!(
                    "{proxy} does not let us in: {cause}; give the product_auth of its configuration by --product-auth-file"
                );
                return Err(Error::Routing { what });
            }
            Err(fault) => warn!("{proxy} {fault}; no fence is raised before it is back"),
        }
    }
    Ok(())
}

/// HOST:PORT of an address that may be written as a URL.
fn host_and_port(text: &str) -> Result<String, String> {
    let fault = |why: &str| format!("`{text}` is no address of a dashboard: {why}; write it as HOST:PORT");
    if text.starts_with("https://") {
        return Err(fault("a dashboard speaks no TLS"));
    }
    let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let Some((host, port)) = address.rsplit_once(':') else { return Err(fault("it has no port")) };
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    match !host.is_empty() && host.chars().all(is_host) && port.parse::<u16>().is_ok() {
        true => Ok(address.to_owned()),
        false => Err(fault("it is not well formed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dashboard_is_host_and_port() {
        for text in ["d-1:18080", "http://d-1:18080", "http://d-1:18080/"] {
            assert_eq!(host_and_port(text).unwrap(), "d-1:18080");
        }
        assert_eq!(host_and_port("[::1]:18080").unwrap(), "[::1]:18080");
        for text in ["", "d-1", "https://d-1:18080", "d-1:", ":1", "d-1:99999", "http://d-1:1/topom", "a b:1"] {
            assert!(host_and_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_do_not_show_the_password() {
        let mut options = CodisOptions::new("d:1", "s:1", "t:1");
        options.product_auth = Password::new("s3cret");
        assert!(!format!("{options:?}").contains("s3cret"));
    }
}
