// SPDX-License-Identifier: Apache-2.0
//! What the writer writes, the reader reads.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use replication::binlog::{Content, Manifest, UnixSeconds, Writer, file_path, files};
use replication::{BinlogOffset, Command};

use crate::{TIME, commands, item_of, read_all};

const BLOCK: usize = 65536;
const HEADER: usize = 8;

/// The bytes of `set foo bar` as the first item of a log.
const VECTOR: [u8; 73] = *b"\x41\x00\x00\xb0\x57\x40\x67\x01\
    \x01\x00\xb0\x57\x40\x67\x00\x00\x00\x00\
    \x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
    \x00\x00\x00\x00\x00\x00\x00\x00\x1f\x00\x00\x00\
    *3\r\n$3\r\nset\r\n$3\r\nfoo\r\n$3\r\nbar\r\n";

#[test]
fn has_the_bytes_of_the_reference() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), 1 << 20).unwrap();
    let command = Command::new(["set", "foo", "bar"]);
    assert_eq!(writer.append(&command, TIME).unwrap(), BinlogOffset::new(0, 73));

    let file = fs::read(file_path(dir.path(), 0)).unwrap();
    assert_eq!(file[..73], VECTOR);
    assert!(file.len() == 4 << 20 && file[73..].iter().all(|&byte| byte == 0), "allotted ahead with zeros");
    let manifest = fs::read(dir.path().join("manifest")).unwrap();
    assert_eq!(manifest[..24], *b"\0\0\0\0\x49\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(manifest.len(), 65536);

    let (items, result) = read_all(dir.path());
    result.unwrap();
    assert_eq!(commands(&items), [command]);
    assert_eq!((items[0].time, items[0].term, items[0].logic_id), (TIME, 0, 1));
    assert_eq!((items[0].start, items[0].header), (BinlogOffset::new(0, 0), BinlogOffset::new(0, 0)));
    writer.close().unwrap();
    assert_eq!(fs::read(file_path(dir.path(), 0)).unwrap(), VECTOR);
}

/// An item that ends 0 to 9 bytes before a block's end, and one of one to three fragments behind it.
#[test]
fn every_rest_of_a_block_is_read() {
    for left in 0..=9 {
        for behind in [100, BLOCK - HEADER, BLOCK - HEADER + 1, 2 * BLOCK + 500] {
            let dir = tempfile::tempdir().unwrap();
            let mut writer = Writer::open(dir.path(), 1 << 30).unwrap();
            let written = [item_of(BLOCK - HEADER - left), item_of(behind), item_of(90)];
            let ends: Vec<_> = written.iter().map(|command| writer.append(command, TIME).unwrap()).collect();
            assert_eq!(ends[0].position, (BLOCK - left) as u64);
            let (items, result) = read_all(dir.path());
            result.unwrap();
            assert_eq!(commands(&items), written, "{left} left, then {behind}");
            assert!(items.iter().map(|item| item.end).eq(ends.iter().copied()));
            assert_eq!(items[1].start, ends[0]);
            assert_eq!(items[1].header, ends[0]);
        }
    }
}

#[test]
fn padding_is_read_as_padding() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), 1 << 20).unwrap();
    for length in [0, 5, 70_000, 100_000] {
        writer.append_padding(length, TIME).unwrap();
    }
    let (items, result) = read_all(dir.path());
    result.unwrap();
    assert_eq!(items.len(), 4);
    assert!(items.iter().all(|item| item.content == Content::Padding && item.time == TIME));
}

#[test]
fn purge_keeps_what_it_must() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), 100).unwrap();
    for _ in 0..10 {
        writer.append(&item_of(200), TIME).unwrap();
    }
    assert_eq!(writer.end().file, 9);
    assert_eq!(writer.purge(4).unwrap(), 6);
    assert_eq!(files(dir.path()).unwrap(), [6, 7, 8, 9]);
    assert_eq!(writer.purge(0).unwrap(), 3);
    assert_eq!(files(dir.path()).unwrap(), [9]);
    let (items, result) = read_all(dir.path());
    result.unwrap();
    assert_eq!((items.len(), items[0].logic_id, items[0].header.file), (1, 10, 8));
}

/// How a log is written: commands by the length of their value, and now and then a stop or a kill.
#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Pad(usize),
    Stop,
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![
        6 => 0usize..300,
        2 => BLOCK - 200..BLOCK + 100,
        1 => 2 * BLOCK - 200..3 * BLOCK,
    ];
    let step = prop_oneof![
        20 => length.prop_map(Step::Append),
        1 => (0usize..2000).prop_map(Step::Pad),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
    ];
    prop::collection::vec(step, 1..40)
}

fn write(dir: &Path, file_size: u64, steps: &[Step]) -> Vec<(Content, UnixSeconds, BinlogOffset)> {
    let mut writer = Writer::open(dir, file_size).unwrap();
    let mut written = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let time = UnixSeconds(u32::try_from(index).unwrap() + 1);
        match step {
            Step::Append(length) => {
                let command =
                    Command::new([Bytes::from("SET"), Bytes::from(format!("k{index}")), vec![b'v'; *length].into()]);
                let end = writer.append(&command, time).unwrap();
                written.push((Content::Command(command), time, end));
            }
            Step::Pad(length) => {
                let end = writer.append_padding(*length, time).unwrap();
                written.push((Content::Padding, time, end));
            }
            Step::Stop => {
                writer.close().unwrap();
                writer = Writer::open(dir, file_size).unwrap();
            }
            Step::Kill => {
                drop(writer);
                writer = Writer::open(dir, file_size).unwrap();
            }
        }
        let manifest = Manifest::read(dir).unwrap();
        assert_eq!((manifest.end, manifest.logic_id), (writer.end(), writer.logic_id()));
        assert_eq!(writer.logic_id(), written.len() as u64);
    }
    written
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_is_written_is_read(steps in steps(), file_size in prop_oneof![Just(100u64), 1000u64..300_000]) {
        let dir = tempfile::tempdir().unwrap();
        let written = write(dir.path(), file_size, &steps);
        let (items, result) = read_all(dir.path());
        result.unwrap();
        let read: Vec<_> = items.iter().map(|item| (item.content.clone(), item.time, item.end)).collect();
        prop_assert!(read == written);
        for (index, item) in items.iter().enumerate() {
            let previous = index.checked_sub(1).map(|index| items[index].end).unwrap_or_default();
            let start = if previous.file == item.end.file { previous } else { BinlogOffset::new(item.end.file, 0) };
            prop_assert_eq!((item.header, item.start), (previous, start));
            prop_assert_eq!(item.logic_id, index as u64 + 1);
        }
    }
}
