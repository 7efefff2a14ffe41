// SPDX-License-Identifier: Apache-2.0
//! Input that is nearly right: what a decoder stumbles over, if over anything.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// One of the seeds with a few changes: flipped bits, other numbers, parts cut out, doubled or taken from another seed.
/// The same number gives the same input.
pub(crate) fn mutated(seeds: &[Vec<u8>], number: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(number);
    let mut input = seeds[rng.random_range(0..seeds.len())].clone();
    for _ in 0..rng.random_range(1..=CHANGES_MAX) {
        change(&mut input, seeds, &mut rng);
    }
    input
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut StdRng) {
    let at = rng.random_range(0..=input.len());
    let length = rng.random_range(0..=(input.len() - at).min(LENGTH_MAX));
    match rng.random_range(0..9) {
        0 => input.truncate(at),
        1 => drop(input.drain(at..at + length)),
        2 => {
            let part = input[at..at + length].to_vec();
            input.splice(at..at, part);
        }
        3 => {
            let other = &seeds[rng.random_range(0..seeds.len())];
            let from = rng.random_range(0..=other.len());
            let behind = rng.random_range(from..=other.len().min(from + LENGTH_MAX));
            input.splice(at..at + length, other[from..behind].iter().copied());
        }
        4 => {
            let bytes: Vec<u8> = (0..rng.random_range(1..9)).map(|_| rng.random()).collect();
            input.splice(at..at, bytes);
        }
        5 => number_in_bytes(input, at, rng),
        6 => number_in_digits(input, at, rng),
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.random_range(0..8);
            }
        }
    }
}

/// Writes one of the numbers at which lengths go wrong over some bytes, in either order.
fn number_in_bytes(input: &mut [u8], at: usize, rng: &mut StdRng) {
    let number = odd_number(input.len(), rng);
    let width = [1, 2, 3, 4, 8][rng.random_range(0..5)];
    let mut bytes = number.to_le_bytes()[..width].to_vec();
    if rng.random() {
        bytes.reverse();
    }
    for (byte, new) in input.iter_mut().skip(at).zip(bytes) {
        *byte = new;
    }
}

/// Replaces the next number in digits by such a number.
fn number_in_digits(input: &mut Vec<u8>, at: usize, rng: &mut StdRng) {
    let number = odd_number(input.len(), rng);
    if let Some(first) = input[at..].iter().position(u8::is_ascii_digit) {
        let begin = at + first;
        let digits = input[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        input.splice(begin..begin + digits, number.to_string().into_bytes());
    }
}

fn odd_number(length: usize, rng: &mut StdRng) -> u64 {
    let power = 1u64 << rng.random_range(0..64);
    match rng.random_range(0..5) {
        0 => power,
        1 => power - 1,
        2 => u64::MAX - rng.random_range(0..16),
        3 => (length as u64).saturating_add_signed(rng.random_range(-3..=3)),
        _ => rng.random_range(0..300),
    }
}

const CHANGES_MAX: u32 = 4;

/// So that an input does not double with every change.
const LENGTH_MAX: usize = 4096;

#[test]
fn the_same_number_gives_the_same_input() {
    let seeds = [b"*1\r\n$4\r\nPING\r\n".to_vec(), vec![0; 100], Vec::new()];
    let inputs: Vec<_> = (0..200).map(|number| mutated(&seeds, number)).collect();
    assert_eq!(inputs, (0..200).map(|number| mutated(&seeds, number)).collect::<Vec<_>>());
    let different: std::collections::HashSet<_> = inputs.iter().collect();
    assert!(different.len() > 100, "{}", different.len());
}
