// SPDX-License-Identifier: Apache-2.0
mod guarded;
mod settle;
mod watch;

use std::sync::Mutex;

use replication::{Slot, SlotSet};

use crate::routing::{Owner, RoutingControl, Standing};
use crate::{BoxFuture, Error, Result};

/// A routing layer that writes down what it is told and may refuse it a few times.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) told: Mutex<Vec<String>>,
    pub(super) refusals: Mutex<u32>,
    pub(super) switched: Mutex<SlotSet>,
    pub(super) stands: Mutex<bool>,
}

impl Layer {
    pub(super) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    fn tell(&self, what: &str) -> Result<()> {
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(Error::Routing { what: "the layer does not answer".to_owned() });
        }
        self.told.lock().unwrap().push(what.to_owned());
        Ok(())
    }
}

impl RoutingControl for Layer {
    fn finish(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { self.tell("finish") })
    }

    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>> {
        Box::pin(async move {
            Ok(match self.switched.lock().unwrap().contains(slot) {
                true => Owner::Target,
                false => Owner::Source,
            })
        })
    }

    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.tell(&format!("raise {slots}")) })
    }

    fn holds<'a>(&'a self, _: &'a SlotSet) -> BoxFuture<'a, Result<Standing>> {
        Box::pin(async {
            Ok(match *self.stands.lock().unwrap() {
                true => Standing::Holds,
                false => Standing::Broken("it is down".to_owned()),
            })
        })
    }

    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.tell(&format!("switch {slots}"))?;
            *self.switched.lock().unwrap() = slots.clone();
            Ok(())
        })
    }

    fn lower<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.tell(&format!("lower {slots}")) })
    }
}

pub(super) fn slots(text: &str) -> SlotSet {
    text.parse().unwrap()
}
