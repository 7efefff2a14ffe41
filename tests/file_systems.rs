// SPDX-License-Identifier: Apache-2.0
//! File systems that are full, or not the one they must be.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mover::sandbox::node::NodeConfig;

use crate::harness::{CommandLine, RedisServer, SlowMove, SmallDisk, Source, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_work_directory_elsewhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let shared = Path::new("/dev/shm");
    if !shared.is_dir() || shared.metadata().unwrap().dev() == dir.path().metadata().unwrap().dev() {
        eprintln!("SKIPPED: {} is no other file system than {}", shared.display(), dir.path().display());
        return;
    }
    let work_dir = tempfile::tempdir_in(shared).unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let more = ["--work-dir", work_dir.path().to_str().unwrap()];
    let outcome = CommandLine::of_move(source.addr(), target.addr(), "1").args(&more).run();
    let place = work_dir.path().to_str().unwrap();
    outcome.assert_failed(&["hard-link", place, "put the spool on the file system of the log"]);
    outcome.take_back();
    assert_eq!(fs::read_dir(work_dir.path()).unwrap().count(), 0, "nothing is left there");
    source.assert_untouched();
}

/// From no room for anything to room for nearly all.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_wherever_it_is_met() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("disk"), INODES) else { return };
    let source = Source::start(&disk.path().join("node")).await;
    let (mut failures, mut resumed) = (0, 0);
    for free in [0, 1, 3, 12] {
        let target = RedisServer::start();
        let ballast = disk.fill_but(free);
        let outcome = CommandLine::of_move(source.addr(), target.addr(), "1").run();
        fs::remove_dir_all(ballast).unwrap();
        if outcome.code != 0 {
            outcome.assert_failed(&[disk.path().to_str().unwrap()]);
            failures += 1;
        }
        // One that had done nothing has left nothing to go on with.
        for job in outcome.stopped_jobs() {
            outcome.then(&["resume", &job]).run().assert_done();
            resumed += 1;
        }
        source.assert_untouched();
    }
    assert!(failures >= 3 && resumed >= 2, "{failures} moves met the full disk, {resumed} of them went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_is_full_stops_a_move_before_it_begins() {
    let scene = SlowMove::start().await;
    let state = scene.hooked.path("state");
    let Some(disk) = SmallDisk::mount(Path::new(&state), "size=256k") else { return };
    let ballast = disk.fill();
    scene.hooked.command().run().assert_failed(&[&state, "No space left", "free space or inodes"]);
    scene.assert_not_switched();
    assert_eq!((scene.hooked.calls().len(), scene.hooked.target.client().number("DBSIZE")), (0, 0));
    scene.hooked.source.assert_untouched();
    fs::remove_file(ballast).unwrap();
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0, "nothing is left there");
    scene.hooked.command().run().assert_done();
}

/// At every entry of a journal: see `tests/crash`.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_grow_stops_the_move() {
    let scene = SlowMove::start().await;
    let mut agent = scene.agent().await;
    let journal = scene.journal();
    agent.limit_files(journal.metadata().unwrap().len() + 7);
    assert_eq!(agent.end().await, Some(1), "{}", agent.errors());
    scene.assert_stopped(&agent, &["cannot write the journal", journal.to_str().unwrap(), "File too large"]);
    scene.assert_goes_on();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_is_read_only_stops_a_move_before_it_begins() {
    let scene = SlowMove::start().await;
    let state = scene.hooked.path("state");
    let Some(disk) = SmallDisk::mount(Path::new(&state), "size=256k") else { return };
    assert!(disk.remount("ro"));
    scene.hooked.command().run().assert_failed(&[&state, "Read-only file system"]);
    scene.assert_not_switched();
    assert_eq!((scene.hooked.calls().len(), scene.hooked.target.client().number("DBSIZE")), (0, 0));
    scene.hooked.source.assert_untouched();
    assert!(disk.remount("rw"));
    // So is one that was begun.
    let mut agent = scene.agent().await;
    agent.kill();
    until("nobody writes there", || disk.remount("ro")).await;
    let job = scene.job();
    for words in [&["resume", &*job][..], &["cancel", &job]] {
        scene.run(words).assert_failed(&["the journal", &state, "Read-only file system"]);
    }
    scene.assert_not_switched();
    assert!(disk.remount("rw"));
    scene.assert_goes_on();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_log_that_cannot_be_linked_stops_the_move() {
    let mut disk = None;
    let scene = SlowMove::with(|dir| {
        disk = SmallDisk::mount(dir, INODES);
        NodeConfig { binlog_file_size: 64 << 10, ..NodeConfig::new(dir) }
    })
    .await;
    let Some(disk) = disk else { return };
    let mut agent = scene.agent().await;
    let log = scene.hooked.source.log_dir();
    let files = || fs::read_dir(&log).unwrap().count();
    // The source may begin one more file, and then nobody may link it.
    let (before, ballast) = (files(), disk.fill_but(1));
    let mut client = scene.hooked.source.client();
    let mut number = 0;
    until("the source begins another file", || {
        client.run(&format!("SET new:{number} {}", "v".repeat(1000)));
        number += 1;
        files() > before
    })
    .await;
    assert_eq!(agent.end().await, Some(1), "{}", agent.errors());
    let parts = ["link", "write2file", "No space left", "free space or inodes on the file system of the log"];
    scene.assert_stopped(&agent, &parts);
    fs::remove_dir_all(ballast).unwrap();
    scene.assert_goes_on();
}

/// Inodes for a node and a move of it.
const INODES: &str = "size=64m,nr_inodes=400";
