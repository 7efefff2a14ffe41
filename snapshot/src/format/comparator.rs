// SPDX-License-Identifier: Apache-2.0
//! The orders of the two column families that are not bytewise.
//!
//! RocksDB calls them on its own threads with whole keys, and with shortened ones from index blocks: they are pure, never
//! panic and order *all* byte strings. A key that ends before a part stands before the keys that have it.
//!
//! Where the server's own order is none (it says that a NaN score is greater than itself), NaNs stand behind all numbers
//! here, so that the order is total.

use std::cmp::Ordering;

use super::KEY_HEAD;

/// The name of the order of [`Column::List`](super::Column::List) in the manifest.
pub const LIST_COMPARATOR: &str = "floyd.ListsDataKeyComparator";

/// The name of the order of [`Column::ZsetScore`](super::Column::ZsetScore) in the manifest.
pub const SCORE_COMPARATOR: &str = "floyd.ZSetsScoreKeyComparator";

/// By the user key and the unused bytes before it, version, index. What follows the index does not count.
pub fn compare_list_keys(a: &[u8], b: &[u8]) -> Ordering {
    let (a_name, a_rest) = a.split_at(name_end(a));
    let (b_name, b_rest) = b.split_at(name_end(b));
    a_name.cmp(b_name).then_with(|| {
        compare_numbers(a_rest, b_rest, u64::cmp, |a_rest, b_rest| {
            compare_numbers(a_rest, b_rest, u64::cmp, |_, _| Ordering::Equal)
        })
    })
}

/// By the user key without the unused bytes before it, version, score as a number, member.
pub fn compare_score_keys(a: &[u8], b: &[u8]) -> Ordering {
    let (a_name, a_rest) = a.split_at(name_end(a));
    let (b_name, b_rest) = b.split_at(name_end(b));
    let a_name = a_name.get(KEY_HEAD..).unwrap_or_default();
    let b_name = b_name.get(KEY_HEAD..).unwrap_or_default();
    a_name.cmp(b_name).then_with(|| {
        compare_numbers(a_rest, b_rest, u64::cmp, |a_rest, b_rest| {
            compare_numbers(a_rest, b_rest, compare_scores, Ord::cmp)
        })
    })
}

/// Where the user key and its terminator end; behind the unused bytes when there is no terminator.
fn name_end(key: &[u8]) -> usize {
    let body = key.get(KEY_HEAD..).unwrap_or_default();
    match body.windows(2).position(|pair| pair == [0, 0]) {
        Some(at) => KEY_HEAD + at + 2,
        None => key.len().min(KEY_HEAD),
    }
}

/// By the `u64` in front and then by what follows it; what is too short to hold one comes first.
fn compare_numbers(
    a: &[u8],
    b: &[u8],
    compare: impl FnOnce(&u64, &u64) -> Ordering,
    then: impl FnOnce(&[u8], &[u8]) -> Ordering,
) -> Ordering {
    match (a.split_first_chunk(), b.split_first_chunk()) {
        (Some((a, a_rest)), Some((b, b_rest))) => {
            compare(&u64::from_le_bytes(*a), &u64::from_le_bytes(*b)).then_with(|| then(a_rest, b_rest))
        }
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => a.cmp(b),
    }
}

/// As numbers: the two zeros are equal.
fn compare_scores(a: &u64, b: &u64) -> Ordering {
    let (a_score, b_score) = (f64::from_bits(*a), f64::from_bits(*b));
    a_score.partial_cmp(&b_score).unwrap_or_else(|| match (a_score.is_nan(), b_score.is_nan()) {
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ => a.cmp(b),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::bytes;
    use super::super::{Version, list_key, score_key};
    use super::*;
    use proptest::prelude::*;

    /// Whole, shortened and nonsensical keys that often share their parts.
    fn any_key() -> impl Strategy<Value = Vec<u8>> {
        let key = prop_oneof![Just(vec![]), Just(vec![0]), Just(b"k".to_vec()), bytes()];
        let number = prop_oneof![0u64..3, any::<u64>()];
        let score = prop_oneof![Just(f64::NAN), Just(0.0), Just(-0.0), Just(1.5), any::<f64>()];
        let list = (key.clone(), number.clone(), number.clone())
            .prop_map(|(key, version, index)| list_key(&key, Version(version), index));
        let zset = (key, number, score, bytes())
            .prop_map(|(key, version, score, member)| score_key(&key, Version(version), score, &member));
        (prop_oneof![list, zset, bytes()], any::<prop::sample::Index>())
            .prop_map(|(key, end)| key[..end.index(key.len() + 1)].to_vec())
    }

    #[test]
    fn numbers_are_ordered_by_value() {
        let at = |version, index| list_key(b"l", Version(version), index);
        assert!(compare_list_keys(&at(1, 255), &at(1, 256)).is_lt());
        assert!(compare_list_keys(&at(255, 9), &at(256, 0)).is_lt());
        assert!(compare_list_keys(&list_key(b"a", Version(9), 9), &list_key(b"b", Version(0), 0)).is_lt());

        let scored = |score, member| score_key(b"z", Version(1), score, member);
        let ascending = [f64::NEG_INFINITY, -1.5, -1e-300, 0.0, 1e-300, 1.5, f64::INFINITY, f64::NAN];
        for pair in ascending.windows(2) {
            assert!(compare_score_keys(&scored(pair[0], b"m"), &scored(pair[1], b"a")).is_lt(), "{pair:?}");
        }
        assert!(compare_score_keys(&scored(-0.0, b"m"), &scored(0.0, b"m")).is_eq());
        assert!(compare_score_keys(&scored(0.0, b"m"), &scored(-0.0, b"n")).is_lt());
    }

    #[test]
    fn what_follows_the_index_does_not_count() {
        let whole = list_key(b"l", Version(1), 7);
        let index_end = whole.len() - 16;
        for end in index_end..=whole.len() {
            assert!(compare_list_keys(&whole[..end], &whole).is_eq());
        }
        for end in 0..index_end {
            assert!(compare_list_keys(&whole[..end], &whole).is_lt(), "{end}");
        }
    }

    #[test]
    fn a_shortened_key_stands_before_the_whole() {
        let whole = score_key(b"z", Version(1), 1.5, b"member");
        // The first eight bytes do not count, and without them nothing is left to compare.
        for end in 8..whole.len() {
            assert!(compare_score_keys(&whole[..end], &whole).is_lt(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn list_keys_are_ordered_as_their_parts(a: (u64, u64), b: (u64, u64)) {
            let key = |(version, index)| list_key(b"list", Version(version), index);
            prop_assert_eq!(compare_list_keys(&key(a), &key(b)), a.cmp(&b));
        }

        #[test]
        fn score_keys_are_ordered_as_their_parts(a: (u64, i32, Vec<u8>), b: (u64, i32, Vec<u8>)) {
            let key = |(version, score, member): &(u64, i32, Vec<u8>)| {
                score_key(b"zset", Version(*version), f64::from(*score), member)
            };
            // A member is compared together with the zeros behind it.
            let padded = |(version, score, member): &(u64, i32, Vec<u8>)| {
                (*version, *score, [&member[..], &[0; 16]].concat())
            };
            prop_assert_eq!(compare_score_keys(&key(&a), &key(&b)), padded(&a).cmp(&padded(&b)));
        }

        #[test]
        fn both_orders_are_total(a in any_key(), b in any_key(), c in any_key()) {
            for compare in [compare_list_keys, compare_score_keys] {
                prop_assert!(compare(&a, &a).is_eq());
                prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
                if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                    prop_assert!(compare(&a, &c).is_le());
                }
            }
        }
    }
}
