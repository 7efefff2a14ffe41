// SPDX-License-Identifier: Apache-2.0
//! A look at RocksDB's write-ahead log, for the one kind of damage that RocksDB takes for its end.
//!
//! ```text
//! block 32 KiB   (checksum 4 │ length u16 │ type 1 │ payload)* │ fewer than 7 zero bytes
//! type           1 full, 2 first, 3 middle, 4 last; 5 to 8 the same in files that are used again
//! ```
//!
//! RocksDB believes a type from 5 to 8 before it looks at the checksum. Pika never uses log files again, so such a record
//! has lost a bit. All other damage RocksDB finds itself.

use std::fs;
use std::io;
use std::path::Path;

/// Where in the log files of a directory a record has a type that Pika does not write: the file's name and the byte.
pub(crate) fn find_foreign_record(dir: &Path) -> io::Result<Option<(String, usize)>> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".log")
            && let Some(at) = foreign_record(&fs::read(entry.path())?)
        {
            return Ok(Some((name, at)));
        }
    }
    Ok(None)
}

fn foreign_record(log: &[u8]) -> Option<usize> {
    for (number, mut rest) in log.chunks(BLOCK).enumerate() {
        let length = rest.len();
        while let Some(([_, _, _, _, low, high, kind], payload)) = rest.split_first_chunk() {
            if (5..=8).contains(kind) {
                return Some(number * BLOCK + length - rest.len());
            }
            match payload.get(usize::from(u16::from_le_bytes([*low, *high]))..) {
                Some(next) => rest = next,
                None => break,
            }
        }
    }
    None
}

const BLOCK: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_over_records_and_blocks() {
        let record = |kind: u8, length: u16| {
            let [low, high] = length.to_le_bytes();
            [&[9, 9, 9, 9, low, high, kind][..], &vec![7; usize::from(length)]].concat()
        };
        // Ends with six zeros, too few for a header.
        let block = [record(1, 10), record(2, 32_738), vec![0; 6]].concat();
        assert_eq!(block.len(), BLOCK);
        let log = |kind| [block.clone(), record(3, 5), record(kind, 0), record(1, 3)].concat();
        assert_eq!(foreign_record(&log(4)), None);
        for kind in 5..=8 {
            assert_eq!(foreign_record(&log(kind)), Some(BLOCK + 12));
        }
        assert_eq!(foreign_record(&log(5)[..BLOCK + 15]), None);
        assert_eq!(foreign_record(&[]), None);
    }
}
