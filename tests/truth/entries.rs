// SPDX-License-Identifier: Apache-2.0
//! Entries of the log that do not name what they change, and a log that is not written.

use mover::flow::CommandRate;
use mover::job::KeyBalance;
use mover::{Error, JobOptions, VerifyMode};
use redis::Value as Reply;
use replication::{Rename, Renames};

use super::{Scene, played};
use crate::harness::{Client, until};

played! {
    what_was_on_the_line_does_not_come_back_after_a_flush, real_what_was_on_the_line_does_not_come_back: flushed;
    a_source_that_stops_logging_is_not_switched, real_a_source_that_stops_logging_is_not_switched: unlogged;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_by_another_name_is_not_passed_over() {
    let renamed = || Scene::with_source(|config| config.rename = vec![("flushdb".into(), "360flushdb".into())]);
    renamed_flush(renamed().await, Renames::default()).await;
    let known = "FLUSHDB=360flushdb".parse::<Rename>().unwrap();
    renamed_flush(renamed().await, Renames::new([known]).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_a_flush_by_another_name_is_not_passed_over() {
    let Some(scene) = Scene::of_real_servers_with(&[("rename-command", "FLUSHDB 360flushdb")]).await else { return };
    renamed_flush(scene, Renames::default()).await;
}

async fn renamed_flush(scene: Scene, renames: Renames) {
    fill(&mut scene.source.client(), 0..5000);
    let rename =
        |options: &mut JobOptions| (options.renames, options.target_renames) = (renames, Some(Renames::default()));
    let following = scene.follow(VerifyMode::Off, rename).await;
    scene.source.client().run("360flushdb");
    fill(&mut scene.source.client(), 9000..9002);
    following.finish().await.unwrap();
    scene.assert_same();
    assert_eq!(scene.target.client().run("GET key17"), Reply::Nil);
}

/// The line is slow, so that it still holds what was read before the flush when the log tells of it.
async fn flushed(scene: Scene) {
    let slow = |options: &mut JobOptions| options.command_rate = CommandRate::per_second(200);
    let following = scene.follow(VerifyMode::Off, slow).await;
    let (mut here, mut there) = (scene.source.client(), scene.target.client());
    // Two rounds read most of it, and a third one finds the flush behind the rest.
    following.while_paused(|| fill(&mut here, 0..600)).await;
    let exists = (0..600).fold("EXISTS".to_owned(), |words, number| format!("{words} key{number}"));
    // The second round has read its keys, and waits for those of the first to land.
    until("a part of the first round", || there.number(&exists) >= 50).await;
    here.run("FLUSHDB");
    following.catch_up(&scene).await;
    let report = following.finish().await.unwrap();
    assert_eq!(report.counts, KeyBalance::default(), "a limit on commands leaves none for questions");
    scene.assert_same();
}

async fn unlogged(scene: Scene) {
    let mut client = scene.source.client();
    fill(&mut client, 0..100);
    let following = scene.follow(VerifyMode::Full, |_| ()).await;
    client.run("CONFIG SET write-binlog no");
    fill(&mut client, 100..200);
    let error = following.finish().await.unwrap_err();
    assert!(matches!(&error, Error::Unfit { what, .. } if what.contains("write-binlog")), "{error}");
    client.run("CONFIG SET write-binlog yes");
    let again = scene.follow(VerifyMode::Off, |options| options.replace = true).await;
    again.finish().await.unwrap();
    scene.assert_same();
}

fn fill(client: &mut Client, numbers: std::ops::Range<u64>) {
    let mut pipe = redis::pipe();
    for number in numbers {
        pipe.cmd("SET").arg(format!("key{number}")).arg(number).ignore();
    }
    client.pipe(&pipe);
}
