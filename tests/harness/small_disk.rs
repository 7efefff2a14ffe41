// SPDX-License-Identifier: Apache-2.0
//! A file system in memory that gets full or read-only.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// One with these options of a tmpfs at `path`, a directory that is made; `None`, and a line that says so, where only
    /// the administrator can mount.
    pub(crate) fn mount(path: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "slotmover-test"]).arg(path).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self { path: path.to_owned() });
        }
        eprintln!("SKIPPED: only the administrator can mount a small disk");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it `ro` or `rw`. The first is refused while a file is open for writing.
    pub(crate) fn remount(&self, how: &str) -> bool {
        let options = format!("remount,{how}");
        Command::new("mount").args(["-o", &options]).arg(&self.path).output().unwrap().status.success()
    }

    /// Leaves no room for a single block. Removing what it gives makes room again.
    pub(crate) fn fill(&self) -> PathBuf {
        let ballast = self.path.join("ballast");
        let mut file = File::create(&ballast).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        ballast
    }

    /// Leaves room for so many more files, links or directories. Removing what it gives makes room again.
    pub(crate) fn fill_but(&self, free: usize) -> PathBuf {
        let ballast = self.path.join("ballast");
        fs::create_dir(&ballast).unwrap();
        let files = (0..FILES_MAX).map(|number| ballast.join(number.to_string()));
        let full = files.take_while(|file| fs::write(file, "").is_ok()).count();
        assert!(full < FILES_MAX, "the disk does not get full");
        (0..free).for_each(|number| fs::remove_file(ballast.join(number.to_string())).unwrap());
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process of a failed test may still hold its files.
        let unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.path.display());
        }
    }
}

/// Far more than a small disk is given inodes for.
const FILES_MAX: usize = 2000;
