// SPDX-License-Identifier: Apache-2.0
//! The registers of a HyperLogLog as Pika keeps them: 2^17 of one byte each.
//!
//! An element's hash is 32 bits of MurmurHash3: the low 17 choose the register, the zeros below the lowest one of the
//! other 15 are its rank, counted from 1.

use bytes::Bytes;

/// The registers of one HyperLogLog.
pub(super) struct Registers(Vec<u8>);

impl Registers {
    /// All zero.
    pub(super) fn new() -> Self {
        Self(vec![0; COUNT])
    }

    /// Registers as they were stored; an empty value stands for all zero, and what is missing is zero too.
    pub(super) fn decode(stored: &[u8]) -> Self {
        let mut registers = stored[..stored.len().min(COUNT)].to_vec();
        registers.resize(COUNT, 0);
        Self(registers)
    }

    /// Counts an element.
    pub(super) fn add(&mut self, element: &[u8]) {
        let hash = murmur3(element);
        let rank = (hash >> BITS).trailing_zeros().min(RANK_MAX) as u8 + 1;
        let register = &mut self.0[hash as usize % COUNT];
        *register = (*register).max(rank);
    }

    /// Takes in another's elements. The server ORs a lower register with a higher one instead of replacing it.
    pub(super) fn merge(&mut self, other: &Self) {
        for (register, &others) in self.0.iter_mut().zip(&other.0) {
            if *register < others {
                *register |= others;
            }
        }
    }

    /// How many different elements were counted, about.
    pub(super) fn estimate(&self) -> i64 {
        let count = COUNT as f64;
        let sum: f64 = self.0.iter().map(|&register| 1.0 / (1u64 << (register & 31)) as f64).sum();
        let mut estimate = 0.7213 / (1.0 + 1.079 / count) * count * count / sum;
        let range = 2f64.powi(32);
        if estimate <= 2.5 * count {
            let zeros = self.0.iter().filter(|&&register| register == 0).count();
            if zeros != 0 {
                estimate = count * (count / zeros as f64).ln();
            }
        } else if estimate > range / 30.0 {
            estimate = (-estimate / range).ln_1p() * -range;
        }
        estimate as i64
    }

    /// The bytes to store.
    pub(super) fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

const BITS: u32 = 17;
const COUNT: usize = 1 << BITS;
const RANK_MAX: u32 = 32 - BITS;
const SEED: u32 = 313;

/// MurmurHash3, x86, 32 bits.
fn murmur3(data: &[u8]) -> u32 {
    let mix = |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut hash = SEED;
    let mut blocks = data.chunks_exact(4);
    for block in &mut blocks {
        let block = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        hash = (hash ^ mix(block)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let tail = blocks.remainder().iter().rev().fold(0, |tail, &byte| tail << 8 | u32::from(byte));
    hash ^= mix(tail) ^ data.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Elements whose register and rank are known from inverting the hash.
    #[test]
    fn elements_go_where_the_server_puts_them() {
        for (element, register, rank) in [
            ([0x4d, 0x55, 0x4d, 0x58], 0, 1),
            ([0x50, 0xa7, 0x5f, 0x02], 5, 3),
            ([0x93, 0x4f, 0xa1, 0xe5], 131_071, 15),
        ] {
            let mut registers = Registers::new();
            registers.add(&element);
            assert_eq!(registers.0[register], rank);
            assert_eq!(registers.0.iter().filter(|&&register| register != 0).count(), 1);
        }
    }

    #[test]
    fn counts_within_a_percent() {
        let mut registers = Registers::new();
        for element in 0..100_000u32 {
            registers.add(&element.to_le_bytes());
        }
        assert!((registers.estimate() - 100_000).abs() < 1000, "{}", registers.estimate());
        assert_eq!(Registers::decode(b"").estimate(), 0);
    }
}
