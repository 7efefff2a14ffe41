// SPDX-License-Identifier: Apache-2.0
//! Writes that pass the source's cache by, after a client has filled it.

use std::collections::BTreeMap;
use std::sync::Arc;

use mover::VerifyMode;
use mover::batch::Write;
use mover::dialect::Dialect;
use mover::source::{Known, Reread, Wanted};
use mover::{Side, job::Report};
use serde_json::Value as Json;
use snapshot::Body;

use super::{Scene, Server, played};
use crate::harness::{Client, Value, contents, endpoint, fixtures};

played! {
    what_is_written_past_the_cache_right_before_the_fence_arrives, real_what_is_written_past_the_cache: written_late;
    keys_that_only_the_cache_has_are_gone, real_keys_that_only_the_cache_has_are_gone: unlinked;
    a_cache_at_the_target_hides_no_difference, real_a_cache_at_the_target_hides_no_difference: stale_target;
    every_write_is_read_as_the_database_has_it, real_every_write_is_read_as_the_database_has_it: every_case;
}

async fn written_late(scene: Scene) {
    let mut client = scene.source.client();
    for key in 0..KEYS {
        let members: Vec<String> = (0..300).map(|member| format!("{member} m{member}")).collect();
        client.run(&format!("ZADD z{key} {}", members.join(" ")));
    }
    read_all(&scene.source, "ZRANGE z 0 -1 WITHSCORES").await;
    let following = scene.follow(VerifyMode::Full, |_| ()).await;
    let addr = scene.source.addr();
    following.board.on(crate::harness::Call::Raise, move |_| {
        let mut client = Client::connect(addr);
        for key in 0..KEYS {
            client.run(&format!("GEOADD z{key} 13.361389 38.115556 m{}", 100 + key));
            client.run(&format!("ZPOPMIN z{key}"));
        }
    });
    assert_equal(&following.finish().await.unwrap());
    scene.assert_same();
}

async fn unlinked(scene: Scene) {
    let mut client = scene.source.client();
    for key in 0..KEYS {
        client.run(&format!("HMSET h{key} a 1 b 2"));
        client.run(&format!("SADD s{key} a b"));
        client.run(&format!("ZADD z{key} 1 a 2 b"));
        client.run(&format!("RPUSH l{key} a b"));
    }
    for read in ["HGETALL h", "SMEMBERS s", "ZRANGE z 0 -1 WITHSCORES", "LRANGE l 0 -1"] {
        read_all(&scene.source, read).await;
    }
    let following = scene.follow(VerifyMode::Full, |_| ()).await;
    for key in 0..KEYS {
        for kind in ["h", "s", "z", "l"] {
            client.run(&format!("UNLINK {kind}{key}"));
        }
        // Half of them begin a new life.
        if key % 2 == 0 {
            client.run(&format!("HSET h{key} new 1"));
            client.run(&format!("SADD s{key} new"));
        }
    }
    assert_equal(&following.finish().await.unwrap());
    scene.assert_same();
}

/// Somebody has read the target's keys, and they are not any more what they were then.
async fn stale_target(scene: Scene) {
    let mut client = scene.source.client();
    (0..KEYS).for_each(|key| drop(client.run(&format!("HMSET h{key} a 1 b 2"))));
    let following = scene.follow(VerifyMode::Off, |_| ()).await;
    read_all(&scene.target, "HGETALL h").await;
    let mut there = scene.target.client();
    (0..KEYS).for_each(|key| drop(there.run(&format!("UNLINK h{key}"))));
    following.finish().await.unwrap();
    let report = mover::Verification::new(
        endpoint(Side::Source, scene.source.addr()),
        endpoint(Side::Target, scene.target.addr()),
        mover::JobOptions::new(replication::SlotSet::all(replication::SlotCount::CODIS)),
    );
    let report = report.recheck_for(std::time::Duration::from_millis(100)).run().await.unwrap();
    assert_eq!(report.missing, KEYS, "{report:?}");
}

/// The cases of a real server: a key is read until the cache has it, written, and read by us.
async fn every_case(scene: Scene) {
    let text = std::fs::read_to_string(fixtures().with_file_name("cache-4.0.1").join("reads.jsonl")).unwrap();
    let cases: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut client = scene.source.client();
    for (number, case) in cases.iter().enumerate() {
        make(&mut client, number, case);
    }
    for _ in 0..2 {
        cases.iter().enumerate().for_each(|(number, case)| fill(&mut client, number, case));
        scene.source.let_it_load().await;
    }
    for (number, case) in cases.iter().enumerate() {
        // Some are refused, as they were there.
        drop(client.call(words(&case["write"], number)));
    }
    let read = read_as_we_do(&scene.source, cases.len()).await;
    let held = contents(&mut scene.source.client());
    for (number, case) in cases.iter().enumerate() {
        let key = format!("K{number}").into_bytes();
        let held = held.get(&key).map(|entry| &entry.value);
        assert_eq!(read.get(&key), held, "{number}: {}", case["write"]);
    }
    assert!(cases.len() > 150);
}

async fn read_as_we_do(source: &Server, count: usize) -> BTreeMap<Vec<u8>, Value> {
    let client = endpoint(Side::Source, source.addr()).connect().await.unwrap();
    let mut reread = Reread::new(client, Dialect::Pika, Arc::new(Known::new()));
    let mut read = BTreeMap::new();
    let mut reading = reread.read((0..count).map(|number| Wanted::whole(format!("K{number}"))).collect());
    while let Some(writes) = reading.next().await.unwrap() {
        for write in writes {
            let Write::Piece(piece) = write else { continue };
            read.insert(piece.key.to_vec(), value(piece.body));
        }
    }
    let (again, _) = reading.finish();
    assert!(again.is_empty(), "{again:?}");
    read
}

fn value(body: Body) -> Value {
    let score = |score: f64| crate::harness::Score::parse(score.to_string().as_bytes());
    match body {
        Body::String(value) | Body::HyperLogLog(value) => Value::String(value.to_vec()),
        Body::Hash(fields) => {
            Value::Hash(fields.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect())
        }
        Body::List(elements) => Value::List(elements.iter().map(|element| element.to_vec()).collect()),
        Body::Set(members) => Value::Set(members.iter().map(|member| member.to_vec()).collect()),
        Body::Zset(members) => Value::Zset(members.iter().map(|(member, at)| (member.to_vec(), score(*at))).collect()),
        Body::Stream { .. } => panic!("no case has a stream"),
    }
}

fn make(client: &mut Client, number: usize, case: &Json) {
    let command = match case["type"].as_str().unwrap() {
        "string" => "SET K v1",
        "hash" => "HMSET K f1 v1 f2 v2",
        "list" => "RPUSH K a b c d",
        "set" => "SADD K a b c",
        "zset" => "ZADD K 1 a 2 b 3 c",
        other => panic!("{other}"),
    };
    client.run(&command.replacen('K', &format!("K{number}"), 1));
    if case["ttl"].as_bool().unwrap() {
        client.run(&format!("EXPIRE K{number} 400"));
    }
}

fn fill(client: &mut Client, number: usize, case: &Json) {
    for read in case["reads"].as_array().unwrap() {
        client.call(words(&read["command"], number)).unwrap();
    }
}

/// The words of a command, with the case's own key for K, and other keys for others.
fn words(command: &Json, number: usize) -> Vec<String> {
    let word = |word: &Json| match word.as_str() {
        Some("K") => format!("K{number}"),
        Some(text) => text.to_owned(),
        None => word.to_string(),
    };
    command.as_array().unwrap().iter().map(word).collect()
}

/// Has a client read every key, by the words of a command whose key gets a number, until the cache has it.
async fn read_all(server: &Server, command: &str) {
    let (name, rest) = command.split_once(' ').unwrap();
    let (key, rest) = rest.split_once(' ').map_or((rest, ""), |(key, rest)| (key, rest));
    for _ in 0..2 {
        let mut client = server.client();
        (0..KEYS).for_each(|number| drop(client.run(format!("{name} {key}{number} {rest}").trim_end())));
        server.let_it_load().await;
    }
}

fn assert_equal(report: &Report) {
    assert_eq!((report.verify.mismatches, report.verify.repaired, report.verify.uncompared), (0, 0, 0), "{report:?}");
}

const KEYS: u64 = 100;
