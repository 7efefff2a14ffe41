// SPDX-License-Identifier: Apache-2.0
use std::time::Duration;

use super::*;
use crate::record::{Key, Offset};

fn course() -> Course {
    Course {
        source: "a:1".to_owned(),
        target: "b:2".to_owned(),
        slots: "1,5-9".parse().unwrap(),
        database: 3,
        arguments: vec!["move".to_owned(), "--slots".to_owned(), "1,5-9".to_owned()],
        directory: "there".into(),
    }
}

fn offset(text: &str) -> Offset {
    Offset(text.parse().unwrap())
}

fn slots(text: &str) -> Slots {
    Slots(text.parse().unwrap())
}

/// One of each kind, in an order in which they may come.
fn entries() -> Vec<Entry> {
    let place = |key: &'static str| Place { at: At::Key(Key(key.into())), keys: 3, bytes: 70 };
    let setting = |name: &str, before: &str| Entry::Setting {
        node: Node::Source,
        name: name.to_owned(),
        before: before.to_owned(),
    };
    vec![
        Entry::Enter { phase: Phase::Snapshot },
        Entry::Source { run: "s1".to_owned() },
        Entry::Source { run: "s2".to_owned() },
        setting("expire-logs-nums", "10"),
        Entry::Directory { path: "log/slotmover-1".into() },
        Entry::Dumps { path: "dump".into(), prefix: "slotmover-1-".to_owned() },
        setting("dump-prefix", ""),
        Entry::Restored { node: Node::Source, name: "dump-prefix".to_owned() },
        Entry::Emptying,
        Entry::Emptied { run: "r1".to_owned() },
        Entry::Checkpoint {
            checkpoint: "c".into(),
            spool: "s".into(),
            offset: offset("1:20"),
            until: Some(offset("1:30")),
        },
        Entry::Connected { connections: vec!["a:77".to_owned()] },
        Entry::Enter { phase: Phase::Copy },
        Entry::Found { noted: vec!["one".to_owned()], unmovable: vec!["two".to_owned()] },
        Entry::Copied { places: vec![place("k\u{0}"), Place::default()], offset: offset("1:30") },
        Entry::CopyEnded { keys: 7, bytes: 99, millis: 1500 },
        Entry::Followed { offset: offset("1:40") },
        Entry::Verified { keys: 7, repaired: 1 },
        Entry::Approach { slots: slots("1") },
        Entry::Switching { slots: slots("1"), end: offset("1:50") },
        Entry::Switched { slots: slots("1"), end: offset("1:50"), micros: 2500 },
    ]
}

/// What may come once every slot is at the target, to be rolled back.
fn way_back() -> Vec<Entry> {
    let back = |step| Entry::Back { step: Box::new(step) };
    vec![
        back(Entry::Retained { spool: "bs".into(), offset: offset("3:7"), is_mirror: false }),
        Entry::Switched { slots: slots("5-9"), end: offset("1:60"), micros: 2500 },
        Entry::Window { until: u64::MAX },
        back(Entry::Followed { offset: offset("3:9") }),
        Entry::RollingBack,
        back(Entry::Switched { slots: slots("5-6"), end: offset("3:10"), micros: 1500 }),
    ]
}

async fn written(dir: &Path, entries: impl IntoIterator<Item = Entry>) -> PathBuf {
    let journal = Journal::create(dir, course()).unwrap();
    for entry in entries {
        journal.note(entry).await.unwrap();
    }
    journal.path().unwrap()
}

#[tokio::test]
async fn what_was_noted_is_known_to_whoever_opens_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path(), entries()).await;
    assert_eq!(Journal::all(dir.path()).unwrap(), std::slice::from_ref(&path));
    let journal = Journal::open(&path).unwrap();
    let header = journal.header();
    assert_eq!((&*header.source, &*header.target, header.database), ("a:1", "b:2", 3));
    assert_eq!((&header.arguments, &header.directory), (&course().arguments, &course().directory));
    journal.read(|state| {
        assert_eq!(state.phase, Some(Phase::Copy));
        let settings: Vec<_> = state.settings.iter().map(|setting| (&*setting.name, &*setting.before)).collect();
        assert_eq!(settings, [("expire-logs-nums", "10")]);
        assert!(state.source_restarted);
        assert_eq!(state.directories, [PathBuf::from("log/slotmover-1")]);
        assert_eq!(state.target, Holding::Ours { run: "r1".to_owned() });
        assert_eq!(state.checkpoint.as_ref().map(|taken| taken.offset), Some("1:20".parse().unwrap()));
        assert_eq!((state.reached.clone(), state.followed), (None, Some("1:40".parse().unwrap())));
        assert_eq!(state.copied.map(|copied| (copied.keys, copied.took)), Some((7, Duration::from_millis(1500))));
        assert_eq!((state.found.noted.len(), state.found.unmovable.len()), (1, 1));
        assert_eq!((state.moved(), state.switching.clone()), ("1".parse().unwrap(), None));
        assert!(!state.is_blank());
    });
    let summary = Journal::peek(&path).unwrap();
    assert_eq!((summary.switched.len(), summary.slots.len(), summary.is_at_work), (1, 6, true));
}

#[tokio::test]
async fn what_is_void_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    for void in [Entry::Outdated { why: "purged".to_owned() }, Entry::Emptying] {
        let path = written(dir.path(), entries().into_iter().chain([void])).await;
        let journal = Journal::open(&path).unwrap();
        journal.read(|state| {
            assert_eq!((state.reached.clone(), state.copied, state.followed), (None, None, None));
            assert_eq!(state.found, Found::default());
            assert_eq!(state.moved(), "1".parse().unwrap(), "what is switched stays so");
        });
    }
}

#[tokio::test]
async fn the_way_back_has_a_part_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path(), entries().into_iter().chain(way_back())).await;
    let summary = Journal::peek(&path).unwrap();
    assert_eq!((summary.switched, summary.undo), ("1,7-9".parse().unwrap(), Some(Undo::Begun)));
    let journal = Journal::open(&path).unwrap();
    let back = journal.way_back();
    assert_eq!(back.read(|state| state.followed), Some("3:9".parse().unwrap()));
    assert_eq!(journal.read(|state| state.followed), Some("1:40".parse().unwrap()));
    assert_ne!(back.file_name(), journal.file_name());
    back.note(Entry::Directory { path: "there".into() }).await.unwrap();
    assert!(!journal.read(|state| state.directories.contains(&"there".into())));
    drop((journal, back));
    let journal = Journal::open(&path).unwrap();
    assert_eq!(journal.way_back().read(|state| state.directories.clone()), [PathBuf::from("there")]);
    let error = journal.close_window().await.unwrap_err();
    assert!(matches!(error, Error::Undo { .. }), "half way back: {error}");
    journal.note(Entry::NoWayBack { why: WINDOW_CLOSED.to_owned() }).await.unwrap();
    let error = journal.roll_back().await.unwrap_err();
    assert!(matches!(error, Error::Undo { .. }) && error.to_string().contains(WINDOW_CLOSED), "{error}");
}

#[tokio::test]
async fn one_process_works_on_a_job() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::create(dir.path(), course()).unwrap();
    let path = journal.path().unwrap();
    assert!(matches!(Journal::open(&path), Err(Error::AtWork { .. })));
    assert!(Journal::peek(&path).unwrap().is_at_work);
    drop(journal);
    // A child that another test forks at this moment holds the lock as well, until it executes its program.
    let opened = std::iter::repeat_with(|| Journal::open(&path));
    let slowly = opened.inspect(|_| std::thread::sleep(Duration::from_millis(1)));
    let journal = slowly.take(1000).find_map(Result::ok).unwrap();
    assert!(journal.is_blank());
    journal.remove().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_torn_end_is_cut_off_and_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path(), entries()).await;
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for end in [&whole[..whole.len() - 1], &whole[..last + 5], &[&whole[..last], &[0; 300]].concat()] {
        fs::write(&path, end).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert!(journal.read(|state| state.switching.is_some()), "the last entry but one holds");
        journal.note(Entry::Followed { offset: offset("2:0") }).await.unwrap();
        drop(journal);
        assert_eq!(Journal::open(&path).unwrap().read(|state| state.followed), Some("2:0".parse().unwrap()));
    }
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path(), entries()).await;
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len() - 1).step_by(7) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).unwrap();
        let line = whole[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        let Err(Error::Journal { line: named, .. }) = Journal::open(&path).map(drop) else { panic!("byte {at}") };
        // A newline that is none any more makes two lines one; one too many makes the line two.
        assert_eq!(named, line, "byte {at}");
    }
}

#[tokio::test]
async fn a_full_disk_leaves_the_lines_whole() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::create(dir.path(), course()).unwrap();
    let path = journal.path().unwrap();
    let good = journal.inner().log.as_ref().unwrap().file.clone();
    // A device that is always full.
    let full = Arc::new(OpenOptions::new().append(true).open("/dev/full").unwrap());
    journal.inner().log.as_mut().unwrap().file = full;
    let entry = || Entry::Followed { offset: offset("2:0") };
    let error = journal.note(entry()).await.unwrap_err();
    assert!(error.to_string().contains("write the journal"), "{error}");
    assert_eq!(journal.read(|state| state.followed), None, "what is not on the disk is not so");
    journal.inner().log.as_mut().unwrap().file = good;
    journal.note(entry()).await.unwrap();
    drop(journal);
    assert!(Journal::open(&path).unwrap().read(|state| state.followed).is_some());
}

#[test]
fn drafts_of_the_dead_are_swept_up() {
    let dir = tempfile::tempdir().unwrap();
    let draft = |name: &str, age: u64| {
        let path = dir.path().join(format!("job-{name}.draft"));
        let file = File::create(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).unwrap();
        (path, file)
    };
    let ((old, _), (young, _), (held, file)) = (draft("old", 100), draft("young", 5), draft("held", 100));
    file.try_lock().unwrap();
    Journal::create(dir.path(), Course::default()).unwrap();
    assert_eq!([old, young, held].map(|path| path.exists()), [false, true, true]);
}

/// Journals as each version wrote them, and what they come to.
#[test]
fn journals_of_old_versions_are_read() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/journals");
    let mut read = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read(&path).unwrap();
        let (header, state, lines) = parse(&text, &path).unwrap();
        assert_eq!(lines.length, text.len(), "{}", path.display());
        assert_eq!((&*header.source, state.moved()), ("a:1", "1".parse().unwrap()), "{}", path.display());
        read += 1;
    }
    assert!(read > 0, "no journals in {}", dir.display());
}
