// SPDX-License-Identifier: Apache-2.0
//! What a target answers to questions.

use mover::sink::reply::{LINE_MAX, SHORT_MAX, Token, parse};

pub(crate) fn check(input: &[u8]) {
    let mut rest = input;
    loop {
        match parse(rest) {
            Ok(Some((token, length))) => {
                assert!(0 < length && length <= rest.len());
                match token {
                    Token::Text(line) | Token::Error(line) => assert!(line.len() < length && !line.contains(&b'\n')),
                    Token::String(bytes) => assert!(bytes.len() <= SHORT_MAX && bytes.len() < length),
                    Token::Long(length) => assert!(length > SHORT_MAX as u64),
                    Token::Number(_) | Token::Nil | Token::Array(_) => {}
                }
                // Less than all of it is no token yet.
                assert_eq!(parse(&rest[..length - 1]), Ok(None));
                rest = &rest[length..];
            }
            Ok(None) => {
                assert!(rest.len() <= LINE_MAX.max(SHORT_MAX) + 64, "a token that never ends is waited for");
                return;
            }
            Err(_) => return,
        }
    }
}
