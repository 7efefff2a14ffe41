// SPDX-License-Identifier: Apache-2.0
//! Every decoder on its seeds and on some thousands of mutations of them. What holds of any input stands in `targets`; none
//! may panic, and none may reserve more than a multiple of what it was given, whatever a length in there claims.
//!
//! The same targets run under libFuzzer, which finds its own way through them; see `make fuzz`. An input that it or a
//! mutation failed on becomes a seed.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::harness::{allocated_by, mutated, workspace};

mod targets {
    pub(crate) mod answer;
    pub(crate) mod binlog;
    pub(crate) mod command;
    pub(crate) mod frame;
    pub(crate) mod key;
    pub(crate) mod order;
    pub(crate) mod reply;
    pub(crate) mod value;
    pub(crate) mod write;
}

#[test]
fn answers_of_a_target() {
    hold("answer", 50_000, targets::answer::check);
}

#[test]
fn files_of_the_binlog() {
    hold("binlog", 5_000, targets::binlog::check);
}

#[test]
fn commands() {
    hold("command", 50_000, targets::command::check);
}

#[test]
fn frames_of_the_wire() {
    hold("frame", 10_000, targets::frame::check);
}

#[test]
fn keys_of_rows() {
    hold("key", 50_000, targets::key::check);
}

#[test]
fn orders_of_rows() {
    hold("order", 20_000, targets::order::check);
}

#[test]
fn replies_of_a_target() {
    hold("reply", 50_000, targets::reply::check);
}

#[test]
fn values_of_rows() {
    hold("value", 50_000, targets::value::check);
}

#[test]
fn writes_on_the_wire() {
    hold("write", 10_000, targets::write::check);
}

#[test]
#[should_panic(expected = "takes")]
fn what_reserves_too_much_is_found() {
    run("a length that lies", b"9999999", |_| drop(std::hint::black_box(vec![0u8; 1 << 20])));
}

#[test]
#[should_panic(expected = "fails: b\"\\xff\"")]
fn what_panics_is_found() {
    run("a byte", b"\xff", |input| assert!(input[0] < 0x80));
}

/// Runs a target over its seeds and as many mutations. `SLOTMOVER_FUZZ_FROM` names the first one, for other ones.
fn hold(target: &str, mutations: u64, check: fn(&[u8])) {
    let seeds = seeds(target);
    for (name, seed) in &seeds {
        run(&format!("seed {name} of {target}"), seed, check);
    }
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|(_, seed)| seed).collect();
    let first = std::env::var("SLOTMOVER_FUZZ_FROM").map_or(0, |number| number.parse().unwrap());
    for number in first..first + mutations {
        run(&format!("mutation {number} of {target}"), &mutated(&seeds, number), check);
    }
}

fn run(what: &str, input: &[u8], check: fn(&[u8])) {
    let (outcome, bytes) = allocated_by(|| catch_unwind(AssertUnwindSafe(|| check(input))));
    assert!(outcome.is_ok(), "{what} fails: b\"{}\"", input.escape_ascii());
    let most = ALLOCATED_BASE + ALLOCATED_FACTOR * input.len();
    assert!(bytes <= most, "{what} takes {bytes} bytes for {}: b\"{}\"", input.len(), input.escape_ascii());
}

/// The inputs that are kept with the sources, by name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = workspace().join("tests/fuzz/seeds").join(target);
    let entries = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap());
    let mut seeds: Vec<_> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{} has no seeds", dir.display());
    seeds
}

/// What any input may take: a block of the binlog and what the file system's calls need, twice over.
const ALLOCATED_BASE: usize = 1 << 18;

/// An argument of a command takes six bytes at least, and a `Bytes` in memory, once here and twice while it is compared.
const ALLOCATED_FACTOR: usize = 64;
