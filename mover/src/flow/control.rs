// SPDX-License-Identifier: Apache-2.0
use tokio::sync::watch;

use crate::{Error, Result};

/// The operator's handle on a running job: pause, go on, cancel. Clones are the same handle.
#[derive(Clone, Debug)]
pub struct Control {
    wish: watch::Sender<Wish>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wish {
    Run,
    Pause,
    Cancel,
}

impl Control {
    /// A handle on a job that is to run.
    pub fn new() -> Self {
        Self { wish: watch::Sender::new(Wish::Run) }
    }

    /// Stops the line before its next batch. A raised fence is lowered or switched first.
    pub fn pause(&self) {
        self.set(Wish::Pause);
    }

    /// Goes on after a pause.
    pub fn resume(&self) {
        self.set(Wish::Run);
    }

    /// Ends the job at the next safe point; there is no way back.
    pub fn cancel(&self) {
        self.set(Wish::Cancel);
    }

    /// The reading side.
    pub fn gate(&self) -> Gate {
        Gate { wish: self.wish.subscribe() }
    }

    fn set(&self, wish: Wish) {
        self.wish.send_if_modified(|now| {
            let change = *now != wish && *now != Wish::Cancel;
            if change {
                *now = wish;
            }
            change
        });
    }
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a job asks whether it may go on: before each batch and between phases, nowhere else.
#[derive(Clone, Debug)]
pub struct Gate {
    wish: watch::Receiver<Wish>,
}

impl Gate {
    /// Waits while the job is paused.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once the job is cancelled.
    pub async fn admit(&mut self) -> Result<()> {
        // A dropped handle cannot cancel any more, so the last wish stands.
        match self.wish.wait_for(|wish| *wish != Wish::Pause).await.map(|wish| *wish) {
            Ok(Wish::Cancel) => Err(Error::Cancelled),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_pause_holds_and_a_cancel_ends() {
        let control = Control::new();
        let mut gate = control.gate();
        gate.admit().await.unwrap();
        control.pause();
        assert!(tokio::time::timeout(Duration::from_millis(20), gate.admit()).await.is_err());
        control.resume();
        gate.admit().await.unwrap();
        control.cancel();
        control.resume();
        assert!(matches!(gate.admit().await, Err(Error::Cancelled)));
    }
}
