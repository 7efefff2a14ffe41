// SPDX-License-Identifier: Apache-2.0
//! Names that a server quotes as they are.

use std::time::Duration;

use mover::VerifyMode;
use redis::Value as Reply;

use super::{Scene, played};

played! {
    names_with_line_ends_cut_no_answers, real_names_with_line_ends_cut_no_answers: cut;
    names_that_look_like_answers_are_none, real_names_that_look_like_answers_are_none: forged;
    names_with_line_ends_mix_no_answers_up, real_names_with_line_ends_mix_no_answers_up: mixed;
}

/// The log tells of strings, and only in a later round that they are hashes by now.
async fn cut(scene: Scene) {
    let following = scene.follow(VerifyMode::Off, |options| options.retry_for = Duration::from_secs(2)).await;
    following
        .while_paused(|| {
            let name = |number: u64| format!("{number}:string\r\nhash");
            let mut pipe = redis::pipe();
            for number in 0..400 {
                pipe.cmd("SET").arg(name(number)).arg(number).ignore();
            }
            for number in 0..400 {
                pipe.cmd("DEL").arg(name(number)).ignore();
                pipe.cmd("HSET").arg(name(number)).arg("f").arg(number).ignore();
            }
            scene.source.client().pipe(&pipe);
        })
        .await;
    following.catch_up(&scene).await;
    following.finish().await.unwrap();
    scene.assert_same();
}

/// Only PFCOUNT tells an empty string from an empty HyperLogLog. It refuses the string in words that look like two answers,
/// of which the second one says that the next key is a HyperLogLog.
async fn forged(scene: Scene) {
    let following = scene.follow(VerifyMode::Off, |_| ()).await;
    let mut client = scene.source.client();
    let mut pipe = redis::pipe();
    for number in 0..40 {
        for name in [format!("{number}\r\n+forged"), format!("empty{number}")] {
            // All of the key has changed, not only its value.
            pipe.cmd("DEL").arg(&name).ignore();
            pipe.cmd("SET").arg(&name).arg("").ignore();
        }
        pipe.cmd("PFADD").arg(format!("counter{number}")).ignore();
    }
    following.while_paused(|| client.pipe(&pipe)).await;
    following.catch_up(&scene).await;
    following.finish().await.unwrap();
    let mut there = scene.target.client();
    for number in 0..40 {
        assert_eq!(there.call(["PFCOUNT", &format!("counter{number}")]), Ok(Reply::Int(0)), "counter{number}");
        there.call(["PFCOUNT", &format!("empty{number}")]).expect_err(&format!("empty{number} is a string"));
    }
    scene.assert_same();
}

/// Types change between two questions, and errors that quote the names come for some keys only.
async fn mixed(scene: Scene) {
    let writer = |seed: u64| {
        scene.source.write(move |client, number| {
            let mut pipe = redis::pipe();
            for key in 0..8 {
                // An error that quotes it looks like an error and a value.
                let name = format!("{seed}:{key}\r\n$6\r\nforged");
                pipe.cmd("DEL").arg(&name).ignore();
                match (number + key) % 3 {
                    0 => pipe.cmd("SET").arg(&name).arg(number).ignore(),
                    1 => pipe.cmd("HSET").arg(&name).arg("f").arg(number).ignore(),
                    _ => pipe.cmd("RPUSH").arg(&name).arg(number).ignore(),
                };
                pipe.cmd("SET").arg(format!("plain{seed}:{key}")).arg(format!("value {number}")).ignore();
            }
            client.pipe(&pipe);
            std::thread::sleep(Duration::from_millis(2));
        })
    };
    let writers: Vec<_> = (0..2).map(writer).collect();
    let following = scene.follow(VerifyMode::Off, |_| ()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    writers.into_iter().for_each(super::scene::Writer::stop);
    following.finish().await.unwrap();
    scene.assert_same();
}
