// SPDX-License-Identifier: Apache-2.0
//! The rules of [`RoutingControl`] as a test that everyone can run who implements it.
//!
//! An implementer provides a [`Rig`]: the control, clients in front of its layer and nodes behind it that say who they
//! are. [`check`] raises, drops, lowers, switches and breaks fences there, and ends with the first [`Violation`]. It is a
//! test, not a proof: it sees what clients see, within seconds, one control at a time.
//!
//! ```no_run
//! use mover::routing::conformance::{Rig, Violation, check};
//!
//! async fn my_layer_keeps_the_rules(rig: &dyn Rig) -> Result<(), Violation> {
//!     check(rig).await
//! }
//! ```
//!
//! Where clients and nodes speak RESP, [`sandbox::rig`](crate::sandbox::rig) has everything but the control.

mod rules;
#[cfg(test)]
mod tests;
mod trial;

use std::fmt;
use std::time::Duration;

use replication::{Slot, SlotSet};

use self::trial::Trial;
use crate::BoxFuture;
use crate::routing::{Owner, RoutingControl};

/// What [`check`] needs: a layer that it may use alone, with clients and nodes.
pub trait Rig: Send + Sync {
    /// The control under test.
    fn control(&self) -> &dyn RoutingControl;

    /// At least [`SLOTS`] slots, all at the source. At the end some of them are at the target and no fence is up, if the
    /// control keeps the rules.
    fn slots(&self) -> SlotSet;

    /// A slot that the layer does not have; `None` where it cannot know.
    fn unknown_slot(&self) -> Option<Slot> {
        None
    }

    /// The places where clients connect, such as several proxies; a fence is only as good as at the worst of them.
    fn entrances(&self) -> usize {
        1
    }

    /// Sends a request of this slot as a client does, on a connection of its own, through one of the entrances, counted
    /// from 0. It is on its way once the answer is awaited.
    fn request(&self, slot: Slot, entrance: usize) -> Answer;

    /// Sends a request and has the source keep its answer back. Ends when the request is at the source.
    ///
    /// # Errors
    /// What went wrong in the rig.
    fn hold(&self, slot: Slot, entrance: usize) -> BoxFuture<'_, Result<Held, String>>;

    /// Breaks the fence of these slots behind the back of the control, as an accident would, such as a proxy that
    /// restarts; `None` where nothing can.
    fn break_fence<'a>(&'a self, _slots: &'a SlotSet) -> Option<BoxFuture<'a, Result<(), String>>> {
        None
    }

    /// How long to look out for what must not happen. Longer finds more and takes longer: it is waited some twenty times.
    fn patience(&self) -> Duration {
        Duration::from_millis(100)
    }

    /// After which time whatever has not happened is taken as never happening.
    fn limit(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// What becomes of a request: the node that answered it, or the error that its client got.
pub type Answer = BoxFuture<'static, Result<Owner, String>>;

/// A request whose answer the source keeps back.
pub struct Held {
    release: Box<dyn FnOnce() + Send>,
    answer: Answer,
}

impl Held {
    /// A request that is answered after `release`.
    pub fn new(release: impl FnOnce() + Send + 'static, answer: Answer) -> Self {
        Self { release: Box::new(release), answer }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held(..)")
    }
}

/// A rule of [`RoutingControl`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Rule {
    /// None of the trait's: without a fence requests are answered by the source. Else the rig is at fault, or a control
    /// that touches what it was not asked to.
    Rig,
    /// Rule 1: a fence is a barrier.
    Barrier,
    /// Rule 2: every method is idempotent.
    Idempotence,
    /// Rule 3: lower takes down what is left of a raise that failed or was dropped.
    DroppedRaise,
    /// Rule 4: lower leaves every slot where it is.
    Lower,
    /// Rule 5: a switch gives its slots to the target, and no others, if need be after a second try.
    Switch,
    /// Rule 6: what the control says is what the layer does.
    Asking,
    /// Rule 7: a slot that the layer does not have is refused.
    UnknownSlot,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rig => "without a fence the source answers",
            Self::Barrier => "rule 1, a fence is a barrier",
            Self::Idempotence => "rule 2, every method is idempotent",
            Self::DroppedRaise => "rule 3, lower takes down what a raise left that failed or was dropped",
            Self::Lower => "rule 4, lower leaves every slot where it is",
            Self::Switch => "rule 5, a switch gives its slots to the target, if need be when it is sent again",
            Self::Asking => "rule 6, what it says is what the layer does",
            Self::UnknownSlot => "rule 7, a slot that the layer does not have is refused",
        })
    }
}

/// A rule that a control broke.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{rule}: {what}")]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What was done and what came of it.
    pub what: String,
}

/// Holds a control to every rule that can be seen from outside. It must be called within a tokio runtime, takes some
/// seconds, and leaves a fence up when it fails.
///
/// # Errors
/// The first rule that was broken.
pub async fn check(rig: &dyn Rig) -> Result<(), Violation> {
    let mut trial = Trial::new(rig)?;
    rules::rig(&mut trial).await?;
    rules::prepare(&mut trial).await?;
    rules::barrier(&mut trial).await?;
    rules::switch(&mut trial).await?;
    rules::lower_keeps_owners(&mut trial).await?;
    rules::idempotence(&mut trial).await?;
    rules::dropped_raise(&mut trial).await?;
    rules::asking(&mut trial).await?;
    rules::unknown_slot(&mut trial).await?;
    rules::finish(&mut trial).await
}

/// Slots that [`check`] uses up: a switched one cannot be had back.
pub const SLOTS: usize = 16;
