// SPDX-License-Identifier: Apache-2.0
//! Numbers per second, as an operator writes them.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use bytesize::ByteSize;

/// Bytes of user data per second: keys, fields and values, without what a protocol adds to them. Written as in `50MB` or
/// `8MiB/s`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rate(NonZeroU64);

/// Commands per second, as the target counts them. Written as in `5000`, `5000/s` or `20k`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CommandRate(NonZeroU64);

impl Rate {
    /// So many bytes per second; `None` below one KiB.
    pub fn per_second(bytes: ByteSize) -> Option<Self> {
        NonZeroU64::new(bytes.as_u64()).filter(|bytes| bytes.get() >= RATE_MIN).map(Self)
    }

    /// Bytes per second.
    pub fn bytes(self) -> u64 {
        self.0.get()
    }
}

impl CommandRate {
    /// So many commands per second; `None` for none at all.
    pub fn per_second(commands: u64) -> Option<Self> {
        NonZeroU64::new(commands).map(Self)
    }

    /// Commands per second.
    pub fn commands(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, unit) = in_largest(self.bytes(), &BYTE_UNITS);
        write!(f, "{bytes} {unit}/s")
    }
}

impl fmt::Display for CommandRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (commands, unit) = in_largest(self.commands(), &COMMAND_UNITS);
        write!(f, "{commands}{unit}/s")
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size: ByteSize = per_second(text)
            .trim_end()
            .parse()
            .map_err(|fault| format!("`{text}` is no rate such as 50MB: {fault}"))?;
        Self::per_second(size).ok_or_else(|| format!("`{text}` is below the smallest rate, 1KiB"))
    }
}

impl FromStr for CommandRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is no number of commands per second such as 5000 or 20k");
        let number = per_second(text).trim_end();
        let (digits, unit) = match number.char_indices().next_back() {
            Some((end, 'k' | 'K')) => (&number[..end], 1000),
            Some((end, 'm' | 'M')) => (&number[..end], 1_000_000),
            _ => (number, 1),
        };
        let commands = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(fault)?;
        Self::per_second(commands).ok_or_else(fault)
    }
}

fn per_second(text: &str) -> &str {
    let text = text.trim();
    text.strip_suffix("/s").unwrap_or(text)
}

/// The number in the largest unit that leaves nothing over, so that reading it gives the same number again.
fn in_largest(number: u64, units: &[(&'static str, u64)]) -> (u64, &'static str) {
    let fitting = units.iter().find(|(_, size)| number.is_multiple_of(*size));
    fitting.map_or((number, ""), |(unit, size)| (number / size, *unit))
}

const BYTE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("B", 1),
];

const COMMAND_UNITS: [(&str, u64); 3] = [("M", 1_000_000), ("k", 1000), ("", 1)];

const RATE_MIN: u64 = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_their_unit() {
        let bytes = |text: &str| text.parse::<Rate>().map(Rate::bytes);
        assert_eq!(bytes("50MB"), Ok(50_000_000));
        assert_eq!(bytes("8MiB/s"), Ok(8 << 20));
        assert_eq!(bytes(" 3 GB/s "), Ok(3_000_000_000));
        for wrong in ["fast", "", "12", "0", "-1MB", "1MB/m"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        let commands = |text: &str| text.parse::<CommandRate>().map(CommandRate::commands);
        assert_eq!(commands("5000"), Ok(5000));
        assert_eq!(commands("5000/s"), Ok(5000));
        assert_eq!((commands("10k"), commands("10M/s")), (Ok(10_000), Ok(10_000_000)));
        for wrong in ["fast", "", "0", "k", "-1", "1.5", "5000/m", "99999999999999999999", "99999999999999999M"] {
            assert!(commands(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_written_as_they_are_read() {
        for text in ["20 MB/s", "8 MiB/s", "50001 kB/s", "1025 B/s", "3 GB/s"] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.to_string(), text);
        }
        for text in ["20k/s", "5001/s", "10M/s"] {
            let rate: CommandRate = text.parse().unwrap();
            assert_eq!(rate.to_string(), text);
        }
    }
}
