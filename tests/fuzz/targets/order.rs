// SPDX-License-Identifier: Apache-2.0
//! The orders of the column families on any three byte strings: RocksDB relies on them, also for damaged rows.
//!
//! ```text
//! 0          1          2
//! | length a | length b | a ... | b ... | c: the rest
//! ```

use std::cmp::Ordering;

use snapshot::format::{Column, meta_key};

pub(crate) fn check(input: &[u8]) {
    let Some((&[a, b], rest)) = input.split_first_chunk() else { return };
    let (a, rest) = rest.split_at(usize::from(a).min(rest.len()));
    let (b, c) = rest.split_at(usize::from(b).min(rest.len()));
    for column in Column::ALL {
        let compare = |one: &[u8], other: &[u8]| column.compare(one, other);
        for one in [a, b, c] {
            assert_eq!(compare(one, one), Ordering::Equal, "{column}");
            for other in [a, b, c] {
                assert_eq!(compare(one, other), compare(other, one).reverse(), "{column}");
                for third in [a, b, c] {
                    if compare(one, other).is_le() && compare(other, third).is_le() {
                        assert!(compare(one, third).is_le(), "{column}");
                    }
                }
            }
        }
    }
    // Escaping keeps the order of names.
    assert_eq!(meta_key(a).cmp(&meta_key(b)), a.cmp(b));
}
