// SPDX-License-Identifier: Apache-2.0
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use replication::{BinlogOffset, SlotCount, SlotSet};
use snapshot::UnixMillis;

use crate::cli::renames::RenamesArgs;
use crate::inspect::{self, BinlogOptions, CheckpointOptions};

#[derive(Subcommand, Debug)]
pub(super) enum InspectCommand {
    /// The keys of a BGSAVE dump, and what is wrong with it.
    Checkpoint(CheckpointArgs),
    /// The entries of a binlog, and which keys and elements each one touches.
    Binlog(BinlogArgs),
}

#[derive(Args, Debug)]
pub(super) struct CheckpointArgs {
    /// The dump of one database (it holds `info`), or the directory above it.
    dir: PathBuf,

    /// Only keys of these slots, as in 1,5-9.
    #[arg(long, value_name = "SLOTS")]
    slots: Option<SlotSet>,

    /// Pika's default-slot-num.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    slot_count: u16,

    /// Pika's db-instance-num; the instances that are there are taken for all of them when not given.
    #[arg(long, value_name = "N")]
    instances: Option<usize>,

    /// One JSON object per key and line, and a summary as the last one.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct BinlogArgs {
    /// The directory that holds `manifest` and the `write2file`s.
    dir: PathBuf,

    /// Where to begin: the end of an entry or the start of a file; the first file that is there when not given.
    #[arg(long, value_name = "FILE:OFFSET")]
    from: Option<BinlogOffset>,

    /// One JSON object per entry and line.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    renames: RenamesArgs,
}

pub(super) fn run(command: InspectCommand) -> Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    match command {
        InspectCommand::Checkpoint(args) => {
            let slot_count = SlotCount::new(args.slot_count).ok_or_else(|| anyhow!("--slot-count must not be 0"))?;
            let options = CheckpointOptions {
                dir: args.dir,
                slots: args.slots,
                slot_count,
                instances: args.instances,
                now: UnixMillis::now(),
                json: args.json,
            };
            inspect::checkpoint(&options, &mut out)?;
        }
        InspectCommand::Binlog(args) => {
            let options =
                BinlogOptions { dir: args.dir, from: args.from, json: args.json, renames: args.renames.renames()? };
            inspect::binlog(&options, &mut out)?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
