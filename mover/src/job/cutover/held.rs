// SPDX-License-Identifier: Apache-2.0
//! Clients that wait behind a fence, and the two ways out of there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use replication::SlotSet;
use tokio::time::sleep;
use tracing::{error, warn};

use super::fence::Setback;
use crate::routing::{Owner, RoutingControl};
use crate::{Error, Result};

/// The clients that wait. However the attempt ends, a job that is dropped in the middle of it included, they are let go.
pub(super) struct Held {
    pub(super) routing: Arc<dyn RoutingControl>,
    pub(super) slots: SlotSet,
    pub(super) way_out: WayOut,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WayOut {
    /// To the source: no switch has been sent.
    Lower,
    /// To the target: a switch may have been sent.
    Forward,
    /// They have been let go.
    Open,
}

impl Held {
    /// Lowers the fence if it is up, again and again while the routing layer cannot.
    pub(super) async fn lower(&mut self) -> Result<()> {
        if self.way_out == WayOut::Open {
            return Ok(());
        }
        lower(&*self.routing, &self.slots).await?;
        self.way_out = WayOut::Open;
        Ok(())
    }

    /// Asks until it is answered; a layer that stays silent will be asked by the next attempt.
    pub(super) async fn has_been_switched(&self) -> bool {
        let begin = Instant::now();
        loop {
            match owned_by_target(&*self.routing, &self.slots).await {
                Ok(is_target) => return is_target,
                Err(error) if begin.elapsed() > LOWER_MAX => {
                    warn!(slots = %self.slots, %error, "cannot tell who owns the slots");
                    return false;
                }
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    /// Lowers it because of a setback; that it could not be lowered is worse.
    pub(super) async fn lower_for(&mut self, setback: Setback) -> Setback {
        match self.lower().await {
            Ok(()) => setback,
            Err(error) => {
                warn!(?setback, "the fence could not be lowered after a setback");
                Setback::Final(error)
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let way_out = self.way_out;
        // Without a runtime nothing can be sent any more; then the process is about to end, which a guard sees.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if way_out == WayOut::Open {
            return;
        }
        let (routing, slots) = (Arc::clone(&self.routing), std::mem::take(&mut self.slots));
        runtime.spawn(async move {
            let outcome = match way_out {
                WayOut::Lower => lower(&*routing, &slots).await,
                WayOut::Forward | WayOut::Open => forward(&*routing, &slots).await,
            };
            if let Err(error) = outcome {
                error!(%slots, %error, "a job was dropped behind a fence and its clients could not be let go");
            }
        });
    }
}

async fn lower(routing: &dyn RoutingControl, slots: &SlotSet) -> Result<()> {
    let begin = Instant::now();
    loop {
        match routing.lower(slots).await {
            Ok(()) => return Ok(()),
            Err(error) if begin.elapsed() > LOWER_MAX => {
                let what = format!("the fence of slots {slots} could not be lowered for {LOWER_MAX:?}: {error}");
                return Err(Error::Routing { what });
            }
            Err(error) => warn!(%slots, %error, "could not lower the fence, trying again"),
        }
        sleep(AGAIN).await;
    }
}

/// From here on only forward: a switch that failed may have happened, so the routing layer is asked who owns the slots,
/// and the switch is sent again until it is the target.
pub(super) async fn forward(routing: &dyn RoutingControl, slots: &SlotSet) -> Result<()> {
    let (begin, mut first) = (Instant::now(), true);
    loop {
        let fault = match routing.switch(slots).await {
            Ok(()) => return Ok(()),
            // It was sent before, so that it was not sent this time tells nothing.
            Err(error @ Error::NotSwitched { .. }) if first => return Err(error),
            Err(error) => error,
        };
        first = false;
        warn!(%slots, error = %fault, "the switch failed or its answer was lost, sending it again");
        match owned_by_target(routing, slots).await {
            Ok(true) => return Ok(()),
            Ok(false) if begin.elapsed() <= FORWARD_MAX => {}
            Err(error) if begin.elapsed() <= FORWARD_MAX => warn!(%slots, %error, "cannot tell who owns the slots"),
            Ok(false) | Err(_) => {
                let what = format!(
                    "the switch of slots {slots} was sent and for {FORWARD_MAX:?} not confirmed: {fault}; every write is \
                     at the target, so send it again and never take it back"
                );
                return Err(Error::Routing { what });
            }
        }
        sleep(AGAIN).await;
    }
}

async fn owned_by_target(routing: &dyn RoutingControl, slots: &SlotSet) -> Result<bool> {
    for slot in slots.iter() {
        if routing.owner(slot).await? != Owner::Target {
            return Ok(false);
        }
    }
    Ok(true)
}

const AGAIN: Duration = Duration::from_millis(50);

/// How long a fence is tried to be lowered before a person is called.
const LOWER_MAX: Duration = Duration::from_secs(60);

/// How long a switch is sent again before a person is called. A dashboard that waits for a hung proxy is back after one
/// minute.
const FORWARD_MAX: Duration = Duration::from_secs(300);
