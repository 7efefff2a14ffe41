// SPDX-License-Identifier: Apache-2.0
use std::fmt;
use std::str::FromStr;

/// A position in a binlog: just behind the last item done, so the next one starts there.
///
/// The end of file `n` and the start of file `n + 1` are the same place in the log but differ as values.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct BinlogOffset {
    /// The number in `write2file<number>`.
    pub file: u32,
    /// Bytes from the start of that file.
    pub position: u64,
}

impl BinlogOffset {
    /// The position `position` bytes into file `file`.
    pub const fn new(file: u32, position: u64) -> Self {
        Self { file, position }
    }
}

impl fmt::Display for BinlogOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.position)
    }
}

impl FromStr for BinlogOffset {
    type Err = OffsetError;

    fn from_str(text: &str) -> Result<Self, OffsetError> {
        let fault = || OffsetError { text: text.to_owned() };
        let (file, position) = text.split_once(':').ok_or_else(fault)?;
        let file = file.parse().map_err(|_| fault())?;
        let position = position.parse().map_err(|_| fault())?;
        Ok(Self { file, position })
    }
}

/// A text that is no binlog position.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{text}` is no binlog offset: write it as FILE:POSITION, as in 3:1048576")]
pub struct OffsetError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::BinlogOffset;

    #[test]
    fn text_round_trips_and_nonsense_does_not() {
        let offset = BinlogOffset::new(3, 1 << 40);
        assert_eq!(offset.to_string().parse(), Ok(offset));
        for text in ["", "3", "3:", ":3", "3:x", "-1:0", "1:2:3"] {
            assert!(text.parse::<BinlogOffset>().is_err(), "{text}");
        }
    }
}
