// SPDX-License-Identifier: Apache-2.0
//! Before a fence: who is there, and whether all of them are well.

use std::time::{Duration, Instant};

use replication::SlotSet;

use crate::routing::codis::check;
use crate::routing::codis::core::{Core, Native, Post, Survey};
use crate::routing::codis::http::Fault;
use crate::routing::codis::model::{Overview, Proxy};
use crate::{Error, Result};

impl Core {
    /// Makes sure that these slots can be moved, and stops the dashboard's own mover for the time of the job.
    pub(super) async fn prepare(&self, slots: &SlotSet) -> Result<()> {
        let overview = self.cluster.overview(PREPARE_PATIENCE).wait().await;
        let overview = overview.map_err(|fault| self.dashboard_fault(&fault))?;
        check::movable(&overview.stats, &self.sides, slots)?;
        self.stop_native_actions(&overview).await.map_err(|fault| self.dashboard_fault(&fault))
    }

    /// Lets the dashboard's own mover go on if it was we who stopped it.
    pub(super) async fn finish(&self) -> Result<()> {
        if self.memory().native != Native::StoppedByUs {
            return Ok(());
        }
        match self.cluster.disable_actions(false).wait().await {
            Ok(()) => {
                self.memory().native = Native::Unknown;
                Ok(())
            }
            Err(fault) => {
                let what = format!(
                    "the dashboard's own slot moves stay stopped, for the dashboard at {} {fault}; enable slot actions \
                     in it by hand, or start it anew",
                    self.cluster.dashboard()
                );
                Err(Error::Routing { what })
            }
        }
    }

    /// A cluster that is ready for a fence at `slots`, or why it is not.
    pub(super) async fn survey(&self, slots: &SlotSet) -> Result<Result<Survey, String>> {
        if self.cluster.calls().oldest().is_some() {
            // What is answered tells whether a call whose connection broke is done.
            self.look(slots, &[], PATIENCE).await;
        }
        if let Some(call) = self.cluster.calls().oldest() {
            return Ok(Err(format!("{call} has not been answered yet")));
        }
        if let Some(owed) = self.memory().owed.first() {
            return Ok(Err(format!("slots {owed} are still to be unlocked at a proxy that did not answer")));
        }
        let overview = match self.quick_overview().await {
            Ok(overview) => overview,
            Err(reason) => return Ok(Err(reason)),
        };
        if overview.config.product_name != self.cluster.product() {
            let (is, was) = (&overview.config.product_name, self.cluster.product());
            return Err(Error::Routing { what: format!("the dashboard serves the product {is} now, it was {was}") });
        }
        if let Some(reason) = check::unready(&overview.stats, &self.sides, slots)? {
            return Ok(Err(reason));
        }
        let proxies = overview.stats.proxy.models;
        self.memory().proxies.clone_from(&proxies);
        let posts = match self.posts(proxies, slots).await {
            Ok(posts) => posts,
            Err(reason) => return Ok(Err(reason)),
        };
        let start_time = overview.model.start_time;
        Ok(Ok(Survey { slots: slots.clone(), at: Instant::now(), start_time, posts }))
    }

    /// Two quick answers, one after the other: nothing holds the dashboard's mutex, and no server hangs that it asks.
    async fn quick_overview(&self) -> Result<Overview, String> {
        let mut last = None;
        for _ in 0..2 {
            let asked = Instant::now();
            let overview = self.cluster.overview(PATIENCE).wait().await;
            let overview =
                overview.map_err(|fault| format!("the dashboard at {} {fault}", self.cluster.dashboard()))?;
            let took = asked.elapsed();
            if took > QUICK {
                return Err(format!("the dashboard took {took:.0?} to answer, so it is busy or a server hangs"));
            }
            // A dashboard that was started anew has forgotten it.
            let stopped = self.stop_native_actions(&overview).await;
            stopped.map_err(|fault| format!("the dashboard at {} {fault}", self.cluster.dashboard()))?;
            last = Some(overview);
        }
        last.ok_or_else(|| "the dashboard was not asked".to_owned())
    }

    async fn stop_native_actions(&self, overview: &Overview) -> Result<(), Fault> {
        let stopped = overview.stats.slot_action.disabled;
        {
            let mut memory = self.memory();
            match (memory.native, stopped) {
                (Native::Unknown, true) => memory.native = Native::WasStopped,
                // Before it is sent: an answer that is lost must not leave it stopped.
                (Native::Unknown, false) => memory.native = Native::StoppedByUs,
                (Native::WasStopped | Native::StoppedByUs, _) => {}
            }
        }
        if stopped {
            return Ok(());
        }
        self.cluster.disable_actions(true).wait().await
    }

    /// Every proxy with what it holds, if all of them are who the dashboard says and send the slots to the source.
    async fn posts(&self, proxies: Vec<Proxy>, slots: &SlotSet) -> Result<Vec<Post>, String> {
        let identities: Vec<_> = proxies.iter().map(|proxy| self.cluster.identity(proxy, PATIENCE)).collect();
        let told = self.ask(proxies, slots, &[], PATIENCE).await;
        let mut posts = Vec::with_capacity(told.len());
        for (identity, (proxy, records)) in identities.into_iter().zip(told) {
            let identity = identity.wait().await.map_err(|fault| format!("{proxy} {fault}"))?;
            if !identity.is(&proxy) {
                return Err(format!("{proxy} was started anew and the dashboard has not taken notice yet"));
            }
            let records = records.map_err(|fault| format!("{proxy} {fault}"))?;
            if let Some(what) = check::unfit(&records, &self.sides.source) {
                return Err(format!("{proxy} {what}"));
            }
            posts.push(Post { proxy, records });
        }
        Ok(posts)
    }
}

/// How long the dashboard may take before a move begins. Nobody waits, and the move ends when it does not answer.
const PREPARE_PATIENCE: Duration = Duration::from_secs(5);

/// How long anybody may take to answer where no client waits.
const PATIENCE: Duration = Duration::from_millis(500);

/// A dashboard that has nothing to wait for answers within a few milliseconds.
const QUICK: Duration = Duration::from_millis(500);
