// SPDX-License-Identifier: Apache-2.0
//! What a target answers to the commands of a sink.

use mover::sink::answer::{ANSWER_MAX, Answer, parse};

pub(crate) fn check(input: &[u8]) {
    let mut rest = input;
    loop {
        match parse(rest) {
            Ok(Some((answer, length))) => {
                assert!(0 < length && length <= rest.len().min(ANSWER_MAX));
                if let Answer::Refused(line) = answer {
                    assert!(line.len() < length && !line.contains(&b'\n'));
                }
                // Less than all of it is no answer yet.
                assert_eq!(parse(&rest[..length - 1]), Ok(None));
                rest = &rest[length..];
            }
            Ok(None) => {
                assert!(rest.len() < ANSWER_MAX, "an answer that never ends is waited for");
                return;
            }
            Err(_) => return,
        }
    }
}
