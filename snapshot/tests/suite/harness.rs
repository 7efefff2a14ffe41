// SPDX-License-Identifier: Apache-2.0
//! What all tests speak in.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use replication::{BinlogOffset, SlotCount, SlotSet};
use snapshot::{Body, Checkpoint, Error, Info, Kind, Part, Piece, ScanRequest, Summary, UnixMillis};
use tempfile::TempDir;

/// The golden dump's directory, of which nothing may change.
pub(crate) fn golden() -> PathBuf {
    fixtures().join("dump/20261122/db0")
}

/// The directory of everything that the golden server left.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pika-4.0.1")
}

/// A private copy of the golden dump.
pub(crate) fn golden_copy() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_tree(&golden(), dir.path());
    dir
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => fs::write(target, fs::read(entry.path()).unwrap()).unwrap(),
        }
    }
}

/// Every file below a directory with its content.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => _ = found.insert(path.clone(), fs::read(&path).unwrap()),
        }
    }
    found
}

/// Some `info`, as it stands beside a dump.
pub(crate) fn info() -> Info {
    Info {
        duration: Duration::from_secs(1),
        host: "127.0.0.1".to_owned(),
        port: 9221,
        offset: BinlogOffset::new(3, 400),
    }
}

/// All slots, at a time at which the golden data was read.
pub(crate) fn everything(now: UnixMillis) -> ScanRequest {
    ScanRequest { now, ..ScanRequest::new(SlotSet::all(SlotCount::CODIS)) }
}

/// A key put together again from its pieces.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Key {
    pub(crate) expire_at: Option<UnixMillis>,
    pub(crate) body: Body,
}

impl Key {
    pub(crate) fn kind(&self) -> Kind {
        self.body.kind()
    }
}

pub(crate) type Keys = BTreeMap<Vec<u8>, Key>;

/// Opens the dump and scans all its instances.
pub(crate) fn scan(dir: &Path, request: &ScanRequest) -> Result<(Keys, Summary), Error> {
    let checkpoint = Checkpoint::open(dir, SlotCount::CODIS, None)?;
    let mut keys = Keys::new();
    let mut total: Option<Summary> = None;
    for instance in 0..checkpoint.instances() {
        let mut pieces = Vec::new();
        let summary = checkpoint.scan(instance, request, |piece| {
            pieces.push(piece);
            ControlFlow::Continue(())
        })?;
        assert_eq!(pieces.iter().map(|piece| piece.size() as u64).sum::<u64>(), summary.bytes);
        for (key, value) in assemble(pieces, request.piece_size) {
            assert_eq!(keys.insert(key, value), None, "a key comes once");
        }
        total = Some(match total {
            Some(total) => total.merge(summary),
            None => summary,
        });
    }
    let total = total.expect("there is an instance");
    assert!(total.complete);
    assert_eq!(total.keys, keys.len() as u64);
    for kind in [Kind::String, Kind::HyperLogLog, Kind::Hash, Kind::List, Kind::Set, Kind::Zset, Kind::Stream] {
        assert_eq!(total.keys_of(kind), keys.values().filter(|key| key.kind() == kind).count() as u64, "{kind}");
    }
    Ok((keys, total))
}

/// Checks the order, the parts and the size of pieces, and joins them.
pub(crate) fn assemble(pieces: Vec<Piece>, piece_size: usize) -> Vec<(Vec<u8>, Key)> {
    let mut keys: Vec<(Vec<u8>, Key)> = Vec::new();
    let mut open = false;
    for piece in pieces {
        assert_eq!(piece.part.is_first(), !open, "{:?} of {:?}", piece.part, piece.key);
        assert!(piece.body.len() <= 1 || piece.size() <= piece_size, "{} of {piece_size} bytes", piece.size());
        // A stream without entries is one that XDEL has emptied.
        assert!(!piece.body.is_empty() || piece.part == Part::Whole && piece.body.kind() == Kind::Stream);
        open = !piece.part.is_last();
        if piece.part.is_first() {
            assert!(keys.last().is_none_or(|(before, _)| before[..] < piece.key[..]), "keys come in order");
            keys.push((piece.key.to_vec(), Key { expire_at: piece.expire_at, body: piece.body }));
            continue;
        }
        assert!(matches!(piece.part, Part::Middle | Part::Last));
        let (name, key) = keys.last_mut().unwrap();
        assert_eq!((&name[..], key.expire_at), (&piece.key[..], piece.expire_at));
        append(&mut key.body, piece.body);
    }
    assert!(!open, "the last key is complete");
    keys
}

fn append(body: &mut Body, more: Body) {
    match (body, more) {
        (Body::Hash(fields), Body::Hash(more)) => fields.extend(more),
        (Body::List(elements), Body::List(more)) | (Body::Set(elements), Body::Set(more)) => elements.extend(more),
        (Body::Zset(members), Body::Zset(more)) => members.extend(more),
        (Body::Stream { entries, last_id }, Body::Stream { entries: more, last_id: later }) => {
            entries.extend(more);
            *last_id = later;
        }
        (body, more) => panic!("{body:?} is followed by {more:?}"),
    }
}
