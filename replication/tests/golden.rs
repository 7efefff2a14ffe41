// SPDX-License-Identifier: Apache-2.0
//! Our reader, writer and table of commands against what a real Pika 4.0.1 wrote.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use replication::BinlogOffset;
use replication::binlog::{Content, Item, Manifest, Tail, Writer, file_path, first_file};
use serde_json::Value;
use sha1::{Digest as _, Sha1};

/// `binlog-file-size` of the server that wrote the log.
const FILE_SIZE: u64 = 512 << 10;

/// The BGSAVE's position in the log.
const CUT: BinlogOffset = BinlogOffset::new(1, 212_177);

#[test]
fn every_field_of_every_record_is_read() {
    let items = items_from(BinlogOffset::new(first_file(&log_dir()).unwrap(), 0));
    let text = fs::read_to_string(fixture("binlog-decoded.jsonl")).unwrap();
    let expected: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((items.len(), expected.len()), (1680, 1680));
    for (item, expected) in items.iter().zip(&expected) {
        let number = |name: &str| expected[name].as_u64().unwrap();
        let short = |name: &str| u32::try_from(number(name)).unwrap();
        let content = content(item);
        assert_eq!(item.start, BinlogOffset::new(short("file"), number("start")));
        assert_eq!(item.end, BinlogOffset::new(short("file"), number("end")));
        assert_eq!((item.logic_id, item.time.0, item.term), (number("logic_id"), short("exec_time"), short("term")));
        assert_eq!(item.header, BinlogOffset::new(short("hdr_filenum"), number("hdr_offset")));
        assert_eq!(content.len() as u64, number("content_bytes"), "at {}", item.start);
        assert_eq!(hex(&Sha1::digest(&content)), expected["content_sha1"].as_str().unwrap(), "at {}", item.start);
    }
}

#[test]
fn the_manifest_and_the_cut_agree_with_the_server() {
    let meta = json("meta.json");
    let manifest = Manifest::read(&log_dir()).unwrap();
    assert_eq!(manifest.end.file as u64, meta["binlog_end"]["filenum"].as_u64().unwrap());
    assert_eq!(manifest.end.position, meta["binlog_end"]["offset"].as_u64().unwrap());
    assert_eq!(manifest.logic_id, meta["binlog_end"]["logic_id"].as_u64().unwrap());
    assert_eq!(manifest.term, 0);
    let first = &items_from(CUT)[0];
    assert_eq!(first.start, CUT);
    assert_eq!(first.logic_id, meta["binlog_at_bgsave"]["logic_id"].as_u64().unwrap() + 1);
}

/// Every offset of every item resumes there, and no other offset of the small last file does.
#[test]
fn only_ends_of_items_are_taken_for_them() {
    let items = items_from(BinlogOffset::new(0, 0));
    for (index, item) in items.iter().enumerate().step_by(7) {
        let mut tail = Tail::open(log_dir(), item.end).unwrap();
        assert_eq!(tail.next().unwrap().as_ref(), items.get(index + 1));
    }
    let ends: BTreeSet<u64> = items.iter().filter(|item| item.end.file == 2).map(|item| item.end.position).collect();
    for position in (1..3006).filter(|position| !ends.contains(position)) {
        let mut tail = Tail::open(log_dir(), BinlogOffset::new(2, position)).unwrap();
        assert!(tail.next().is_err(), "2:{position} is no boundary");
    }
}

/// Byte-identical after a clean stop: all three files and the manifest. (On this server the second hand never moved
/// between the item's time and its fragments' times; Pika takes them apart, so elsewhere they may differ by one.)
#[test]
fn our_writer_writes_what_pika_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), FILE_SIZE).unwrap();
    for item in items_from(BinlogOffset::new(0, 0)) {
        let Content::Command(command) = &item.content else { panic!("no padding in this log") };
        assert_eq!(writer.append(command, item.time).unwrap(), item.end);
        assert_eq!(writer.logic_id(), item.logic_id);
    }
    writer.close().unwrap();
    for path in (0..3).map(|number| file_path(&log_dir(), number)).chain([log_dir().join("manifest")]) {
        let name = path.file_name().unwrap();
        assert!(fs::read(&path).unwrap() == fs::read(dir.path().join(name)).unwrap(), "{name:?} differs");
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pika-4.0.1").join(name)
}

fn log_dir() -> PathBuf {
    fixture("log/log_db0")
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture(name)).unwrap()).unwrap()
}

fn items_from(from: BinlogOffset) -> Vec<Item> {
    let mut tail = Tail::open(log_dir(), from).unwrap();
    let items = std::iter::from_fn(|| tail.next().unwrap()).collect();
    assert_eq!(tail.position(), tail.end().unwrap());
    items
}

fn content(item: &Item) -> BytesMut {
    let mut out = BytesMut::new();
    match &item.content {
        Content::Command(command) => command.encode(&mut out),
        Content::Padding => panic!("no padding in this log"),
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
