// SPDX-License-Identifier: Apache-2.0
//! Nobody takes a lock down but a push.

use serde_json::{Value, json};

use super::harness::{Client, Rig, key, ok};

const SLOT: u16 = 510;

struct Locked {
    rig: Rig,
    waiting: Client,
}

impl Locked {
    async fn start() -> Self {
        let rig = Rig::start().await;
        let mut waiting = rig.client(0).await;
        let mut locked = Self { waiting: rig.client(0).await, rig };
        locked.lock().await;
        waiting.send(&format!("SET {} v", key(SLOT))).await;
        locked.waiting = waiting;
        locked
    }

    async fn lock(&self) {
        for index in 0..2 {
            self.rig.lock(index, SLOT).await;
        }
    }

    async fn put(&self, path: &str) {
        assert_eq!(self.rig.topom("PUT", path, Value::Null).await, ok(), "{path}");
    }

    async fn stands(&mut self) {
        assert_eq!(self.rig.codis.locks().len(), 2);
        self.waiting.hears_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_outlives_the_dashboard() {
    let mut locked = Locked::start().await;
    locked.stands().await;
    locked.put("/api/topom/reload/X").await;
    locked.stands().await;
    locked.put("/api/topom/slots/action/disabled/X/1").await;
    locked.put("/api/topom/slots/action/interval/X/5000000").await;
    let stats = locked.rig.stats().await;
    assert_eq!(
        (&stats["slot_action"]["disabled"], &stats["slot_action"]["interval"]),
        (&json!(true), &json!(1_000_000))
    );
    let (_, before) = locked.rig.topom("GET", "/topom/model", Value::Null).await;
    locked.rig.codis.kill_dashboard().await;
    locked.stands().await;
    locked.rig.codis.start_dashboard().await.expect("its port is its own");
    locked.stands().await;
    let stats = locked.rig.stats().await;
    assert_eq!((&stats["slot_action"]["disabled"], &stats["slot_action"]["interval"]), (&json!(false), &json!(0)));
    let (_, after) = locked.rig.topom("GET", "/topom/model", Value::Null).await;
    assert_eq!(before["token"], after["token"]);
    assert_ne!(before["start_time"], after["start_time"]);
    assert_ne!(before["pid"], after["pid"]);
    assert_eq!(locked.rig.assign(SLOT, 1).await, ok());
    assert_eq!(locked.waiting.receive().await, "+OK");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ways_out() {
    let mut locked = Locked::start().await;
    let (_, model) = locked.rig.proxy(0, "GET", "/api/proxy/model", Value::Null).await;
    let token = model["token"].as_str().expect("it has one").to_owned();
    locked.put(&format!("/api/topom/proxy/reinit/X/{token}")).await;
    assert_eq!(locked.waiting.receive().await, "+OK");
    assert_eq!(locked.rig.codis.locks().len(), 1, "the other proxy keeps its own");

    locked.lock().await;
    locked.put("/api/topom/group/resync/X/2").await;
    locked.stands().await;
    assert_eq!(locked.rig.assign(511, 1).await, ok(), "just that slot");
    assert_eq!(locked.rig.stats().await["group"]["models"][0]["out_of_sync"], true);
    locked.stands().await;
    locked.put("/api/topom/group/resync/X/1").await;
    assert_eq!(locked.rig.codis.locks(), []);
    assert_eq!(locked.rig.stats().await["group"]["models"][0]["out_of_sync"], false);

    locked.lock().await;
    locked.put("/api/topom/group/resync-all/X").await;
    assert_eq!(locked.rig.codis.locks(), []);

    locked.lock().await;
    let mut record = locked.rig.slot(1, SLOT).await;
    record["locked"] = json!(false);
    assert_eq!(locked.rig.fill(1, record).await, ok());
    assert_eq!(locked.rig.codis.locks().len(), 1);
}
