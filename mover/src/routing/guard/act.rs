// SPDX-License-Identifier: Apache-2.0
//! What guard and settlement do in the routing layer, each once and then looked at.

use replication::SlotSet;

use crate::routing::{Owner, RoutingControl, Standing};
use crate::{Error, Result};

/// Lowers the fence and asks whether it is down.
pub(super) async fn lower(control: &dyn RoutingControl, slots: &SlotSet) -> Result<()> {
    control.lower(slots).await?;
    match control.holds(slots).await {
        Ok(Standing::Holds) => Err(Error::Routing { what: format!("the fence of slots {slots} stands all the same") }),
        // A layer that has just lowered it and cannot be asked is believed.
        Ok(Standing::Broken(_)) | Err(_) => Ok(()),
    }
}

/// Sends the switch and asks who owns the slots: only that counts.
pub(super) async fn switch(control: &dyn RoutingControl, slots: &SlotSet) -> Result<()> {
    let sent = control.switch(slots).await;
    for slot in slots.iter() {
        match (control.owner(slot).await?, &sent) {
            (Owner::Target, _) => {}
            (owner, Ok(())) => {
                return Err(Error::Routing { what: format!("slot {slot} is served by {owner} after the switch") });
            }
            (_, Err(_)) => return sent,
        }
    }
    Ok(())
}

/// Whether all of the slots are with this owner.
pub(super) async fn are_at(control: &dyn RoutingControl, slots: &SlotSet, owner: &Owner) -> Result<bool> {
    for slot in slots.iter() {
        if control.owner(slot).await? != *owner {
            return Ok(false);
        }
    }
    Ok(true)
}

/// For a message: where the clients of the slots go on. A few slots tell, for each costs a question.
pub(super) async fn owners(control: &dyn RoutingControl, slots: &SlotSet) -> String {
    let mut owners: Vec<String> = Vec::new();
    for slot in slots.iter().take(FEW) {
        let owner = match control.owner(slot).await {
            Ok(owner) => owner.to_string(),
            Err(_) => "whoever owns them".to_owned(),
        };
        if !owners.contains(&owner) {
            owners.push(owner);
        }
    }
    owners.join(" and ")
}

const FEW: usize = 4;
