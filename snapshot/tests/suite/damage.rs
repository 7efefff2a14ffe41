// SPDX-License-Identifier: Apache-2.0
//! Damaged files: an error that names the place, or the same data; never other data.

use std::fs;
use std::path::{Path, PathBuf};

use snapshot::format::Version;
use snapshot::{Body, Error, Store, UnixMillis};

use crate::harness::{self, Keys, everything, files, golden, golden_copy, scan};
use crate::writer::write_key;

const NOW: UnixMillis = UnixMillis(1_795_329_436_775);

/// Scans `dump` after `damage` was done to a file of it, and puts the file right again. Whether an error was seen.
fn is_seen(dump: &Path, file: &Path, whole: &Keys, damage: impl FnOnce(&mut Vec<u8>)) -> bool {
    let path = dump.join(file);
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    damage(&mut bad);
    assert_ne!(good, bad);
    fs::write(&path, bad).unwrap();
    let outcome = scan(dump, &everything(NOW));
    fs::write(&path, good).unwrap();
    match outcome {
        Ok((keys, _)) => {
            assert!(&keys == whole, "other data without an error: {}", file.display());
            false
        }
        Err(error) => {
            let place = dump.join(file.components().next().unwrap());
            assert!(error.to_string().contains(&place.display().to_string()), "{error}");
            true
        }
    }
}

/// Files of the golden dump whose names begin so.
fn named(part: &str) -> Vec<PathBuf> {
    let relative = |path: PathBuf| path.strip_prefix(golden()).unwrap().to_owned();
    let has = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().contains(part);
    files(&golden()).into_keys().map(relative).filter(has).collect()
}

#[test]
fn flipped_bits_in_tables() {
    let dump = golden_copy();
    let (whole, _) = scan(dump.path(), &everything(NOW)).unwrap();
    let (mut flips, mut seen) = (0, 0);
    for table in named(".sst") {
        let length = fs::metadata(dump.path().join(&table)).unwrap().len() as usize;
        // Data blocks lie in front; filter, index, properties and footer in the last part.
        for at in (0..length).step_by(length / 7 + 1).chain((length - 60..length).step_by(15)) {
            flips += 1;
            seen += usize::from(is_seen(dump.path(), &table, &whole, |bytes| bytes[at] ^= 1 << (at % 8)));
        }
    }
    // What is not seen lies where a scan does not read: Bloom filters, and the score index.
    assert!(flips > 300 && seen * 2 > flips, "{seen} of {flips}");
}

#[test]
fn truncated_tables() {
    let dump = golden_copy();
    let (whole, _) = scan(dump.path(), &everything(NOW)).unwrap();
    for table in named(".sst") {
        for share in [0, 1, 2, 3] {
            let cut = |bytes: &mut Vec<u8>| bytes.truncate((bytes.len() - 1) * share / 3);
            assert!(is_seen(dump.path(), &table, &whole, cut), "{}", table.display());
        }
    }
}

#[test]
fn a_missing_table() {
    let dump = golden_copy();
    for table in named(".sst") {
        let path = dump.path().join(&table);
        let away = dump.path().join("away");
        fs::rename(&path, &away).unwrap();
        let error = scan(dump.path(), &everything(NOW)).unwrap_err();
        assert!(matches!(error, Error::RocksDb { .. }), "{error}");
        fs::rename(&away, &path).unwrap();
    }
}

#[test]
fn manifests() {
    let dump = golden_copy();
    let (whole, _) = scan(dump.path(), &everything(NOW)).unwrap();
    let manifest = named("MANIFEST").remove(0);
    let length = fs::metadata(dump.path().join(&manifest)).unwrap().len() as usize;
    let (mut cuts, mut flips) = (0, 0);
    for at in (0..length).step_by(61) {
        cuts += usize::from(is_seen(dump.path(), &manifest, &whole, |bytes| bytes.truncate(at)));
        flips += usize::from(is_seen(dump.path(), &manifest, &whole, |bytes| bytes[at] ^= 1 << (at % 8)));
    }
    let tries = length.div_ceil(61);
    assert!(tries > 50 && cuts * 10 > tries * 9 && flips * 10 > tries * 9, "{cuts} and {flips} of {tries}");
}

#[test]
fn current() {
    let dump = golden_copy();
    let (whole, _) = scan(dump.path(), &everything(NOW)).unwrap();
    for current in named("CURRENT") {
        let length = fs::metadata(dump.path().join(&current)).unwrap().len() as usize;
        for at in 0..length {
            assert!(is_seen(dump.path(), &current, &whole, |bytes| bytes.truncate(at)), "cut at {at}");
            assert!(is_seen(dump.path(), &current, &whole, |bytes| bytes[at] ^= 0x20), "flip at {at}");
        }
    }
}

#[test]
fn info() {
    let dump = golden_copy();
    let path = dump.path().join("info");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        fs::write(&path, &good[..at]).unwrap();
        let error = scan(dump.path(), &everything(NOW)).unwrap_err();
        assert!(matches!(&error, Error::Info { path: named, .. } if *named == path), "{error}");
    }
    // A digit turned into another one cannot be seen: `info` has no checksum.
    for at in (0..good.len()).filter(|&at| !(3..13).contains(&at)) {
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        fs::write(&path, bad).unwrap();
        let error = scan(dump.path(), &everything(NOW)).unwrap_err();
        assert!(matches!(&error, Error::Info { line, .. } if *line > 0), "{error}");
    }
}

#[test]
fn a_write_ahead_log_is_read_and_never_half_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("dump");
    let store = Store::open(&dump, 1).unwrap();
    for number in 10..13 {
        write_key(&store, format!("key{number}").as_bytes(), Version(1), &Body::String("value".into()), None);
    }
    // Closing leaves the rows in the log.
    drop(store);
    harness::info().write(&dump).unwrap();
    let (whole, _) = scan(&dump, &everything(NOW)).unwrap();
    assert_eq!(whole.len(), 3);

    let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
    let log = files(&dump).into_keys().find(is_log).unwrap().strip_prefix(&dump).unwrap().to_owned();
    let record = fs::metadata(dump.join(&log)).unwrap().len() as usize / 3;
    for at in (1..record).step_by(5) {
        assert!(is_seen(&dump, &log, &whole, |bytes| bytes.truncate(record + at)), "cut at {at}");
        assert!(is_seen(&dump, &log, &whole, |bytes| bytes[record + at] ^= 1 << (at % 8)), "flip at {at}");
    }
    // The length and the type of a record.
    for (at, bit) in (4..7).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        assert!(is_seen(&dump, &log, &whole, |bytes| bytes[record + at] ^= 1 << bit), "flip of bit {bit} at {at}");
    }
}
