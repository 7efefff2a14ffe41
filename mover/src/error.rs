// SPDX-License-Identifier: Apache-2.0
//! Which side failed, and what helps.

use std::fmt;

/// The result of everything that can fail in a move.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a move, or a part of it, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The routing layer refused or failed.
    #[error("routing: {what}")]
    Routing {
        /// What it refused or failed to do.
        what: String,
    },
}

impl Error {
    /// Which side failed.
    pub fn side(&self) -> Side {
        match self {
            Self::Routing { .. } => Side::Routing,
        }
    }

    /// What helps.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Routing { .. } => Remedy::Resume,
        }
    }
}

/// A side of a move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The node the slots leave.
    Source,
    /// The node the slots go to.
    Target,
    /// Whatever sends clients to nodes.
    Routing,
    /// slotmover itself and the machine it runs on.
    Agent,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::Routing => "routing",
            Self::Agent => "agent",
        })
    }
}

/// What helps against an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// The same call again.
    Retry,
    /// The phase again from where it was.
    Resume,
    /// The job again from a new checkpoint.
    Restart,
    /// A person who changes something.
    Operator,
}
