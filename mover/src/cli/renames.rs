// SPDX-License-Identifier: Apache-2.0
//! Commands that servers know by other names.

use anyhow::Result;
use clap::Args;
use clap::error::ErrorKind;
use replication::{Rename, Renames};

use crate::cli::usage;

/// The renamed commands of both sides.
#[derive(Args, Debug)]
pub(super) struct RenameArgs {
    /// A command that the Pikas of the move know by another name (rename-command of pika.conf), as in FLUSHDB=purge; may be
    /// given several times. It holds for the source, for the entries of logs, and for the target if that is a Pika.
    #[arg(long = "rename", value_name = "NAME=NEWNAME")]
    renames: Vec<Rename>,

    /// A command that the target knows by another name, where that is no Pika or has other names than the source; may be
    /// given several times. With it no --rename holds for the target.
    #[arg(long = "target-rename", value_name = "NAME=NEWNAME")]
    target_renames: Vec<Rename>,
}

impl RenameArgs {
    /// Those of the Pikas.
    pub(super) fn renames(&self) -> Result<Renames> {
        collected(&self.renames)
    }

    /// Those of the target, where it has its own.
    pub(super) fn target_renames(&self) -> Result<Option<Renames>> {
        if self.target_renames.is_empty() {
            return Ok(None);
        }
        collected(&self.target_renames).map(Some)
    }
}

/// The renamed commands of one server.
#[derive(Args, Debug)]
pub(super) struct RenamesArgs {
    /// A command that the server knows by another name (rename-command), as in FLUSHDB=purge; may be given several times.
    #[arg(long = "rename", visible_alias = "target-rename", value_name = "NAME=NEWNAME")]
    renames: Vec<Rename>,
}

impl RenamesArgs {
    pub(super) fn renames(&self) -> Result<Renames> {
        collected(&self.renames)
    }
}

fn collected(renames: &[Rename]) -> Result<Renames> {
    Renames::new(renames.iter().cloned()).map_err(|error| usage(ErrorKind::ValueValidation, &error.to_string()))
}
