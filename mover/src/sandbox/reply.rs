// SPDX-License-Identifier: Apache-2.0
//! What a node answers: RESP2 replies, measured where they are passed on and read where they matter.
//!
//! ```text
//! +OK\r\n                          status      -ERR why\r\n     error       :42\r\n   integer
//! $3\r\nfoo\r\n                    bulk        $-1\r\n          no bulk
//! *2\r\n$1\r\na\r\n:1\r\n          array       *-1\r\n          no array
//! ```

use bytes::Bytes;

/// One reply; its strings are slices of the buffer it came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    Status(Bytes),
    Error(Bytes),
    Integer(i64),
    Bulk(Option<Bytes>),
    Array(Option<Vec<Self>>),
}

impl Reply {
    /// Reads the reply that fills `input`.
    ///
    /// # Errors
    /// When `input` is not exactly one reply.
    pub(crate) fn decode(input: &Bytes) -> Result<Self, ReplyError> {
        let mut at = 0;
        let reply = read(input, &mut at, 0)?;
        match at == input.len() {
            true => Ok(reply),
            false => Err(ReplyError { at }),
        }
    }
}

/// Finds the end of a reply that may still be arriving, and never looks at a byte of it twice.
#[derive(Debug)]
pub(crate) struct Measure {
    at: usize,
    pending: usize,
}

impl Measure {
    /// At the start of a reply.
    pub(crate) fn new() -> Self {
        Self { at: 0, pending: 1 }
    }

    /// The length of the reply at the front of `input`, or `None` while bytes of it are missing. `input` must begin with
    /// the same bytes until a length was told; then the next reply is expected at its front.
    ///
    /// # Errors
    /// When the bytes are no reply.
    pub(crate) fn advance(&mut self, input: &[u8]) -> Result<Option<usize>, ReplyError> {
        while self.pending > 0 {
            let Some((line, body)) = line(input, self.at)? else {
                return Ok(None);
            };
            let next = match line[0] {
                b'+' | b'-' | b':' => body,
                b'$' => match length(line, self.at)? {
                    None => body,
                    Some(length) if body + length + 2 <= input.len() => body + length + 2,
                    Some(_) => return Ok(None),
                },
                b'*' => {
                    self.pending += length(line, self.at)?.unwrap_or(0);
                    body
                }
                _ => return Err(ReplyError { at: self.at }),
            };
            self.at = next;
            self.pending -= 1;
        }
        let length = self.at;
        *self = Self::new();
        Ok(Some(length))
    }
}

/// Bytes that are no RESP2 reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a RESP2 reply at byte {at}")]
pub(crate) struct ReplyError {
    at: usize,
}

fn read(input: &Bytes, at: &mut usize, depth: usize) -> Result<Reply, ReplyError> {
    let start = *at;
    let fault = ReplyError { at: start };
    let (header, body) = line(input, start)?.ok_or(fault)?;
    let rest = start + 1..body - 2;
    *at = body;
    match header[0] {
        b'+' => Ok(Reply::Status(input.slice(rest))),
        b'-' => Ok(Reply::Error(input.slice(rest))),
        b':' => number(&input[rest]).map(Reply::Integer).ok_or(fault),
        b'$' => {
            let Some(length) = length(header, start)? else {
                return Ok(Reply::Bulk(None));
            };
            let end = body + length;
            if input.get(end..end + 2) != Some(b"\r\n") {
                return Err(fault);
            }
            *at = end + 2;
            Ok(Reply::Bulk(Some(input.slice(body..end))))
        }
        b'*' if depth < DEPTH_MAX => {
            let Some(count) = length(header, start)? else {
                return Ok(Reply::Array(None));
            };
            let elements: Result<_, _> = (0..count).map(|_| read(input, at, depth + 1)).collect();
            elements.map(|elements| Reply::Array(Some(elements)))
        }
        _ => Err(fault),
    }
}

/// The line at `at` without its end, and where the next byte stands; `None` while its end is missing.
fn line(input: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, ReplyError> {
    let rest = &input[at.min(input.len())..];
    let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
        // Only an error text is long, and it carries a key at most.
        return if rest.len() > LINE_MAX { Err(ReplyError { at }) } else { Ok(None) };
    };
    match end >= 2 && rest[end - 1] == b'\r' {
        true => Ok(Some((&rest[..end - 1], at + end + 1))),
        false => Err(ReplyError { at }),
    }
}

/// The length in the header of a bulk or an array; `None` for -1.
fn length(header: &[u8], at: usize) -> Result<Option<usize>, ReplyError> {
    match number(&header[1..]) {
        Some(-1) => Ok(None),
        Some(length @ 0..=LENGTH_MAX) => Ok(usize::try_from(length).ok()),
        _ => Err(ReplyError { at }),
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

const DEPTH_MAX: usize = 16;
const LINE_MAX: usize = 1 << 20;
const LENGTH_MAX: i64 = 1 << 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Bytes {
        Bytes::from("*4\r\n$3\r\na\r\n\r\n:-7\r\n*2\r\n+OK\r\n$-1\r\n*-1\r\n")
    }

    #[test]
    fn reads_a_nested_reply() {
        let inner = vec![Reply::Status(Bytes::from("OK")), Reply::Bulk(None)];
        let expected = vec![
            Reply::Bulk(Some(Bytes::from("a\r\n"))),
            Reply::Integer(-7),
            Reply::Array(Some(inner)),
            Reply::Array(None),
        ];
        assert_eq!(Reply::decode(&sample()), Ok(Reply::Array(Some(expected))));
    }

    #[test]
    fn measures_it_however_it_arrives() {
        let whole = sample();
        for cut in 0..whole.len() {
            let mut measure = Measure::new();
            assert_eq!(measure.advance(&whole[..cut]), Ok(None), "{cut}");
            assert_eq!(measure.advance(&whole), Ok(Some(whole.len())), "{cut}");
        }
        let twice = [&whole[..], &whole[..]].concat();
        assert_eq!(Measure::new().advance(&twice), Ok(Some(whole.len())));
    }

    #[test]
    fn rejects_what_is_no_reply() {
        for text in ["x\r\n", "\r\n", "$-2\r\n", ":1\n", "*x\r\n", "$99999999999\r\n"] {
            assert!(Measure::new().advance(text.as_bytes()).is_err(), "{text:?}");
            assert!(Reply::decode(&Bytes::from(text)).is_err(), "{text:?}");
        }
        assert!(Reply::decode(&Bytes::from("+OK\r\n+OK\r\n")).is_err());
        assert!(Reply::decode(&Bytes::from("*1\r\n".repeat(DEPTH_MAX + 1) + ":1\r\n")).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Measure::new().advance(&input);
            let _ = Reply::decode(&Bytes::from(input));
        }
    }
}
