// SPDX-License-Identifier: Apache-2.0
//! Dumps to measure on. Each is made once and then kept beside the build, under a name that says what is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use replication::{BinlogOffset, SlotCount};
use snapshot::format::{Column, StringValue, meta_key};
use snapshot::{Batch, Info, Store, UnixMillis};

/// Makes the dump `name` of `keys` keys unless it is there, and gives its directory.
///
/// `write` adds the rows of the key with a running number to what is written. The files are compacted: a reader finds one
/// sorted run, which is the best case for a bare iterator and so the hardest one for whoever is compared with it.
pub(crate) fn made_once(
    name: &str,
    instances: usize,
    keys: u64,
    write: impl Fn(u64, &mut Rows<'_>),
) -> Result<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let done = home.join(name);
    if done.exists() {
        return Ok(done);
    }
    println!("making the dump {name}, once ...");
    let begin = Instant::now();
    let partial = tempfile::tempdir_in(home)?;
    let dump = partial.path().join("dump");
    let store = Store::open(partial.path().join("live"), instances)?;
    let mut rows = Rows { batches: (0..instances).map(|index| store.batch(index)).collect() };
    for number in 0..keys {
        write(number, &mut rows);
        if (number + 1) % KEYS_PER_COMMIT == 0 {
            rows.commit(&store)?;
        }
    }
    rows.commit(&store)?;
    store.compact()?;
    store.checkpoint(&dump)?;
    let duration = begin.elapsed();
    Info { duration, host: "127.0.0.1".to_owned(), port: 9221, offset: BinlogOffset::new(0, 0) }.write(&dump)?;
    fs::rename(&dump, &done)?;
    println!("made in {duration:.0?}");
    Ok(done)
}

/// Rows on their way to the instances that their keys belong to.
pub(crate) struct Rows<'a> {
    batches: Vec<Batch<'a>>,
}

impl<'a> Rows<'a> {
    /// Adds a string.
    pub(crate) fn string(&mut self, key: &[u8], value: &[u8]) {
        let value = StringValue { value, hyperloglog: false, created: Some(CREATED), expire_at: None }.encode();
        self.row(key, Column::Default, meta_key(key), value);
    }

    /// Adds a row of `key`.
    pub(crate) fn row(&mut self, key: &[u8], column: Column, row: Vec<u8>, value: Vec<u8>) {
        let instance = SlotCount::CODIS.slot_of(key).instance(self.batches.len());
        self.batches[instance].put(column, row, value);
    }

    fn commit(&mut self, store: &'a Store) -> Result<()> {
        for (index, batch) in self.batches.iter_mut().enumerate() {
            std::mem::replace(batch, store.batch(index)).commit()?;
        }
        Ok(())
    }
}

/// A value of `size` bytes that looks like JSON and compresses about as well.
pub(crate) fn json(number: u64, size: usize) -> Vec<u8> {
    let mut text = format!("{{\"id\":{number}").into_bytes();
    let mut seed = number;
    while text.len() < size {
        seed = scrambled(seed);
        text.extend_from_slice(format!(",\"name\":\"{:x}\",\"visits\":{}", seed, seed % 1000).as_bytes());
    }
    text.truncate(size - 1);
    text.push(b'}');
    text
}

/// Another number for each number, in no order.
pub(crate) fn scrambled(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

const KEYS_PER_COMMIT: u64 = 4000;

/// When all keys were written.
pub(crate) const CREATED: UnixMillis = UnixMillis(1_726_740_000_000);
