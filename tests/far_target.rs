// SPDX-License-Identifier: Apache-2.0
//! Moves that are undone although the target's files are on another machine: a receiver there reads its log out.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use mover::job::Undo;
use mover::job::journal::Journal;
use mover::receiver::ReceiverOptions;
use mover::{Error, Job};
use redis::Value as Reply;

use crate::harness::{Far, Receiving, Valve, assert_same, contents, left_behind, sender_options, until};
use crate::rollback::{LONG, Scene, course, job, job_with, window, write_new};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_at_a_far_target_comes_back() {
    // Where the target says that its files are there is nothing, or another node has its own there.
    for elsewhere in ["nobody", "source"] {
        let (mut scene, far) = far(elsewhere).await;
        let receiving = Receiving::start(scene.target.addr(), |_| ()).await;
        scene.run(through(receiving.addr(), &scene, &far));
        scene.until_arrived().await;
        let (mut source, mut target) = (scene.source.client(), scene.target.client());
        write_new(&mut target);
        target.run("SET marker new");
        until("it comes back", || source.run("GET marker") == Reply::BulkString(b"new".into())).await;
        // Behind the back of the move, so that only a comparison finds it.
        let damaged = ["SET string:7 other", "DEL hash:7", "SET extra 1"];
        damaged.iter().for_each(|line| drop(source.run(line)));
        target.run("INCR new");
        let written = contents(&mut target);
        scene.control.roll_back();
        let (report, scene) = scene.end().await;
        let rollback = report.unwrap().rollback.expect("it was rolled back");
        assert!(rollback.changes > 0 && rollback.verify.keys > 0, "{rollback:?}");
        assert_eq!(rollback.verify.repaired, damaged.len() as u64, "{rollback:?}");
        assert!(scene.routing.switched().is_empty());
        assert_same(&written, &contents(&mut source));
        assert_eq!(contents(&mut target).len(), 0, "keys are left at the target");
        scene.assert_tidy();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_target_without_a_receiver_has_no_way_back() {
    let (mut scene, far) = far("nobody").await;
    scene.run(job(&scene.source, far.addr(), &scene.routing).with_reverse_window(window(&scene.routing, LONG)));
    let (report, scene) = scene.end().await;
    let why = report.unwrap().no_way_back.unwrap();
    assert!(why.contains("not on this machine") && why.contains("receiver"), "{why}");
    assert_same(scene.source.contents(), &contents(&mut scene.target.client()));
    scene.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_comes_back_goes_on() {
    let (mut scene, far) = far("nobody").await;
    let receiving = Receiving::start(scene.target.addr(), |_| ()).await;
    scene.run(through(receiving.addr(), &scene, &far));
    scene.until_arrived().await;
    let (mut source, mut target) = (scene.source.client(), scene.target.client());
    let listen = receiving.addr().to_string();
    receiving.stop().await;
    target.run("SET marker meanwhile");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(matches!(scene.progress.status().undo, Some(Undo::Possible { .. })));
    let again = |options: &mut ReceiverOptions| options.listen = listen;
    let _receiving = Receiving::start(scene.target.addr(), again).await;
    until("it comes back", || source.run("GET marker") == Reply::BulkString(b"meanwhile".into())).await;
    let written = contents(&mut target);
    scene.control.roll_back();
    let (report, scene) = scene.end().await;
    assert!(report.unwrap().rollback.is_some());
    assert_same(&written, &contents(&mut source));
    scene.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_stands_still_holds_a_rollback_and_no_client() {
    let (mut scene, far) = far("nobody").await;
    let receiving = Receiving::start(scene.target.addr(), |_| ()).await;
    let valve = Valve::before(receiving.addr()).await;
    scene.run(through(valve.addr(), &scene, &far));
    scene.until_arrived().await;
    valve.handle().send_replace(false);
    scene.target.client().run("SET marker meanwhile");
    let raises = scene.routing.raises();
    scene.control.roll_back();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Where the log ends is not known, so nobody is held.
    assert_eq!((scene.routing.raises(), scene.routing.switched().len()), (raises, 1024));
    valve.handle().send_replace(true);
    let written = contents(&mut scene.target.client());
    let (report, scene) = scene.end().await;
    assert!(report.unwrap().rollback.is_some());
    assert_same(&written, &contents(&mut scene.source.client()));
    scene.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_log_that_cannot_be_read_is_told() {
    let (mut scene, far) = far("nobody").await;
    let receiving = Receiving::start(scene.target.addr(), |_| ()).await;
    scene.run(through(receiving.addr(), &scene, &far));
    scene.until_arrived().await;
    let log = scene.target_dir.join("log/log_db0");
    for entry in fs::read_dir(&log).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    until("it is told", || matches!(scene.progress.status().undo, Some(Undo::Gone { .. }))).await;
    let Some(Undo::Gone { why }) = scene.progress.status().undo else { unreachable!() };
    assert!(why.contains("its log cannot be read") && why.contains("log_db0"), "{why}");
    scene.control.close_window();
    let (report, scene) = scene.end().await;
    assert!(report.unwrap().no_way_back.is_some());
    assert_eq!(scene.routing.switched().len(), 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_window_is_gone_on_with_by_another_process() {
    let state = tempfile::tempdir().unwrap();
    let journal = Journal::create(state.path(), course()).unwrap();
    let path = journal.path().unwrap();
    let (mut scene, far) = far("nobody").await;
    let receiving = Receiving::start(scene.target.addr(), |_| ()).await;
    scene.run(through(receiving.addr(), &scene, &far).with_journal(journal));
    scene.until_arrived().await;
    let mut target = scene.target.client();
    target.run("SET string:0 before");
    scene.control.stop();
    let (outcome, mut scene) = scene.end().await;
    assert!(matches!(outcome, Err(Error::Stopped)), "{outcome:?}");
    assert_eq!(left_behind(state.path()).len(), 1);
    target.run("SET string:1 meanwhile");
    let written = contents(&mut target);
    let journal = Journal::open(&path).unwrap();
    journal.roll_back().await.unwrap();
    scene.run(through(receiving.addr(), &scene, &far).with_journal(journal));
    let (report, scene) = scene.end().await;
    assert!(report.unwrap().rollback.is_some());
    assert_same(&written, &contents(&mut scene.source.client()));
    scene.assert_tidy();
    assert_eq!(left_behind(state.path()), Vec::<std::path::PathBuf>::new());
}

/// Both nodes, and a way to the target on which it says that its files are in the directory `elsewhere` beside its own.
async fn far(elsewhere: &str) -> (Scene, Far) {
    let scene = Scene::set_up().await;
    let elsewhere = scene.dir().join(Path::new(elsewhere));
    let far = Far::before(scene.target.addr(), &scene.target_dir, &elsewhere).await;
    (scene, far)
}

/// A job whose batches go through the receiver at this address.
fn through(receiver: SocketAddr, scene: &Scene, far: &Far) -> Job {
    let receiver = Some(sender_options(receiver));
    job_with(&scene.source, far.addr(), &scene.routing, |options| options.receiver = receiver)
        .with_reverse_window(window(&scene.routing, LONG))
}
