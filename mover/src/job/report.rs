// SPDX-License-Identifier: Apache-2.0
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::endpoint::Identity;
use crate::flow::HeldReport;
use crate::job::cutover::Fences;
use crate::job::journal::State;
use crate::job::{JobOptions, KeyBalance, UnknownCommand, VerifyMode};

/// What a finished job has done.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Slots that were moved.
    pub slots: usize,
    /// Keys that were copied from the checkpoint.
    pub keys: u64,
    /// Bytes of user data in them.
    pub bytes: u64,
    /// How many keys there were, came and went, and were left.
    pub counts: KeyBalance,
    /// Keys of users that were deleted at the source behind the move, as it answered: the server's own sets of slot keys do
    /// not count. None where they were kept, and where an earlier process had begun to delete them.
    pub cleaned: Option<u64>,
    /// Seconds that the copy took.
    pub copy_seconds: f64,
    /// Changes of these slots that were followed in the log.
    pub changes: u64,
    /// What the source said it is and was taken for; none where nothing was left to be moved.
    pub source: Option<Identity>,
    /// The same of the target.
    pub target: Option<Identity>,
    /// Entries of the log whose commands were not known, or did not say what they change: their arguments were read again as
    /// keys, or a new checkpoint was taken.
    pub unknown_commands: u64,
    /// The first of them, by name.
    pub unknown: Vec<UnknownCommand>,
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
    /// Why it could not be rolled back, or not any more.
    pub no_way_back: Option<String>,
    /// How its slots came back to the source, if they did.
    pub rollback: Option<RollbackReport>,
}

/// What a rollback has done.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RollbackReport {
    /// Changes that were brought back from the target.
    pub changes: u64,
    /// How long clients were held.
    pub fence_ms: FenceReport,
    /// What the comparison of both sides found.
    pub verify: VerifyReport,
    /// Keys of users that were deleted at the target behind it. None where they were kept, and where an earlier process had
    /// begun to delete them.
    pub cleaned: Option<u64>,
}

impl Report {
    /// What a journal says of it.
    pub(super) fn of(state: &State, options: &JobOptions) -> Self {
        let copied = state.copied.unwrap_or_default();
        Self {
            slots: options.slots.len(),
            keys: copied.keys,
            bytes: copied.bytes,
            counts: KeyBalance::default(),
            cleaned: None,
            copy_seconds: copied.took.as_secs_f64(),
            changes: 0,
            source: None,
            target: None,
            unknown_commands: 0,
            unknown: Vec::new(),
            whole_rereads: 0,
            held: Vec::new(),
            fence_ms: Fences::after(&state.switched).report(),
            verify: VerifyReport::new(options.verify),
            wire_bytes: None,
            raw_bytes: None,
            findings: state.found.noted.clone(),
            no_way_back: state.no_way_back.clone(),
            rollback: None,
        }
    }
}

impl RollbackReport {
    /// What the journal of the way back says of it.
    pub(super) fn of(state: &State, options: &JobOptions) -> Self {
        Self {
            changes: 0,
            fence_ms: Fences::after(&state.switched).report(),
            verify: VerifyReport::new(options.verify),
            cleaned: None,
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

/// What a comparison of both sides found. As JSON it has nothing but its mode where nothing was compared.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct VerifyReport {
    /// How much was compared.
    pub mode: VerifyMode,
    /// Keys that were compared.
    pub keys: u64,
    /// Bytes of user data in those that were compared by the checkpoint.
    pub bytes: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// Keys that differ still.
    pub mismatches: u64,
    /// Keys that only the target has still.
    pub extra: u64,
    /// Keys that differed with no change in the log to explain it, as after an unlogged write, and were made equal.
    pub repaired: u64,
    /// The first of these, and how each of them differed.
    pub differences: Vec<String>,
    /// Keys that never held still, as lists do that change all the time: they were read whole once more, and whether they
    /// are equal could not be told at any moment.
    pub uncompared: u64,
    /// The names of the first of these, escaped.
    pub uncompared_keys: Vec<String>,
    /// What the checkpoint that was compared held that was not as it should be, by kind.
    pub findings: Vec<String>,
}

impl VerifyReport {
    pub(super) fn new(mode: VerifyMode) -> Self {
        Self { mode, ..Self::default() }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.mode = other.mode;
        self.keys += other.keys;
        self.bytes += other.bytes;
        self.seconds += other.seconds;
        self.mismatches += other.mismatches;
        self.extra += other.extra;
        self.repaired += other.repaired;
        self.differences.extend(other.differences);
        self.uncompared += other.uncompared;
        self.uncompared_keys.extend(other.uncompared_keys);
        self.findings.extend(other.findings);
    }
}

impl Serialize for VerifyReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { mode, keys, bytes, seconds, mismatches, extra, repaired, differences, .. } = self;
        let mut fields = serializer.serialize_struct("VerifyReport", 10)?;
        fields.serialize_field("mode", mode)?;
        // Zeros would read as if nothing had been found.
        if *mode != VerifyMode::Off {
            fields.serialize_field("keys", keys)?;
            fields.serialize_field("bytes", bytes)?;
            fields.serialize_field("seconds", seconds)?;
            fields.serialize_field("mismatches", mismatches)?;
            fields.serialize_field("extra", extra)?;
            fields.serialize_field("repaired", repaired)?;
            fields.serialize_field("differences", differences)?;
            fields.serialize_field("uncompared", &self.uncompared)?;
            fields.serialize_field("uncompared_keys", &self.uncompared_keys)?;
        }
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_compared_has_no_figures() {
        let text = |mode| serde_json::to_string(&VerifyReport::new(mode)).unwrap();
        assert_eq!(text(VerifyMode::Off), r#"{"mode":"off"}"#);
        assert!(text(VerifyMode::Full).starts_with(r#"{"mode":"full","keys":0,"#));
    }
}
