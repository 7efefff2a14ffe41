// SPDX-License-Identifier: Apache-2.0
//! What journals have in common: where they lie, and how they write down what has no form of its own in JSON.

use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use replication::{BinlogOffset, SlotSet};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The journals in `dir` of a kind, `<kind>-….journal`, in the order of their names. Without the directory there are none.
pub(crate) fn journals(dir: &Path, kind: &str) -> Result<Vec<PathBuf>> {
    files(dir, kind, ".journal")
}

/// What was to become a journal, `<kind>-….draft`.
pub(crate) fn drafts(dir: &Path, kind: &str) -> Result<Vec<PathBuf>> {
    files(dir, kind, ".draft")
}

fn files(dir: &Path, kind: &str, end: &str) -> Result<Vec<PathBuf>> {
    let fault = |fault| Error::file("read the state directory", dir, fault);
    let entries = match std::fs::read_dir(dir) {
        Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fault)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(fault)?.file_name();
        let is_one = name.to_str().and_then(|name| name.strip_prefix(kind)?.strip_suffix(end));
        found.extend(is_one.is_some_and(|rest| rest.starts_with('-')).then(|| dir.join(name)));
    }
    found.sort();
    Ok(found)
}

/// Slots as the command line takes them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Slots(pub(crate) SlotSet);

/// A position in a log, as `<file>:<position>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Offset(pub(crate) BinlogOffset);

/// A key, in hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Key(pub(crate) Bytes);

impl From<Slots> for String {
    fn from(slots: Slots) -> Self {
        slots.0.to_string()
    }
}

impl TryFrom<String> for Slots {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // None at all have no form on the command line.
        if text.is_empty() {
            return Ok(Self(SlotSet::new()));
        }
        text.parse().map(Slots).map_err(|_| format!("`{text}` are no slots"))
    }
}

impl From<Offset> for String {
    fn from(Offset(offset): Offset) -> Self {
        offset.to_string()
    }
}

impl TryFrom<String> for Offset {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse::<BinlogOffset>().map(Self).map_err(|error| error.to_string())
    }
}

impl From<Key> for String {
    fn from(Key(key): Key) -> Self {
        key.iter().fold(Self::with_capacity(key.len() * 2), |mut text, byte| {
            // A string takes everything.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.as_bytes().chunks(2).map(|pair| match pair {
            [_, _] if pair.iter().all(u8::is_ascii_hexdigit) => {
                std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
            }
            _ => None,
        });
        digits.collect::<Option<Vec<u8>>>().map(|key| Self(key.into())).ok_or_else(|| format!("`{text}` is no key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same<T: Serialize + for<'a> Deserialize<'a> + PartialEq + std::fmt::Debug>(value: &T) {
        let text = serde_json::to_string(value).unwrap();
        assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value, "{text}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(key: Vec<u8>, file: u32, position: u64) {
            same(&Key(key.into()));
            same(&Offset(BinlogOffset::new(file, position)));
        }
    }

    #[test]
    fn slots_are_written_as_they_are_typed() {
        for text in ["", "1", "1,5-9"] {
            let slots = if text.is_empty() { SlotSet::new() } else { text.parse().unwrap() };
            assert_eq!(String::from(Slots(slots.clone())), text);
            same(&Slots(slots));
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        assert!(Slots::try_from("x".to_owned()).is_err());
        assert!(Offset::try_from("7".to_owned()).is_err());
        for text in ["0", "0g", "+1", "é"] {
            assert!(Key::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
