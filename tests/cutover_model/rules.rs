// SPDX-License-Identifier: Apache-2.0
//! The bounds of a check, the rule that it leaves out on purpose, and the steps that may follow a state.

use super::explorer::Steps;
use super::state::{At, Faults, Leave, Node, State, Watch};
use super::step::{Step, Who};

#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// How many writes the clients make, and how many attempts the agent.
    pub(super) writes: u8,
    pub(super) attempts: u8,
    pub(super) faults: Faults,
    /// A lock may break between the last check and the switch too, which Codis gives no way to exclude.
    pub(super) residual_race: bool,
    pub(super) mistake: Option<Mistake>,
}

/// A rule of the protocol that is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mistake {
    /// The end of the log is read before the locks are answered.
    EndBeforeFence,
    /// The agent switches without asking its guard, which may be lowering.
    SwitchWithoutLeave,
    /// The agent lowers when the switch that it sent is not answered in time.
    LowerAfterSwitch,
    /// The guard lowers when its deadline passes after it gave leave.
    GuardLowersAfterLeave,
    /// The next attempt begins while an `assign(source)` of the agent's last lower is queued.
    AttemptWhileOwnLowerIsQueued,
    /// The same with one of the guard.
    AttemptWhileGuardsLowerIsQueued,
    /// The same with one of a process that is dead, or whose answer was lost.
    AttemptBeforeTheDeadHaveSettled,
    /// The journal says only after the guard gave leave that a switch may come.
    JournalAfterLeave,
    /// An agent that finds in its journal that a switch may come sends it, although leave may have been refused.
    RollForwardFromJournal,
    /// An agent that starts again does not wait until the guard of its predecessor has ended.
    ResolveBesideTheOldGuard,
    /// It believes who the owner is while the switch of its predecessor may be queued.
    ResolveBeforeTheDeadHaveSettled,
    /// Having lost its connection to the target, the agent sends the key again over another at once.
    ReadAgainBeforeALostValueHasSettled,
    /// A guard whose agent is dead ends as soon as it sees no lock.
    GuardLeavesEarly,
}

impl Rules {
    /// All that may happen next.
    pub(super) fn next(&self, state: &State) -> Steps {
        let mut turn = Turn { rules: self, state, steps: Vec::new() };
        turn.clients();
        turn.proxies();
        turn.dashboard();
        turn.agent();
        turn.guard();
        turn.late();
        turn.faults();
        turn.steps
    }
}

/// A state, and the steps out of it as they are found.
pub(super) struct Turn<'a> {
    pub(super) rules: &'a Rules,
    pub(super) state: &'a State,
    steps: Steps,
}

impl Turn<'_> {
    pub(super) fn step(&mut self, who: Who, what: &'static str, change: impl FnOnce(&mut State)) {
        self.add(Step { who, what, proxy: None }, change);
    }

    pub(super) fn step_at(&mut self, proxy: usize, who: Who, what: &'static str, change: impl FnOnce(&mut State)) {
        self.add(Step { who, what, proxy: Some(proxy) }, change);
    }

    fn add(&mut self, step: Step, change: impl FnOnce(&mut State)) {
        let mut state = *self.state;
        change(&mut state);
        self.steps.push((step, state));
    }

    pub(super) fn makes(&self, mistake: Mistake) -> bool {
        self.rules.mistake == Some(mistake)
    }

    /// Whether nothing is left of what processes sent that are dead or have given up. It cannot be asked; the real ones
    /// wait until dashboard, proxies and target have answered fast for long enough.
    pub(super) fn is_settled(&self) -> bool {
        let State { dashboard, proxies, late, .. } = self.state;
        let assigns = late.assign_source + late.assign_target;
        let at_proxies = proxies.iter().any(|proxy| proxy.late_lock.is_some() || proxy.late_push.is_some());
        assigns == 0 && dashboard.running.is_none() && late.value.is_none() && !at_proxies
    }

    /// Whether agent and guard have the answers to all that they sent.
    pub(super) fn is_answered(&self) -> bool {
        let State { agent, dashboard, proxies, .. } = self.state;
        let guard = dashboard.guard.is_none() || self.makes(Mistake::AttemptWhileGuardsLowerIsQueued);
        let locks = proxies.iter().all(|proxy| proxy.lock_call.is_none());
        dashboard.agent.is_none() && guard && locks && agent.value.is_none()
    }

    /// Whether a switch may still come of a check that found the fence whole.
    pub(super) fn is_committed(&self) -> bool {
        let State { agent, guard, dashboard, late, .. } = self.state;
        let asked = guard.asked && guard.at == Watch::Raised;
        let leave = matches!(guard.at, Watch::MaySwitch | Watch::Forward) || guard.answer == Some(Leave::Given);
        let sent = late.assign_target > 0 || [dashboard.agent, dashboard.guard].contains(&Some(Node::Target));
        dashboard.owner == Node::Source && (asked || leave || sent || agent.at == At::Switching)
    }
}
