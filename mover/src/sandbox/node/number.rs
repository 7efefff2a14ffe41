// SPDX-License-Identifier: Apache-2.0
//! Numbers as Pika reads and prints them.

use bytes::Bytes;

/// An integer argument: decimal, with leading zeros allowed and a leading `+` or blank not.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    match text {
        [b'+' | b' ', ..] => None,
        _ => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

/// A counter's text as C's `strtoll` reads it: blanks before it, a sign, nothing behind it, and everything from the
/// first NUL byte on not there at all. So an empty value is 0, and so is one that begins with a NUL.
pub(super) fn counter(text: &[u8]) -> Option<i64> {
    let text = c_string(text);
    let text = &text[text.iter().take_while(|byte| byte.is_ascii_whitespace()).count()..];
    let text = std::str::from_utf8(text).ok()?;
    if text.is_empty() {
        return Some(0);
    }
    match text.parse() {
        Ok(number) => Some(number),
        Err(error) => match error.kind() {
            std::num::IntErrorKind::PosOverflow => Some(i64::MAX),
            std::num::IntErrorKind::NegOverflow => Some(i64::MIN),
            _ => None,
        },
    }
}

/// Everything before the first NUL byte.
pub(super) fn c_string(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A floating-point argument: also `inf`, `nan`, and nothing at all, which is 0.
pub(super) fn float(text: &[u8]) -> Option<f64> {
    if text.is_empty() {
        return Some(0.0);
    }
    std::str::from_utf8(text).ok()?.trim_start().parse().ok()
}

/// The sum of two decimal texts with at most 17 decimals, as INCRBYFLOAT prints it.
///
/// The server computes in 80-bit floats, which for numbers of everyday size print like the exact decimal sum; so that is
/// what is computed here, and in 64-bit floats where the digits are too many for it.
pub(super) fn decimal_sum(left: &[u8], right: &[u8]) -> Result<String, SumError> {
    if let (Some(left), Some(right)) = (scaled(left), scaled(right)) {
        return left.checked_add(right).map(unscaled).ok_or(SumError::Overflow);
    }
    let parse = |text: &[u8]| match text.contains(&b' ') {
        true => None,
        false => float(text),
    };
    let (Some(left), Some(right)) = (parse(left), parse(right)) else {
        return Err(SumError::NoNumber);
    };
    let sum = left + right;
    if !sum.is_finite() {
        return Err(SumError::Overflow);
    }
    Ok(trimmed(format!("{sum:.17}")))
}

/// Why there is no sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SumError {
    /// One of the texts is no number.
    NoNumber,
    /// The sum is no finite number.
    Overflow,
}

/// A number as a string of digits.
pub(super) fn text(number: i64) -> Bytes {
    Bytes::from(number.to_string())
}

const DECIMALS: usize = 17;

/// The number times ten to the seventeenth, when its digits are few enough to be exact.
fn scaled(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 18 || decimals.len() > DECIMALS || !all_digits(whole) || !all_digits(decimals)
    {
        return None;
    }
    let magnitude: i128 = format!("{whole}{decimals:0<DECIMALS$}").parse().ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

fn unscaled(number: i128) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let unit = 10u128.pow(DECIMALS as u32);
    let magnitude = number.unsigned_abs();
    trimmed(format!("{sign}{}.{:0DECIMALS$}", magnitude / unit, magnitude % unit))
}

/// Without the zeros behind the point that say nothing.
fn trimmed(number: String) -> String {
    number.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_strict() {
        assert_eq!(integer(b"-007"), Some(-7));
        for text in ["", "+1", " 1", "1 ", "1x", "9223372036854775808", "-"] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn counters_are_not() {
        for (text, expected) in [
            (&b""[..], Some(0)),
            (b"10\0", Some(10)),
            (b"\0x", Some(0)),
            (b" 12", Some(12)),
            (b"1x", None),
            (b"+3", Some(3)),
        ] {
            assert_eq!(counter(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sums_print_without_surprise() {
        for (left, right, sum) in [
            ("1.5", "0.1", "1.6"),
            ("3", "0.5", "3.5"),
            ("10", "0.25", "10.25"),
            ("-0.1", "0.1", "0"),
            ("-1", "0.25", "-0.75"),
            ("1e3", "1", "1001"),
            ("100", "100", "200"),
        ] {
            assert_eq!(decimal_sum(left.as_bytes(), right.as_bytes()).unwrap(), sum);
        }
        assert_eq!(decimal_sum(b"x", b"1"), Err(SumError::NoNumber));
        assert_eq!(decimal_sum(b"inf", b"1"), Err(SumError::Overflow));
    }
}
