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
    refuse(displaced(stats, sides, slots))?;
    let touching = |mapping: &&Mapping| is_active(mapping) && concerns(mapping, sides);
    let running = |mapping: &&Mapping| is_active(mapping) && mapping.action.state != "pending";
    let busy: Vec<_> = stats.slots.iter().filter(|mapping| touching(mapping) || running(mapping)).map(action).collect();
    refuse((!busy.is_empty()).then(|| {
        let first = first(&busy);
        format!(
            "the dashboard moves slots itself ({first}); wait until it has finished, or take its pending actions back"
        )
    }))
}

/// Why the dashboard's part is not ready for a fence, if it is not.
///
/// # Errors
/// When it will not become so without a person.
pub(super) fn unready(stats: &Stats, sides: &Sides, slots: &SlotSet) -> Result<Option<String>> {
    refuse(displaced(stats, sides, slots))?;
    refuse(replaced(stats, sides).map(|what| format!("{what}; run the move again from the new one")))?;
    let is_alone = stats.proxy.models.is_empty();
    refuse(is_alone.then(|| "the dashboard knows no proxy, so no client could be held".to_owned()))?;
    Ok(unquiet(stats, sides).or_else(|| stats.proxy.models.iter().find_map(|proxy| unwell(stats, proxy))))
}

/// What is not as a fence needs it in a proxy's records of slots that are still to be locked.
pub(super) fn unfit(records: &[Record], source: &Side) -> Option<String> {
    records.iter().find_map(|record| {
        let id = record.id;
        if record.locked {
            let who = match Nonce::read(record.backend_addr_group_id) {
                Some(nonce) => {
                    format!("by a fence with the mark {nonce}: of another agent, or one that was not lowered")
                }
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
    displaced(stats, sides, slots).or_else(|| replaced(stats, sides)).or_else(|| unquiet(stats, sides))
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

fn refuse(what: Option<String>) -> Result<()> {
    what.map_or(Ok(()), |what| Err(Error::Routing { what }))
}

/// Which slots do not lie idle at the source.
fn displaced(stats: &Stats, sides: &Sides, slots: &SlotSet) -> Option<String> {
    let (mut elsewhere, mut active) = (Vec::new(), Vec::new());
    for slot in slots.iter() {
        match stats.mapping(slot) {
            None => elsewhere.push(format!("slot {slot} does not exist")),
            Some(mapping) if mapping.group_id != sides.source.group => elsewhere.push(describe(slot, mapping)),
            Some(mapping) if is_active(mapping) => active.push(action(mapping)),
            Some(_) => {}
        }
    }
    match (elsewhere.as_slice(), active.as_slice()) {
        ([_, ..], _) => {
            let (count, source) = (elsewhere.len(), sides.source.group);
            Some(format!("{count} of the slots do not belong to the source, {source}: {}", first(&elsewhere)))
        }
        (_, [_, ..]) => {
            let active = first(&active);
            Some(format!("the dashboard itself is to move these slots: {active}; take its actions back first"))
        }
        _ => None,
    }
}

fn first(list: &[String]) -> String {
    list.iter().take(EXAMPLES).cloned().collect::<Vec<_>>().join(", ")
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

/// Which side has got another master.
fn replaced(stats: &Stats, sides: &Sides) -> Option<String> {
    [&sides.source, &sides.target].into_iter().find_map(|side| {
        let Some(group) = stats.group(side.group) else { return Some(format!("{} is gone", side.group)) };
        match group.master() {
            Some(master) if master == side.master => None,
            Some(master) => Some(format!("the master of {} is {master} now, it was {}", side.group, side.master)),
            None => Some(format!("{} has no server any more", side.group)),
        }
    })
}

/// What the dashboard is about to push to the proxies, or may be soon.
fn unquiet(stats: &Stats, sides: &Sides) -> Option<String> {
    for group in stats.group.models.iter().filter(|group| sides.contains(group.id)) {
        if let Some(server) = group.servers.iter().find(|server| server.state != 0) {
            let Server { server, state } = server;
            return Some(format!("server {server} of {} is not well, the dashboard says state {state}", group.id));
        }
        if !group.promoting.state.is_empty() {
            return Some(format!("{} gets a new master, the dashboard says {}", group.id, group.promoting.state));
        }
    }
    if let Some(mapping) = stats.slots.iter().find(|mapping| is_active(mapping) && concerns(mapping, sides)) {
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::routing::codis::model::GroupId;

    /// A change of what the dashboard says, and what is said about it.
    type Case = (fn(&mut Value), &'static str);

    #[test]
    fn a_quiet_cluster_is_ready_and_holds() {
        let overview = overview(|_| {});
        let stats = &overview.stats;
        movable(stats, &sides(), &slots()).unwrap();
        assert_eq!(unready(stats, &sides(), &slots()).unwrap(), None);
        assert_eq!(change(|_| {}), None);
    }

    #[test]
    fn what_passes_is_waited_for() {
        let cases: &[Case] = &[
            (|s| s["group"]["models"][1]["servers"][0]["state"] = json!(1), "server 127.0.0.1:24101 of group 2"),
            (|s| s["group"]["models"][0]["promoting"] = json!({"index":1,"state":"preparing"}), "gets a new master"),
            (
                |s| s["slots"][4]["action"] = json!({"index":3,"state":"migrating","target_id":2}),
                "slot 4 to group 2: migrating",
            ),
            (|s| s["slot_action"]["executor"] = json!(1), "moving keys"),
            (|s| s["slot_action"]["disabled"] = json!(false), "may begin to move slots"),
            (|s| s["proxy"]["stats"] = json!({}), "has not heard of proxy 127.0.0.1:29111 yet"),
            (|s| s["proxy"]["stats"]["549e"]["timeout"] = json!(true), "proxy 127.0.0.1:29112 does not answer"),
            (|s| s["proxy"]["stats"]["549e"]["stats"]["online"] = json!(false), "proxy 127.0.0.1:29112 is not online"),
            (|s| s["proxy"]["stats"]["1ba8"]["error"] = json!({"Cause":"refused","Stack":null}), "29111: refused"),
            (
                |s| s["proxy"]["stats"]["1ba8"]["unixtime"] = json!(90),
                "has not heard of proxy 127.0.0.1:29111 for 10 s",
            ),
        ];
        for (patch, says) in cases {
            let overview = overview(patch);
            let why = unready(&overview.stats, &sides(), &slots()).unwrap().unwrap_or_default();
            assert!(why.contains(says), "{says}: {why}");
        }
    }

    #[test]
    fn what_needs_a_person_is_an_error() {
        let cases: &[Case] = &[
            (|s| s["slots"][1]["group_id"] = json!(2), "slot 1 is in group 2"),
            (|s| s["slots"][1]["group_id"] = json!(0), "slot 1 is offline"),
            (|s| s["slots"] = json!([]), "slot 1 does not exist"),
            (
                |s| s["slots"][2]["action"] = json!({"index":3,"state":"pending","target_id":2}),
                "slot 2 to group 2: pending",
            ),
            (|s| s["group"]["models"][0]["servers"][0]["server"] = json!("127.0.0.1:24002"), "is 127.0.0.1:24002 now"),
            (|s| s["group"]["models"][1]["servers"] = json!([]), "group 2 has no server any more"),
            (|s| s["group"]["models"] = json!([]), "group 1 is gone"),
            (|s| s["proxy"]["models"] = json!([]), "knows no proxy"),
        ];
        for (patch, says) in cases {
            let overview = overview(patch);
            let why = unready(&overview.stats, &sides(), &slots()).unwrap_err().to_string();
            assert!(why.contains(says), "{says}: {why}");
        }
    }

    #[test]
    fn nothing_is_prepared_while_the_dashboard_moves_slots() {
        let refused = |patch: fn(&mut Value)| movable(&overview(patch).stats, &sides(), &slots()).is_err();
        assert!(refused(|s| s["slots"][4]["action"] = json!({"state":"pending","target_id":2})));
        assert!(!refused(|s| s["slots"][5]["action"] = json!({"state":"pending","target_id":4})), "nobody's business");
        assert!(
            refused(|s| s["slots"][5]["action"] = json!({"state":"migrating","target_id":4})),
            "it would be frozen"
        );
    }

    #[test]
    fn a_change_breaks_a_fence() {
        let cases: &[Case] = &[
            (|s| s["proxy"]["models"][1]["start_time"] = json!("later"), "29112 was started or has joined at later"),
            (|s| _ = s["proxy"]["models"].as_array_mut().unwrap().pop(), "29112 has left"),
            (|s| s["slots"][1]["group_id"] = json!(2), "slot 1 is in group 2"),
            (|s| s["group"]["models"][0]["servers"][0]["state"] = json!(2), "state 2"),
            (|s| s["group"]["models"][0]["servers"][0]["server"] = json!("127.0.0.1:24002"), "is 127.0.0.1:24002 now"),
            (|s| s["slot_action"]["disabled"] = json!(false), "may begin to move slots"),
        ];
        for (patch, says) in cases {
            let why = change(*patch).unwrap_or_default();
            assert!(why.contains(says), "{says}: {why}");
        }
        let overview = overview(|_| {});
        assert!(changed(&overview, "another", &overview.stats.proxy.models, &sides(), &slots()).is_some());
    }

    #[test]
    fn records_are_judged() {
        let nonce = Nonce::new(GroupId(1));
        let record = |json: Value| vec![serde_json::from_value::<Record>(json).unwrap()];
        let free = json!({"id":1,"backend_addr":"127.0.0.1:24001","backend_addr_group_id":1,"forward_method":1});
        let ours = json!({"id":1,"locked":true,"backend_addr":"127.0.0.1:24001","backend_addr_group_id":nonce.get()});
        let source = &sides().source;
        assert_eq!(unfit(&record(free.clone()), source), None);
        assert_eq!(broken(&record(ours.clone()), source, nonce), None);
        assert!(broken(&record(free), source, nonce).unwrap().contains("has let go of slot 1"));
        assert!(unfit(&record(ours.clone()), source).unwrap().contains("locked by a fence"));
        assert!(
            broken(&record(ours), source, Nonce::read(nonce.get() + 10_000).unwrap())
                .unwrap()
                .contains("with the mark")
        );
        assert!(unfit(&record(json!({"id":1})), source).unwrap().contains("no server for slot 1"));
        let moving = json!({"id":1,"backend_addr":"127.0.0.1:24001","migrate_from":"127.0.0.1:24101"});
        assert!(unfit(&record(moving), source).unwrap().contains("key by key"));
    }

    fn change(patch: fn(&mut Value)) -> Option<String> {
        let before = overview(|_| {});
        changed(&overview(patch), &before.model.start_time, &before.stats.proxy.models, &sides(), &slots())
    }

    /// As a real dashboard prints it, with six slots, and changed by `patch`.
    fn overview(patch: impl Fn(&mut Value)) -> Overview {
        let slots: Vec<_> = [1, 1, 1, 1, 1, 3].iter().enumerate().collect();
        let slots: Vec<_> = slots.iter().map(|(id, group)| json!({"id":id,"group_id":group,"action":{}})).collect();
        let mut stats = json!({"closed":false,"slots":slots,
            "group":{"models":[
                {"id":1,"servers":[{"server":"127.0.0.1:24001","state":0}],"promoting":{},"out_of_sync":false},
                {"id":2,"servers":[{"server":"127.0.0.1:24101","state":0}],"promoting":{},"out_of_sync":true}],
                "stats":{"127.0.0.1:24001":{"stats":{"role":"master"},"unixtime":100}}},
            "proxy":{"models":[
                {"id":1,"token":"1ba8","start_time":"2026-11-22 06:30:23","admin_addr":"127.0.0.1:29111","pid":7},
                {"id":2,"token":"549e","start_time":"2026-11-22 06:30:24","admin_addr":"127.0.0.1:29112","pid":8}],
                "stats":{"1ba8":{"stats":{"online":true},"unixtime":99},"549e":{"stats":{"online":true},"unixtime":100}}},
            "slot_action":{"interval":0,"disabled":true,"progress":{"status":""},"executor":0}});
        patch(&mut stats);
        let all = json!({"version":"x","config":{"product_name":"demo"},"model":{"start_time":"then"},"stats":stats});
        serde_json::from_value(all).unwrap()
    }

    fn sides() -> Sides {
        let side = |group, master: &str| Side { group: GroupId(group), master: master.to_owned() };
        Sides { source: side(1, "127.0.0.1:24001"), target: side(2, "127.0.0.1:24101") }
    }

    fn slots() -> SlotSet {
        "1-2".parse().unwrap()
    }
}
