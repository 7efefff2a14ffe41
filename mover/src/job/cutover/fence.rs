// SPDX-License-Identifier: Apache-2.0
//! A fence that stands. What may be done with it depends on what has been done: `Fence<Raised>` is drained, and only a
//! `Fence<Drained>` can be switched.

use std::sync::Arc;
use std::time::{Duration, Instant};

use replication::{BinlogOffset, SlotSet};
use tokio::time::{sleep, sleep_until, timeout_at};
use tracing::{info, warn};

use super::Crossing;
use super::held::{Held, WayOut, forward};
use crate::job::follow::Follower;
use crate::job::journal::{Entry, Journal};
use crate::record::{Offset, Slots};
use crate::routing::{RoutingControl, Standing};
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
    /// The end of the log behind the fence.
    end: BinlogOffset,
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

    /// Drains its slots to the end of the log as it is now, with the fence up, and waits until the target's replicas have it
    /// all as well. When the time is over the fence is lowered.
    pub(super) async fn drain(
        mut self,
        follower: &mut Follower,
        ignore_replicas: bool,
    ) -> Result<Fence<Drained>, Setback> {
        let drained = match self.drain_log(follower).await {
            Ok(end) if !ignore_replicas => self.window.wait_for_replicas(follower).await.map(|()| end),
            drained => drained,
        };
        match drained {
            Ok(end) => {
                let window = self.window.passed("drained");
                Ok(Fence { held: self.held, window, state: Drained { end, really: true } })
            }
            Err(setback) => Err(self.held.lower_for(setback).await),
        }
    }

    /// When the time is over the fence is lowered at once, and the drain that is under way is finished behind it.
    async fn drain_log(&mut self, follower: &mut Follower) -> Result<BinlogOffset, Setback> {
        let slots = self.held.slots.clone();
        let mut drain = std::pin::pin!(async {
            let end = follower.end().await?;
            follower.drain(&slots, end).await.map(|()| end)
        });
        tokio::select! {
            biased;
            drained = &mut drain => Ok(drained?),
            () = self.window.over() => {
                let (lowered, drained) = tokio::join!(self.held.lower(), drain);
                lowered?;
                drained?;
                Err(Setback::Lowered(format!("the drain did not fit into {:?}", self.window.length())))
            }
        }
    }

    /// Leaves the drain out, and all that would notice, so that a test can see that clients do.
    pub(super) async fn skip_drain(self, follower: &mut Follower) -> Result<Fence<Drained>> {
        let end = follower.end().await?;
        Ok(Fence { held: self.held, window: self.window, state: Drained { end, really: false } })
    }
}

impl Fence<Drained> {
    /// Looks whether the fence has held, and switches.
    pub(super) async fn switch(mut self, follower: &mut Follower, journal: &Journal) -> Result<Crossing, Setback> {
        let (slots, end) = (Slots(self.held.slots.clone()), Offset(self.state.end));
        let entry = Entry::Switching { slots, end };
        let noted = if self.held.routing.knows_earlier_switches() {
            // Clients wait, so it need not be on the disk: after a crash of the machine the layer says who the owner is.
            journal.note_soon(entry)
        } else {
            // Nothing but the journal will know.
            journal.note(entry).await
        };
        let looked = match noted {
            Ok(()) => self.look_once_more(follower).await,
            Err(error) => Err(Setback::Final(error)),
        };
        if let Err(setback) = looked {
            let outcome = self.lower_or_find_switched(setback, follower).await;
            if matches!(outcome, Err(Setback::Lowered(_) | Setback::Flushed)) {
                journal.note_soon(Entry::Lowered)?;
            }
            return outcome;
        }
        self.window = self.window.passed("looked");
        self.held.way_out = WayOut::Forward;
        match forward(&*self.held.routing, &self.held.slots).await {
            Ok(()) => {
                self.held.way_out = WayOut::Open;
                let (slots, stood) = (&self.held.slots, self.window.begin.elapsed());
                info!(%slots, ?stood, steps = ?self.window.steps, "switched");
                Ok(Crossing { end: self.state.end, stood })
            }
            Err(error @ Error::NotSwitched { .. }) => {
                self.held.way_out = WayOut::Lower;
                let setback = self.held.lower_for(Setback::Final(error)).await;
                if matches!(setback, Setback::Final(Error::NotSwitched { .. })) {
                    journal.note_soon(Entry::Lowered)?;
                }
                Err(setback)
            }
            Err(error) => Err(Setback::Final(error)),
        }
    }

    /// Lowers the fence after a last look that was not good. Whoever guards it may have switched it by then, for once the
    /// layer has said that it holds the switch may come at any moment: when this process stood still, say.
    async fn lower_or_find_switched(mut self, setback: Setback, follower: &mut Follower) -> Result<Crossing, Setback> {
        match self.held.lower_for(setback).await {
            setback @ Setback::Lowered(_) if self.held.has_been_switched().await => {
                warn!(slots = %self.held.slots, ?setback, "the slots were switched all the same");
                follower.note_strays(&self.held.slots).await?;
                Ok(Crossing { end: self.state.end, stood: self.window.begin.elapsed() })
            }
            setback => Err(setback),
        }
    }

    /// The last look before the switch: at both servers, which may have been restarted and have forgotten something, at the
    /// fence as the routing layer shows it, and at the log, where a write that came through would be.
    async fn look_once_more(&self, follower: &mut Follower) -> Result<(), Setback> {
        let holds = async {
            follower.check_servers().await?;
            self.held.routing.holds(&self.held.slots).await
        };
        let standing = match (self.window.within(holds).await, self.window.lower_by) {
            (Some(Err(error)), None) => return Err(error.into()),
            (Some(Err(error)), Some(_)) => Standing::Broken(error.to_string()),
            (Some(Ok(standing)), _) => standing,
            (None, _) => Standing::Broken("whether the fence holds was not answered in time".to_owned()),
        };
        if let Standing::Broken(why) = standing {
            return Err(Setback::Lowered(why));
        }
        let Some(end) = self.window.within(follower.end()).await else {
            return Err(Setback::Lowered("where the log ends was not answered in time".to_owned()));
        };
        let strays = follower.strays(&self.held.slots, end?).await?;
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

    /// Does what must be done before the fence is to be lowered; `None` when it is not done by then.
    async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.lower_by {
            None => Some(work.await),
            Some(deadline) => timeout_at(deadline.into(), work).await.ok(),
        }
    }

    fn length(&self) -> Duration {
        self.max_lock.unwrap_or(Duration::MAX)
    }

    /// Waits until the target's replicas have what it has; where no end is set to the fence, for a while: clients wait.
    async fn wait_for_replicas(&self, follower: &mut Follower) -> Result<(), Setback> {
        let deadline = self.lower_by.unwrap_or_else(|| Instant::now() + REPLICA_MAX);
        while let Some(behind) = follower.replica_behind().await? {
            if Instant::now() >= deadline {
                return Err(Setback::Lowered(behind.to_string()));
            }
            sleep(REPLICA_STEP).await;
        }
        Ok(())
    }

    async fn over(&self) {
        match self.lower_by {
            Some(deadline) => sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    }
}

/// Which part of its time a fence keeps for being lowered.
const LOWERING_SHARE: u32 = 8;

/// How long a fence without an end is kept up for a replica.
const REPLICA_MAX: Duration = Duration::from_secs(5);

/// Between two questions for the target's replicas.
const REPLICA_STEP: Duration = Duration::from_millis(1);
