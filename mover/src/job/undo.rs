// SPDX-License-Identifier: Apache-2.0
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use snapshot::UnixMillis;

use crate::job::journal::State;

/// Whether a job whose slots are at the target can be rolled back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "undo", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Undo {
    /// It can, for some time.
    Possible {
        /// For how long.
        #[serde(rename = "left_seconds", serialize_with = "seconds")]
        left: Duration,
    },
    /// It is being done.
    Begun,
    /// It cannot, or not any more.
    Gone {
        /// Why not.
        why: String,
    },
}

impl Undo {
    /// What a journal says; nothing while slots are on their way.
    pub(super) fn of(state: &State) -> Option<Self> {
        if let Some(why) = &state.no_way_back {
            return Some(Self::Gone { why: why.clone() });
        }
        if state.ended.is_some() || state.cleaning {
            return None;
        }
        let until = UnixMillis(state.window?);
        Some(match state.rolling_back {
            true => Self::Begun,
            false => Self::Possible { left: until.since(UnixMillis::now()) },
        })
    }
}

impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Possible { left } => write!(f, "can be rolled back for {} s", left.as_secs()),
            Self::Begun => f.write_str("is being rolled back"),
            Self::Gone { why } => write!(f, "cannot be rolled back: {why}"),
        }
    }
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_secs())
}
