// SPDX-License-Identifier: Apache-2.0
//! Collections against plain ones of the standard library, over thousands of random commands.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::reply::Reply;
use super::super::{Node, NodeConfig};
use super::client::{Client, text};

const STEPS: usize = 3000;

async fn begin() -> (tempfile::TempDir, Node, StdRng) {
    let dir = tempfile::tempdir().unwrap();
    // The models are of the store; the cache does not keep to it.
    let node = Node::start(NodeConfig { cache: false, ..NodeConfig::new(dir.path()) }).await.unwrap();
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("to run this again: SEED={seed}");
    (dir, node, StdRng::seed_from_u64(seed))
}

fn bulks<'a>(items: impl IntoIterator<Item = &'a String>) -> Reply {
    Reply::bulks(items.into_iter().map(|item| Bytes::from(item.clone())))
}

#[tokio::test]
async fn a_list_is_like_a_vector() {
    let (_dir, node, mut random) = begin().await;
    let mut client = Client::of(&node).await;
    let mut model: Vec<String> = Vec::new();
    for _ in 0..STEPS {
        let element = format!("e{}", random.random_range(0..6));
        let place = if model.is_empty() { None } else { Some(random.random_range(0..model.len())) };
        match random.random_range(0..9) {
            0 | 1 => {
                client.call(&format!("RPUSH l {element} x")).await;
                model.extend([element, "x".to_owned()]);
            }
            2 | 3 => {
                client.call(&format!("LPUSH l x {element}")).await;
                model.splice(0..0, [element, "x".to_owned()]);
            }
            4 => {
                let side = if random.random() { "AFTER" } else { "BEFORE" };
                client.call(&format!("LINSERT l {side} {element} new")).await;
                if let Some(pivot) = model.iter().position(|other| *other == element) {
                    model.insert(pivot + usize::from(side == "AFTER"), "new".to_owned());
                }
            }
            5 => {
                let count = random.random_range(-2..3i64);
                client.call(&format!("LREM l {count} {element}")).await;
                remove(&mut model, count, &element);
            }
            6 => {
                let (verb, popped) = match random.random() {
                    true => ("LPOP", (!model.is_empty()).then(|| model.remove(0))),
                    false => ("RPOP", model.pop()),
                };
                let reply = client.call(&format!("{verb} l")).await;
                assert_eq!(reply, popped.map_or(Reply::Null, Reply::bulk));
            }
            7 => {
                if let Some(place) = place {
                    client.call(&format!("LSET l {place} set")).await;
                    model[place] = "set".to_owned();
                    client.call("RPOPLPUSH l l").await;
                    model.rotate_right(1);
                }
            }
            _ if model.len() > 30 => {
                client.call("LTRIM l 5 -6").await;
                model = model[5..model.len() - 5].to_vec();
            }
            _ => {}
        }
        assert_eq!(client.call("LRANGE l 0 -1").await, bulks(&model));
        assert_eq!(client.call("LLEN l").await, Reply::count(model.len()));
    }
    node.stop().await.unwrap();
}

/// What LREM does.
fn remove(model: &mut Vec<String>, count: i64, element: &str) {
    let limit = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let mut found: Vec<usize> = (0..model.len()).filter(|&index| model[index] == element).collect();
    if count < 0 {
        found.reverse();
    }
    found.truncate(limit);
    let mut index = 0;
    model.retain(|_| {
        index += 1;
        !found.contains(&(index - 1))
    });
}

#[tokio::test]
async fn a_sorted_set_is_like_a_map_and_its_index_agrees() {
    let (_dir, node, mut random) = begin().await;
    let mut client = Client::of(&node).await;
    let mut model: BTreeMap<String, i64> = BTreeMap::new();
    for step in 0..STEPS {
        let member = format!("m{}", random.random_range(0..40));
        let score = random.random_range(-5..6i64);
        match random.random_range(0..8) {
            0..=2 => {
                client.call(&format!("ZADD z {score} {member}")).await;
                model.insert(member, score);
            }
            3 | 4 => {
                client.call(&format!("ZINCRBY z {score} {member}")).await;
                *model.entry(member).or_default() += score;
            }
            5 => {
                client.call(&format!("ZREM z {member} missing")).await;
                model.remove(&member);
            }
            6 => {
                client.call(&format!("ZREMRANGEBYSCORE z {score} ({}", score + 2)).await;
                model.retain(|_, other| !(score..score + 2).contains(other));
            }
            _ if step % 10 == 0 => {
                client.call("DEL z").await;
                model.clear();
            }
            _ => {}
        }
        let mut by_score: Vec<_> = model.iter().collect();
        by_score.sort_by_key(|(member, score)| (**score, (*member).clone()));
        assert_eq!(client.call("ZRANGE z 0 -1").await, bulks(by_score.into_iter().map(|(member, _)| member)));
        let by_name = model.iter().flat_map(|(member, score)| [member.clone(), score.to_string()]);
        let Reply::Array(page) = client.call("ZSCAN z 0 COUNT 1000").await else { panic!("no page") };
        assert_eq!(page[1], bulks(&by_name.collect::<Vec<_>>()));
        assert_eq!(client.call("ZCARD z").await, Reply::count(model.len()));
    }
    node.stop().await.unwrap();
}

#[tokio::test]
async fn pages_together_hold_every_element_once() {
    let (_dir, node, mut random) = begin().await;
    let mut client = Client::of(&node).await;
    let mut fields = BTreeMap::new();
    for _ in 0..500 {
        let (field, value) = (format!("f{}", random.random::<u32>()), random.random::<u32>().to_string());
        client.call(&format!("HSET h {field} {value}")).await;
        client.call(&format!("SET {field} {value}")).await;
        fields.insert(field, value);
    }
    for (scan, step) in [("HSCAN h", 2), ("SCAN", 1)] {
        let mut found = Vec::new();
        let mut cursor = "0".to_owned();
        loop {
            let count = random.random_range(1..50);
            let reply = client.call(&format!("{scan} {cursor} MATCH f* COUNT {count}")).await;
            let Reply::Array(mut page) = reply else { panic!("no page") };
            let Some(Reply::Array(items)) = page.pop() else { panic!("no elements") };
            found.extend(items.chunks(step).map(|item| text(&item[0])));
            cursor = text(&page[0]);
            if cursor == "0" {
                break;
            }
        }
        found.sort();
        assert!(found.iter().eq(fields.keys()), "{scan} gave {} elements", found.len());
    }
    node.stop().await.unwrap();
}
