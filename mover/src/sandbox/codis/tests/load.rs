// SPDX-License-Identifier: Apache-2.0
//! Clients that check every reply while a slot changes hands again and again, without a mover.

use std::time::{Duration, Instant};

use replication::{Slot, SlotCount};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::harness::{Rig, ok, proxy};
use crate::sandbox::load::{Load, LoadConfig, Tag};

const SLOT: u16 = 510;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_cutovers_are_not_noticed() {
    let rig = Rig::start().await;
    let mut tags = Tag::of_slots([SLOT, 511, 7].map(Slot::new), SlotCount::CODIS);
    tags[0].hot = true;
    let pattern = format!("{{{}}}*", tags[0].name);
    let nodes = vec![rig.source.addr(), rig.target.addr()];
    let config =
        LoadConfig { big_elements: 0, keys_per_tag: 5, nodes, ..LoadConfig::new(rig.codis.proxy_addrs(), tags) };
    let load = Load::start(config).await.expect("the proxies answer");
    let mut times: [Vec<Duration>; 4] = Default::default();
    for round in 0..60 {
        let (from, to, group) =
            if round % 2 == 0 { (&rig.source, &rig.target, 2) } else { (&rig.target, &rig.source, 1) };
        let mut record = rig.slot(0, SLOT).await;
        record["locked"] = json!(true);
        let lock = |index| proxy(&rig.codis, index, "PUT", "/api/proxy/fillslots/X", json!([record]));
        if round % 4 == 0 {
            // Writes pile up at the node, so that a lock which does not wait for them would lose some.
            from.run("CLIENT PAUSE 15 WRITE");
            sleep(Duration::from_millis(3)).await;
        }
        let start = Instant::now();
        assert_eq!(tokio::join!(lock(0), lock(1)), (ok(), ok()));
        let locked = Instant::now();
        let (status, _) = rig.topom("GET", "/topom/stats", Value::Null).await;
        assert_eq!(status, 200);
        let asked = Instant::now();
        from.move_keys(to, &pattern);
        let moved = Instant::now();
        assert_eq!(rig.assign(SLOT, group).await, ok());
        let steps = [locked - start, asked - locked, moved - asked, moved.elapsed()];
        times.iter_mut().zip(steps).for_each(|(times, time)| times.push(time));
        sleep(Duration::from_millis(5)).await;
    }
    let report = load.stop().await;
    for (step, times) in ["lock both", "stats", "move the keys", "assign"].iter().zip(&mut times) {
        times.sort();
        println!("{step}: p50 {:?}, max {:?}", times[30], times[59]);
    }
    println!("{report}");
    assert!(report.is_clean(), "{report}");
    assert!(report.requests > 1000, "{report}");
    for index in 0..2 {
        let (requests, failures) = rig.codis.cluster.server(index).expect("it runs").relay.requests();
        assert!(requests > 100 && failures == 0, "proxy {index}: {requests} requests, {failures} failures");
    }
}
