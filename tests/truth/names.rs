// SPDX-License-Identifier: Apache-2.0
//! Names that a server quotes as they are.

use mover::VerifyMode;

use super::{Scene, played};

played! {
    names_with_line_ends_mix_no_answers_up, real_names_with_line_ends_mix_no_answers_up: mixed;
}

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
            std::thread::sleep(std::time::Duration::from_millis(2));
        })
    };
    let writers: Vec<_> = (0..2).map(writer).collect();
    let following = scene.follow(VerifyMode::Off, |_| ()).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    writers.into_iter().for_each(super::scene::Writer::stop);
    following.finish().await.unwrap();
    scene.assert_same();
}
