// SPDX-License-Identifier: Apache-2.0
//! A reply of a server that speaks RESP 2, token by token and by reference: for whoever looks at all of an answer and keeps
//! none of it.
//!
//! ```text
//! +text\r\n   -error\r\n   :number\r\n   $length\r\nbytes\r\n   $-1\r\n   *count\r\n and so many replies
//! ```
//!
//! A short string is one token. Of a long one only the head is, and its bytes are taken as they come: so no answer needs
//! more memory than a short one, whatever it claims to be.

/// What stands at the front of a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token<'a> {
    /// A line that is no error.
    Text(&'a [u8]),
    /// An error: its line.
    Error(&'a [u8]),
    /// A whole number.
    Number(i64),
    /// Nothing, in the place of a string or an array.
    Nil,
    /// A string of [`SHORT_MAX`] bytes at most.
    String(&'a [u8]),
    /// The head of a longer string. So many bytes follow, and an end of line.
    Long(u64),
    /// The head of an array. So many replies follow.
    Array(u64),
}

/// Why bytes are no reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// A line ends with something else than `\r\n`.
    #[error("a reply with no end of line")]
    EndOfLine,
    /// A line does not end.
    #[error("a reply with a line of more than {LINE_MAX} bytes")]
    LineLength,
    /// It begins with a byte that none begins with.
    #[error("a reply that begins with the byte {0:#04x}")]
    Type(u8),
    /// A number or a length is none.
    #[error("a reply with a number that is none")]
    Number,
    /// A length is beyond what a server may answer.
    #[error("a reply of a length that none has")]
    Length,
}

/// The longest string that is a token as a whole.
pub const SHORT_MAX: usize = 16 << 10;

/// The longest line: errors may name keys.
pub const LINE_MAX: usize = 64 << 10;

/// Bytes of a string and replies of an array, at most: what a Redis may be set up for, and far beyond what is asked for.
pub const LENGTH_MAX: u64 = 1 << 40;

/// The token at the front of `input` and its length; `None` when it is not all there yet.
///
/// # Errors
/// There is none.
pub fn parse(input: &[u8]) -> Result<Option<(Token<'_>, usize)>, Malformed> {
    let Some((&kind, rest)) = input.split_first() else { return Ok(None) };
    if !matches!(kind, b'+' | b'-' | b':' | b'$' | b'*') {
        return Err(Malformed::Type(kind));
    }
    let Some(end) = rest.iter().take(LINE_MAX).position(|&byte| byte == b'\n') else {
        return if rest.len() < LINE_MAX { Ok(None) } else { Err(Malformed::LineLength) };
    };
    let line = rest[..end].strip_suffix(b"\r").ok_or(Malformed::EndOfLine)?;
    let head = end + 2;
    let token = match kind {
        b'+' => Token::Text(line),
        b'-' => Token::Error(line),
        b':' => Token::Number(number(line).ok_or(Malformed::Number)?),
        b'$' => match length(line)? {
            None => Token::Nil,
            Some(length) if length > SHORT_MAX as u64 => Token::Long(length),
            Some(length) => return string(input, head, length as usize),
        },
        _ => length(line)?.map_or(Token::Nil, Token::Array),
    };
    Ok(Some((token, head)))
}

fn string(input: &[u8], head: usize, length: usize) -> Result<Option<(Token<'_>, usize)>, Malformed> {
    let end = head + length;
    match input.get(end..end + 2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some((Token::String(&input[head..end]), end + 2))),
        Some(_) => Err(Malformed::EndOfLine),
    }
}

/// A length; `None` for that of nothing.
fn length(text: &[u8]) -> Result<Option<u64>, Malformed> {
    match number(text).ok_or(Malformed::Number)? {
        -1 => Ok(None),
        length => match u64::try_from(length) {
            Ok(length) if length <= LENGTH_MAX => Ok(Some(length)),
            _ => Err(Malformed::Length),
        },
    }
}

fn number(text: &[u8]) -> Option<i64> {
    let (digits, negative) = match text.strip_prefix(b"-") {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    if digits.is_empty() {
        return None;
    }
    // Downwards, where there is one number more.
    let value = digits.iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_sub(i64::from(digit - b'0')),
        _ => None,
    })?;
    if negative { Some(value) } else { value.checked_neg() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens_are_found_whole_or_not_at_all() {
        let inputs: [(&[u8], Token<'_>); 8] = [
            (b"+OK\r\n", Token::Text(b"OK")),
            (b"-WRONGTYPE no\r\n", Token::Error(b"WRONGTYPE no")),
            (b":-12\r\n", Token::Number(-12)),
            (b"$5\r\na\r\nb\n\r\n", Token::String(b"a\r\nb\n")),
            (b"$0\r\n\r\n", Token::String(b"")),
            (b"$-1\r\n", Token::Nil),
            (b"*-1\r\n", Token::Nil),
            (b"*3\r\n", Token::Array(3)),
        ];
        for (input, token) in inputs {
            assert_eq!(parse(input), Ok(Some((token, input.len()))));
            for length in 0..input.len() {
                assert_eq!(parse(&input[..length]), Ok(None), "{input:?} {length}");
            }
        }
    }

    #[test]
    fn long_strings_are_told_by_their_head() {
        assert_eq!(parse(b"$16385\r\n"), Ok(Some((Token::Long(16385), 8))));
        assert_eq!(parse(b"$16384\r\n"), Ok(None));
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let inputs: [(&[u8], Malformed); 8] = [
            (b"?1\r\n", Malformed::Type(b'?')),
            (b":1\n", Malformed::EndOfLine),
            (b"$1\r\nab\r", Malformed::EndOfLine),
            (b":+1\r\n", Malformed::Number),
            (b":\r\n", Malformed::Number),
            (b":9223372036854775808\r\n", Malformed::Number),
            (b"$-2\r\n", Malformed::Length),
            (b"*9223372036854775807\r\n", Malformed::Length),
        ];
        for (input, fault) in inputs {
            assert_eq!(parse(input), Err(fault), "{}", input.escape_ascii());
        }
        assert_eq!(parse(&vec![b'+'; LINE_MAX]), Ok(None));
        assert_eq!(parse(&vec![b'+'; LINE_MAX + 1]), Err(Malformed::LineLength));
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_they_are_written(value: i64) {
            let text = format!(":{value}\r\n");
            prop_assert_eq!(parse(text.as_bytes()), Ok(Some((Token::Number(value), text.len()))));
        }

        #[test]
        fn strings_are_read_as_they_are_written(bytes: Vec<u8>) {
            let mut text = format!("${}\r\n", bytes.len()).into_bytes();
            text.extend_from_slice(&bytes);
            text.extend_from_slice(b"\r\n");
            prop_assert_eq!(parse(&text), Ok(Some((Token::String(&bytes), text.len()))));
        }
    }
}
