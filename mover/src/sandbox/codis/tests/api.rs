// SPDX-License-Identifier: Apache-2.0
//! The sequence of a cutover by hand, and what the calls answer.

use serde_json::{Value, json};

use super::harness::{Rig, fault, http, key, ok};
use crate::sandbox::codis::{CodisConfig, SlotMapping};

const SLOT: u16 = 510;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sequence_of_a_cutover() {
    let rig = Rig::start().await;
    let (source, target) = (rig.source.addr().to_string(), rig.target.addr().to_string());
    rig.until("the statistics of both proxies", async |_| {
        let stats = rig.stats().await;
        let stats = stats["proxy"]["stats"].as_object().expect("a map").clone();
        stats.len() == 2 && stats.values().all(|entry| entry["stats"]["online"] == true)
    })
    .await;
    let stats = rig.stats().await;
    assert_eq!(stats["slots"][510], json!({ "id": 510, "group_id": 1, "action": {} }));
    assert_eq!(stats["group"]["models"][0]["servers"][0]["server"], source);
    assert_eq!(stats["group"]["models"][1]["promoting"], json!({}));
    let idle = json!({ "interval": 0, "disabled": false, "progress": { "status": "" }, "executor": 0 });
    assert_eq!(stats["slot_action"], idle);

    let at_source = json!({
        "id": 510, "backend_addr": source, "backend_addr_group_id": 1, "forward_method": 1,
    });
    assert_eq!(rig.slot(0, SLOT).await, at_source);
    for index in 0..2 {
        rig.lock(index, SLOT).await;
    }
    assert_eq!(rig.codis.locks().len(), 2);
    let (_, would_be) = rig.topom("GET", "/topom/slots", Value::Null).await;
    assert_eq!(would_be[510], at_source, "the dashboard does not know about the lock");

    assert_eq!(rig.assign(SLOT, 2).await, ok());
    assert_eq!(rig.stats().await["slots"][510], json!({ "id": 510, "group_id": 2, "action": {} }));
    for index in 0..2 {
        let record = rig.slot(index, SLOT).await;
        assert_eq!((&record["backend_addr"], record.get("locked")), (&json!(target), None));
    }

    rig.lock(0, SLOT).await;
    assert_eq!(rig.assign(SLOT, 2).await, ok(), "lowering is assigning where it is");
    assert_eq!(rig.codis.locks(), []);
    assert_eq!(rig.client(1).await.ask(&format!("SET {} v", key(SLOT))).await, "+OK");
    assert_eq!(rig.target.run("DBSIZE"), redis::Value::Int(1));
    rig.codis.stop().await;
}
