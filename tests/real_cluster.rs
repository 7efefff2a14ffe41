// SPDX-License-Identifier: Apache-2.0
//! Moves between two real Pikas behind a real Codis, where PIKA_BIN and CODIS_BIN_DIR name the programs.

mod busy_slot;
mod command_line;
mod faults;
mod many_slots;
mod rollback;

/// Where the random choices of a test come from: SLOTMOVER_SEED, or chosen and told.
fn seed() -> u64 {
    let seed = std::env::var("SLOTMOVER_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("SLOTMOVER_SEED={seed} chooses the same again");
    seed
}
