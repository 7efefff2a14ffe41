// SPDX-License-Identifier: Apache-2.0
//! Streams of a Pika 4.0 that take another entry for the first one, as they do once their newest was deleted by its id, and
//! are trimmed from there.

use std::time::Duration;

use mover::VerifyMode;
use redis::Value as Reply;

use super::{Scene, played};
use crate::harness::Client;

played! {
    entries_that_go_from_the_middle_go_at_the_target, real_entries_that_go_from_the_middle_go_at_the_target: middle;
    a_stream_is_trimmed_after_a_move_as_before, real_a_stream_is_trimmed_after_a_move_as_before: kept;
}

/// Nothing is compared, so nothing is repaired.
async fn middle(scene: Scene) {
    let mut client = scene.source.client();
    fill(&mut client);
    let following = scene.follow(VerifyMode::Off, |_| ()).await;
    for round in 1..=20 {
        let newest = round * 1000;
        client.run(&format!("XADD stream {newest}-1 f v"));
        client.run(&format!("XDEL stream {newest}-1"));
        (1..=30).for_each(|id| drop(client.run(&format!("XADD stream {}-1 f v", newest + id))));
        let Reply::Int(length) = client.run("XLEN stream") else { panic!("no length") };
        pause(round).await;
        client.run(&format!("XTRIM stream MAXLEN {}", length - 10));
        // Every other time it finds its first entry again at once.
        if round % 2 == 0 {
            let taken_for_first = recorded_first(&mut client);
            client.run(&format!("XDEL stream {taken_for_first}"));
        }
        pause(round).await;
    }
    assert!(
        matches!(client.run("XRANGE stream 1-1 1-1"), Reply::Array(found) if found.len() == 1),
        "the first is left"
    );
    following.finish().await.unwrap();
    scene.assert_same();
}

async fn kept(scene: Scene) {
    let mut client = scene.source.client();
    fill(&mut client);
    let following = scene.follow(VerifyMode::Off, |_| ()).await;
    for round in 1..=16 {
        let mut pipe = redis::pipe();
        for field in 0..255 {
            pipe.cmd("HSET").arg("hash").arg(field).arg(round).ignore();
        }
        // The newest that the target knows goes when it is not the newest any more, perhaps in a batch without the newer one.
        pipe.cmd("XADD").arg("stream").arg(format!("{}-1", 1000 + round)).arg("f").arg("v").ignore();
        pipe.cmd("XDEL").arg("stream").arg(format!("{}-1", 999 + round)).ignore();
        following.while_paused(|| client.pipe(&pipe)).await;
        following.catch_up(&scene).await;
    }
    following.finish().await.unwrap();
    scene.assert_same();
    for server in [&scene.source, &scene.target] {
        let mut client = server.client();
        assert_eq!(recorded_first(&mut client), "1-1");
        client.run("XADD stream MAXLEN 50 5000-1 f v");
    }
    scene.assert_same();
}

/// From none to longer than a round.
async fn pause(round: u64) {
    tokio::time::sleep(Duration::from_millis(round % 4 * 12)).await;
}

/// Big enough to be read by what has changed.
fn fill(client: &mut Client) {
    (1..=200).for_each(|id| drop(client.run(&format!("XADD stream {id}-1 f v"))));
    (0..1200).for_each(|field| drop(client.run(&format!("HSET hash {field} v"))));
}

/// The id that XINFO gives for the first entry.
fn recorded_first(client: &mut Client) -> String {
    let Reply::Array(info) = client.run("XINFO STREAM stream") else { panic!("no stream") };
    let text = |reply: &Reply| match reply {
        Reply::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    let pair = info.chunks_exact(2).find(|pair| text(&pair[0]) == "recorded-first-entry-id");
    pair.map(|pair| text(&pair[1])).expect("a Pika says so")
}
