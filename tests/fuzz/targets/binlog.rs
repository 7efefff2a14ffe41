// SPDX-License-Identifier: Apache-2.0
//! A file of the binlog, as it is read while the server writes it and as it is read once it is complete.
//!
//! ```text
//! 0        2       3
//! | offset | seal  | bytes of the file from that offset on ...
//!   u16 LE   bit 0   so a few bytes lie anywhere in a block
//! ```

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use replication::binlog::{Content, Item, Manifest, Reader, Tail, UnixSeconds, Writer, file_path};
use replication::{BinlogOffset, Command, Effect, Error, Renames};

pub(crate) fn check(input: &[u8]) {
    let Some((&[low, high, flags], bytes)) = input.split_first_chunk() else { return };
    let start = u64::from(u16::from_le_bytes([low, high]));
    let dir = DIR.with(|dir| dir.path().to_owned());
    let log = File::create(file_path(&dir, 0)).unwrap();
    log.write_all_at(bytes, start).unwrap();
    log.set_len(start + bytes.len() as u64).unwrap();
    let end = start + bytes.len() as u64;

    let (items, is_whole) = read(&dir, start, end, flags & 1 == 1);
    for item in &items {
        // Whatever it is, it has a meaning.
        let _ = Effect::of_item(item, &Renames::default());
    }
    if flags & 1 == 0 {
        manifest(&dir, end);
        assert_eq!(followed(&dir, start), items);
    }
    if is_whole && items.len() <= ROUND_TRIP_MAX {
        round_trip(&items);
    }
}

/// All items up to the end or to the first error, and whether there was none.
fn read(dir: &Path, start: u64, end: u64, sealed: bool) -> (Vec<Item>, bool) {
    let mut reader = Reader::open(dir, BinlogOffset::new(0, start)).unwrap();
    match sealed {
        true => reader.seal().unwrap(),
        false => reader.extend_to(end),
    }
    let mut items: Vec<Item> = Vec::new();
    loop {
        let before = reader.position();
        match reader.next() {
            Ok(Some(item)) => {
                assert!(before <= item.start && item.start < item.end && item.end == reader.position());
                assert!(item.end.position <= end, "an item behind the end");
                items.push(item);
            }
            Ok(None) => return (items, true),
            Err(error) => {
                let Error::Corrupt { offset, .. } = &error else { panic!("{error}") };
                assert!((start..=end).contains(offset), "damage at {offset}, outside of {start} to {end}");
                let again = reader.next().expect_err("damage does not go away");
                assert_eq!(again.to_string(), error.to_string());
                return (items, false);
            }
        }
    }
}

/// Says where the log ends, as the server does.
fn manifest(dir: &Path, end: u64) {
    let mut bytes = [0; 24];
    bytes[4..12].copy_from_slice(&end.to_le_bytes());
    fs::write(dir.join("manifest"), bytes).unwrap();
    assert_eq!(Manifest::read(dir).unwrap().end, BinlogOffset::new(0, end));
}

/// What a tail gives before its first error.
fn followed(dir: &Path, start: u64) -> Vec<Item> {
    let mut tail = Tail::open(dir, BinlogOffset::new(0, start)).unwrap();
    let mut items = Vec::new();
    while let Ok(Some(item)) = tail.next() {
        items.push(item);
    }
    items
}

/// The commands of these items, written anew, are read back.
fn round_trip(items: &[Item]) {
    let command = |item: &Item| match &item.content {
        Content::Command(command) => Some(command.clone()),
        Content::Padding => None,
    };
    let commands: Vec<Command> = items.iter().filter_map(command).collect();
    if commands.is_empty() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), 100 << 20).unwrap();
    for command in &commands {
        writer.append(command, UnixSeconds(1)).unwrap();
    }
    let end = writer.end();
    let (again, is_whole) = read(dir.path(), 0, end.position, false);
    let again: Vec<Command> = again.iter().filter_map(command).collect();
    assert!(is_whole && again == commands);
}

/// Writing is slower than reading by far.
const ROUND_TRIP_MAX: usize = 16;

thread_local! {
    static DIR: tempfile::TempDir = tempfile::tempdir().unwrap();
}
