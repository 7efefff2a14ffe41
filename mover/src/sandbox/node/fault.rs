// SPDX-License-Identifier: Apache-2.0
//! Why a command is answered with an error line.

use bytes::Bytes;

use super::reply::Reply;

/// The result of a command, or of a part of it.
pub(super) type Result<T, E = Fault> = std::result::Result<T, E>;

/// Why a command is answered with an error line.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server says no. The text holds the code word.
    Refused(Bytes),
    /// The key holds another type.
    WrongType(WrongType),
    /// The store failed, or holds what cannot be read.
    Store(snapshot::Error),
    /// The log failed: the change is made, but nobody will hear of it.
    Log(replication::Error),
}

impl Fault {
    pub(super) const SYNTAX: Self = Self::refused("ERR syntax error");
    pub(super) const NOT_INTEGER: Self = Self::refused("ERR value is not an integer or out of range");
    pub(super) const NOT_FLOAT: Self = Self::refused("ERR value is not a valid float");
    pub(super) const OVERFLOW: Self = Self::refused("ERR increment or decrement would overflow");
    pub(super) const NO_SUCH_KEY: Self = Self::refused("ERR no such key");
    pub(super) const INVALID_ARGUMENT: Self = Self::refused("ERR Invalid Argument");
    /// The short line for a wrong type, which the server also uses for some arguments that it does not like.
    pub(super) const WRONG_TYPE: Self =
        Self::refused("WRONGTYPE Operation against a key holding the wrong kind of value");

    const fn refused(line: &'static str) -> Self {
        Self::Refused(Bytes::from_static(line.as_bytes()))
    }

    /// An error line of this text, the code word `ERR` put before it.
    pub(super) fn err(text: impl AsRef<[u8]>) -> Self {
        Self::Refused([b"ERR ", text.as_ref()].concat().into())
    }

    /// The error line of a command called with the wrong number of arguments.
    pub(super) fn wrong_number(command: &str) -> Self {
        Self::err(format!("wrong number of arguments for '{command}' command"))
    }

    /// Makes the answer to a wrong type the long one, which some commands give instead of the short one.
    pub(super) fn verbose(self) -> Self {
        match self {
            Self::WrongType(wrong) => Self::err(wrong.status()),
            other => other,
        }
    }

    /// As [`Fault::verbose`], in the form that STRLEN has.
    pub(super) fn verbose_without_comma(self) -> Self {
        match self {
            Self::WrongType(wrong) => Self::err(wrong.status_with("")),
            other => other,
        }
    }

    /// The error line.
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Refused(line) => Reply::Error(line),
            Self::WrongType(_) => Self::WRONG_TYPE.reply(),
            Self::Store(error) => Reply::err(format!("Corruption: {error}")),
            Self::Log(error) => Reply::err(error.to_string()),
        }
    }
}

impl From<snapshot::Error> for Fault {
    fn from(error: snapshot::Error) -> Self {
        Self::Store(error)
    }
}

impl From<snapshot::format::ValueError> for Fault {
    fn from(error: snapshot::format::ValueError) -> Self {
        Self::err(format!("Corruption: {error}"))
    }
}

impl From<snapshot::format::KeyError> for Fault {
    fn from(error: snapshot::format::KeyError) -> Self {
        Self::err(format!("Corruption: {error}"))
    }
}

/// A key that holds another type than the command is for.
#[derive(Debug)]
pub(super) struct WrongType {
    pub(super) key: Bytes,
    pub(super) expected: &'static str,
    pub(super) found: &'static str,
}

impl WrongType {
    /// What the server's store says of it, with the raw name of the key.
    pub(super) fn status(&self) -> Vec<u8> {
        self.status_with(",")
    }

    fn status_with(&self, comma: &str) -> Vec<u8> {
        let (expected, got) = match self.expected {
            "zset" | "streams" => ("expected", "got"),
            _ => ("expect", "get"),
        };
        let (wanted, found) = (self.expected, self.found);
        let types = format!(", {expected} type: {wanted}{comma} {got} type: {found}");
        [b"Invalid argument: WRONGTYPE, key: ", &self.key[..], types.as_bytes()].concat()
    }
}
