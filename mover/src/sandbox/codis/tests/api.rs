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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_answers_ok_to_garbage() {
    let rig = Rig::start().await;
    let (addr, path) = (rig.codis.admin_addrs()[0], "/api/proxy/fillslots/");
    let xauth = rig.codis.cluster.server(0).expect("it runs").xauth.clone();
    let before = rig.proxy(0, "GET", "/proxy/slots", Value::Null).await;
    for body in ["", "garbage", "{}", "[{\"id\":5,\"locked\":true}"] {
        let answer = http(addr, "PUT", &format!("{path}{xauth}"), body).await;
        assert_eq!(answer, Some((200, "\"OK\"".to_owned())), "{body}");
    }
    assert_eq!(rig.proxy(0, "GET", "/proxy/slots", Value::Null).await, before, "nothing was done");
    assert_eq!(rig.fill(0, json!({ "id": 5, "locked": "yes" })).await, ok());
    assert_eq!(rig.slot(0, 5).await, json!({ "id": 5 }), "half of it was done");
    let refused = rig.client(0).await.ask(&format!("GET {}", key(5))).await;
    assert_eq!(refused, "-ERR handle request, slot is not ready, may be offline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_refuses_what_is_out_of_range() {
    let rig = Rig::start().await;
    let wrong = json!([{ "id": 6 }, { "id": 5000 }, { "id": 7 }]);
    let answer = rig.proxy(0, "PUT", "/api/proxy/fillslots/X", wrong).await;
    assert_eq!(answer, fault("use of invalid slot id"));
    assert_eq!(rig.slot(0, 6).await, json!({ "id": 6 }), "what came before stays");
    assert_ne!(rig.slot(0, 7).await, json!({ "id": 7 }), "what came behind is not done");
    assert_eq!(rig.fill(0, json!({ "id": -1 })).await, fault("use of invalid slot id"));
    assert_eq!(rig.fill(0, json!({ "id": 7, "forward_method": 7 })).await, fault("use of invalid forwarder method"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_must_know_the_product() {
    let rig = Rig::with(|config| CodisConfig { product_auth: "s3cret".to_owned(), ..config }).await;
    let invalid = fault("invalid xauth, please check product name & auth");
    for path in ["/api/proxy/xping/no", "/api/proxy/stats/no", "/api/proxy/slots/no"] {
        assert_eq!(rig.proxy(0, "GET", path, Value::Null).await, invalid, "{path}");
    }
    assert_eq!(rig.proxy(0, "PUT", "/api/proxy/fillslots/no", json!([{ "id": 5 }])).await, invalid);
    assert_eq!(rig.topom("GET", "/api/topom/xping/no", Value::Null).await, invalid);
    assert_eq!(rig.topom("PUT", "/api/topom/slots/assign/no", json!([])).await, invalid);
    assert_eq!(rig.proxy(0, "GET", "/api/proxy/xping/X", Value::Null).await, ok());
    assert_eq!(rig.topom("GET", "/api/topom/xping/X", Value::Null).await, ok());
    // The secret is the nodes' password as well.
    rig.source.run("CONFIG SET requirepass s3cret");
    assert_eq!(rig.client(0).await.ask("SET a 1").await, "+OK");
    rig.until("the statistics of the source", async |_| {
        let stats = rig.stats().await;
        stats["group"]["stats"][rig.source.addr().to_string()]["stats"]["role"] == "master"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_nothing_elsewhere() {
    let rig = Rig::start().await;
    for (method, path) in [("POST", "/topom/stats"), ("GET", "/nothing"), ("GET", "/api/topom/reload/X")] {
        let (status, text) = rig.topom(method, path, Value::Null).await;
        assert_eq!((status, text.as_str()), (404, Some("404 page not found\n")), "{method} {path}");
    }
    assert_eq!(rig.proxy(1, "PUT", "/proxy/slots", Value::Null).await.0, 404);
    assert_eq!(rig.topom("PUT", "/api/topom/group/resync/X/one", Value::Null).await, fault("invalid gid"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assign_checks_before_it_does_anything() {
    let rig = Rig::start().await;
    let assign = "/api/topom/slots/assign/X";
    for (body, cause) in [
        (json!([{ "id": 5, "group_id": 2 }, { "id": 5000, "group_id": 2 }]), "slot-[5000] doesn't exist"),
        (json!([{ "id": 5, "group_id": 9 }]), "group-[9] doesn't exist"),
        (json!([{ "id": 5, "group_id": 2, "action": { "state": "pending" } }]), "invalid slot-[5] action = pending"),
    ] {
        assert_eq!(rig.topom("PUT", assign, body).await, fault(cause));
    }
    assert_eq!(rig.topom("PUT", assign, json!("not a list")).await, ok(), "there is nothing to do");
    let slot = replication::Slot::new(5);
    assert_eq!(rig.codis.mapping(slot), Some(SlotMapping::at(5, 1)));
    let offline = "/api/topom/slots/assign/X/offline";
    let refused = rig.topom("PUT", offline, json!([{ "id": 5, "group_id": 2 }])).await;
    assert_eq!(refused, fault("group of slot-[5] should be 0"));
    assert_eq!(rig.topom("PUT", offline, json!([{ "id": 5 }])).await, ok());
    assert_eq!(rig.codis.mapping(slot), Some(SlotMapping::at(5, 0)));
    assert_eq!(rig.slot(1, 5).await, json!({ "id": 5, "forward_method": 1 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_shown_at_once() {
    let rig = Rig::start().await;
    let (_, overview) = rig.topom("GET", "/topom", Value::Null).await;
    assert_eq!(overview["config"]["max_slot_num"], 1024);
    assert_eq!(overview["stats"]["slots"].as_array().map(Vec::len), Some(1024));
    assert_eq!(overview["model"]["product_name"], "demo");
    let (_, model) = rig.proxy(0, "GET", "/api/proxy/model", Value::Null).await;
    let (_, overview) = rig.proxy(0, "GET", "/proxy", Value::Null).await;
    assert_eq!(overview["model"], model);
    assert_eq!(overview["slots"].as_array().map(Vec::len), Some(1024));
    assert_eq!(model["token"].as_str().map(str::len), Some(32));
    assert_eq!(model["max_slot_num"], 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_of_another_make_understands_it() {
    let rig = Rig::start().await;
    let url = format!("{}/api/topom/xping/no", rig.codis.dashboard_url());
    let (status, cause) = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.get(&url).call().expect("an answer");
        let body: Value = answer.body_mut().read_json().expect("it is JSON");
        (answer.status().as_u16(), body["Cause"].clone())
    })
    .await
    .expect("no panic");
    assert_eq!((status, cause), (800, json!("invalid xauth, please check product name & auth")));
}
