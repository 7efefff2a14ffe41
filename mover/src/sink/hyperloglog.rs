// SPDX-License-Identifier: Apache-2.0
//! HyperLogLogs of Pika, rebuilt on another Pika from their registers alone.
//!
//! Pika counts an element by MurmurHash3 (x86, 32 bit, seed 313): the low 17 bits choose one of 131,072 one-byte
//! registers, the trailing zeros of the rest plus one are its rank, 15 at most. For an element of four bytes the hash
//! is a bijection, so an element for any register and rank can be computed and sent with PFADD.

/// Registers of one HyperLogLog.
pub(super) const REGISTERS: usize = 1 << INDEX_BITS;

/// Elements that set exactly these registers of an empty HyperLogLog.
///
/// `None` when a register holds a rank that no element has: PFMERGE ORs registers, which can give such values.
pub(super) fn elements(registers: &[u8]) -> Option<Vec<[u8; 4]>> {
    if registers.len() != REGISTERS && !registers.is_empty() {
        return None;
    }
    let set = registers.iter().enumerate().filter(|(_, rank)| **rank != 0);
    set.map(|(index, rank)| {
        let index = u32::try_from(index).expect("an index has 17 bits");
        (1..=RANK_MAX).contains(rank).then(|| element(index | 1 << (INDEX_BITS + u32::from(*rank) - 1)))
    })
    .collect()
}

/// The four bytes whose hash is `hash`.
fn element(hash: u32) -> [u8; 4] {
    let mut h = hash;
    h ^= h >> 16;
    h = h.wrapping_mul(inverse(0xc2b2_ae35));
    h ^= h >> 13 ^ h >> 26;
    h = h.wrapping_mul(inverse(0x85eb_ca6b));
    h ^= h >> 16;
    // The length of the element.
    h ^= 4;
    h = h.wrapping_sub(0xe654_6b64).wrapping_mul(inverse(5));
    h = h.rotate_right(13) ^ SEED;
    h = h.wrapping_mul(inverse(0x1b87_3593)).rotate_right(15);
    h.wrapping_mul(inverse(0xcc9e_2d51)).to_le_bytes()
}

/// The number that gives 1 when multiplied with an odd `n`, by Newton's iteration: each step doubles the right bits.
const fn inverse(n: u32) -> u32 {
    let mut x = n;
    let mut step = 0;
    while step < 5 {
        x = x.wrapping_mul(2u32.wrapping_sub(n.wrapping_mul(x)));
        step += 1;
    }
    x
}

const INDEX_BITS: u32 = 17;
const RANK_MAX: u8 = 15;
const SEED: u32 = 313;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements_of_the_reference() {
        let of = |index: usize, rank: u8| {
            let mut registers = vec![0; REGISTERS];
            registers[index] = rank;
            elements(&registers).unwrap()
        };
        assert_eq!(of(0, 1), [[0x4d, 0x55, 0x4d, 0x58]]);
        assert_eq!(of(5, 3), [[0x50, 0xa7, 0x5f, 0x02]]);
        assert_eq!(of(131_071, 15), [[0x93, 0x4f, 0xa1, 0xe5]]);
    }

    #[test]
    fn what_no_element_gives_is_refused() {
        let mut registers = vec![0; REGISTERS];
        registers[7] = 16;
        assert_eq!(elements(&registers), None);
        assert_eq!(elements(&[1, 2, 3]), None);
        assert_eq!(elements(&[]), Some(vec![]));
    }

    /// MurmurHash3 of four bytes, forwards.
    fn hash(element: [u8; 4]) -> u32 {
        let k = u32::from_le_bytes(element).wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        let mut h = (SEED ^ k).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64) ^ 4;
        h = (h ^ h >> 16).wrapping_mul(0x85eb_ca6b);
        h = (h ^ h >> 13).wrapping_mul(0xc2b2_ae35);
        h ^ h >> 16
    }

    proptest! {
        #[test]
        fn every_hash_has_its_element(wanted: u32) {
            prop_assert_eq!(hash(element(wanted)), wanted);
        }
    }
}
