// SPDX-License-Identifier: Apache-2.0
//! What the parts do together, one file per behaviour. One binary, for each would link RocksDB.
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod agent_death;
mod bad_input;
mod cli;
mod codis_move;
mod codis_routing;
mod conformance;
mod convergence;
mod counts;
mod crash;
mod cutover;
mod cutover_model;
mod damage;
mod deltas;
mod embedding;
mod failure_table;
mod far_target;
mod fence_guard;
mod file_systems;
mod fuzz;
mod harness;
mod hooks;
mod inspect;
mod interruption;
mod jobs;
mod limits;
mod many_cutovers;
mod negative_control;
mod one_busy_slot;
mod real_cluster;
mod real_input;
mod real_pika;
mod receive;
mod renamed_commands;
mod rollback;
mod safety;
mod sandbox;
mod soak;
mod tidy;
mod truth;
mod two_jobs;
mod verify;
mod verify_alone;
