// SPDX-License-Identifier: Apache-2.0
//! Decoding a binlog: every item is read, checked and looked up in the table of commands.
//!
//! Each log holds 300 MiB of SETs with keys of 37 bytes, in files of 100 MiB, and comes from the page cache. Measured on
//! 2026-11-22 on one of 2 cores of a machine that was shared but mostly free:
//!
//! | Values of | items/s | MiB/s |
//! |---|---|---|
//! | 16 B | 4.34 M | 505 |
//! | 100 B | 3.78 M | 746 |
//! | 1 KB | 2.04 M | 2,210 |
//! | 100 KB | 90 k | 8,810 |

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use replication::binlog::{Tail, UnixSeconds, Writer};
use replication::{BinlogOffset, Command, Effect, Renames};

criterion_group!(benches, decode);
criterion_main!(benches);

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("binlog");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(15));
    for (name, value) in [("16B", 16), ("100B", 100), ("1KB", 1 << 10), ("100KB", 100 << 10)] {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let (items, bytes) = write_log(dir.path(), value).expect("a log can be written");
        assert_eq!(read_log(dir.path()).expect("our own log is sound"), items, "every SET is one change");
        group.throughput(Throughput::ElementsAndBytes { elements: items, bytes });
        group.bench_function(name, |bencher| {
            bencher.iter(|| read_log(dir.path()).expect("our own log is sound"));
        });
    }
    group.finish();
}

/// Bytes of each log: several files of Pika's usual size.
const LOG_SIZE: u64 = 300 << 20;
const FILE_SIZE: u64 = 100 << 20;

/// Writes SETs of values of this size, and gives their number and the bytes of the log.
fn write_log(dir: &Path, value: usize) -> replication::Result<(u64, u64)> {
    let mut writer = Writer::open(dir, FILE_SIZE)?;
    let value = vec![b'v'; value];
    let (mut items, mut bytes) = (0, 0);
    while bytes < LOG_SIZE {
        let before = writer.end();
        let key = format!("service:profile:{items:016x}/info");
        let end = writer.append(&Command::new([b"set", key.as_bytes(), &value[..]].map(<[u8]>::to_vec)), TIME)?;
        bytes += if end.file == before.file { end.position - before.position } else { end.position };
        items += 1;
    }
    Ok((items, bytes))
}

/// Reads a whole log and gives the number of changes in it.
fn read_log(dir: &Path) -> replication::Result<u64> {
    let mut tail = Tail::open(dir, BinlogOffset::new(0, 0))?;
    let mut changes = 0;
    while let Some(item) = tail.next()? {
        if let Effect::Changes(found) = Effect::of_item(&item, &Renames::default()) {
            changes += found.len() as u64;
        }
    }
    Ok(changes)
}

const TIME: UnixSeconds = UnixSeconds(1_726_740_000);
