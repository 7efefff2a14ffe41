// SPDX-License-Identifier: Apache-2.0
//! Doing something at an exact step of a request.

use std::sync::Arc;

use replication::Slot;
use serde_json::json;
use tokio::sync::Notify;

use super::harness::{Rig, fault, http, ok};
use crate::sandbox::codis::{Action, Moment, Place, xauth};

const SLOT: u16 = 510;

async fn assign(rig: &Rig) -> Option<(u16, String)> {
    let addr = rig.codis.dashboard_url().trim_start_matches("http://").parse().expect("an address");
    let path = format!("/api/topom/slots/assign/{}", xauth::dashboard("demo"));
    http(addr, "PUT", &path, &json!([{ "id": SLOT, "group_id": 2 }]).to_string()).await
}

fn group(rig: &Rig) -> i64 {
    rig.codis.mapping(Slot::new(SLOT)).expect("it exists").group_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_can_be_lost() {
    let rig = Rig::start().await;
    for (moment, done) in [(Moment::Before, 1), (Moment::After, 2)] {
        rig.codis.on_request(move |event| async move {
            let is_it = event.place == Place::Dashboard && event.path.contains("/assign/") && event.moment == moment;
            if is_it { Action::DropConnection } else { Action::Continue }
        });
        assert_eq!(assign(&rig).await, None, "{moment:?}");
        assert_eq!(group(&rig), done, "{moment:?}");
    }
    rig.codis.off_request();
    assert_eq!(assign(&rig).await.map(|answer| answer.0), Some(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dashboard_can_be_killed_while_it_pushes() {
    let rig = Rig::start().await;
    for index in 0..2 {
        rig.lock(index, SLOT).await;
    }
    let (codis, lost) = (rig.codis.clone(), Arc::new(Notify::new()));
    rig.codis.on_request(move |event| {
        let (codis, lost) = (codis.clone(), Arc::clone(&lost));
        async move {
            match event.place {
                Place::Proxy(0) if event.path.contains("/fillslots/") && event.moment == Moment::Before => {
                    lost.notified().await;
                    codis.kill_dashboard().await;
                    Action::Continue
                }
                Place::Proxy(1) if event.path.contains("/fillslots/") => {
                    lost.notify_one();
                    Action::DropConnection
                }
                _ => Action::Continue,
            }
        }
    });
    assert_eq!(assign(&rig).await, None);
    rig.codis.off_request();
    assert_eq!(group(&rig), 2, "it was stored before");
    rig.until("the push that had arrived", async |codis| codis.locks() == [(1, Slot::new(SLOT))]).await;
    rig.codis.start_dashboard().await.expect("its port is its own");
    assert_eq!(rig.assign(SLOT, 2).await, ok());
    assert_eq!(rig.codis.locks(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_can_be_restarted_within_its_own_request() {
    let rig = Rig::start().await;
    let token = rig.codis.cluster.server(0).expect("it runs").model.token.clone();
    let codis = rig.codis.clone();
    rig.codis.on_request(move |event| {
        let codis = codis.clone();
        async move {
            let is_it = event.place == Place::Proxy(0) && event.path.contains("/fillslots/");
            if is_it && event.moment == Moment::After && event.body.len() < 1000 {
                codis.restart_proxy(0).await.expect("its ports are its own");
            }
            Action::Continue
        }
    });
    assert_eq!(rig.assign(SLOT, 2).await, fault(&format!("proxy-[{token}] resync slots failed")));
    rig.codis.until_online(0).await.expect("by itself");
    let record = rig.codis.slot_record(0, Slot::new(SLOT)).expect("it runs");
    assert_eq!(record.backend_addr, rig.target.addr().to_string());
    rig.codis.stop().await;
}
