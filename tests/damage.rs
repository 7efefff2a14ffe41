// SPDX-License-Identifier: Apache-2.0
//! Files that are damaged, cut short or gone stop a move, and the error names the file.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use replication::SlotCount;
use replication::binlog::Manifest;
use snapshot::Checkpoint;

use crate::harness::{CommandLine, RedisServer, SlowMove, Source, assert_same, contents, copy_tree, fixtures};

/// The checkpoint of a move hard-links the source's tables, so what is wrong with one is met by the scan.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_table_of_the_source_stops_the_copy() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    source.save();
    let tables = files(&source.dir.join("db/db0"), ".sst");
    assert!(tables.len() >= 3, "each instance has one: {tables:?}");
    // Every byte of the first blocks: whichever of them the scan reads, it cannot pass.
    tables.iter().for_each(|table| flip(table, 16..512));
    let target = RedisServer::start();
    let outcome = CommandLine::of_move(source.addr(), target.addr(), "0-1023").run();
    outcome.assert_failed(&["checkpoint", "orruption"]);
    // What is flipped twice is whole again.
    tables.iter().for_each(|table| flip(table, 16..512));
    outcome.then(&["resume", &outcome.job()]).run().assert_done();
    assert_same(source.contents(), &contents(&mut target.client()));
    source.assert_untouched();
}

/// The copy, or the comparison, whichever comes to it first.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_damaged_while_the_move_runs_stops_it() {
    let scene = SlowMove::start().await;
    scene.hooked.source.save();
    let mut agent = scene.agent().await;
    let tables = files(&scene.hooked.source.dir.join("db/db0"), ".sst");
    tables.iter().for_each(|table| flip(table, 16..512));
    scene.hurry();
    assert_eq!(agent.end().await, Some(1), "{}", agent.errors());
    scene.assert_stopped(&agent, &["checkpoint", "slotmover-", "orruption"]);
    tables.iter().for_each(|table| flip(table, 16..512));
    scene.assert_goes_on();
}

/// Pika's log has no checksums: an entry that names another key by now looks like any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_entry_of_the_spool_that_nobody_can_see_is_made_good_by_the_comparison() {
    let scene = SlowMove::start().await;
    let mut agent = scene.agent().await;
    agent.signal("STOP");
    scene.hooked.source.client().run("SET string:1 changed");
    let spool = files(&scene.hooked.source.dir.join("log"), "write2file0");
    let spool = spool.iter().find(|path| path.to_string_lossy().contains("slotmover-")).unwrap();
    let (entry, log) = (b"\r\nstring:1\r\n", fs::read(spool).unwrap());
    let last = log.windows(entry.len()).rposition(|part| part == entry).unwrap() as u64;
    let digit = last + entry.len() as u64 - 3;
    flip(spool, digit..digit + 1);
    scene.hurry();
    agent.signal("CONT");
    let journal = scene.journal();
    assert_eq!(agent.end().await, Some(0), "{}", agent.errors());
    let journal = fs::read_to_string(journal).unwrap();
    assert!(journal.contains("\"repaired\":1}"), "{journal}");
    let before = contents(&mut scene.hooked.source.client());
    assert_same(&before, &contents(&mut scene.hooked.target.client()));
    scene.hooked.source.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_leads_to_a_new_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let (file, cut) = (source.log_dir().join("write2file0"), Manifest::read(&source.log_dir()).unwrap().end.position);
    // Slow enough that changes come, and are damaged, before the log is followed.
    let command = CommandLine::of_move(source.addr(), target.addr(), "0-1023").args(&["--rate", "40KiB"]);
    let running = command.start();
    let mut client = target.client();
    crate::harness::until("the copy begins", || client.number("DBSIZE") > 0).await;
    source.client().run("SET string:1 changed");
    // The type of the fragment, behind its length and its time.
    flip(&file, cut + 7..cut + 8);
    let outcome = running.join().unwrap();
    outcome.assert_done();
    for part in ["failed to decode", "write2file0", &format!("at byte {cut}"), "a new checkpoint is taken"] {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
    assert_same(&contents(&mut source.client()), &contents(&mut client));
    source.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_of_the_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let manifest = source.log_dir().join("manifest");
    let whole = fs::read(&manifest).unwrap();
    let refused = |parts: &[&str]| {
        let outcome = CommandLine::of_move(source.addr(), target.addr(), "1").run();
        outcome.assert_failed(parts);
    };
    let name = manifest.to_str().unwrap();
    overwrite(&manifest, &whole[..10]);
    refused(&[name, "cut short"]);
    // An end beyond the file.
    let mut ahead = whole.clone();
    ahead[7] = 0x7f;
    overwrite(&manifest, &ahead);
    refused(&[name]);
    // The manifest of another node.
    let other = fs::read(fixtures().join("log/log_db0/manifest")).unwrap();
    overwrite(&manifest, &other);
    refused(&[source.log_dir().to_str().unwrap()]);
    overwrite(&manifest, &whole);
    source.assert_untouched();
}

/// A dump that the source cannot complete is found by the name it gives to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_fails_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    source.save();
    let target = RedisServer::start();
    // A table that is gone cannot be linked into a checkpoint.
    let table = files(&source.dir.join("db/db0/1"), ".sst").remove(0);
    let aside = dir.path().join("aside");
    fs::rename(&table, &aside).unwrap();
    let outcome = CommandLine::of_move(source.addr(), target.addr(), "1").run();
    outcome.assert_failed(&["the source", &source.addr().to_string(), "BGSAVE failed", "db0_FAILED"]);
    fs::rename(&aside, &table).unwrap();
    outcome.take_back();
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_its_log_or_an_instance_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    for (part, named) in [("log/log_db0", "log/log_db0"), ("db/db0/1", "BGSAVE failed")] {
        let (path, aside) = (source.dir.join(part), source.dir.join("aside"));
        fs::rename(&path, &aside).unwrap();
        let outcome = CommandLine::of_move(source.addr(), target.addr(), "1").run();
        fs::rename(&aside, &path).unwrap();
        outcome.assert_failed(&[named]);
        outcome.take_back();
        source.assert_untouched();
    }
}

/// Cut and flipped files of the real dump, one at a time.
#[test]
fn a_damaged_checkpoint_is_named_by_its_path() {
    let dump = fixtures().join("dump/20261122/db0");
    for (file, damage) in [
        ("info", Damage::Cut(3)),
        ("info", Damage::Gone),
        ("info", Damage::Flip(0)),
        ("0/CURRENT", Damage::Cut(4)),
        ("0/CURRENT", Damage::Flip(3)),
        ("1/MANIFEST-000005", Damage::Cut(100)),
        ("1/MANIFEST-000005", Damage::Flip(20)),
        ("1/MANIFEST-000005", Damage::Gone),
        ("2/000079.sst", Damage::Gone),
        ("1/CURRENT", Damage::Gone),
    ] {
        let dir = tempfile::tempdir().unwrap();
        copy_tree(&dump, dir.path());
        damage.inflict(&dir.path().join(file));
        let Err(error) = Checkpoint::open(dir.path(), SlotCount::CODIS, Some(3)) else {
            panic!("{file}: {damage:?} is not seen");
        };
        // By its path, or by its name and the path of its directory.
        let (instance, error) = (dir.path().join(file.split('/').next().unwrap()), error.to_string());
        let is_named = error.contains(instance.to_str().unwrap())
            || error.contains(dir.path().to_str().unwrap()) && error.contains(&format!("`{file}`"));
        assert!(is_named, "{file}: {damage:?}: {error}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Cut(u64),
    Flip(u64),
    Gone,
}

impl Damage {
    fn inflict(self, path: &Path) {
        match self {
            Self::Cut(length) => OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap(),
            Self::Flip(at) => flip(path, at..at + 1),
            Self::Gone => fs::remove_file(path).unwrap(),
        }
    }
}

/// Inverts bytes in place, so that every link of the file sees it.
fn flip(path: &Path, range: std::ops::Range<u64>) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap()];
    file.read_exact_at(&mut bytes, range.start).unwrap();
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
    file.write_all_at(&bytes, range.start).unwrap();
}

/// Changes the content and keeps the file.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

/// The files below `dir` whose names end like this.
fn files(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found
}
