// SPDX-License-Identifier: Apache-2.0
//! Entries that come in any number, beside changes of other keys, and with ids that do not only grow.

use std::time::Duration;

use mover::VerifyMode;

use super::{Scene, played};
use crate::harness::Client;

played! {
    many_entries_beside_other_changes_arrive, real_many_entries_beside_other_changes_arrive: many;
    ids_that_begin_anew_arrive, real_ids_that_begin_anew_arrive: anew;
    a_stream_that_was_emptied_and_deleted_is_gone, real_a_stream_that_was_emptied_and_deleted_is_gone: emptied;
    entries_of_an_earlier_stream_stay_away, real_entries_of_an_earlier_stream_stay_away: earlier;
    entries_that_the_target_had_before_are_found, real_entries_that_the_target_had_before_are_found: had_before;
}

/// More elements than are read at once, so that some batch ends within a stream. Nothing is compared, so nothing is repaired.
async fn many(scene: Scene) {
    let mut client = scene.source.client();
    fill(&mut client);
    let following = scene.follow(VerifyMode::Off, |_| ()).await;
    for burst in 1..=5 {
        let mut pipe = redis::pipe();
        for step in 0..150 {
            for stream in 0..3 {
                let id = format!("{}-{step}", burst * 1_000_000);
                pipe.cmd("XADD").arg(format!("stream{stream}")).arg(id).arg("f").arg(burst).ignore();
            }
        }
        pipe.cmd("XDEL").arg("stream0").arg(format!("{}-3", burst * 1_000_000)).ignore();
        pipe.cmd("HMSET").arg("hash0");
        for field in 0..250 {
            pipe.arg(field).arg(burst);
        }
        pipe.ignore();
        following.while_paused(|| client.pipe(&pipe)).await;
        following.catch_up(&scene).await;
    }
    following.finish().await.unwrap();
    scene.assert_same();
}

async fn anew(scene: Scene) {
    let mut client = scene.source.client();
    fill(&mut client);
    let following = scene.follow(VerifyMode::Off, |_| ()).await;
    for round in 0..20 {
        // Emptied, and begun anew with lesser ids.
        client.run("DEL stream0");
        for id in 1..=100 {
            client.run(&format!("XADD stream0 {}-{id} f {round}", round + 1));
        }
        client.run(&format!("XADD stream1 {}-1 f {round}", 20_000_000 + round));
        client.run(&format!("XDEL stream1 {}-1", 20_000_000 + round));
        client.run(&format!("XADD stream2 MAXLEN 80 {}-1 f {round}", 20_000_000 + round));
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    following.finish().await.unwrap();
    scene.assert_same();
}

/// A Pika deletes no stream without entries, so one may be left where the source's was deleted.
async fn emptied(scene: Scene) {
    let mut client = scene.source.client();
    client.run("SET beside v");
    let following = scene.follow(VerifyMode::Full, |_| ()).await;
    client.run("XADD stream 1-1 f v");
    following.catch_up(&scene).await;
    client.run("XDEL stream 1-1");
    following.catch_up(&scene).await;
    following
        .while_paused(|| {
            client.run("XADD stream 2-1 f v");
            client.run("DEL stream");
        })
        .await;
    following.catch_up(&scene).await;
    // While a switch is postponed what has changed is compared again now and then.
    tokio::time::sleep(COMPARED_AGAIN).await;
    let report = following.finish().await.unwrap();
    assert_eq!((report.verify.mismatches, report.verify.extra), (0, 0), "{report:?}");
    for server in [&scene.source, &scene.target] {
        server.client().run("XADD stream 1-1 f v");
    }
    scene.assert_same();
}

/// A Pika shows entries again of a stream that had the name before a key of another type, and the target may have had others
/// than the source.
async fn earlier(scene: Scene) {
    let mut client = scene.source.client();
    let streams = [("few", 1), ("many", 600)];
    let add = |client: &mut Client, stream: &str, length: u64, millis: u64| {
        (1..=length).for_each(|id| drop(client.run(&format!("XADD {stream} {millis}-{id} f v"))));
    };
    for (stream, length) in streams {
        // No entry is left of the first stream, which the target never sees.
        client.run(&format!("XADD {stream} 1-1 f v"));
        client.run(&format!("XDEL {stream} 1-1"));
        add(&mut client, stream, length, 2);
    }
    let following = scene.follow(VerifyMode::Full, |_| ()).await;
    for (stream, _) in streams {
        client.run(&format!("DEL {stream}"));
        client.run(&format!("SET {stream} v"));
    }
    following.catch_up(&scene).await;
    for (stream, length) in streams {
        client.run(&format!("DEL {stream}"));
        add(&mut client, stream, length, 9);
    }
    following.catch_up(&scene).await;
    following.finish().await.unwrap();
    scene.assert_same();
}

/// The same of streams that the target had before the move, which are compared where clients would see them: before the first
/// entry, behind the last, and between two that are asked about apart.
async fn had_before(scene: Scene) {
    let (mut here, mut there) = (scene.source.client(), scene.target.client());
    for (stream, earlier, ids) in [("before", "1-1", 5..=5), ("behind", "9-1", 5..=5), ("between", "512-5", 1..=1000)] {
        there.run(&format!("XADD {stream} {earlier} f v"));
        [format!("DEL {stream}"), format!("SET {stream} v"), format!("DEL {stream}")]
            .iter()
            .for_each(|command| drop(there.run(command)));
        ids.for_each(|id| drop(here.run(&format!("XADD {stream} {id}-1 f v"))));
    }
    let report = scene.follow(VerifyMode::Full, |_| ()).await.finish().await.unwrap();
    assert_eq!(report.verify.repaired, 3, "{report:?}");
    scene.assert_same();
}

/// Streams and hashes that are big enough to be read by what has changed.
fn fill(client: &mut Client) {
    for key in 0..3 {
        (1..=100).for_each(|id| drop(client.run(&format!("XADD stream{key} {id}-1 f v"))));
        (0..500).for_each(|field| drop(client.run(&format!("HSET hash{key} {field} v"))));
    }
}

/// Longer than from one comparison to the next.
const COMPARED_AGAIN: Duration = Duration::from_secs(7);
