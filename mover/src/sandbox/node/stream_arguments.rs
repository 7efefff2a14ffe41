// SPDX-License-Identifier: Apache-2.0
//! Ids, intervals and options of the streams' commands.

use bytes::Bytes;
use snapshot::StreamId;

use super::call::is_word;
use super::fault::{Fault, Result};

/// Which id a new entry is to get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NewId {
    /// `*`: the next one by the clock.
    Any,
    /// `<millis>-*`: the next one of this millisecond.
    Millis(u64),
    /// This one.
    Full(StreamId),
}

/// What is cut off the front of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trim {
    /// Nothing.
    None,
    /// All but so many entries.
    Length(u64),
    /// All with smaller ids.
    Below(StreamId),
}

/// The arguments of an XADD before its fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct AddOptions {
    pub(super) id: NewId,
    pub(super) trim: Option<Trim>,
    pub(super) no_new_stream: bool,
    /// Where the fields begin.
    pub(super) fields_at: usize,
}

impl AddOptions {
    pub(super) fn parse(args: &[Bytes]) -> Result<Self> {
        let mut options = Self { id: NewId::Any, trim: None, no_new_stream: false, fields_at: args.len() };
        let mut at = 2;
        while let Some(option) = args.get(at) {
            if let Some((trim, length)) = Trim::take(&args[at..])? {
                if options.trim.replace(trim).is_some() {
                    return Err(Fault::SYNTAX);
                }
                at += length;
            } else if is_word(option, "nomkstream") {
                options.no_new_stream = true;
                at += 1;
            } else {
                options.id = new_id(option)?;
                options.fields_at = at + 1;
                break;
            }
        }
        Ok(options)
    }
}

impl Trim {
    /// Reads the options of an XTRIM.
    pub(super) fn parse(mut args: &[Bytes]) -> Result<Self> {
        let mut found = None;
        while !args.is_empty() {
            let (trim, length) = Self::take(args)?.ok_or(Fault::SYNTAX)?;
            if found.replace(trim).is_some() {
                return Err(Fault::SYNTAX);
            }
            args = &args[length..];
        }
        Ok(found.unwrap_or(Self::None))
    }

    /// Reads `MAXLEN [=|~] count` or `MINID [=|~] id` off the front and tells how many arguments that took. Cutting is
    /// always exact.
    fn take(args: &[Bytes]) -> Result<Option<(Self, usize)>> {
        let [option, rest @ ..] = args else {
            return Ok(None);
        };
        let by_length = is_word(option, "maxlen");
        if rest.is_empty() || !(by_length || is_word(option, "minid") || is_word(option, "limit")) {
            return Ok(None);
        }
        if is_word(option, "limit") {
            return Err(Fault::SYNTAX);
        }
        let (bound, length) = match rest {
            [sign, bound, ..] if matches!(sign.as_ref(), b"~" | b"=") => (bound, 3),
            [bound, ..] => (bound, 2),
            [] => return Ok(None),
        };
        let trim = match by_length {
            true => Self::Length(unsigned(bound).ok_or(Fault::INVALID_ARGUMENT)?),
            false => Self::Below(id(bound, 0)?),
        };
        Ok(Some((trim, length)))
    }
}

/// Ids from one to another, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Interval {
    pub(super) first: StreamId,
    pub(super) last: StreamId,
}

impl Interval {
    /// Every id.
    pub(super) const ALL: Self = Self { first: StreamId::new(0, 0), last: LAST };

    /// Every greater id.
    pub(super) fn after(id: StreamId) -> Self {
        let first = next(id).unwrap_or(LAST);
        Self { first, last: LAST }
    }

    /// Reads its bounds: `-`, `+`, an id or only its milliseconds, and with `(` before it the bound itself left out.
    pub(super) fn parse(first: &[u8], last: &[u8]) -> Result<Self> {
        let first = match first {
            [b'(', rest @ ..] if !rest.is_empty() => next(strict(rest, 0)?).ok_or(Fault::INVALID_ARGUMENT)?,
            text => id(text, 0)?,
        };
        let last = match last {
            [b'(', rest @ ..] if !rest.is_empty() => {
                previous(strict(rest, u64::MAX)?).ok_or(Fault::INVALID_ARGUMENT)?
            }
            text => id(text, u64::MAX)?,
        };
        Ok(Self { first, last })
    }
}

/// An id, or only its milliseconds for the sequence 0.
pub(super) fn strict_id(text: &[u8]) -> Result<StreamId> {
    strict(text, 0)
}

const LAST: StreamId = StreamId::new(u64::MAX, u64::MAX);

fn new_id(text: &[u8]) -> Result<NewId> {
    if text == b"*" {
        return Ok(NewId::Any);
    }
    match text.strip_suffix(b"-*") {
        Some(millis) => unsigned(millis).map(NewId::Millis).ok_or(Fault::INVALID_ARGUMENT),
        None => strict_id(text).map(NewId::Full),
    }
}

fn id(text: &[u8], missing_sequence: u64) -> Result<StreamId> {
    match text {
        b"-" => Ok(StreamId::default()),
        b"+" => Ok(LAST),
        _ => strict(text, missing_sequence),
    }
}

fn strict(text: &[u8], missing_sequence: u64) -> Result<StreamId> {
    let parse = || match text.iter().position(|&byte| byte == b'-') {
        Some(dash) => Some(StreamId::new(unsigned(&text[..dash])?, unsigned(&text[dash + 1..])?)),
        None => Some(StreamId::new(unsigned(text)?, missing_sequence)),
    };
    parse().ok_or(Fault::INVALID_ARGUMENT)
}

fn unsigned(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn next(id: StreamId) -> Option<StreamId> {
    match id.sequence.checked_add(1) {
        Some(sequence) => Some(StreamId::new(id.millis, sequence)),
        None => Some(StreamId::new(id.millis.checked_add(1)?, 0)),
    }
}

fn previous(id: StreamId) -> Option<StreamId> {
    match id.sequence.checked_sub(1) {
        Some(sequence) => Some(StreamId::new(id.millis, sequence)),
        None => Some(StreamId::new(id.millis.checked_sub(1)?, u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Vec<Bytes> {
        text.split(' ').map(|word| Bytes::from(word.to_owned())).collect()
    }

    #[test]
    fn reads_what_stands_before_the_fields() {
        let options = AddOptions::parse(&args("XADD k NOMKSTREAM MAXLEN ~ 50 7-* f v")).unwrap();
        let expected =
            AddOptions { id: NewId::Millis(7), trim: Some(Trim::Length(50)), no_new_stream: true, fields_at: 7 };
        assert_eq!(options, expected);
        assert!(AddOptions::parse(&args("XADD k MAXLEN 5 MINID 1 * f v")).is_err());
        assert!(AddOptions::parse(&args("XADD k MAXLEN 5 LIMIT 3 * f v")).is_err());
        assert!(AddOptions::parse(&args("XADD k 1-x f v")).is_err());
    }

    #[test]
    fn reads_intervals() {
        let whole = Interval::parse(b"-", b"+").unwrap();
        assert_eq!(whole, Interval::ALL);
        let inner = Interval::parse(b"(5-0", b"(6").unwrap();
        assert_eq!(inner, Interval { first: StreamId::new(5, 1), last: StreamId::new(6, u64::MAX - 1) });
        assert!(Interval::parse(b"(-", b"+").is_err());
        assert!(Interval::parse(b"x", b"+").is_err());
    }
}
