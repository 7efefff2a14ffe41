// SPDX-License-Identifier: Apache-2.0
//! Routing by the operator's own programs: a directory of executables named after the points of a cutover, as git has
//! its hooks.
//!
//! | Hook | Does | Exit code |
//! |---|---|---|
//! | `before-raise` | says whether a fence may be raised now | 0 yes, 75 not yet, others end the job |
//! | `raise` * | holds the clients of the slots; nothing of theirs is in flight when it ends | 0 done |
//! | `holds` | says whether the clients have been held since | 0 yes |
//! | `switch` * | sends the clients to the target and lets them go | 0 done |
//! | `lower` * | lets the clients go to whoever owns the slots | 0 done |
//! | `owner` | prints who serves the slot: `source`, `target`, or another name | 0 |
//! | `after-switch` | is told that slots were switched | 0 |
//! | `on-failure` | is told that the job failed | 0 |
//!
//! Those with a star must exist. Each may be called again, `lower` without a `raise` as well, and from another process:
//! the guard calls `lower`, `switch` and `owner` when the agent cannot. Without `owner` and `holds` we go by what we did
//! ourselves, which a process that starts later does not know.
//!
//! What a hook is told stands in environment variables: `SLOTMOVER_HOOK`, `SLOTMOVER_JOB`, `SLOTMOVER_SLOTS` (as
//! `1,5-9`), `SLOTMOVER_SOURCE`, `SLOTMOVER_TARGET`, `SLOTMOVER_DEADLINE_MS` (the time it has) and, for `on-failure`,
//! `SLOTMOVER_REASON`. The last line it prints is its word on what went wrong. A hook that takes too long is killed with
//! everything that it has started.

mod call;
#[cfg(test)]
mod tests;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use replication::{Slot, SlotSet};
use tokio::task::JoinSet;
use tracing::warn;

use self::call::{Call, Ended};
use crate::routing::{Owner, Readiness, RoutingControl, Standing};
use crate::{BoxFuture, Error, Result};

/// Where the hooks are, and what they are told.
#[derive(Clone, Debug)]
pub struct HooksOptions {
    /// Their directory.
    pub dir: PathBuf,
    /// `HOST:PORT` of the node that the slots leave.
    pub source: String,
    /// `HOST:PORT` of the node that the slots go to.
    pub target: String,
    /// What tells jobs apart in the hooks' logs.
    pub job: String,
    /// The longest that a hook may take.
    pub timeout: Duration,
    /// The longest that a fence may stand: `raise` and `holds` are told so, and stopped by whoever calls them.
    pub max_lock: Option<Duration>,
}

/// Has programs of the operator stop and redirect the clients.
pub struct Hooks {
    options: HooksOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    raised: SlotSet,
    switched: SlotSet,
    /// `after-switch` runs aside, for the clients go on already.
    after: JoinSet<Result<()>>,
}

/// A point of a cutover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hook {
    BeforeRaise,
    Raise,
    Holds,
    Switch,
    Lower,
    Owner,
    AfterSwitch,
    OnFailure,
}

impl Hook {
    const ALL: [Self; 8] = [
        Self::BeforeRaise,
        Self::Raise,
        Self::Holds,
        Self::Switch,
        Self::Lower,
        Self::Owner,
        Self::AfterSwitch,
        Self::OnFailure,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::BeforeRaise => "before-raise",
            Self::Raise => "raise",
            Self::Holds => "holds",
            Self::Switch => "switch",
            Self::Lower => "lower",
            Self::Owner => "owner",
            Self::AfterSwitch => "after-switch",
            Self::OnFailure => "on-failure",
        }
    }

    fn is_needed(self) -> bool {
        matches!(self, Self::Raise | Self::Switch | Self::Lower)
    }
}

impl Hooks {
    /// The hooks of a directory. None is called yet.
    ///
    /// # Errors
    /// [`Error::Routing`] when one that must exist does not, or one that exists cannot be executed.
    pub fn open(options: HooksOptions) -> Result<Arc<Self>> {
        for hook in Hook::ALL {
            check(&options.dir.join(hook.name()), hook)?;
        }
        Ok(Arc::new(Self { options, state: Mutex::default() }))
    }

    /// Tells `on-failure` why the job has failed.
    ///
    /// # Errors
    /// When that hook fails too.
    pub async fn failed(&self, slots: &SlotSet, reason: &str) -> Result<()> {
        match self.call(Hook::OnFailure, slots) {
            Some(call) => succeed(&call.with("SLOTMOVER_REASON", reason).run().await?),
            None => Ok(()),
        }
    }

    /// A call of a hook that may be made; `None` when there is none of that name.
    fn call(&self, hook: Hook, slots: &SlotSet) -> Option<Call> {
        let path = self.options.dir.join(hook.name());
        if !hook.is_needed() && !path.exists() {
            return None;
        }
        let limit = self.options.timeout;
        let told = match hook {
            Hook::Raise | Hook::Holds => self.options.max_lock.map_or(limit, |max_lock| max_lock.min(limit)),
            _ => limit,
        };
        let call = Call::new(path, limit)
            .with("SLOTMOVER_HOOK", hook.name())
            .with("SLOTMOVER_JOB", &self.options.job)
            .with("SLOTMOVER_SLOTS", &slots.to_string())
            .with("SLOTMOVER_SOURCE", &self.options.source)
            .with("SLOTMOVER_TARGET", &self.options.target)
            .with("SLOTMOVER_DEADLINE_MS", &told.as_millis().to_string());
        Some(call)
    }

    async fn must(&self, hook: Hook, slots: &SlotSet) -> Result<()> {
        match self.call(hook, slots) {
            Some(call) => succeed(&call.run().await?),
            None => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RoutingControl for Hooks {
    /// Waits for the last `after-switch`, and says which of them failed.
    fn finish(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let mut after = std::mem::take(&mut self.state().after);
            let mut outcome = Ok(());
            while let Some(ended) = after.join_next().await {
                let ended = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
                outcome = outcome.and(ended);
            }
            outcome
        })
    }

    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>> {
        Box::pin(async move {
            let Some(call) = self.call(Hook::Owner, &SlotSet::from_iter([slot])) else {
                return Ok(match self.state().switched.contains(slot) {
                    true => Owner::Target,
                    false => Owner::Source,
                });
            };
            let ended = call.run().await?;
            succeed(&ended)?;
            match ended.last_line.as_str() {
                "source" => Ok(Owner::Source),
                "target" => Ok(Owner::Target),
                "" => Err(Error::Routing { what: format!("{} printed nothing", ended.what) }),
                other => Ok(Owner::Other(other.to_owned())),
            }
        })
    }

    fn knows_earlier_switches(&self) -> bool {
        self.call(Hook::Owner, &SlotSet::new()).is_some()
    }

    fn preconditions<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Readiness>> {
        Box::pin(async move {
            let Some(call) = self.call(Hook::BeforeRaise, slots) else { return Ok(Readiness::Ready) };
            let ended = call.run().await?;
            match ended.code {
                Some(NOT_YET) => Ok(Readiness::NotYet(ended.reason())),
                _ => succeed(&ended).map(|()| Readiness::Ready),
            }
        })
    }

    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.must(Hook::Raise, slots).await?;
            self.state().raised = slots.clone();
            Ok(())
        })
    }

    fn holds<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Standing>> {
        Box::pin(async move {
            let Some(call) = self.call(Hook::Holds, slots) else {
                return Ok(match self.state().raised == *slots {
                    true => Standing::Holds,
                    false => Standing::Broken("these slots were not fenced by this process".to_owned()),
                });
            };
            let ended = call.run().await?;
            Ok(match ended.code {
                Some(0) => Standing::Holds,
                _ => Standing::Broken(ended.reason()),
            })
        })
    }

    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.must(Hook::Switch, slots).await?;
            let after = self.call(Hook::AfterSwitch, slots);
            let mut state = self.state();
            state.raised = SlotSet::new();
            let mut is_new = false;
            for slot in slots.iter() {
                is_new |= state.switched.insert(slot);
            }
            if let Some(after) = after.filter(|_| is_new) {
                state.after.spawn(async move {
                    let outcome = after.run().await.and_then(|ended| succeed(&ended));
                    if let Err(error) = &outcome {
                        warn!(%error, "the slots are switched all the same");
                    }
                    outcome
                });
            }
            Ok(())
        })
    }

    fn lower<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.must(Hook::Lower, slots).await?;
            self.state().raised = SlotSet::new();
            Ok(())
        })
    }
}

fn succeed(ended: &Ended) -> Result<()> {
    match ended.code {
        Some(0) => Ok(()),
        _ => Err(Error::Routing { what: ended.reason() }),
    }
}

fn check(path: &Path, hook: Hook) -> Result<()> {
    let fault = |what: String| Err(Error::Routing { what });
    match path.metadata() {
        Ok(found) if !found.is_file() || found.permissions().mode() & 0o111 == 0 => {
            fault(format!("the hook {} cannot be executed: run `chmod +x` on it", path.display()))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !hook.is_needed() => Ok(()),
        Err(error) => fault(format!("the hook {} cannot be used: {error}", path.display())),
    }
}

/// As sysexits.h has it: try again later.
const NOT_YET: i32 = 75;
