// SPDX-License-Identifier: Apache-2.0
//! Dumps and logs of newer builds.

use mover::{Error, VerifyMode};

use super::Scene;

/// What was pushed between the place of a dump and its files is in them, and is not pushed once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_holds_more_than_its_place_says_doubles_nothing() {
    let scene = Scene::with_source(|config| config.inexact_dumps = true).await;
    let mut client = scene.source.client();
    (0..20).for_each(|list| drop(client.run(&format!("RPUSH list{list} first"))));
    let writer = scene.source.write(|client, number| {
        client.run(&format!("RPUSH list{} {number}", number % 20));
        client.run(&format!("INCR counter{}", number % 20));
    });
    let following = scene.follow(VerifyMode::Off, |_| ()).await;
    writer.stop();
    following.finish().await.unwrap();
    scene.assert_same();
}

/// Its log names what is not done yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_runs_ahead_is_refused() {
    let scene = Scene::with_source(|config| config.strong_replication = true).await;
    scene.source.client().run("SET key value");
    let error = scene.follow(VerifyMode::Full, |_| ()).await.end().await.unwrap_err();
    assert!(matches!(error, Error::Unfit { .. } | Error::Checkpoint(_)), "{error}");
    assert!(error.to_string().contains("strong"), "{error}");
}
