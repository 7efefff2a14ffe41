// SPDX-License-Identifier: Apache-2.0
//! Lines that vouch for themselves and for all lines before them.
//!
//! `<crc32 as eight hexadecimal digits> <JSON>`, where the checksum goes on from that of the line before: a byte that was
//! flipped, a line that is missing and one that stands in another place are all seen.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Writes lines one behind the other.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Chain(u32);

/// What a text holds.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    /// The JSON of each line.
    pub(super) lines: Vec<&'a str>,
    /// Bytes of whole lines. What comes behind them is a line that was being written when the machine died.
    pub(super) length: usize,
    /// To write on.
    pub(super) chain: Chain,
}

impl Chain {
    /// The line of a value, and the chain behind it.
    pub(super) fn line(self, value: &impl Serialize) -> serde_json::Result<(Vec<u8>, Self)> {
        let json = serde_json::to_vec(value)?;
        let next = self.over(&json);
        let mut line = format!("{:08x} ", next.0).into_bytes();
        line.extend_from_slice(&json);
        line.push(b'\n');
        Ok((line, next))
    }

    fn over(self, json: &[u8]) -> Self {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(json);
        // A byte more, so that an empty line would count as well.
        hasher.update(b"\n");
        Self(hasher.finalize())
    }
}

/// Cuts a text into its lines. Only its end may be torn: a line without its newline, or zeros where the file had grown and
/// its data was not on the disk yet.
///
/// # Errors
/// The number of the line, from 1 on, that is not what was written.
pub(super) fn parse(text: &[u8]) -> Result<Lines<'_>, usize> {
    let (mut lines, mut length, mut chain) = (Vec::new(), 0, Chain::default());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let Some(line_end) = line.strip_suffix(b"\n") else { break };
        match check(line_end, chain) {
            Some((json, next)) => {
                lines.push(json);
                length += line.len();
                chain = next;
            }
            None if has_a_gap(line_end) && length + line.len() == text.len() => break,
            None => return Err(lines.len() + 1),
        }
    }
    Ok(Lines { lines, length, chain })
}

/// The value that a line's JSON stands for.
pub(super) fn value<T: DeserializeOwned>(json: &str) -> serde_json::Result<T> {
    serde_json::from_str(json)
}

/// Whether a part of it was not on the disk yet. A flipped bit makes one zero at most.
fn has_a_gap(line: &[u8]) -> bool {
    line.windows(GAP_MIN).any(|part| part.iter().all(|byte| *byte == 0))
}

const GAP_MIN: usize = 8;

fn check(line: &[u8], chain: Chain) -> Option<(&str, Chain)> {
    let line = std::str::from_utf8(line).ok()?;
    let (sum, json) = line.split_at_checked(8)?;
    let json = json.strip_prefix(' ')?;
    let next = chain.over(json.as_bytes());
    (sum == format!("{:08x}", next.0)).then_some((json, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(values: &[String]) -> Vec<u8> {
        let mut chain = Chain::default();
        let mut text = Vec::new();
        for value in values {
            let (line, next) = chain.line(value).unwrap();
            text.extend(line);
            chain = next;
        }
        text
    }

    fn read(text: &[u8]) -> Result<Vec<String>, usize> {
        parse(text).map(|lines| lines.lines.iter().map(|json| value(json).unwrap()).collect())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(values: Vec<String>) {
            let text = written(&values);
            prop_assert_eq!(read(&text), Ok(values));
            prop_assert_eq!(parse(&text).unwrap().length, text.len());
        }

        #[test]
        fn an_end_that_is_torn_is_passed_over(values: Vec<String>, cut: prop::sample::Index, zeros in 0..100_usize) {
            let mut text = written(&values);
            let cut = cut.index(text.len() + 1);
            let whole = text[..cut].iter().filter(|byte| **byte == b'\n').count();
            text.truncate(cut);
            text.extend(vec![0; zeros]);
            prop_assert_eq!(read(&text), Ok(values[..whole].to_vec()));
        }

        #[test]
        fn a_byte_that_was_flipped_is_seen(values in prop::collection::vec(".{0,20}", 2..6), at: prop::sample::Index, bit in 0..8_u32) {
            let mut text = written(&values);
            // The last newline alone is like a torn end.
            let at = at.index(text.len() - 1);
            text[at] ^= 1 << bit;
            prop_assert!(read(&text).is_err());
        }

        #[test]
        fn bytes_are_lines_or_an_error(text: Vec<u8>) {
            let _ = parse(&text);
        }
    }

    #[test]
    fn a_line_that_is_missing_or_elsewhere_is_seen() {
        let values = ["a", "b", "c"].map(str::to_owned);
        let text = written(&values);
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!(read(&[lines[0], lines[2]].concat()), Err(2));
        assert_eq!(read(&[lines[0], lines[2], lines[1]].concat()), Err(2));
        assert_eq!(read(&[lines[0], lines[1], lines[1], lines[2]].concat()), Err(3));
    }
}
