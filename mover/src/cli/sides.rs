// SPDX-License-Identifier: Apache-2.0
//! Both nodes and their slots, as every command takes them that is about both.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use replication::{SlotCount, SlotSet};

use crate::Side;
use crate::cli::endpoint::endpoint;
use crate::cli::renames::RenameArgs;
use crate::endpoint::Endpoint;

#[derive(Args, Debug)]
pub(super) struct SidesArgs {
    /// The source: a Pika node on this machine.
    #[arg(long, value_name = "HOST:PORT")]
    source: String,

    /// The target: a Redis (6 or newer) or a Pika (4.0).
    #[arg(long, value_name = "HOST:PORT")]
    target: String,

    /// The slots, as in 1,5-9.
    #[arg(long, value_name = "SLOTS")]
    pub(super) slots: SlotSet,

    /// The database: Codis' number, Pika's db<N>.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) database: u32,

    /// Pika's default-slot-num.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    slot_count: u16,

    /// A file that holds the source's password.
    #[arg(long, value_name = "FILE")]
    source_password_file: Option<PathBuf>,

    /// A file that holds the target's password.
    #[arg(long, value_name = "FILE")]
    target_password_file: Option<PathBuf>,

    #[command(flatten)]
    pub(super) renames: RenameArgs,
}

impl SidesArgs {
    pub(super) fn source(&self) -> Result<Endpoint> {
        endpoint(Side::Source, &self.source, self.source_password_file.as_deref())
    }

    pub(super) fn target(&self) -> Result<Endpoint> {
        endpoint(Side::Target, &self.target, self.target_password_file.as_deref())
    }

    pub(super) fn slot_count(&self) -> Result<SlotCount> {
        SlotCount::new(self.slot_count).ok_or_else(|| anyhow!("--slot-count must not be 0"))
    }
}
