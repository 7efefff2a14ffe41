// SPDX-License-Identifier: Apache-2.0
//! Who sends clients to nodes, and how a slot's clients are held for a moment.

mod codis;
pub mod conformance;
pub mod guard;
mod hooks;
mod manual;

pub use codis::{Codis, CodisOptions};
pub use hooks::{Hooks, HooksOptions};
pub use manual::{Instruction, Manual, Operator, Step};

use std::fmt;

use replication::{Slot, SlotSet};

use crate::{BoxFuture, Result};

/// The layer that sends clients to nodes: all that an embedding proxy must provide.
///
/// A slot is *fenced* when none of its requests is in flight at any node and new ones wait, without an error. The rules
/// that an implementer is held to, and that [`conformance`] tests:
///
/// 1. **A fence is a barrier.** When [`raise`](Self::raise) returns `Ok`, every request of the slots that was accepted
///    before has been answered by the source, whether or not its client still waits, and none is sent to any node before
///    [`switch`](Self::switch) or [`lower`](Self::lower). That is so at every place where clients connect.
/// 2. **Every method is idempotent.** Doing it again, or after a lost answer, does no harm: two raises are one, lowering
///    what is not raised and switching what is switched are done at once.
/// 3. **A raise that fails or whose future is dropped** may leave parts of the fence up; `lower` takes all of them down,
///    those of the late ones among them that are still on their way. When it has returned `Ok` nothing comes up late. It
///    may wait for requests that are in flight; it may be dropped, too, and called again.
/// 4. **A lower never gives a slot away**, and never takes back one that is switched: it lets the waiting clients go to
///    whoever owns the slot.
/// 5. **A switch that failed or whose future was dropped may have happened**, but for one that failed with
///    [`Error::NotSwitched`](crate::Error::NotSwitched). Only [`owner`](Self::owner) tells; the caller sends it again until
///    it says the target, and never lowers to undo it. No other slot is touched.
/// 6. **What it says it has asked for**: `owner` and [`holds`](Self::holds) ask the layer itself, not a memory of ours.
///    Without a fence, or for one slot more than was raised, `holds` never says [`Standing::Holds`].
/// 7. **A slot that the layer does not have is an error** of [`prepare`](Self::prepare), `raise` and `switch`, and then no
///    slot is switched; `owner` gives it to neither side. A job that got beyond `prepare` tries its fences again and again.
pub trait RoutingControl: Send + Sync {
    /// Called once, before the first byte of a job moves, with all slots that it will switch.
    ///
    /// # Errors
    /// When these slots cannot be switched here at all: the job ends before it began, and `finish` is not called.
    fn prepare<'a>(&'a self, _slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Called once at the end of a job, whatever it ended with: takes back what [`prepare`](Self::prepare) changed.
    ///
    /// # Errors
    /// When something could not be taken back; the message says what and how to do it by hand.
    fn finish(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Who serves the slot now, as the routing layer itself says.
    ///
    /// # Errors
    /// When the layer cannot be asked.
    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>>;

    /// Whether [`owner`](Self::owner) knows of switches that an earlier process has sent. Where it does not, a job whose
    /// process died while a switch may have been sent is not gone on with.
    fn knows_earlier_switches(&self) -> bool {
        true
    }

    /// Whether a fence may be raised for these slots now. It is asked right before each [`raise`](Self::raise).
    ///
    /// # Errors
    /// What only a person can change, as slots that belong to another node; the job ends.
    fn preconditions<'a>(&'a self, _slots: &'a SlotSet) -> BoxFuture<'a, Result<Readiness>> {
        Box::pin(async { Ok(Readiness::Ready) })
    }

    /// Raises the fence. When it returns `Ok`, no request for these slots is in flight at the source and none will be
    /// sent to any node before [`switch`](Self::switch) or [`lower`](Self::lower). Clients wait; they get no error.
    ///
    /// # Errors
    /// When any part of the layer could not be fenced; the caller lowers everything then.
    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>>;

    /// Whether the fence has stood since it was raised and all that was so before it still is, asked of the layer
    /// itself. It is the last question before the switch.
    ///
    /// # Errors
    /// When the layer cannot be asked; the caller lowers then.
    fn holds<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Standing>>;

    /// Gives the slots to the target and lets the waiting clients go there.
    ///
    /// # Errors
    /// [`Error::NotSwitched`](crate::Error::NotSwitched) when certainly nothing was switched: the caller lowers. With
    /// every other error it may have happened all the same: ask [`owner`](Self::owner), do not lower.
    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>>;

    /// Lowers the fence without a switch: the waiting clients go to whoever owns the slots, before a switch the source.
    ///
    /// # Errors
    /// When a part of the layer may still hold clients; the caller calls it again.
    fn lower<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>>;
}

/// Who serves a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The node the slot is to leave.
    Source,
    /// The node the slot is to go to.
    Target,
    /// Another node, by its name, or different ones at different places.
    Other(String),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "the source",
            Self::Target => "the target",
            Self::Other(name) => name,
        })
    }
}

/// Whether a fence may be raised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// Now.
    Ready,
    /// Not now, for a reason that is likely to pass.
    NotYet(String),
}

/// Whether a fence still stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It has stood all the time.
    Holds,
    /// It has been broken, or something else changed that it needs; what, in words.
    Broken(String),
}
