// SPDX-License-Identifier: Apache-2.0
//! Routing by hand: the operator is told what to do, does it, and says so.

use std::sync::{Mutex, MutexGuard, PoisonError};

use replication::{Slot, SlotSet};

use crate::routing::{Owner, RoutingControl, Standing};
use crate::{BoxFuture, Error, Result};

/// The person who stops and redirects the clients.
pub trait Operator: Send + Sync {
    /// Asks for something to be done, and waits until it is.
    ///
    /// # Errors
    /// [`Error::Routing`](crate::Error::Routing) when it will not be done: nothing is switched then.
    fn ask(&self, request: String) -> BoxFuture<'_, Result<()>>;

    /// Says something that needs no answer.
    fn tell(&self, what: &str);
}

/// Has a person stop and redirect the clients.
pub struct Manual {
    source: String,
    target: String,
    operator: Box<dyn Operator>,
    state: Mutex<State>,
}

#[derive(Default, Debug)]
struct State {
    raised: SlotSet,
    switched: SlotSet,
}

impl Manual {
    /// Routing by hand between two addresses.
    pub fn new(source: impl Into<String>, target: impl Into<String>, operator: Box<dyn Operator>) -> Self {
        Self { source: source.into(), target: target.into(), operator, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RoutingControl for Manual {
    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>> {
        let owner = match self.state().switched.contains(slot) {
            true => Owner::Target,
            false => Owner::Source,
        };
        Box::pin(async move { Ok(owner) })
    }

    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let request = format!(
                "The target is in step with the source. Stop every client of slots {slots} now, so that nothing more is \
                 sent to {}.",
                self.source
            );
            self.operator.ask(request).await?;
            self.state().raised = slots.clone();
            Ok(())
        })
    }

    fn holds<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Standing>> {
        Box::pin(async move {
            Ok(match self.state().raised == *slots {
                true => Standing::Holds,
                false => Standing::Broken("the operator was not asked to stop the clients of these slots".to_owned()),
            })
        })
    }

    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let request = format!("Every write has arrived. Send the clients of slots {slots} to {} now.", self.target);
            // A person who says no has switched nothing.
            self.operator.ask(request).await.map_err(|error| match error {
                Error::Routing { what } => Error::NotSwitched { what },
                error => error,
            })?;
            let mut state = self.state();
            state.raised = SlotSet::new();
            slots.iter().for_each(|slot| {
                state.switched.insert(slot);
            });
            Ok(())
        })
    }

    fn lower<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let was = std::mem::take(&mut self.state().raised);
            if !was.is_empty() {
                let source = &self.source;
                self.operator
                    .tell(&format!("Let the clients of slots {slots} go on at {source}: nothing was switched."));
            }
            Ok(())
        })
    }
}
