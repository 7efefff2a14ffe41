// SPDX-License-Identifier: Apache-2.0
//! Proxies that are killed, restarted, added, removed or hang while a slot is locked.

use std::time::Duration;

use replication::Slot;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::harness::{Rig, fault, key, ok, topom};
use crate::sandbox::codis::CodisConfig;

const SLOT: u16 = 510;
const SOON: Duration = Duration::from_millis(100);

async fn model(rig: &Rig, index: usize) -> Value {
    rig.proxy(index, "GET", "/api/proxy/model", Value::Null).await.1
}

fn backend(rig: &Rig, index: usize) -> (bool, String) {
    let record = rig.codis.slot_record(index, Slot::new(SLOT)).expect("it runs");
    (record.locked, record.backend_addr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_proxy_is_unlocked_at_the_source() {
    let rig = Rig::start().await;
    let before = model(&rig, 1).await;
    for index in 0..2 {
        rig.lock(index, SLOT).await;
    }
    let mut blocked = rig.client(1).await;
    blocked.send(&format!("SET {} v", key(SLOT))).await;
    sleep(SOON).await;
    rig.codis.restart_proxy(1).await.expect("its ports are its own");
    assert_eq!(blocked.receive().await, "", "its clients' connections break");
    rig.codis.until_online(1).await.expect("by itself");
    let after = model(&rig, 1).await;
    for (field, same) in [("token", true), ("admin_addr", true), ("start_time", false), ("pid", false)] {
        assert_eq!(before[field] == after[field], same, "{field}");
    }
    assert_eq!(backend(&rig, 1), (false, rig.source.addr().to_string()));
    assert_eq!(rig.codis.locks(), [(0, Slot::new(SLOT))]);
    assert_eq!(rig.client(1).await.ask(&format!("SET {} v", key(SLOT))).await, "+OK");
    let models = rig.stats().await["proxy"]["models"].clone();
    assert_eq!(models.as_array().map(Vec::len), Some(2));
    assert_eq!(models[1]["start_time"], after["start_time"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_proxy_is_unlocked_at_the_source() {
    let rig = Rig::start().await;
    for index in 0..2 {
        rig.lock(index, SLOT).await;
    }
    let index = rig.codis.join_proxy().await.expect("a free port");
    rig.codis.until_online(index).await.expect("by itself");
    assert_eq!(backend(&rig, 2), (false, rig.source.addr().to_string()));
    assert_eq!(rig.stats().await["proxy"]["models"].as_array().map(Vec::len), Some(3));

    let token = model(&rig, 2).await["token"].as_str().expect("it has one").to_owned();
    rig.lock(2, SLOT).await;
    let mut blocked = rig.client(2).await;
    blocked.send(&format!("SET {} v", key(SLOT))).await;
    sleep(SOON).await;
    let remove = format!("/api/topom/proxy/remove/X/{token}/0");
    assert_eq!(rig.topom("PUT", &remove, Value::Null).await, ok());
    assert_eq!(blocked.receive().await, "-ERR handle request, slot is not ready, may be offline");
    assert_eq!(blocked.receive().await, "");
    assert_eq!(rig.stats().await["proxy"]["models"].as_array().map(Vec::len), Some(2));
    assert_eq!(rig.topom("PUT", &remove, Value::Null).await, fault(&format!("proxy-[{token}] doesn't exist")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assignment_is_committed_although_a_proxy_is_dead() {
    let rig = Rig::start().await;
    let token = model(&rig, 1).await["token"].as_str().expect("it has one").to_owned();
    for index in 0..2 {
        rig.lock(index, SLOT).await;
    }
    rig.codis.kill_proxy(1).await;
    let failed = fault(&format!("proxy-[{token}] resync slots failed"));
    for _ in 0..2 {
        assert_eq!(rig.assign(SLOT, 2).await, failed);
        assert_eq!(rig.codis.mapping(Slot::new(SLOT)).map(|mapping| mapping.group_id), Some(2));
        assert_eq!(backend(&rig, 0), (false, rig.target.addr().to_string()));
    }
    rig.until("an error in the statistics", async |_| {
        rig.stats().await["proxy"]["stats"][&token]["error"]["Cause"].is_string()
    })
    .await;
    rig.codis.start_proxy(1).await.expect("its ports are its own");
    rig.codis.until_online(1).await.expect("by itself");
    assert_eq!(backend(&rig, 1), (false, rig.target.addr().to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_hangs_freezes_the_dashboard() {
    let rig = Rig::with(|config| CodisConfig { push_time_max: Duration::from_millis(1500), ..config }).await;
    let token = model(&rig, 1).await["token"].as_str().expect("it has one").to_owned();
    for index in 0..2 {
        rig.lock(index, SLOT).await;
    }
    let mut blocked = rig.client(1).await;
    blocked.send(&format!("SET {} v", key(SLOT))).await;
    sleep(SOON).await;
    rig.codis.hang_proxy(1);
    let codis = rig.codis.clone();
    let assigning = tokio::spawn(async move {
        let body = json!([{ "id": SLOT, "group_id": 2 }]);
        topom(&codis, "PUT", "/api/topom/slots/assign/X", body).await
    });
    rig.until("the other proxy's switch", async |_| !backend(&rig, 0).0).await;
    assert!(timeout(SOON, rig.stats()).await.is_err(), "the dashboard answers");
    assert_eq!(rig.topom("GET", "/api/topom/model", Value::Null).await.0, 200, "its model needs no mutex");
    assert_eq!(assigning.await.expect("no panic"), fault(&format!("proxy-[{token}] resync slots failed")));
    assert_eq!(backend(&rig, 1), (true, rig.source.addr().to_string()), "it still holds the lock");
    blocked.hears_nothing().await;
    rig.codis.wake_proxy(1);
    assert_eq!(blocked.receive().await, "+OK");
    assert_eq!(backend(&rig, 1), (false, rig.target.addr().to_string()), "what was queued is done");
    assert_eq!(rig.target.run("DBSIZE"), redis::Value::Int(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dashboard_that_hangs_does_it_all_later() {
    let rig = Rig::start().await;
    rig.codis.hang_dashboard();
    let codis = rig.codis.clone();
    let assigning = tokio::spawn(async move {
        let body = json!([{ "id": SLOT, "group_id": 2 }]);
        topom(&codis, "PUT", "/api/topom/slots/assign/X", body).await
    });
    sleep(SOON).await;
    assert!(timeout(SOON, rig.topom("GET", "/api/topom/model", Value::Null)).await.is_err(), "it hangs as a whole");
    assert_eq!(rig.codis.mapping(Slot::new(SLOT)).map(|mapping| mapping.group_id), Some(1));
    assigning.abort();
    assert!(assigning.await.is_err(), "the caller gives up");
    rig.codis.wake_dashboard();
    rig.until("the assignment that nobody waits for", async |_| backend(&rig, 1).1 == rig.target.addr().to_string())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_served_before_the_proxy_is_filled() {
    let rig = Rig::start().await;
    rig.codis.kill_dashboard().await;
    rig.codis.restart_proxy(0).await.expect("its ports are its own");
    assert_eq!(rig.client(0).await.receive().await, "-ERR router is not online");
    assert!(!rig.codis.is_online(0));
    rig.codis.start_dashboard().await.expect("its port is its own");
    rig.codis.until_online(0).await.expect("by itself");
    assert_eq!(rig.client(0).await.ask("SET a 1").await, "+OK");
    assert!(rig.codis.start_proxy(0).await.is_err(), "it runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_tells_of_a_proxy_that_does_not_answer() {
    let rig = Rig::start().await;
    let token = model(&rig, 1).await["token"].as_str().expect("it has one").to_owned();
    let mut client = rig.client(1).await;
    assert_eq!(client.ask(&format!("SET {} v", key(SLOT))).await, "+OK");
    rig.codis.hang_proxy(1);
    client.send(&format!("GET {}", key(SLOT))).await;
    client.hears_nothing().await;
    rig.until("a time-out in the statistics", async |_| rig.stats().await["proxy"]["stats"][&token]["timeout"] == true)
        .await;
    rig.codis.wake_proxy(1);
    assert_eq!(client.receive().await, "$1\r\nv");
    rig.until("an answer in the statistics", async |_| {
        rig.stats().await["proxy"]["stats"][&token]["stats"]["online"] == true
    })
    .await;
    rig.codis.hang_proxy(1);
    client.send(&format!("SET {} w", key(SLOT))).await;
    client.hears_nothing().await;
    rig.codis.kill_proxy(1).await;
    assert_eq!(client.receive().await, "", "what hangs can be killed");
    assert_eq!(rig.source.run(&format!("GET {}", key(SLOT))), redis::Value::BulkString(b"v".to_vec()));
}
