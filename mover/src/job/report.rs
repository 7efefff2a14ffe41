// SPDX-License-Identifier: Apache-2.0
use serde::Serialize;

use crate::flow::HeldReport;
use crate::job::JobOptions;
use crate::job::cutover::Fences;
use crate::job::journal::State;

/// What a finished job has done.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Slots that were moved.
    pub slots: usize,
    /// Keys that were copied from the checkpoint.
    pub keys: u64,
    /// Bytes of user data in them.
    pub bytes: u64,
    /// Seconds that the copy took.
    pub copy_seconds: f64,
    /// Changes of these slots that were followed in the log.
    pub changes: u64,
    /// Commands in the log that were not known; their first key was taken as changed.
    pub unknown_commands: u64,
    /// How often a collection of more than a few elements that had changed was read whole, not by what had changed.
    pub whole_rereads: u64,
    /// What held the line back, and for how long.
    pub held: Vec<HeldReport>,
    /// How long clients were held.
    pub fence_ms: FenceReport,
    /// What the comparison of both sides found.
    pub verify: VerifyReport,
    /// Bytes of batches that went over the network to a receiver; none where there was no receiver.
    pub wire_bytes: Option<u64>,
    /// What they were before compression.
    pub raw_bytes: Option<u64>,
    /// What the checkpoint held that was not as it should be, by kind.
    pub findings: Vec<String>,
}

impl Report {
    /// What a journal says of it.
    pub(super) fn of(state: &State, options: &JobOptions) -> Self {
        let copied = state.copied.unwrap_or_default();
        Self {
            slots: options.slots.len(),
            keys: copied.keys,
            bytes: copied.bytes,
            copy_seconds: copied.took.as_secs_f64(),
            changes: 0,
            unknown_commands: 0,
            whole_rereads: 0,
            held: Vec::new(),
            fence_ms: Fences::after(&state.switched).report(),
            verify: VerifyReport::default(),
            wire_bytes: None,
            raw_bytes: None,
            findings: state.found.noted.clone(),
        }
    }
}

/// How long fences stood, from the call that raised them to the answer that switched them, in milliseconds.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize)]
pub struct FenceReport {
    /// Half of them were shorter.
    pub p50: f64,
    /// 99 of 100 were not longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// How many switches there were.
    pub count: usize,
    /// How many were lowered again without a switch, to be tried later.
    pub retried: usize,
}

/// What a comparison of both sides found.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct VerifyReport {
    /// Keys that were compared.
    pub keys: u64,
    /// Keys that differ still.
    pub mismatches: u64,
    /// Keys that only the target has still.
    pub extra: u64,
    /// Keys that differed with no change in the log to explain it, as after an unlogged write, and were made equal.
    pub repaired: u64,
}

impl VerifyReport {
    pub(super) fn add(&mut self, other: Self) {
        self.keys += other.keys;
        self.mismatches += other.mismatches;
        self.extra += other.extra;
        self.repaired += other.repaired;
    }
}
