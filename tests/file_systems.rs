// SPDX-License-Identifier: Apache-2.0
//! File systems that are full, or not the one they must be.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{CommandLine, RedisServer, Source};

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
    let Some(disk) = SmallDisk::mount(dir.path()) else {
        eprintln!("SKIPPED: only the administrator can mount a small disk");
        return;
    };
    let source = Source::start(&disk.path.join("node")).await;
    let target = RedisServer::start();
    let mut failures = 0;
    for free in [0, 1, 3, 12] {
        let ballast = disk.fill_but(free);
        let outcome = CommandLine::of_move(source.addr(), target.addr(), "1").run();
        fs::remove_dir_all(ballast).unwrap();
        if outcome.code != 0 {
            outcome.assert_failed(&[disk.path.to_str().unwrap()]);
            failures += 1;
        }
        outcome.take_back();
        source.assert_untouched();
    }
    assert!(failures >= 3, "{failures} moves met the full disk");
}

/// A file system in memory with few inodes.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(parent: &Path) -> Option<Self> {
        let path = parent.join("disk");
        fs::create_dir(&path).unwrap();
        let options = format!("size=64m,nr_inodes={INODES}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "slotmover-test"]).arg(&path).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self { path })
    }

    /// Leaves room for so many more files, links or directories. Removing what it gives makes room again.
    fn fill_but(&self, free: usize) -> PathBuf {
        let ballast = self.path.join("ballast");
        fs::create_dir(&ballast).unwrap();
        let mut files = (0..INODES).map(|number| ballast.join(number.to_string()));
        let full = files.by_ref().take_while(|file| fs::write(file, "").is_ok()).count();
        assert!(full < INODES, "the disk does not get full");
        (0..free).for_each(|number| fs::remove_file(ballast.join(number.to_string())).unwrap());
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a node of a failed test may still hold its files.
        let unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.path.display());
        }
    }
}

const INODES: usize = 400;
