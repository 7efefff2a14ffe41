// SPDX-License-Identifier: Apache-2.0
//! One answer of a server that speaks RESP, as far as a sink cares: whether it is an error, its number if it is one, and
//! where it ends.

/// An answer to a command of a sink.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer<'a> {
    /// Anything but an error or a number.
    Done,
    /// A number.
    Number(i64),
    /// An error: its line.
    Refused(&'a [u8]),
}

/// The longest answer there is: a server that sends more without an end is no server of ours, and must not fill our memory.
pub const ANSWER_MAX: usize = 64 << 10;

/// One answer from the front of `input` and its length; `None` when it is not all there yet.
///
/// # Errors
/// It is none that a command of ours has, or longer than [`ANSWER_MAX`].
pub fn parse(input: &[u8]) -> Result<Option<(Answer<'_>, usize)>, &'static str> {
    let Some(end) = input.iter().take(ANSWER_MAX).position(|&byte| byte == b'\n') else {
        return if input.len() < ANSWER_MAX { Ok(None) } else { Err(TOO_LONG) };
    };
    let line = &input[..end];
    let line = line.strip_suffix(b"\r").ok_or("an answer with no end of line")?;
    match line.split_first() {
        Some((b'+', _)) => Ok(Some((Answer::Done, end + 1))),
        Some((b':', digits)) => Ok(Some((Answer::Number(number(digits).ok_or("an answer of no number")?), end + 1))),
        Some((b'-', error)) => Ok(Some((Answer::Refused(error), end + 1))),
        Some((b'$', length)) => {
            let length = number(length).ok_or("an answer of no length")?;
            let Ok(length) = usize::try_from(length) else { return Ok(Some((Answer::Done, end + 1))) };
            let whole = length.saturating_add(end + 1 + 2);
            match whole <= ANSWER_MAX {
                true => Ok((input.len() >= whole).then_some((Answer::Done, whole))),
                false => Err(TOO_LONG),
            }
        }
        _ => Err("an answer that no command of ours has"),
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

const TOO_LONG: &str = "an answer longer than any of ours";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_whole_or_not_at_all() {
        let inputs: [(&[u8], Answer<'_>); 6] = [
            (b"+OK\r\n", Answer::Done),
            (b":12\r\n", Answer::Number(12)),
            (b":-1\r\n", Answer::Number(-1)),
            (b"$3\r\n1-1\r\n", Answer::Done),
            (b"$-1\r\n", Answer::Done),
            (b"-ERR no\r\n", Answer::Refused(b"ERR no")),
        ];
        for (input, answer) in inputs {
            assert_eq!(parse(input), Ok(Some((answer, input.len()))));
            for length in 0..input.len() {
                assert_eq!(parse(&input[..length]), Ok(None), "{input:?} {length}");
            }
        }
        assert!(parse(b"*1\r\n").is_err());
        assert!(parse(b"$x\r\n").is_err());
        assert!(parse(b":x\r\n").is_err());
    }

    #[test]
    fn an_answer_without_end_is_not_waited_for() {
        assert_eq!(parse(&vec![b'+'; ANSWER_MAX - 1]), Ok(None));
        assert!(parse(&vec![b'+'; ANSWER_MAX]).is_err());
        assert!(parse(b"$1000000000\r\n").is_err());
        assert!(parse(b"$9223372036854775807\r\n").is_err());
    }
}
