// SPDX-License-Identifier: Apache-2.0
//! Patterns as `KEYS`, `SCAN` and `CONFIG GET` take them.

/// Whether `text` matches the glob `pattern`: `*`, `?`, `[a-z]`, `[^a]` and `\` before a character that means itself.
///
/// Only the last `*` is ever tried again, so the time is bounded by the product of the lengths.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while seen < text.len() {
        if pattern.get(at) == Some(&b'*') {
            retry = Some((at + 1, seen));
            at += 1;
        } else if let Some(next) = step(pattern, at, text[seen]) {
            at = next;
            seen += 1;
        } else if let Some((after_star, from)) = retry {
            retry = Some((after_star, from + 1));
            at = after_star;
            seen = from + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// The literal text before a `*` that ends the pattern; empty when the pattern is not of that form.
pub(super) fn literal_prefix(pattern: &[u8]) -> &[u8] {
    match pattern.split_last() {
        Some((b'*', literal)) if !literal.iter().any(|byte| b"*?[\\".contains(byte)) => literal,
        _ => &[],
    }
}

/// Where the pattern goes on when its element at `at` takes `byte`.
fn step(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match *pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => class(pattern, at + 1, byte),
        b'\\' if at + 1 < pattern.len() => (pattern[at + 1] == byte).then_some(at + 2),
        literal => (literal == byte).then_some(at + 1),
    }
}

/// As [`step`], inside the brackets of a class. A class that is never closed ends with the pattern.
fn class(pattern: &[u8], mut at: usize, byte: u8) -> Option<usize> {
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let mut found = false;
    while let Some(&low) = pattern.get(at) {
        match low {
            b']' => break,
            b'\\' if at + 1 < pattern.len() => {
                at += 1;
                found |= pattern[at] == byte;
            }
            _ if pattern.get(at + 1) == Some(&b'-') && at + 2 < pattern.len() => {
                let high = pattern[at + 2];
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                at += 2;
            }
            _ => found |= low == byte,
        }
        at += 1;
    }
    (found != negated).then_some((at + 1).min(pattern.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_like_a_server() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("a*c", "abbbc", true),
            ("a*c", "abbb", false),
            ("h?llo", "hello", true),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("user:*", "user:1", true),
            ("*a*b*", "xxaxxbxx", true),
            ("[", "[", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn tells_the_literal_part() {
        assert_eq!(literal_prefix(b"user:*"), b"user:");
        assert_eq!(literal_prefix(b"*"), b"");
        assert_eq!(literal_prefix(b"u[a]*"), b"");
        assert_eq!(literal_prefix(b"user"), b"");
    }
}
