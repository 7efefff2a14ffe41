// SPDX-License-Identifier: Apache-2.0
//! Errors that a receiver met, and what they are at the sender.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use snapshot::Kind;

use crate::{Error, Side, Unmovable};

/// Why a receiver does no more batches of a sender.
#[derive(Serialize, Deserialize, PartialEq, Clone, Debug)]
pub enum Failure {
    /// Its target answered a command with an error.
    Reply {
        /// The target's address.
        address: String,
        /// The name of the command.
        command: String,
        /// The error.
        reply: String,
    },
    /// Its target cannot hold a key.
    Unmovable {
        /// The key, in base64.
        key: String,
        /// Its type.
        kind: String,
        /// Why not.
        why: String,
    },
    /// Its target is not there.
    Connect {
        /// The target's address.
        address: String,
        /// What the attempt ended with.
        fault: String,
    },
    /// Its target does not let it in.
    Login {
        /// The target's address.
        address: String,
        /// What the target answered.
        fault: String,
    },
    /// Its connection to the target broke.
    Lost {
        /// The target's address.
        address: String,
        /// What the connection ended with.
        fault: String,
    },
    /// Its target is not fit for a move.
    Unfit {
        /// The target's address.
        address: String,
        /// What is not as it must be.
        what: String,
        /// What the operator can do.
        help: String,
    },
    /// It could not read what was sent.
    Frame {
        /// What is wrong with it.
        what: String,
    },
    /// It was told to end.
    Stopping,
    /// Something else.
    Other {
        /// What.
        what: String,
    },
}

impl Failure {
    /// What a sender is told of `error`.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Reply { address, command, reply, .. } => {
                Self::Reply { address: address.clone(), command: command.clone(), reply: short(reply) }
            }
            Error::Unmovable(Unmovable { key, kind, why }) if key.len() <= TEXT_MAX => {
                Self::Unmovable { key: BASE64.encode(key), kind: kind.name().to_owned(), why: short(why) }
            }
            Error::Connect { address, fault, .. } => Self::Connect { address: address.clone(), fault: short(fault) },
            Error::Login { address, fault, .. } => Self::Login { address: address.clone(), fault: short(fault) },
            Error::Lost { address, fault, .. } => Self::Lost { address: address.clone(), fault: short(fault) },
            Error::Unfit { address, what, help, .. } => {
                Self::Unfit { address: address.clone(), what: short(what), help: short(help) }
            }
            other => Self::Other { what: short(&other.to_string()) },
        }
    }

    /// The error at a sender, of the receiver at the address `receiver`.
    pub(crate) fn into_error(self, receiver: &str) -> Error {
        let side = Side::Target;
        let behind = |address: String| format!("{address} (behind the receiver at {receiver})");
        match self {
            Self::Reply { address, command, reply } => Error::Reply { side, address: behind(address), command, reply },
            Self::Connect { address, fault } => Error::Connect { side, address: behind(address), fault },
            Self::Login { address, fault } => Error::Login { side, address: behind(address), fault },
            Self::Lost { address, fault } => Error::Lost { side, address: behind(address), fault },
            Self::Unfit { address, what, help } => Error::Unfit { side, address: behind(address), what, help },
            Self::Unmovable { key, kind, why } => match (BASE64.decode(&key), kind_of(&kind)) {
                (Ok(key), Some(kind)) => Unmovable { key: key.into(), kind, why: why.into() }.into(),
                _ => lost(receiver, format!("it refused a {kind}: {why}")),
            },
            Self::Frame { what } => lost(receiver, format!("it refused what we sent: {what}")),
            Self::Stopping => lost(receiver, "it was told to end".to_owned()),
            Self::Other { what } => lost(receiver, what),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.clone().into_error("this address"))
    }
}

fn lost(receiver: &str, fault: String) -> Error {
    Error::Lost { side: Side::Receiver, address: receiver.to_owned(), fault }
}

fn kind_of(name: &str) -> Option<Kind> {
    KINDS.into_iter().find(|kind| kind.name() == name)
}

/// Texts of others may be of any length.
fn short(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}

const KINDS: [Kind; 7] = [Kind::String, Kind::HyperLogLog, Kind::Hash, Kind::List, Kind::Set, Kind::Zset, Kind::Stream];

/// Characters of a text that are passed on, and bytes of a key. Together they stay below the largest answer, however
/// they are written in JSON.
const TEXT_MAX: usize = 1500;

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(error: &Error) -> Error {
        let text = serde_json::to_vec(&Failure::of(error)).unwrap();
        assert!(text.len() < 64 << 10, "{}", text.len());
        serde_json::from_slice::<Failure>(&text).unwrap().into_error("r:1")
    }

    #[test]
    fn errors_of_the_target_are_errors_of_the_target() {
        let (side, address) = (Side::Target, "h:1".to_owned());
        let fault = || "\u{1}".repeat(9000);
        let errors = [
            Error::Reply { side, address: address.clone(), command: "SET".to_owned(), reply: fault() },
            Error::Connect { side, address: address.clone(), fault: fault() },
            Error::Login { side, address: address.clone(), fault: fault() },
            Error::Lost { side, address: address.clone(), fault: fault() },
            Error::Unfit { side, address, what: fault(), help: fault() },
        ];
        for error in errors {
            let back = there_and_back(&error);
            assert_eq!(std::mem::discriminant(&back), std::mem::discriminant(&error), "{back}");
            assert_eq!(back.side(), Side::Target);
            assert_eq!(back.remedy(), error.remedy());
            assert!(back.to_string().contains("h:1 (behind the receiver at r:1)"), "{back}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_moved_is_named() {
        let unmovable = Unmovable { key: vec![0, 255, b'k'].into(), kind: Kind::Zset, why: "it is odd".into() };
        let Error::Unmovable(back) = there_and_back(&unmovable.clone().into()) else { panic!("another error") };
        assert_eq!(back, unmovable);
        let long = Unmovable { key: vec![b'k'; 1 << 20].into(), ..unmovable };
        assert!(there_and_back(&long.into()).to_string().contains("kkkk"));
    }

    #[test]
    fn every_type_has_its_name() {
        for kind in KINDS {
            assert_eq!(kind_of(kind.name()), Some(kind));
        }
    }
}
