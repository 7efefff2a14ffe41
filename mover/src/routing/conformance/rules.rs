// SPDX-License-Identifier: Apache-2.0
//! One function for each rule. Each begins and ends without a fence.

use std::pin::pin;

use replication::SlotSet;
use tokio::time::timeout;

use super::trial::{Clients, Trial};
use super::{Held, Rule, Violation};
use crate::routing::{Owner, Readiness, Standing};

type Verdict = Result<(), Violation>;

/// That the rig itself works: else nothing can be said.
pub(super) async fn rig(trial: &mut Trial<'_>) -> Verdict {
    trial.rule = Rule::Rig;
    let slots = trial.take(1);
    trial.answered(trial.clients(&slots), &Owner::Source, "at first").await?;
    trial.owned(&slots, &Owner::Source, "at first").await?;
    for entrance in 0..trial.rig.entrances() {
        let held = hold(trial, &slots, entrance).await?;
        let mut answer = held.answer;
        if let Ok(answer) = timeout(trial.rig.patience(), &mut answer).await {
            return Err(trial.violation(format!("a request that the source was to keep back was answered: {answer:?}")));
        }
        (held.release)();
        trial.answered(Clients::of(answer), &Owner::Source, "after it was kept back").await?;
    }
    Ok(())
}

/// What a job does before its first fence.
pub(super) async fn prepare(trial: &mut Trial<'_>) -> Verdict {
    trial.rule = Rule::Idempotence;
    let slots = trial.rig.slots();
    trial.at_last("prepare", || trial.control.prepare(&slots)).await?;
    trial.at_last("a second prepare", || trial.control.prepare(&slots)).await?;
    ready(trial, &slots).await
}

/// Rule 1.
pub(super) async fn barrier(trial: &mut Trial<'_>) -> Verdict {
    trial.rule = Rule::Barrier;
    let slots = trial.take(2);
    for entrance in 0..trial.rig.entrances() {
        raised_over_a_request(trial, &slots, entrance).await?;
    }
    raise(trial, &slots).await?;
    let waiting = trial.waiting(&slots).await?;
    let_go(trial, &slots, waiting).await
}

async fn raised_over_a_request(trial: &Trial<'_>, slots: &SlotSet, entrance: usize) -> Verdict {
    ready(trial, slots).await?;
    let held = hold(trial, slots, entrance).await?;
    let mut raising = pin!(trial.control.raise(slots));
    // A raise may give up over a slow request; then it has to be asked again.
    let early = timeout(trial.rig.patience(), &mut raising).await;
    if let Ok(Ok(())) = early {
        return Err(trial.violation("raise returned while a request was at the source that had not been answered"));
    }
    (held.release)();
    let raised = match early {
        Ok(outcome) => outcome,
        Err(_) => trial.ended("raise, after the last answer,", raising).await?,
    };
    if raised.is_err() {
        lower(trial, slots).await?;
        raise(trial, slots).await?;
    }
    trial.answered(Clients::of(held.answer), &Owner::Source, "before the fence").await?;
    let waiting = trial.waiting(slots).await?;
    let_go(trial, slots, waiting).await
}

/// Rule 5.
pub(super) async fn switch(trial: &mut Trial<'_>) -> Verdict {
    trial.rule = Rule::Switch;
    let (slots, others) = (trial.take(2), trial.take(1));
    raise(trial, &slots).await?;
    let waiting = trial.waiting(&slots).await?;
    trial.at_last("switch", || trial.control.switch(&slots)).await?;
    trial.owned(&slots, &Owner::Target, "after switch").await?;
    trial.answered(waiting, &Owner::Target, "after switch").await?;
    trial.served(&slots, &Owner::Target, "after switch").await?;
    trial.owned(&others, &Owner::Source, "after a switch of other slots").await?;
    trial.served(&others, &Owner::Source, "after a switch of other slots").await?;

    raise(trial, &others).await?;
    let waiting = trial.waiting(&others).await?;
    let _ = trial.begun(trial.control.switch(&others)).await;
    switch_until_owned(trial, &others).await?;
    trial.answered(waiting, &Owner::Target, "after a switch that was dropped and sent again").await
}

/// Rule 4.
pub(super) async fn lower_keeps_owners(trial: &mut Trial<'_>) -> Verdict {
    trial.rule = Rule::Lower;
    let slots = trial.take(2);
    raise(trial, &slots).await?;
    let waiting = trial.waiting(&slots).await?;
    let_go(trial, &slots, waiting).await?;
    trial.owned(&slots, &Owner::Source, "after lower").await?;

    raise(trial, &slots).await?;
    switch_until_owned(trial, &slots).await?;
    lower(trial, &slots).await?;
    trial.owned(&slots, &Owner::Target, "after a switch and a late lower").await?;
    trial.served(&slots, &Owner::Target, "after a switch and a late lower").await
}

/// Rule 2.
pub(super) async fn idempotence(trial: &mut Trial<'_>) -> Verdict {
    trial.rule = Rule::Idempotence;
    let slots = trial.take(2);
    trial.at_last("lower of what is not raised", || trial.control.lower(&slots)).await?;
    raise_twice(trial, &slots).await?;
    let waiting = trial.waiting(&slots).await?;
    trial.at_last("lower", || trial.control.lower(&slots)).await?;
    trial.answered(waiting, &Owner::Source, "after two raises and one lower").await?;
    trial.at_last("a second lower", || trial.control.lower(&slots)).await?;
    trial.served(&slots, &Owner::Source, "after a second lower").await?;

    raise(trial, &slots).await?;
    let waiting = trial.waiting(&slots).await?;
    trial.at_last("switch", || trial.control.switch(&slots)).await?;
    trial.at_last("a second switch", || trial.control.switch(&slots)).await?;
    trial.answered(waiting, &Owner::Target, "after two switches").await?;
    trial.owned(&slots, &Owner::Target, "after two switches").await
}

/// Rule 3, with a raise that has to wait, and with one that has hardly begun.
pub(super) async fn dropped_raise(trial: &mut Trial<'_>) -> Verdict {
    trial.rule = Rule::DroppedRaise;
    let slots = trial.take(2);
    ready(trial, &slots).await?;
    let held = hold(trial, &slots, 0).await?;
    if let Some(Ok(())) = trial.dropped(trial.control.raise(&slots)).await {
        return Err(trial.violation("raise returned while a request was at the source that had not been answered"));
    }
    // It may have to wait for that request as well; then it is dropped, too, and called again.
    let _ = trial.dropped(trial.control.lower(&slots)).await;
    (held.release)();
    lower(trial, &slots).await?;
    let when = "after a raise was dropped and lower had returned";
    trial.answered(Clients::of(held.answer), &Owner::Source, when).await?;
    trial.served(&slots, &Owner::Source, when).await?;

    ready(trial, &slots).await?;
    let _ = trial.begun(trial.control.raise(&slots)).await;
    lower(trial, &slots).await?;
    trial.served(&slots, &Owner::Source, "after a raise was dropped at its begin and lower had returned").await?;
    trial.owned(&slots, &Owner::Source, when).await?;

    raise(trial, &slots).await?;
    let waiting = trial.waiting(&slots).await?;
    let_go(trial, &slots, waiting).await
}

/// Rule 6.
pub(super) async fn asking(trial: &mut Trial<'_>) -> Verdict {
    trial.rule = Rule::Asking;
    let (slots, more) = (trial.take(2), trial.take(1));
    let all = slots.iter().chain(more.iter()).collect();
    not_standing(trial, &slots, "before any raise").await?;
    standing(trial, &slots).await?;
    not_standing(trial, &all, "with a slot more than was raised").await?;
    lower(trial, &slots).await?;
    not_standing(trial, &slots, "after lower").await?;
    if let Some(()) = broken(trial, &slots).await? {
        not_standing(trial, &slots, "after something else broke the fence").await?;
        lower(trial, &slots).await?;
        trial.served(&slots, &Owner::Source, "after a broken fence was lowered").await?;
    }
    standing(trial, &slots).await?;
    switch_until_owned(trial, &slots).await?;
    not_standing(trial, &slots, "after switch").await
}

/// Raises a fence and breaks it, where the rig can.
async fn broken(trial: &Trial<'_>, slots: &SlotSet) -> Result<Option<()>, Violation> {
    raise(trial, slots).await?;
    match trial.rig.break_fence(slots) {
        Some(accident) => trial.done("to break the fence", accident).await.map(Some),
        None => lower(trial, slots).await.map(|()| None),
    }
}

/// Raises a fence that is said to stand, twice. One that is not may have been broken by chance, so it is tried again.
async fn standing(trial: &Trial<'_>, slots: &SlotSet) -> Verdict {
    let standing = || async {
        raise_once(trial, slots).await?;
        for _ in 0..2 {
            match trial.control.holds(slots).await {
                Ok(Standing::Holds) => {}
                Ok(Standing::Broken(why)) => {
                    return lowered(trial, slots, format!("it is said to be broken: {why}")).await;
                }
                Err(error) => return lowered(trial, slots, error.to_string()).await,
            }
        }
        Ok(())
    };
    trial.at_last("a fence that was raised and is to hold", standing).await
}

async fn not_standing(trial: &Trial<'_>, slots: &SlotSet, when: &str) -> Verdict {
    match trial.ended("holds", trial.control.holds(slots)).await? {
        Ok(Standing::Holds) => Err(trial.violation(format!("a fence is said to stand {when}"))),
        Ok(Standing::Broken(_)) | Err(_) => Ok(()),
    }
}

/// Rule 7.
pub(super) async fn unknown_slot(trial: &mut Trial<'_>) -> Verdict {
    trial.rule = Rule::UnknownSlot;
    let mut slots = trial.take(1);
    let Some(unknown) = trial.rig.unknown_slot() else { return Ok(()) };
    let known = slots.clone();
    slots.insert(unknown);
    if let Ok(Owner::Source | Owner::Target) = trial.ended("owner", trial.control.owner(unknown)).await? {
        return Err(trial.violation(format!("slot {unknown} does not exist, and is said to have an owner")));
    }
    let refused = [
        ("prepare", trial.ended("prepare", trial.control.prepare(&slots)).await?.is_err()),
        ("raise", trial.ended("raise", trial.control.raise(&slots)).await?.is_err()),
        ("switch", trial.ended("switch", trial.control.switch(&slots)).await?.is_err()),
    ];
    if let Some((method, _)) = refused.iter().find(|(_, refused)| !refused) {
        return Err(trial.violation(format!("{method} takes slot {unknown}, which does not exist")));
    }
    lower(trial, &known).await?;
    trial.owned(&known, &Owner::Source, "after a refusal").await?;
    trial.served(&known, &Owner::Source, "after a refusal").await
}

/// What a job does at its end.
pub(super) async fn finish(trial: &mut Trial<'_>) -> Verdict {
    trial.rule = Rule::Idempotence;
    trial.at_last("finish", || trial.control.finish()).await?;
    trial.at_last("a second finish", || trial.control.finish()).await
}

async fn hold(trial: &Trial<'_>, slots: &SlotSet, entrance: usize) -> Result<Held, Violation> {
    let slot = slots.last().expect("no rule is about no slots");
    trial.done("to have a request kept back at the source", trial.rig.hold(slot, entrance)).await
}

/// Waits as a job does until a fence may be raised.
async fn ready(trial: &Trial<'_>, slots: &SlotSet) -> Verdict {
    let ready = || async {
        match trial.control.preconditions(slots).await {
            Ok(Readiness::Ready) => Ok(()),
            Ok(Readiness::NotYet(why)) => Err(why),
            Err(error) => Err(error.to_string()),
        }
    };
    trial.at_last("preconditions", ready).await
}

/// Raises as a job does: again, with a lower in between, until it is up.
async fn raise(trial: &Trial<'_>, slots: &SlotSet) -> Verdict {
    trial.at_last("raise", || raise_once(trial, slots)).await
}

async fn raise_twice(trial: &Trial<'_>, slots: &SlotSet) -> Verdict {
    let twice = || async {
        raise_once(trial, slots).await?;
        match trial.control.raise(slots).await {
            Ok(()) => Ok(()),
            Err(error) => lowered(trial, slots, error.to_string()).await,
        }
    };
    trial.at_last("a second raise", twice).await
}

async fn raise_once(trial: &Trial<'_>, slots: &SlotSet) -> Result<(), String> {
    ready(trial, slots).await.map_err(|violation| violation.what)?;
    match trial.control.raise(slots).await {
        Ok(()) => Ok(()),
        Err(error) => lowered(trial, slots, error.to_string()).await,
    }
}

/// Lowers after an attempt that came to nothing, and says why it did.
async fn lowered(trial: &Trial<'_>, slots: &SlotSet, why: String) -> Result<(), String> {
    lower(trial, slots).await.map_err(|violation| violation.what)?;
    Err(why)
}

/// Lowers a fence that was raised, and sees the clients go on. Whatever is wrong then is wrong with lower.
async fn let_go(trial: &Trial<'_>, slots: &SlotSet, waiting: Clients) -> Verdict {
    let verdict = match lower(trial, slots).await {
        Ok(()) => trial.answered(waiting, &Owner::Source, "after lower").await,
        Err(violation) => Err(violation),
    };
    verdict.map_err(|violation| Violation { rule: Rule::Lower, ..violation })
}

/// Lowers as a job does: again until it is done.
async fn lower(trial: &Trial<'_>, slots: &SlotSet) -> Verdict {
    trial.at_last("lower", || trial.control.lower(slots)).await
}

/// Switches as a job does: again until the target is the owner.
async fn switch_until_owned(trial: &Trial<'_>, slots: &SlotSet) -> Verdict {
    let switched = || async {
        let sent = trial.control.switch(slots).await;
        for slot in slots.iter() {
            match trial.control.owner(slot).await {
                Ok(Owner::Target) => {}
                Ok(owner) => return Err(format!("{owner:?} owns slot {slot}, and the switch said {sent:?}")),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    };
    trial.at_last("switch", switched).await
}
