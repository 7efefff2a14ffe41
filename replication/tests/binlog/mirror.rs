// SPDX-License-Identifier: Apache-2.0
//! A log that is read by its mirror.

use std::path::Path;

use replication::binlog::{Extract, Manifest, Mirror, Tail, Writer, first_file};
use replication::{BinlogOffset, Error};

use crate::golden::log_dir;
use crate::{TIME, drain, item_of, read_all};

#[test]
fn a_mirror_is_read_like_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut writer = Writer::open(&log, 70_000).unwrap();
    let mut ends = Vec::new();
    let mut write = |ends: &mut Vec<BinlogOffset>| {
        for number in 0..40 {
            ends.push(writer.append(&item_of(100 + number * 300), TIME).unwrap());
        }
    };
    write(&mut ends);
    for from in [3, 17] {
        let mut mirror = Mirror::create(dir.path().join("mirror"), ends[from]).unwrap();
        for max in [1000, 64 << 10, 7] {
            write(&mut ends);
            follow(&log, &mut mirror, max);
            let (items, result) = drain(&mut Tail::open(mirror.dir(), ends[from]).unwrap());
            result.unwrap();
            assert!(items.iter().map(|item| item.end).eq(ends[from + 1..].iter().copied()));
        }
    }
    assert!(ends.last().unwrap().file > 3, "it went over several files");
}

#[test]
fn a_mirror_of_a_real_log_has_its_items() {
    let (dir, log) = (tempfile::tempdir().unwrap(), log_dir());
    let from = BinlogOffset::new(first_file(&log).unwrap(), 0);
    let mut mirror = Mirror::create(dir.path().join("mirror"), from).unwrap();
    follow(&log, &mut mirror, 999);
    let (items, result) = read_all(mirror.dir());
    result.unwrap();
    assert!(!items.is_empty() && items == read_all(&log).0);
}

#[test]
fn what_cannot_be_had_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut writer = Writer::open(&log, 70_000).unwrap();
    let end = writer.append(&item_of(100), TIME).unwrap();
    let read = |from, end| Extract::read(&log, from, end, 100);
    let behind = BinlogOffset::new(0, end.position + 1);
    assert!(matches!(read(behind, end), Err(Error::Beyond { .. })));
    assert!(matches!(read(BinlogOffset::new(1, 0), end), Err(Error::Beyond { .. })));
    assert!(matches!(read(BinlogOffset::new(1, 0), BinlogOffset::new(2, 0)), Err(Error::Purged { .. })));
    let mut mirror = Mirror::create(dir.path().join("mirror"), BinlogOffset::new(0, 0)).unwrap();
    let odd = Extract { bytes: vec![1, 2], next: BinlogOffset::new(0, 3) };
    assert!(matches!(mirror.append(&odd), Err(Error::Beyond { .. })));
    // It is made anew, whatever is there.
    assert_eq!(Mirror::create(mirror.dir(), end).unwrap().end(), end);
}

fn follow(log: &Path, mirror: &mut Mirror, max: usize) {
    let end = Manifest::read(log).unwrap().end;
    while mirror.end() < end {
        mirror.append(&Extract::read(log, mirror.end(), end, max).unwrap()).unwrap();
    }
}
