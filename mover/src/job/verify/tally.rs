// SPDX-License-Identifier: Apache-2.0
use std::fmt;

use bytes::Bytes;
use replication::SlotCount;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::VerifyMode;
use super::difference::{Difference, Differing};
use crate::flow::HeldReport;

/// What a [`Verification`](crate::Verification) has found.
#[derive(Clone, PartialEq, Default, Debug)]
#[non_exhaustive]
pub struct VerificationReport {
    /// How much was compared.
    pub mode: VerifyMode,
    /// Slots that were compared.
    pub slots: usize,
    /// Keys that were compared: those of the checkpoint.
    pub keys: u64,
    /// Bytes of user data in them.
    pub bytes: u64,
    /// Seconds that it took, without the checkpoint.
    pub seconds: f64,
    /// Whether it went to its end. It does not when very many keys differ.
    pub is_complete: bool,
    /// Keys that both sides have, but not the same.
    pub mismatches: u64,
    /// Keys that only the source has.
    pub missing: u64,
    /// Keys that only the target has.
    pub extra: u64,
    /// Keys that were another thing on both sides at each look: clients or a follower write them all the time. Whether they
    /// are the same cannot be told; they count neither as equal nor as different.
    pub changing: u64,
    /// The first keys that differ.
    pub differences: Vec<KeyDifference>,
    /// The names of the first keys that changed, escaped as those of the differences.
    pub changing_keys: Vec<String>,
    /// What of the source's data could not be read, and so was not compared, by kind.
    pub unreadable: Vec<String>,
    /// What else the checkpoint held that was not as it should be, by kind.
    pub findings: Vec<String>,
    /// What held the comparison back, and for how long.
    pub held: Vec<HeldReport>,
}

/// A key that is not the same on both sides.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct KeyDifference {
    /// Its name, with every byte that is no printable ASCII escaped as in a string literal.
    pub key: String,
    /// Its slot.
    pub slot: u16,
    /// `mismatch`, `missing` (only the source has it) or `extra` (only the target has it).
    pub kind: &'static str,
    /// How it differs, in a few words.
    pub how: String,
}

impl VerificationReport {
    /// Whether both sides hold the same, as far as it was to be compared.
    pub fn is_equal(&self) -> bool {
        self.is_complete && self.differing() == 0 && self.unreadable.is_empty()
    }

    /// Keys that differ in any way.
    pub fn differing(&self) -> u64 {
        self.mismatches + self.missing + self.extra
    }
}

impl fmt::Display for KeyDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, slot, how, .. } = self;
        write!(f, "`{key}` (slot {slot}) {how}")
    }
}

impl Serialize for VerificationReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("VerificationReport", 16)?;
        fields.serialize_field("equal", &self.is_equal())?;
        fields.serialize_field("complete", &self.is_complete)?;
        fields.serialize_field("mode", &self.mode)?;
        fields.serialize_field("slots", &self.slots)?;
        fields.serialize_field("keys", &self.keys)?;
        fields.serialize_field("bytes", &self.bytes)?;
        fields.serialize_field("seconds", &self.seconds)?;
        fields.serialize_field("mismatches", &self.mismatches)?;
        fields.serialize_field("missing", &self.missing)?;
        fields.serialize_field("extra", &self.extra)?;
        fields.serialize_field("changing", &self.changing)?;
        fields.serialize_field("differences", &self.differences)?;
        fields.serialize_field("changing_keys", &self.changing_keys)?;
        fields.serialize_field("unreadable", &self.unreadable)?;
        fields.serialize_field("findings", &self.findings)?;
        fields.serialize_field("held", &self.held)?;
        fields.end()
    }
}

/// Counts all keys that differ and names the first.
pub(super) struct Tally {
    report: VerificationReport,
    slot_count: SlotCount,
    named: usize,
}

impl Tally {
    pub(super) fn new(slot_count: SlotCount, named: usize) -> Self {
        Self { report: VerificationReport::default(), slot_count, named }
    }

    pub(super) fn add(&mut self, differing: &[Differing], changing: &[Bytes]) {
        let report = &mut self.report;
        for Differing { key, how } in differing {
            let (count, kind) = match how {
                Difference::Missing => (&mut report.missing, "missing"),
                Difference::Extra => (&mut report.extra, "extra"),
                _ => (&mut report.mismatches, "mismatch"),
            };
            *count += 1;
            if report.differences.len() < self.named {
                let (slot, how) = (self.slot_count.slot_of(key).number(), how.to_string());
                report.differences.push(KeyDifference { key: key.escape_ascii().to_string(), slot, kind, how });
            }
        }
        report.changing += changing.len() as u64;
        let room = self.named - report.changing_keys.len();
        report.changing_keys.extend(changing.iter().take(room).map(|key| key.escape_ascii().to_string()));
    }

    /// Keys that differ so far.
    pub(super) fn differing(&self) -> u64 {
        self.report.differing()
    }

    /// What there is of a report.
    pub(super) fn report(self) -> VerificationReport {
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_first_are_named() {
        let mut tally = Tally::new(SlotCount::CODIS, 2);
        let differing = |key: &'static str, how| Differing { key: key.into(), how };
        tally.add(&[differing("a\n", Difference::Value), differing("b", Difference::Missing)], &["d".into()]);
        tally.add(&[differing("c", Difference::Extra)], &["e".into(), "f".into()]);
        assert_eq!(tally.differing(), 3);
        let report = VerificationReport { is_complete: true, ..tally.report() };
        assert_eq!((report.mismatches, report.missing, report.extra, report.changing), (1, 1, 1, 3));
        assert_eq!(report.changing_keys, ["d", "e"]);
        let named: Vec<String> = report.differences.iter().map(ToString::to_string).collect();
        let slot = SlotCount::CODIS.slot_of(b"a\n").number();
        assert_eq!((named.len(), &named[0]), (2, &format!("`a\\n` (slot {slot}) has another value")));
        assert!(!report.is_equal());
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["equal"], &json["differences"][1]["kind"]), (&false.into(), &"missing".into()));
    }

    #[test]
    fn only_what_was_compared_whole_is_equal() {
        let equal = VerificationReport { is_complete: true, changing: 1, ..VerificationReport::default() };
        assert!(equal.is_equal());
        assert!(!VerificationReport { is_complete: false, ..equal.clone() }.is_equal());
        assert!(!VerificationReport { unreadable: vec!["a row".to_owned()], ..equal }.is_equal());
    }
}
