// SPDX-License-Identifier: Apache-2.0
//! Keys that never hold still.

use std::time::Duration;

use mover::VerifyMode;
use redis::Value as Reply;

use super::{Scene, played};
use crate::harness::until;

played! {
    a_difference_is_not_excused_by_a_change_of_something_else, real_a_difference_is_not_excused: damaged;
    batches_of_elements_are_never_empty, real_batches_of_elements_are_never_empty: exactly_256;
}

async fn damaged(scene: Scene) {
    let mut client = scene.source.client();
    (0..2000).for_each(|field| drop(client.run(&format!("HSET hash field{field} value"))));
    (0..300).for_each(|number| drop(client.run(&format!("RPUSH list e{number}"))));
    (0..300).for_each(|number| drop(client.run(&format!("ZADD zset {number} m{number}"))));
    let writer = scene.source.write(|client, number| {
        client.run("HINCRBY hash counter 1");
        client.run(&format!("RPUSH list n{number}"));
        client.run("LPOP list");
        client.run(&format!("ZADD zset {} n{number}", 1000 + number));
        client.run("ZPOPMIN zset");
        std::thread::sleep(Duration::from_millis(2));
    });
    let following = scene.follow(VerifyMode::Full, |_| ()).await;
    let mut there = scene.target.client();
    there.run("HDEL hash field77");
    there.run("ZREM zset m299");
    // It is compared again while the switch is postponed.
    until("the field is repaired", || there.run("HSTRLEN hash field77") == Reply::Int(5) || following.is_over()).await;
    writer.stop();
    let report = following.finish().await.unwrap();
    assert!(report.verify.repaired >= 1, "{report:?}");
    scene.assert_same();
}

/// What fits exactly into one batch leaves nothing for the next one, of which there is one: the fields of a further hash.
async fn exactly_256(scene: Scene) {
    let mut client = scene.source.client();
    for key in 0..5 {
        (0..200).for_each(|field| drop(client.run(&format!("HSET hash{key} {field} v"))));
    }
    let following = scene.follow(VerifyMode::Off, |_| ()).await;
    for round in 0..4 {
        for (keys, fields) in [(3, 128), (5, 64), (2, 256), (4, 100)] {
            let mut pipe = redis::pipe();
            for key in 0..keys {
                pipe.cmd("HMSET").arg(format!("hash{key}"));
                for field in 0..fields {
                    pipe.arg(field).arg(round);
                }
                pipe.ignore();
            }
            following.while_paused(|| client.pipe(&pipe)).await;
            following.catch_up(&scene).await;
        }
    }
    following.finish().await.unwrap();
    scene.assert_same();
}
