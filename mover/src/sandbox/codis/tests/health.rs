// SPDX-License-Identifier: Apache-2.0
//! A server that cannot be reached breaks the locks of its group, again and again.

use replication::Slot;
use serde_json::json;

use super::harness::{Rig, key};
use crate::sandbox::codis::CodisConfig;
use crate::sandbox::redis_server::RedisServer;

const SLOT: u16 = 510;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_down_breaks_every_lock() {
    let replica = RedisServer::start();
    let rig = Rig::with(|mut config| {
        config.groups[0].1.push(replica.addr());
        CodisConfig { dead_checks: 100, ..config }
    })
    .await;
    rig.until("both servers healthy", async |_| {
        let group = rig.stats().await["group"]["models"][0].clone();
        [0, 1].iter().all(|&index| group["servers"][index]["replica_group"] == true)
    })
    .await;
    for index in 0..2 {
        rig.lock(index, SLOT).await;
    }
    let mut waiting = rig.client(1).await;
    waiting.send(&format!("SET {} v", key(SLOT))).await;
    waiting.hears_nothing().await;
    rig.codis.server_down(replica.addr());
    assert_eq!(waiting.receive().await, "+OK", "the push took the lock down");
    for _ in 0..2 {
        rig.lock_for_a_moment(0, SLOT).await;
        rig.until("the next push", async |codis| codis.locks().is_empty()).await;
    }
    let stats = rig.stats().await;
    let server = &stats["group"]["models"][0]["servers"][1];
    assert_eq!(server["state"], 1);
    assert!(server["recall_times"].as_i64() >= Some(3), "{server}");
    rig.codis.server_up(replica.addr());
    rig.until("the replica back", async |_| rig.stats().await["group"]["models"][0]["servers"][1]["state"] == 0).await;
    rig.lock(0, SLOT).await;
    assert_eq!(rig.codis.mapping(Slot::new(SLOT)).map(|mapping| mapping.group_id), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_go_offline_and_come_back() {
    let replica = RedisServer::start();
    let rig = Rig::with(|mut config| {
        config.groups[0].1.push(replica.addr());
        CodisConfig { dead_checks: 2, ..config }
    })
    .await;
    let (source, second) = (rig.source.addr(), replica.addr());
    let state = async |index: usize| rig.stats().await["group"]["models"][0]["servers"][index]["state"].clone();
    rig.codis.server_down(second);
    rig.until("the replica offline", async |_| state(1).await == 2).await;
    assert_eq!(rig.slot(0, SLOT).await["backend_addr"], source.to_string());
    rig.lock_for_a_moment(0, SLOT).await;
    rig.until("a push all the same", async |codis| codis.locks().is_empty()).await;
    rig.codis.server_up(second);
    rig.until("the replica back", async |_| state(1).await == 0).await;
    rig.until("reads that could go to it", async |codis| {
        let record = codis.slot_record(0, Slot::new(SLOT)).expect("it runs");
        record.replica_groups == [[source.to_string(), second.to_string()]]
    })
    .await;
    rig.codis.server_down(source);
    rig.until("the master offline", async |_| state(0).await == 2).await;
    assert_eq!(rig.stats().await["group"]["models"][0]["servers"][0]["server"], json!(source.to_string()));
    assert_eq!(rig.client(0).await.ask("SET a 1").await, "+OK", "the proxies reach it");
}
