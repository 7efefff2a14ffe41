// SPDX-License-Identifier: Apache-2.0
//! Native migrations as their callers and the proxies see them.

use std::time::Duration;

use replication::Slot;
use serde_json::{Value, json};

use super::harness::{Rig, fault, ok};
use crate::sandbox::codis::CodisConfig;

const SLOT: u16 = 500;

async fn put(rig: &Rig, path: &str) -> (u16, Value) {
    rig.topom("PUT", &format!("/api/topom/slots/action/{path}"), Value::Null).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pending_one_waits_and_is_overwritten() {
    let rig = Rig::start().await;
    assert_eq!(put(&rig, "disabled/X/1").await, ok());
    assert_eq!(put(&rig, "create/X/500/2").await, ok());
    let pending = json!({ "index": 1, "state": "pending", "target_id": 2 });
    assert_eq!(rig.stats().await["slots"][500]["action"], pending);
    assert_eq!(put(&rig, "create/X/500/2").await, fault("slot-[500] action already exists"));
    assert_eq!(put(&rig, "create/X/501/1").await, fault("slot-[501] already in group-[1]"));
    assert_eq!(put(&rig, "create/X/501/9").await, fault("group-[9] doesn't exist"));
    assert_eq!(put(&rig, "create/X/5000/2").await, fault("slot-[5000] doesn't exist"));
    assert_eq!(put(&rig, "create-range/X/498/502/2").await, fault("slot-[500] action already exists"));
    assert_eq!(put(&rig, "create-range/X/9/8/2").await, fault("invalid slot range [9,8]"));
    assert_eq!(put(&rig, "create-range/X/10/11/2").await, ok());
    assert_eq!(put(&rig, "create-some/X/1/2/1").await, ok());
    assert_eq!(rig.stats().await["slots"][0]["action"]["index"], 4);
    for slot in [0, 10, 11] {
        assert_eq!(put(&rig, &format!("remove/X/{slot}")).await, ok());
    }
    assert_eq!(put(&rig, "remove/X/501").await, fault("slot-[501] action doesn't exist"));
    assert_eq!(rig.assign(SLOT, 1).await, ok(), "nobody looks at the action that is there");
    assert_eq!(rig.stats().await["slots"][500], json!({ "id": 500, "group_id": 1, "action": {} }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_runs_breaks_locks_and_switches() {
    let rig = Rig::with(|config| CodisConfig { copy_time: Duration::from_secs(2), ..config }).await;
    let (source, target) = (rig.source.addr().to_string(), rig.target.addr().to_string());
    for index in 0..2 {
        rig.lock(index, SLOT).await;
    }
    assert_eq!(put(&rig, "create/X/500/2").await, ok());
    rig.until("its copying", async |_| rig.stats().await["slot_action"]["executor"] == 1).await;
    assert_eq!(rig.stats().await["slots"][500]["action"]["state"], "migrating");
    let migrating = json!({
        "id": 500, "backend_addr": target, "backend_addr_group_id": 2,
        "migrate_from": source, "migrate_from_group_id": 1, "forward_method": 1,
    });
    assert_eq!(rig.slot(0, SLOT).await, migrating);
    assert_eq!(put(&rig, "remove/X/500").await, fault("slot-[500] action isn't pending"));
    rig.until("its end", async |codis| {
        let mapping = codis.mapping(Slot::new(SLOT)).expect("it exists");
        mapping.group_id == 2 && mapping.action.state.is_empty()
    })
    .await;
    assert_eq!(rig.codis.locks(), []);
    rig.until("the finished record", async |_| rig.slot(1, SLOT).await.get("migrate_from").is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disabling_stops_one_that_has_not_copied() {
    let rig = Rig::start().await;
    assert_eq!(put(&rig, "disabled/X/1").await, ok());
    assert_eq!(put(&rig, "create/X/500/2").await, ok());
    rig.codis.kill_dashboard().await;
    rig.codis.start_dashboard().await.expect("its port is its own");
    rig.until("its end: nobody has told the new dashboard", async |codis| {
        codis.mapping(Slot::new(SLOT)).is_some_and(|mapping| mapping.group_id == 2)
    })
    .await;
}
