// SPDX-License-Identifier: Apache-2.0
//! Directories that hold no complete dump of Pika 4.0 are refused by name.

use std::fs;
use std::path::Path;

use replication::SlotCount;
use rocksdb::{DB, Options};
use snapshot::{Checkpoint, Error};

use crate::harness::golden_copy;

/// The message of the refusal, which must name the place below `dir`.
fn refusal(dir: &Path, place: &str) -> String {
    let slots = SlotCount::CODIS;
    let error = Checkpoint::open(dir, slots, None).map(|_| ()).expect_err("it must be refused");
    let text = error.to_string();
    assert!(text.starts_with(dir.join(place).display().to_string().trim_end_matches('/')), "{text}");
    text
}

#[test]
fn incomplete_dumps() {
    let dump = golden_copy();
    fs::rename(dump.path().join("1"), dump.path().join("1.tmp")).unwrap();
    assert!(refusal(dump.path(), "1.tmp").contains("not saved to the end"));
    fs::remove_dir_all(dump.path().join("1.tmp")).unwrap();
    assert!(refusal(dump.path(), "1").contains("is missing"));

    let dump = golden_copy();
    fs::remove_file(dump.path().join("info")).unwrap();
    assert!(refusal(dump.path(), "").contains("has no file `info`"));

    let dump = golden_copy();
    let failed = dump.path().with_file_name("db0_FAILED");
    let _ = fs::remove_dir_all(&failed);
    fs::rename(dump.path(), &failed).unwrap();
    assert!(refusal(&failed, "").contains("failed"));
    fs::remove_dir_all(&failed).unwrap();

    let empty = tempfile::tempdir().unwrap();
    fs::write(empty.path().join("info"), "0s\nhost\n1\n0\n0\n").unwrap();
    assert!(refusal(empty.path(), "").contains("holds no instance"));
    assert!(matches!(Checkpoint::open(empty.path().join("none"), SlotCount::CODIS, None), Err(Error::Io { .. })));
}

#[test]
fn other_numbers_of_instances_and_slots() {
    let dump = golden_copy();
    let text = Checkpoint::open(dump.path(), SlotCount::CODIS, Some(4)).map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("holds 3 instances, not 4"), "{text}");
    let slots = SlotCount::new(1000).unwrap();
    let text = Checkpoint::open(dump.path(), slots, Some(3)).map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("the server has not 1000 slots"), "{text}");
    // With the last instance gone, the keys no longer lie where two instances would have them.
    fs::remove_dir_all(dump.path().join("2")).unwrap();
    assert!(refusal(dump.path(), "0").contains("2 instances"));
}

#[test]
fn data_of_other_versions() {
    let dump = golden_copy();
    fs::create_dir(dump.path().join("strings")).unwrap();
    assert!(refusal(dump.path(), "strings").contains("Pika 3"));
    fs::rename(dump.path().join("strings"), dump.path().join("03")).unwrap();
    assert!(refusal(dump.path(), "03").contains("no instance"));

    for (family, what) in [("hash_meta_cf", "Pika 5.0"), ("pika_hash_data_cf", "does not have")] {
        let dump = golden_copy();
        add_family(&dump.path().join("1"), family);
        let text = refusal(dump.path(), "1");
        assert!(text.contains(family) && text.contains(what), "{text}");
    }

    let dump = golden_copy();
    fs::remove_dir_all(dump.path().join("0")).unwrap();
    let mut options = Options::default();
    options.create_if_missing(true);
    DB::open(&options, dump.path().join("0")).unwrap();
    assert!(refusal(dump.path(), "0").contains("lacks the column family `hash_data_cf`"));
}

/// Makes an instance afresh with one column family more.
fn add_family(dir: &Path, family: &str) {
    fs::remove_dir_all(dir).unwrap();
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    DB::open_cf(&options, dir, ["default", family]).unwrap();
}

#[test]
fn another_order_of_keys() {
    let dump = golden_copy();
    let dir = dump.path().join("2");
    fs::remove_dir_all(&dir).unwrap();
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    DB::open_cf(&options, &dir, snapshot::format::Column::ALL.map(|column| column.name())).unwrap();
    assert!(refusal(dump.path(), "2").contains("ListsDataKeyComparator"));
}
