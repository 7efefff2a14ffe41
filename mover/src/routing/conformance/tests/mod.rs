// SPDX-License-Identifier: Apache-2.0
mod layer;

use std::collections::HashSet;

use tokio::task::JoinSet;

use self::layer::{Fault, Layer};
use super::{Rule, check};

#[tokio::test]
async fn a_layer_that_keeps_the_rules_passes() {
    for fault in [Fault::None, Fault::RaiseGivesUpEarly] {
        check(&Layer::new(fault)).await.unwrap_or_else(|violation| panic!("{fault:?}: {violation}"));
    }
}

#[tokio::test]
async fn each_fault_is_found_and_called_by_its_rule() {
    let mut trials = JoinSet::new();
    for (fault, rule) in FAULTS {
        trials.spawn(async move { (fault, rule, check(&Layer::new(fault)).await) });
    }
    for (fault, rule, verdict) in trials.join_all().await {
        let violation = verdict.expect_err(&format!("{fault:?} is not found"));
        assert_eq!(violation.rule, rule, "{fault:?}: {violation}");
    }
}

/// No rule may be held by nothing but its own word.
#[test]
fn every_rule_has_a_fault() {
    let rules: HashSet<Rule> = FAULTS.iter().map(|(_, rule)| *rule).collect();
    assert_eq!(rules.len(), 8, "{rules:?}");
    let faults: HashSet<Fault> = FAULTS.iter().map(|(fault, _)| *fault).collect();
    assert_eq!(faults.len(), FAULTS.len(), "a fault stands there twice");
}

const FAULTS: [(Fault, Rule); 30] = [
    (Fault::TargetAnswersAtFirst, Rule::Rig),
    (Fault::HoldsNothingBack, Rule::Rig),
    (Fault::TooFewSlots, Rule::Rig),
    (Fault::RaiseDoesNotWait, Rule::Barrier),
    (Fault::RaiseNeverReturns, Rule::Barrier),
    (Fault::RequestsPass, Rule::Barrier),
    (Fault::RequestsPassAtOneEntrance, Rule::Barrier),
    (Fault::RequestsFail, Rule::Barrier),
    (Fault::RaisesAreCounted, Rule::Idempotence),
    (Fault::LowerOfNothingFails, Rule::Idempotence),
    (Fault::SecondSwitchFails, Rule::Idempotence),
    (Fault::SecondPrepareFails, Rule::Idempotence),
    (Fault::SecondFinishFails, Rule::Idempotence),
    (Fault::DroppedRaiseIsForgotten, Rule::DroppedRaise),
    (Fault::DroppedRaiseComesLate, Rule::DroppedRaise),
    (Fault::LowerSwitches, Rule::Lower),
    (Fault::LowerTakesBack, Rule::Lower),
    (Fault::SwitchDoesNothing, Rule::Switch),
    (Fault::SwitchLeavesTheFence, Rule::Switch),
    (Fault::SwitchTakesAll, Rule::Switch),
    (Fault::SwitchReleasesFirst, Rule::Switch),
    (Fault::DroppedSwitchIsTakenForDone, Rule::Switch),
    (Fault::AlwaysHolds, Rule::Asking),
    (Fault::NeverHolds, Rule::Asking),
    (Fault::HoldsForAny, Rule::Asking),
    (Fault::HoldsFromMemory, Rule::Asking),
    (Fault::UnknownIsPrepared, Rule::UnknownSlot),
    (Fault::UnknownIsRaised, Rule::UnknownSlot),
    (Fault::UnknownIsSwitched, Rule::UnknownSlot),
    (Fault::UnknownHasAnOwner, Rule::UnknownSlot),
];
