// SPDX-License-Identifier: Apache-2.0
//! Damaged logs: a typed error after a clean prefix, wherever the format says enough to tell.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;

use proptest::prelude::*;
use replication::binlog::{Item, Manifest, Tail, Writer, file_path};
use replication::{BinlogOffset, Command, Error, Fault};

use crate::{TIME, drain, item_of, read_all};

const BLOCK: usize = 65536;

/// Three files: small items, one of three fragments, and one behind a block of which eight bytes were left.
fn write(dir: &Path) -> Vec<Item> {
    let mut writer = Writer::open(dir, 140_000).unwrap();
    let small = |key: String| Command::new([b"HSET".to_vec(), key.into_bytes(), b"field".to_vec(), b"value".to_vec()]);
    let lengths = [BLOCK - 8 - 8 - 73, 100, 2 * BLOCK, 60_000, 100_000, 300];
    for (index, &length) in lengths.iter().enumerate() {
        if index != 1 {
            writer.append(&Command::new(["set", "foo", "bar"]), TIME).unwrap();
        }
        writer.append(&item_of(length), TIME).unwrap();
        writer.append(&small(format!("k{index}")), TIME).unwrap();
    }
    writer.close().unwrap();
    let (items, result) = read_all(dir);
    result.unwrap();
    assert_eq!(items.last().unwrap().end.file, 2);
    assert!(items.iter().any(|item| BLOCK as u64 - item.end.position % BLOCK as u64 == 8));
    items
}

/// What a changed byte of the log stands for.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Place {
    /// Nothing else in the log depends on it: inside an argument, a time or the term.
    Blind,
    /// The logic id of the first item: found out by the second.
    FirstId,
    /// The format says it twice.
    Checked,
}

/// The place of each byte of file `number`, found by parsing it anew, without any code of the crate.
fn places(bytes: &[u8]) -> Vec<Place> {
    let mut places = vec![Place::Checked; bytes.len()];
    let mut at = 0;
    let mut item: Vec<usize> = Vec::new();
    while at < bytes.len() {
        let room = BLOCK - at % BLOCK;
        if room < 8 {
            at += room;
            continue;
        }
        let length = usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        places[at + 3..at + 7].fill(Place::Blind);
        item.extend(at + 8..at + 8 + length);
        if matches!(bytes[at + 7], 1 | 4) {
            mark_item(bytes, &item, &mut places);
            item.clear();
        }
        at += 8 + length;
    }
    places
}

fn mark_item(bytes: &[u8], item: &[usize], places: &mut [Place]) {
    item[2..10].iter().for_each(|&at| places[at] = Place::Blind);
    let is_first = bytes[item[10]] == 1 && bytes[item[11]] == 0;
    if is_first {
        item[10..18].iter().for_each(|&at| places[at] = Place::FirstId);
    }
    // `*count` and then `$length`, argument and line end for each.
    let line_end = |from: usize| (from..item.len()).find(|&index| bytes[item[index]] == b'\n').unwrap() + 1;
    let mut next = line_end(34);
    while next < item.len() {
        let start = line_end(next);
        let digits: Vec<u8> = item[next + 1..start - 2].iter().map(|&at| bytes[at]).collect();
        let length: usize = std::str::from_utf8(&digits).unwrap().parse().unwrap();
        item[start..start + length].iter().for_each(|&at| places[at] = Place::Blind);
        next = start + length + 2;
    }
}

/// Flips every bit of everything but the inside of long values, of which some must do.
#[test]
fn a_flipped_bit_is_an_error_or_blind() {
    let dir = tempfile::tempdir().unwrap();
    let items = write(dir.path());
    let mut flipped = 0;
    for number in 0..3 {
        let path = file_path(dir.path(), number);
        let sound = fs::read(&path).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        let places = places(&sound);
        for at in 0..sound.len() {
            if places[at] == Place::Blind && at % 997 != 0 {
                continue;
            }
            for bit in 0..8 {
                file.write_all_at(&[sound[at] ^ 1 << bit], at as u64).unwrap();
                check_flip(&items, read_all(dir.path()), places[at], &format!("{number}:{at} bit {bit}"));
                flipped += 1;
            }
            file.write_all_at(&sound[at..=at], at as u64).unwrap();
        }
    }
    assert!(flipped > 10_000, "{flipped} bits");
}

fn check_flip(sound: &[Item], (items, result): (Vec<Item>, replication::Result<()>), place: Place, what: &str) {
    match place {
        Place::Blind => {
            result.unwrap();
            assert_eq!(items.len(), sound.len(), "{what}");
            assert!(items.iter().zip(sound).filter(|(item, sound)| item != sound).count() <= 1, "{what}");
        }
        Place::FirstId => {
            assert!(matches!(result, Err(Error::Corrupt { fault: Fault::LogicId { .. }, .. })), "{what}");
            assert_eq!((items.len(), &items[0].content), (1, &sound[0].content), "{what}");
        }
        Place::Checked => {
            assert!(matches!(result, Err(Error::Corrupt { .. })), "{what}: {result:?}");
            assert_eq!(items, sound[..items.len()], "{what}");
        }
    }
}

/// A closed file that lost its tail: even a cut between two items shows, in the first item of the next file.
#[test]
fn a_cut_file_is_an_error_after_a_clean_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let items = write(dir.path());
    for number in 0..2 {
        let path = file_path(dir.path(), number);
        let sound = fs::read(&path).unwrap();
        let ends = items.iter().map(|item| item.end).filter(|end| end.file == number).map(|end| end.position as usize);
        let lengths = (0..sound.len()).step_by(1613).chain(ends).filter(|&length| length < sound.len());
        for length in lengths {
            for zeros in [0, 5, sound.len() - length] {
                let mut bytes = sound[..length].to_vec();
                bytes.resize(length + zeros, 0);
                if bytes == sound {
                    continue;
                }
                fs::write(&path, bytes).unwrap();
                let (read, result) = read_all(dir.path());
                assert!(matches!(result, Err(Error::Corrupt { .. })), "{number}:{length} and {zeros} zeros");
                assert_eq!(read, items[..read.len()]);
            }
        }
        fs::write(&path, &sound).unwrap();
    }
}

/// A server that is killed leaves zeros behind the data. If it then begins a new file at once, nobody cuts the old one.
#[test]
fn zeros_behind_a_closed_file_are_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let items = write(dir.path());
    for number in 0..2 {
        let path = file_path(dir.path(), number);
        let sound = fs::read(&path).unwrap();
        for zeros in [1, 7, 8, 9, BLOCK, 3 * BLOCK + 1] {
            let mut bytes = sound.clone();
            bytes.resize(sound.len() + zeros, 0);
            fs::write(&path, &bytes).unwrap();
            let (read, result) = read_all(dir.path());
            result.unwrap();
            assert_eq!(read, items);
            *bytes.last_mut().unwrap() = 1;
            fs::write(&path, &bytes).unwrap();
            assert!(matches!(read_all(dir.path()).1, Err(Error::Corrupt { .. })), "{zeros} zeros but one");
        }
        fs::write(&path, &sound).unwrap();
    }
}

/// Each bit of the manifest's file number and offset. A wrong end is an error or shows less, never something else.
#[test]
fn a_flipped_manifest_never_shows_more() {
    let dir = tempfile::tempdir().unwrap();
    let items = write(dir.path());
    let check = |bit: usize| {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let path = copy.path().join("manifest");
        let mut bytes = fs::read(&path).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bytes).unwrap();
        let (read, result) = read_all(copy.path());
        assert_eq!(read, items[..read.len()], "bit {bit}");
        assert!(read.len() < items.len() || result.is_err(), "bit {bit}");
    };
    thread::scope(|scope| (0..96).for_each(|bit| drop(scope.spawn(move || check(bit)))));
}

/// A replica that was synced in full begins its log with filler up to the master's position.
#[test]
fn filler_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let items = write(dir.path());
    let path = file_path(dir.path(), 0);
    let mut bytes = fs::read(&path).unwrap();
    let start = items.iter().find(|item| item.end.position > BLOCK as u64).unwrap();
    bytes[..BLOCK].fill(b'*');
    bytes[..8].copy_from_slice(&[0xf8, 0xff, 0, 1, 2, 3, 4, 6]);
    // The item that begins in the last eight bytes of the first block must stand at the start of the next one then.
    bytes[BLOCK + 7] = 1;
    let header = BLOCK + 8 + 18;
    bytes[header..header + 12].copy_from_slice(b"\0\0\0\0\0\0\x01\0\0\0\0\0");
    fs::write(&path, &bytes).unwrap();
    let (read, result) = read_all(dir.path());
    result.unwrap();
    let index = items.iter().position(|item| item == start).unwrap();
    assert_eq!(read[0].start, BinlogOffset::new(0, BLOCK as u64));
    assert_eq!((&read[0].content, &read[1..]), (&start.content, &items[index + 1..]));

    bytes[100] = b'+';
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(read_all(dir.path()).1, Err(Error::Corrupt { offset: 0, fault: Fault::Filler, .. })));
}

/// After an error the tail stays where it is, and says the same again.
#[test]
fn an_error_repeats() {
    let dir = tempfile::tempdir().unwrap();
    let items = write(dir.path());
    let path = file_path(dir.path(), 0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[BLOCK + 7] = 9;
    fs::write(&path, bytes).unwrap();
    let mut tail = Tail::open(dir.path(), BinlogOffset::new(0, 0)).unwrap();
    let (read, first) = drain(&mut tail);
    let (none, second) = drain(&mut tail);
    assert_eq!(read, items[..read.len()]);
    assert!(none.is_empty());
    assert_eq!(first.unwrap_err().to_string(), second.unwrap_err().to_string());
    assert_eq!(tail.position(), read.last().unwrap().end);
}

proptest! {
    /// Bytes of any kind, some of which look like fragments.
    #[test]
    fn garbage_never_panics(
        parts in prop::collection::vec((any::<u16>(), 0u8..8, prop::collection::vec(any::<u8>(), 0..90)), 0..20),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = Vec::new();
        for (length, kind, payload) in parts {
            let length = if length % 2 == 0 { length } else { payload.len() as u16 };
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&[0, 1, 2, 3, 4, kind]);
            bytes.extend_from_slice(&payload);
        }
        fs::write(file_path(dir.path(), 0), &bytes).unwrap();
        let mut manifest = vec![0; 65536];
        manifest[4..12].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        fs::write(dir.path().join("manifest"), manifest).unwrap();
        prop_assert_eq!(Manifest::read(dir.path()).unwrap().end.position, bytes.len() as u64);
        let (items, result) = read_all(dir.path());
        prop_assert!(items.is_empty() && (result.is_err() || bytes.is_empty()));
    }
}
