// SPDX-License-Identifier: Apache-2.0
//! Routing by hand: the operator is told what to do, does it, and says so.

use std::io::{self, BufRead, Write};
use std::sync::Mutex;

use replication::{Slot, SlotSet};

use crate::routing::{BoxFuture, Owner, RoutingControl};
use crate::{Error, Result};

/// Asks a person to stop and to redirect the clients.
///
/// Questions go to standard error, answers come from standard input, one line each: an empty line or `yes` goes on,
/// everything else stops. The end of the input stops too: nobody is there to redirect anything.
#[derive(Debug)]
pub struct Manual {
    source: String,
    target: String,
    assume_yes: bool,
    state: Mutex<State>,
}

#[derive(Default, Debug)]
struct State {
    raised: SlotSet,
    switched: SlotSet,
}

impl Manual {
    /// Routing by hand between two addresses. With `assume_yes` no question waits: the operator has stopped the clients
    /// already, or there are none.
    pub fn new(source: impl Into<String>, target: impl Into<String>, assume_yes: bool) -> Self {
        Self { source: source.into(), target: target.into(), assume_yes, state: Mutex::default() }
    }

    async fn ask(&self, question: String) -> Result<()> {
        if self.assume_yes {
            eprintln!("{question}\n(going on, as --yes says)");
            return Ok(());
        }
        let answer = tokio::task::spawn_blocking(move || {
            let mut error = io::stderr().lock();
            // A whole line, for what follows must not stand behind it when nobody presses Enter.
            writeln!(error, "{question}\nPress Enter when that is done, or type `no` to stop.")?;
            drop(error);
            let mut line = String::new();
            let length = io::stdin().lock().read_line(&mut line)?;
            Ok::<_, io::Error>((length > 0).then(|| line.trim().to_ascii_lowercase()))
        });
        let answer = answer.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let what = match answer {
            Ok(Some(line)) if matches!(line.as_str(), "" | "y" | "yes") => return Ok(()),
            Ok(Some(line)) => format!("the operator answered `{line}`, nothing was switched"),
            Ok(None) => {
                "nobody answered, for standard input is at its end; nothing was switched; say `--yes` when no client \
                 writes to these slots"
                    .to_owned()
            }
            Err(fault) => format!("the operator's answer could not be read: {fault}"),
        };
        Err(Error::Routing { what })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
            let question = format!(
                "The target is in step with the source. Stop every client of slots {slots} now, so that nothing more is \
                 sent to {}.",
                self.source
            );
            self.ask(question).await?;
            self.state().raised = slots.clone();
            Ok(())
        })
    }

    fn holds<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { Ok(self.state().raised == *slots) })
    }

    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let question =
                format!("Every write has arrived. Send the clients of slots {slots} to {} now.", self.target);
            self.ask(question).await?;
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
                eprintln!("Let the clients of slots {slots} go on at {}: nothing was switched.", self.source);
            }
            Ok(())
        })
    }
}
