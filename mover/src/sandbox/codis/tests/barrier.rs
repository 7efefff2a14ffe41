// SPDX-License-Identifier: Apache-2.0
//! Filling a slot with a lock is a barrier, and what it holds up meanwhile.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::harness::{PATIENCE, Rig, http, key, ok, proxy};
use crate::sandbox::codis::{CodisConfig, Intervals};

const SLOT: u16 = 510;
const SOON: Duration = Duration::from_millis(100);

/// Whose dashboard does not mind a server that stands still.
async fn patient() -> Rig {
    let check = Duration::from_secs(3600);
    Rig::with(|config| CodisConfig { intervals: Intervals { check, ..config.intervals }, ..config }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_waits_for_what_is_on_its_way() {
    let rig = patient().await;
    let (mut early, mut late) = (rig.client(0).await, rig.client(0).await);
    assert_eq!(rig.assign(511, 2).await, ok());
    let mut record = rig.slot(0, SLOT).await;
    record["locked"] = json!(true);
    rig.source.halt();
    early.send(&format!("SET {} early", key(SLOT))).await;
    sleep(SOON).await;
    let codis = rig.codis.clone();
    let filling = tokio::spawn(async move { proxy(&codis, 0, "PUT", "/api/proxy/fillslots/X", json!([record])).await });
    sleep(SOON).await;
    late.send(&format!("SET {} late", key(SLOT))).await;
    let mut asking = rig.client(0).await;
    asking.send(&format!("PING {}", rig.target.addr())).await;
    asking.hears_nothing().await;

    let admin = rig.codis.admin_addrs()[0];
    for path in ["/proxy/stats", "/proxy/slots", "/api/proxy/xping/X"] {
        let waiting = timeout(SOON, proxy(&rig.codis, 0, "GET", path, Value::Null)).await;
        assert!(waiting.is_err(), "{path} does not wait");
    }
    assert_eq!(
        timeout(PATIENCE, http(admin, "GET", "/api/proxy/model", "")).await.ok().flatten().map(|it| it.0),
        Some(200)
    );
    let mut other = rig.client(0).await;
    assert_eq!(other.ask(&format!("SET {} x", key(511))).await, "+OK", "other slots go on");
    assert!(!filling.is_finished(), "the lock came back before the reply");

    rig.source.go_on();
    assert_eq!(filling.await.expect("no panic"), ok());
    assert_eq!(early.receive().await, "+OK");
    assert_eq!(asking.receive().await, "+PONG");
    late.hears_nothing().await;
    let get = format!("GET {}", key(SLOT));
    assert_eq!(rig.source.run(&get), redis::Value::BulkString(b"early".to_vec()));
    assert_eq!(rig.assign(SLOT, 1).await, ok());
    assert_eq!(late.receive().await, "+OK");
    assert_eq!(rig.source.run(&get), redis::Value::BulkString(b"late".to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_waits_although_its_caller_has_gone() {
    let rig = patient().await;
    let mut client = rig.client(0).await;
    let mut record = rig.slot(0, SLOT).await;
    record["locked"] = json!(true);
    rig.source.halt();
    client.send(&format!("SET {} v", key(SLOT))).await;
    sleep(SOON).await;
    assert!(timeout(SOON, rig.fill(0, record.clone())).await.is_err(), "a request is on its way");
    assert_eq!(rig.codis.locks(), []);
    rig.source.go_on();
    assert_eq!(client.receive().await, "+OK");
    assert_eq!(rig.slot(0, SLOT).await, record, "a handler is not cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_a_locked_slot_is_still_served() {
    let rig = Rig::start().await;
    rig.lock(0, SLOT).await;
    rig.lock(0, SLOT).await;
    let mut ghost = rig.client(0).await;
    ghost.send(&format!("SET {} ghost", key(SLOT))).await;
    sleep(SOON).await;
    drop(ghost);
    assert_eq!(rig.source.run("DBSIZE"), redis::Value::Int(0));
    assert_eq!(rig.assign(SLOT, 1).await, ok());
    rig.until("the command of the client that has gone", async |_| rig.source.run("DBSIZE") == redis::Value::Int(1))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_slot_can_be_given_a_new_node_to_try_it() {
    let rig = Rig::start().await;
    let target = rig.target.addr().to_string();
    let mut client = rig.client(0).await;
    let ping = format!("PING {target}");
    assert_eq!(client.ask(&ping).await, format!("-ERR backend server '{target}' not found"));
    let record = json!({ "id": SLOT, "locked": true, "backend_addr": target, "backend_addr_group_id": 2 });
    assert_eq!(rig.fill(0, record).await, ok());
    assert_eq!(client.ask(&ping).await, "+PONG");
    client.send(&format!("SET {} v", key(SLOT))).await;
    client.hears_nothing().await;
}
