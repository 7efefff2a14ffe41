// SPDX-License-Identifier: Apache-2.0
//! A fence that stands. What may be done with it depends on what has been done: `Fence<Raised>` is drained, and only a
//! `Fence<Drained>` can be switched.

use std::sync::Arc;
use std::time::{Duration, Instant};

use replication::SlotSet;
use tokio::time::{sleep, sleep_until, timeout_at};
use tracing::{error, info, warn};

use crate::job::follow::Follower;
use crate::routing::{Owner, RoutingControl, Standing};
use crate::{Error, Result};

/// A raised fence, the time it may stand, and how far it has come.
pub(super) struct Fence<S> {
    held: Held,
    window: Window,
    state: S,
}

/// No request of the slots is in flight, and none will be.
pub(super) struct Raised(());

/// And every write that was acknowledged before is at the target.
pub(super) struct Drained {
    /// Only in a test it may be a lie.
    really: bool,
}

/// Why there was no switch. No fence stands.
#[derive(Debug)]
pub(super) enum Setback {
    /// No fence was raised.
    NotRaised(String),
    /// It was lowered again.
    Lowered(String),
    /// The source was flushed.
    Flushed,
    /// There is no use in trying again.
    Final(Error),
}

impl From<Error> for Setback {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl Fence<Raised> {
    /// Raises a fence that is lowered when `max_lock` is over. Without one a person raises it, which takes minutes, and
    /// the drain must be short after them as well: the log is followed meanwhile.
    pub(super) async fn raise(
        routing: &Arc<dyn RoutingControl>,
        slots: &SlotSet,
        max_lock: Option<Duration>,
        follower: &mut Follower,
    ) -> Result<Self, Setback> {
        let window = Window::open(max_lock);
        let mut held = Held { routing: Arc::clone(routing), slots: slots.clone(), way_out: WayOut::Lower };
        let raised = match window.lower_by {
            None => follower.alongside(routing.raise(slots)).await.map_err(Setback::Final),
            Some(deadline) => match timeout_at(deadline.into(), routing.raise(slots)).await {
                Ok(outcome) => outcome.map_err(|error| Setback::Lowered(error.to_string())),
                Err(_) => Err(Setback::Lowered(format!("the fence was not up within {:?}", window.length()))),
            },
        };
        match raised {
            Ok(()) => Ok(Self { held, window: window.passed("raised"), state: Raised(()) }),
            Err(setback) => Err(held.lower_for(setback).await),
        }
    }

    /// Drains to the end of the log as it is now, with the fence up. When its time is over the fence is lowered at once,
    /// and the round that is under way is finished behind it.
    pub(super) async fn drain(mut self, follower: &mut Follower) -> Result<Fence<Drained>, Setback> {
        let end = match follower.end() {
            Ok(end) => end,
            Err(error) => return Err(self.held.lower_for(error.into()).await),
        };
        let mut drain = std::pin::pin!(follower.drain_to(end));
        let drained = tokio::select! {
            biased;
            drained = &mut drain => drained.map_err(Setback::Final),
            () = self.window.over() => {
                let (lowered, drained) = tokio::join!(self.held.lower(), drain);
                lowered?;
                drained?;
                return Err(Setback::Lowered(format!("the drain did not fit into {:?}", self.window.length())));
            }
        };
        match drained {
            Ok(()) => {
                let window = self.window.passed("drained");
                Ok(Fence { held: self.held, window, state: Drained { really: true } })
            }
            Err(setback) => Err(self.held.lower_for(setback).await),
        }
    }

    /// Leaves the drain out, and all that would notice, so that a test can see that clients do.
    pub(super) fn skip_drain(self) -> Fence<Drained> {
        Fence { held: self.held, window: self.window, state: Drained { really: false } }
    }
}

impl Fence<Drained> {
    /// Looks whether the fence has held, and switches. How long clients were held.
    pub(super) async fn switch(mut self, follower: &mut Follower) -> Result<Duration, Setback> {
        if let Err(setback) = self.look_once_more(follower).await {
            return self.lower_or_find_switched(setback, follower).await;
        }
        self.window = self.window.passed("looked");
        self.held.way_out = WayOut::Forward;
        match forward(&*self.held.routing, &self.held.slots).await {
            Ok(()) => {
                self.held.way_out = WayOut::Open;
                let (slots, stood) = (&self.held.slots, self.window.begin.elapsed());
                info!(%slots, ?stood, steps = ?self.window.steps, "switched");
                Ok(stood)
            }
            Err(error @ Error::NotSwitched { .. }) => {
                self.held.way_out = WayOut::Lower;
                Err(self.held.lower_for(Setback::Final(error)).await)
            }
            Err(error) => Err(Setback::Final(error)),
        }
    }

    /// Lowers the fence after a last look that was not good. Whoever guards it may have switched it by then, for once the
    /// layer has said that it holds the switch may come at any moment: when this process stood still, say.
    async fn lower_or_find_switched(mut self, setback: Setback, follower: &mut Follower) -> Result<Duration, Setback> {
        match self.held.lower_for(setback).await {
            setback @ Setback::Lowered(_) if self.is_switched(follower).await? => {
                warn!(slots = %self.held.slots, ?setback, "the slots were switched all the same");
                follower.note_strays(&self.held.slots).await?;
                Ok(self.window.begin.elapsed())
            }
            setback => Err(setback),
        }
    }

    /// Whether the slots are the target's, asked again while the layer cannot say: what made the last look fail may be that
    /// it is down. No client waits meanwhile.
    async fn is_switched(&self, follower: &mut Follower) -> Result<bool> {
        let (slots, begin) = (&self.held.slots, Instant::now());
        loop {
            match owned_by_target(&*self.held.routing, slots).await {
                Err(error) if begin.elapsed() <= FORWARD_MAX => warn!(%slots, %error, "cannot tell who owns the slots"),
                outcome => return outcome,
            }
            follower.round().await?;
            sleep(AGAIN).await;
        }
    }

    /// The last look before the switch: at the fence as the routing layer shows it, and at the log, where a write that
    /// came through would be.
    async fn look_once_more(&self, follower: &mut Follower) -> Result<(), Setback> {
        let holds = self.held.routing.holds(&self.held.slots);
        let standing = match self.window.lower_by {
            None => holds.await?,
            Some(deadline) => match timeout_at(deadline.into(), holds).await {
                Ok(Ok(standing)) => standing,
                Ok(Err(error)) => Standing::Broken(error.to_string()),
                Err(_) => Standing::Broken("whether the fence holds was not answered in time".to_owned()),
            },
        };
        if let Standing::Broken(why) = standing {
            return Err(Setback::Lowered(why));
        }
        let strays = follower.strays(&self.held.slots).await?;
        if strays > 0 && self.state.really {
            return Err(Setback::Lowered(format!("{strays} keys were written at the source behind the fence")));
        }
        if follower.take_flushed() {
            return Err(Setback::Flushed);
        }
        match self.window.lower_by.is_some_and(|deadline| Instant::now() >= deadline) {
            true => Err(Setback::Lowered(format!("drain and last look did not fit into {:?}", self.window.length()))),
            false => Ok(()),
        }
    }
}

/// From the first lock on.
#[derive(Debug)]
struct Window {
    begin: Instant,
    max_lock: Option<Duration>,
    lower_by: Option<Instant>,
    /// When each step was done, since the beginning.
    steps: Vec<(&'static str, Duration)>,
}

impl Window {
    fn open(max_lock: Option<Duration>) -> Self {
        let begin = Instant::now();
        // To lower it takes time as well.
        Self {
            begin,
            max_lock,
            lower_by: max_lock.map(|max_lock| begin + max_lock - max_lock / LOWERING_SHARE),
            steps: Vec::new(),
        }
    }

    fn passed(mut self, step: &'static str) -> Self {
        self.steps.push((step, self.begin.elapsed()));
        self
    }

    fn length(&self) -> Duration {
        self.max_lock.unwrap_or(Duration::MAX)
    }

    async fn over(&self) {
        match self.lower_by {
            Some(deadline) => sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    }
}

/// The clients that wait. However the attempt ends, a job that is dropped in the middle of it included, they are let go.
struct Held {
    routing: Arc<dyn RoutingControl>,
    slots: SlotSet,
    way_out: WayOut,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WayOut {
    /// To the source: no switch has been sent.
    Lower,
    /// To the target: a switch may have been sent.
    Forward,
    /// They have been let go.
    Open,
}

impl Held {
    /// Lowers the fence, again and again while the routing layer cannot.
    async fn lower(&mut self) -> Result<()> {
        lower(&*self.routing, &self.slots).await?;
        self.way_out = WayOut::Open;
        Ok(())
    }

    /// Lowers it because of a setback; that it could not be lowered is worse.
    async fn lower_for(&mut self, setback: Setback) -> Setback {
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
async fn forward(routing: &dyn RoutingControl, slots: &SlotSet) -> Result<()> {
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

/// Which part of its time a fence keeps for being lowered.
const LOWERING_SHARE: u32 = 8;

const AGAIN: Duration = Duration::from_millis(50);

/// How long a fence is tried to be lowered before a person is called.
const LOWER_MAX: Duration = Duration::from_secs(60);

/// How long a switch is sent again before a person is called. A dashboard that waits for a hung proxy is back after one
/// minute.
const FORWARD_MAX: Duration = Duration::from_secs(300);
