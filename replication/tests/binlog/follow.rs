// SPDX-License-Identifier: Apache-2.0
//! Following a log that is being written, rolled over and purged.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use replication::binlog::{Spool, Tail, Writer, file_path, files};
use replication::{BinlogOffset, Command, Error};

use crate::{TIME, commands, drain, item_of, read_all};

const START: BinlogOffset = BinlogOffset::new(0, 0);

#[test]
fn a_tail_sees_each_item_as_soon_as_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), 3000).unwrap();
    let mut tail = Tail::open(dir.path(), START).unwrap();
    for length in (100..900).step_by(7).chain([200_000, 100]) {
        assert_eq!(tail.next().unwrap(), None);
        let end = writer.append(&item_of(length), TIME).unwrap();
        assert_eq!(tail.end().unwrap(), end);
        let item = tail.next().unwrap().unwrap();
        assert_eq!((item.end, tail.position(), item.logic_id), (end, end, writer.logic_id()));
    }
    assert!(writer.end().file > 10);
}

#[test]
fn a_tail_knows_how_long_the_log_is_over_many_files() {
    let dir = tempfile::tempdir().unwrap();
    let (log, own) = (dir.path().join("log"), dir.path().join("spool"));
    let mut writer = Writer::open(&log, 3000).unwrap();
    let spool = Spool::create(&log, &own, 0).unwrap();
    let mut tail = Tail::open_spooled(&spool, START).unwrap();
    assert_eq!(tail.length(START, writer.end()).unwrap(), 0);
    for length in (100..900).step_by(7) {
        writer.append(&item_of(length), TIME).unwrap();
    }
    let end = writer.end();
    assert!(end.file > 10);
    // The last file has more room than was written.
    let sealed = files(&log).unwrap().into_iter().filter(|number| *number < end.file);
    let length = sealed.map(|number| fs::metadata(file_path(&log, number)).unwrap().len()).sum::<u64>() + end.position;
    assert_eq!(tail.length(START, end).unwrap(), length);
    let from = BinlogOffset::new(end.file, 1);
    assert_eq!(tail.length(from, end).unwrap(), end.position - 1);
    // The links that it made outlive the server's files.
    writer.purge(2).unwrap();
    assert_eq!(tail.length(START, end).unwrap(), length);
}

/// The writer runs as fast as it can and keeps two files; the spool must not lose one, nor the tail an item.
#[test]
fn a_spooled_tail_outruns_the_purge() {
    let dir = tempfile::tempdir().unwrap();
    let (log, own) = (dir.path().join("log"), dir.path().join("spool"));
    let mut writer = Writer::open(&log, 20_000).unwrap();
    let mut spool = Spool::create(&log, &own, 0).unwrap();
    let mut tail = Tail::open_spooled(&spool, START).unwrap();
    let stopped = AtomicBool::new(false);
    let (written, read) = thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut written = Vec::new();
            for index in 0..3000 {
                let command =
                    Command::new([b"SET".to_vec(), format!("k{index}").into_bytes(), vec![b'v'; index % 700]]);
                writer.append(&command, TIME).unwrap();
                spool.follow().unwrap();
                writer.purge(2).unwrap();
                written.push(command);
            }
            stopped.store(true, Ordering::Release);
            written
        });
        let mut read = Vec::new();
        loop {
            let is_last = stopped.load(Ordering::Acquire);
            let (items, result) = drain(&mut tail);
            result.unwrap();
            read.extend(commands(&items));
            if is_last {
                return (writing.join().unwrap(), read);
            }
        }
    });
    assert!(read == written, "{} of {} read", read.len(), written.len());
    assert_eq!(tail.position(), writer.end());
    assert_eq!(files(&log).unwrap().len(), 2);
    assert_eq!(files(&own).unwrap().len() as u32, writer.end().file + 1);
}

#[test]
fn a_purge_is_told_without_a_spool_and_harmless_with_one() {
    let dir = tempfile::tempdir().unwrap();
    let (log, own) = (dir.path().join("log"), dir.path().join("spool"));
    let mut writer = Writer::open(&log, 500).unwrap();
    append(&mut writer, 6);
    let mut plain = Tail::open(&log, START).unwrap();
    plain.next().unwrap().unwrap();
    let spool = Spool::create(&log, &own, 1).unwrap();
    append(&mut writer, 6);
    assert_eq!(writer.purge(1).unwrap(), 5);

    // The open file is still there for who has it open; the next one is not.
    let (items, result) = drain(&mut plain);
    assert_eq!(items.len(), 1);
    assert!(matches!(result, Err(Error::Purged { path }) if path == file_path(&log, 1)));
    assert!(matches!(Tail::open(&log, START), Err(Error::Purged { .. })));

    // The spool was not told to follow, so it has what was there when it was made.
    let mut tail = Tail::open_spooled(&spool, BinlogOffset::new(1, 0)).unwrap();
    let (items, result) = drain(&mut tail);
    assert_eq!(items.len(), 4);
    assert!(matches!(result, Err(Error::Purged { path }) if path == file_path(&log, 3)));
    assert!(matches!(Spool::create(&log, &own, 1), Err(Error::Purged { path }) if path == file_path(&log, 3)));
}

#[test]
fn a_spool_resumes_releases_and_removes() {
    let dir = tempfile::tempdir().unwrap();
    let (log, own) = (dir.path().join("log"), dir.path().join("spool"));
    let mut writer = Writer::open(&log, 500).unwrap();
    append(&mut writer, 4);
    assert!(matches!(Spool::create(&log, &own, 2), Err(Error::Beyond { .. })));
    drop(Spool::create(&log, &own, 0).unwrap());
    append(&mut writer, 4);
    drop(Spool::create(&log, &own, 0).unwrap());
    assert_eq!(writer.purge(1).unwrap(), 3);
    let spool = Spool::create(&log, &own, 0).unwrap();
    let (items, result) = drain(&mut Tail::open_spooled(&spool, START).unwrap());
    result.unwrap();
    assert_eq!(items.len(), 8);
    spool.release_before(2).unwrap();
    assert_eq!(files(&own).unwrap(), [2, 3]);
    fs::write(own.join("theirs"), "").unwrap();
    assert!(matches!(spool.clone().remove(), Err(Error::Io { .. })));
    fs::remove_file(own.join("theirs")).unwrap();
    spool.remove().unwrap();
    assert!(!own.exists());
    assert_eq!(files(&log).unwrap(), [3]);
}

/// `PURGELOGSTO` of Pika 4.0.1 can unlink the very file that the server writes to.
#[test]
fn a_spool_survives_the_loss_of_the_active_file() {
    let dir = tempfile::tempdir().unwrap();
    let (log, own) = (dir.path().join("log"), dir.path().join("spool"));
    let mut writer = Writer::open(&log, 1 << 20).unwrap();
    let spool = Spool::create(&log, &own, 0).unwrap();
    let mut tail = Tail::open_spooled(&spool, START).unwrap();
    fs::remove_file(file_path(&log, 0)).unwrap();
    writer.append(&item_of(300), TIME).unwrap();
    assert!(tail.next().unwrap().is_some());
    assert!(matches!(Tail::open(&log, START), Err(Error::Corrupt { .. })), "the manifest names a file that is gone");
}

#[test]
fn a_log_begun_anew_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (log, own) = (dir.path().join("log"), dir.path().join("spool"));
    append(&mut Writer::open(&log, 1 << 20).unwrap(), 3);
    drop(Spool::create(&log, &own, 0).unwrap());
    let mut tail = Tail::open(&log, START).unwrap();
    drain(&mut tail).1.unwrap();
    fs::remove_dir_all(&log).unwrap();
    append(&mut Writer::open(&log, 1 << 20).unwrap(), 2);
    assert!(matches!(tail.next(), Err(Error::Beyond { .. })));
    assert!(matches!(Tail::open(&log, tail.position()), Err(Error::Beyond { .. })));
    assert!(matches!(Spool::create(&log, &own, 0), Err(Error::Replaced { .. })));
}

#[test]
fn a_refused_link_names_both_paths() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    drop(Writer::open(&log, 1 << 20).unwrap());
    // Another file system than that of temporary files, where there is one.
    let shared = Path::new("/dev/shm");
    if shared.is_dir() {
        let own = tempfile::tempdir_in(shared).unwrap();
        let error = Spool::create(&log, own.path(), 0).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&*log.to_string_lossy()) && text.contains(&*own.path().to_string_lossy()), "{text}");
        assert!(text.contains("put the spool on the file system of the log"), "{text}");
    }
}

/// The end of a file and the start of the next are one place.
#[test]
fn resumes_at_either_side_of_a_roll_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), 500).unwrap();
    let ends: Vec<_> = (0..6).map(|_| writer.append(&item_of(300), TIME).unwrap()).collect();
    let (items, result) = read_all(dir.path());
    result.unwrap();
    for from in [ends[1], BinlogOffset::new(1, 0)] {
        let (rest, result) = drain(&mut Tail::open(dir.path(), from).unwrap());
        result.unwrap();
        assert_eq!(rest, items[2..]);
    }
    let far = BinlogOffset::new(0, ends[1].position + 1);
    assert!(matches!(Tail::open(dir.path(), far), Err(Error::Beyond { .. })));
}

fn append(writer: &mut Writer, count: usize) {
    for _ in 0..count {
        writer.append(&item_of(300), TIME).unwrap();
    }
}
