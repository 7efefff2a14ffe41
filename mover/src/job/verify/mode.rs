// SPDX-License-Identifier: Apache-2.0
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// How much of the slots is compared on both sides before they are switched.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum VerifyMode {
    /// Every key, and that the target has no others.
    #[default]
    Full,
    /// About so many keys, chosen evenly: those whose names hash into a part of all hashes that is as large as this number
    /// is beside the number of keys that there are, about. Keys that only the target has are not looked
    /// for.
    Sample(NonZeroU64),
    /// Nothing.
    Off,
}

impl fmt::Display for VerifyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::Sample(keys) => write!(f, "sample={keys}"),
            Self::Off => f.write_str("off"),
        }
    }
}

impl FromStr for VerifyMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "full" => Ok(Self::Full),
            None if text == "off" => Ok(Self::Off),
            Some(("sample", keys)) => match keys.parse() {
                Ok(keys) => Ok(Self::Sample(keys)),
                Err(_) => Err(format!("`{keys}` is no number of keys, as in `sample=10000`")),
            },
            _ => Err(format!("`{text}` is neither `full` nor `sample=N` nor `off`")),
        }
    }
}

impl Serialize for VerifyMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_reads_back_as_it_is_written() {
        for text in ["full", "sample=10000", "off"] {
            assert_eq!(text.parse::<VerifyMode>().unwrap().to_string(), text);
        }
        for text in ["", "sample", "sample=", "sample=0", "sample=-1", "sample=x", "full=1", "Full"] {
            assert!(text.parse::<VerifyMode>().is_err(), "{text}");
        }
    }
}
