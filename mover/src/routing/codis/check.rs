// SPDX-License-Identifier: Apache-2.0
//! Whether a cluster is fit for a fence, and whether a fence still stands: judged from what it said.

use replication::{Slot, SlotSet};

use crate::routing::codis::model::{Mapping, Overview, Proxy, Record, Server, Stats};
use crate::routing::codis::nonce::Nonce;
use crate::routing::codis::topology::{Side, Sides};
use crate::{Error, Result};

/// That these slots can be moved at all, and that it freezes nothing when the dashboard's own mover is stopped.
///
/// # Errors
/// When a person must do something first.
pub(super) fn movable(stats: &Stats, sides: &Sides, slots: &SlotSet) -> Result<()> {
    mapped_to_source(stats, sides, slots)?;
    let touching = |mapping: &&Mapping| is_active(mapping) && concerns(mapping, sides);
    let running = |mapping: &&Mapping| is_active(mapping) && mapping.action.state != "pending";
    let busy: Vec<_> = stats.slots.iter().filter(|mapping| touching(mapping) || running(mapping)).collect();
    if busy.is_empty() {
        return Ok(());
    }
    let what = format!(
        "the dashboard moves slots itself ({}); wait until it has finished, or take its pending actions back",
        busy.iter().take(EXAMPLES).map(|mapping| action(mapping)).collect::<Vec<_>>().join(", ")
    );
    Err(Error::Routing { what })
}

/// Why the dashboard's part is not ready for a fence, if it is not.
///
/// # Errors
/// When it will not become so without a person.
pub(super) fn unready(stats: &Stats, sides: &Sides, slots: &SlotSet) -> Result<Option<String>> {
    mapped_to_source(stats, sides, slots)?;
    for side in [&sides.source, &sides.target] {
        if let Some(what) = replaced(stats, side) {
            return Err(Error::Routing { what: format!("{what}; run the move again from the new one") });
        }
    }
    if stats.proxy.models.is_empty() {
        return Err(Error::Routing { what: "the dashboard knows no proxy, so no client could be held".to_owned() });
    }
    Ok(unquiet(stats, sides, None).or_else(|| stats.proxy.models.iter().find_map(|proxy| unwell(stats, proxy))))
}

/// What is not as a fence needs it in a proxy's records of slots that are still to be locked.
pub(super) fn unfit(records: &[Record], source: &Side) -> Option<String> {
    records.iter().find_map(|record| {
        let id = record.id;
        if record.locked {
            let who = match Nonce::read(record.backend_addr_group_id) {
                Some(nonce) => format!("by a fence with the mark {nonce} that is not ours"),
                None => "by the dashboard or by hand".to_owned(),
            };
            return Some(format!("holds slot {id} locked {who}"));
        }
        misrouted(record, source)
    })
}

/// What is not as it must be in a proxy's records of slots that were locked with `nonce`.
pub(super) fn broken(records: &[Record], source: &Side, nonce: Nonce) -> Option<String> {
    records.iter().find_map(|record| {
        let id = record.id;
        if !record.locked {
            let to = &record.backend_addr;
            return Some(format!(
                "has let go of slot {id}, which it sends to {to}: something pushed it or started anew"
            ));
        }
        if record.backend_addr_group_id != nonce.get() {
            let mark = record.backend_addr_group_id;
            return Some(format!("holds slot {id} locked, but with the mark {mark} and not with ours {nonce}"));
        }
        misrouted(record, source)
    })
}

/// What has changed in the dashboard since the fence was raised.
pub(super) fn changed(
    now: &Overview,
    start_time: &str,
    proxies: &[Proxy],
    sides: &Sides,
    slots: &SlotSet,
) -> Option<String> {
    let stats = &now.stats;
    if now.model.start_time != start_time {
        return Some("the dashboard was started anew".to_owned());
    }
    if let Some(proxy) = stats.proxy.models.iter().find(|proxy| !proxies.contains(proxy)) {
        return Some(format!("{proxy} was started or has joined at {}", proxy.start_time));
    }
    if let Some(proxy) = proxies.iter().find(|proxy| !stats.proxy.models.contains(proxy)) {
        return Some(format!("{proxy} has left the dashboard or was started anew"));
    }
    if let Err(error) = mapped_to_source(stats, sides, slots) {
        return Some(match error {
            Error::Routing { what } => what,
            other => other.to_string(),
        });
    }
    let replaced = [&sides.source, &sides.target].into_iter().find_map(|side| replaced(stats, side));
    replaced.or_else(|| unquiet(stats, sides, Some(slots)))
}

/// Where the record sends clients, if not to the master of `side` alone.
pub(super) fn misrouted(record: &Record, side: &Side) -> Option<String> {
    let Record { id, backend_addr, migrate_from, .. } = record;
    if backend_addr.is_empty() {
        return Some(format!("has no server for slot {id} yet"));
    }
    if *backend_addr != side.master {
        return Some(format!("sends slot {id} to {backend_addr} and not to {}", side.master));
    }
    (!migrate_from.is_empty()).then(|| format!("moves slot {id} from {migrate_from} key by key"))
}

/// Whether the dashboard's own mover has something to do with the slot.
pub(super) fn is_active(mapping: &Mapping) -> bool {
    !mapping.action.state.is_empty()
}

fn mapped_to_source(stats: &Stats, sides: &Sides, slots: &SlotSet) -> Result<()> {
    let (mut elsewhere, mut unknown, mut active) = (Vec::new(), SlotSet::new(), Vec::new());
    for slot in slots.iter() {
        match stats.mapping(slot) {
            None => _ = unknown.insert(slot),
            Some(mapping) if mapping.group_id != sides.source.group => elsewhere.push(describe(slot, mapping)),
            Some(mapping) if is_active(mapping) => active.push(action(mapping)),
            Some(_) => {}
        }
    }
    let some = |list: &[String]| list.iter().take(EXAMPLES).cloned().collect::<Vec<_>>().join(", ");
    let what = match (unknown.is_empty(), elsewhere.as_slice(), active.as_slice()) {
        (false, ..) => format!("the dashboard knows no slots {unknown}"),
        (_, [_, ..], _) => {
            let (count, source) = (elsewhere.len(), sides.source.group);
            format!("{count} of the slots do not belong to the source, {source}: {}", some(&elsewhere))
        }
        (_, _, [_, ..]) => {
            format!("the dashboard itself is to move these slots: {}; take its actions back first", some(&active))
        }
        _ => return Ok(()),
    };
    Err(Error::Routing { what })
}

fn describe(slot: Slot, mapping: &Mapping) -> String {
    match mapping.group_id.0 {
        0 => format!("slot {slot} is offline"),
        _ => format!("slot {slot} is in {}", mapping.group_id),
    }
}

fn action(mapping: &Mapping) -> String {
    format!("slot {} to {}: {}", mapping.id, mapping.action.target_id, mapping.action.state)
}

fn concerns(mapping: &Mapping, sides: &Sides) -> bool {
    sides.contains(mapping.group_id) || sides.contains(mapping.action.target_id)
}

/// Whether a side has got another master.
fn replaced(stats: &Stats, side: &Side) -> Option<String> {
    let Some(group) = stats.group(side.group) else { return Some(format!("{} is gone", side.group)) };
    match group.master() {
        Some(master) if master == side.master => None,
        Some(master) => Some(format!("the master of {} is {master} now, it was {}", side.group, side.master)),
        None => Some(format!("{} has no server any more", side.group)),
    }
}

/// What the dashboard is about to push to the proxies, or may be soon.
fn unquiet(stats: &Stats, sides: &Sides, fenced: Option<&SlotSet>) -> Option<String> {
    let ours = |mapping: &Mapping| fenced.is_some_and(|slots| slots.contains(Slot::new(mapping.id)));
    for side in [&sides.source, &sides.target] {
        let group = stats.group(side.group)?;
        if let Some(server) = group.servers.iter().find(|server| server.state != 0) {
            let Server { server, state } = server;
            return Some(format!("server {server} of {} is not well, the dashboard says state {state}", group.id));
        }
        if !group.promoting.state.is_empty() {
            return Some(format!("{} gets a new master, the dashboard says {}", group.id, group.promoting.state));
        }
    }
    let mut actions = stats.slots.iter().filter(|mapping| is_active(mapping) && !ours(mapping));
    if let Some(mapping) = actions.find(|mapping| concerns(mapping, sides)) {
        return Some(format!("the dashboard itself is to move a slot of these groups ({})", action(mapping)));
    }
    if stats.slot_action.executor > 0 {
        return Some("the dashboard itself is moving keys".to_owned());
    }
    (!stats.slot_action.disabled).then(|| "the dashboard may begin to move slots itself".to_owned())
}

/// What the dashboard says against a proxy.
fn unwell(stats: &Stats, proxy: &Proxy) -> Option<String> {
    let Some(seen) = stats.proxy.stats.get(&proxy.token) else {
        return Some(format!("the dashboard has not heard of {proxy} yet"));
    };
    if let Some(error) = &seen.error {
        return Some(format!("the dashboard cannot ask {proxy}: {}", error.cause));
    }
    if seen.timeout {
        return Some(format!("{proxy} does not answer the dashboard in time"));
    }
    if !seen.stats.as_ref().is_some_and(|stats| stats.online) {
        return Some(format!("{proxy} is not online"));
    }
    // The dashboard's clock, for it may not be ours.
    let others = stats.proxy.stats.values().map(|seen| seen.unixtime);
    let newest = others.chain(stats.group.stats.values().map(|seen| seen.unixtime)).max().unwrap_or_default();
    let age = newest - seen.unixtime;
    (age > STALE_SECONDS).then(|| format!("the dashboard has not heard of {proxy} for {age} s"))
}

const EXAMPLES: usize = 8;

/// The dashboard asks everybody once a second.
const STALE_SECONDS: i64 = 5;
