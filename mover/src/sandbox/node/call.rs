// SPDX-License-Identifier: Apache-2.0
//! What a command's handler gets, and what it gives back.

use bytes::Bytes;
use replication::Command;
use snapshot::UnixMillis;

use super::core::Core;
use super::data::Data;
use super::fault::{Fault, Result};
use super::number;
use super::reply::Reply;

/// One command being executed. Its record locks are held.
pub(super) struct Call<'a> {
    /// The node.
    pub(super) core: &'a Core,
    /// The name and its arguments; at least as many as the table says.
    pub(super) args: &'a [Bytes],
    /// The time of the command.
    pub(super) now: UnixMillis,
    /// The rows it reads, and writes unless it is only rehearsed.
    pub(super) rows: &'a Data,
}

impl<'a> Call<'a> {
    /// The rows of the node.
    pub(super) fn data(&self) -> &'a Data {
        self.rows
    }

    /// The argument behind the name.
    pub(super) fn key(&self) -> &'a Bytes {
        &self.args[1]
    }

    /// The argument at `index` as an integer.
    pub(super) fn integer(&self, index: usize) -> Result<i64> {
        number::integer(&self.args[index]).ok_or(Fault::NOT_INTEGER)
    }

    /// The argument at `index` as a number.
    pub(super) fn float(&self, index: usize) -> Result<f64> {
        number::float(&self.args[index]).ok_or(Fault::NOT_FLOAT)
    }
}

/// The result of a handler.
pub(super) type Answer = Result<Done>;

/// An executed command.
pub(super) struct Done {
    pub(super) reply: Reply,
    pub(super) log: Logged,
}

impl Done {
    /// An answer with what goes to the log.
    pub(super) fn logged(reply: Reply, log: Logged) -> Self {
        Self { reply, log }
    }
}

impl From<Reply> for Done {
    fn from(reply: Reply) -> Self {
        Self { reply, log: Logged::Verbatim }
    }
}

/// What a write puts into the log.
pub(super) enum Logged {
    /// The command as it came, unless the answer is an error.
    Verbatim,
    /// These commands, even when the answer is an error: some of the server's commands log what never happened.
    Rewritten(Vec<Command>),
    /// Nothing.
    Nothing,
}

impl Logged {
    /// One command instead of the one that came.
    pub(super) fn as_command<const N: usize>(args: [Bytes; N]) -> Self {
        Self::Rewritten(vec![Command::new(args)])
    }
}

/// Whether an argument is this word, in any case.
pub(super) fn is_word(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}
