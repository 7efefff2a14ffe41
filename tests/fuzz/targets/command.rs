// SPDX-License-Identifier: Apache-2.0
//! One command as a RESP array, and what it means for its keys.

use bytes::{Bytes, BytesMut};
use replication::{Change, Command, CommandError, Effect, is_internal_key};

pub(crate) fn check(input: &[u8]) {
    let input = Bytes::copy_from_slice(input);
    let (command, length) = match Command::parse(&input) {
        Ok(parsed) => parsed,
        Err(error) => {
            if let CommandError::Malformed { at } = error {
                assert!(at <= input.len(), "the fault at {at} lies outside");
            }
            assert_eq!(Command::decode(input), Err(error));
            return;
        }
    };
    let mut encoded = BytesMut::new();
    command.encode(&mut encoded);
    // A length with zeros in front is longer than ours.
    assert!(encoded.len() <= length && length <= input.len());
    assert_eq!(Command::decode(encoded.freeze()).as_ref(), Ok(&command));
    match Effect::of(&command) {
        Effect::Ignored => {}
        Effect::Changes(changes) | Effect::Unknown(changes) => {
            for change in changes {
                let Change::Key { key, .. } = change else { continue };
                assert!(!is_internal_key(&key), "an internal key");
                assert!(command.args().contains(&key), "a key that is no argument");
            }
        }
    }
}
