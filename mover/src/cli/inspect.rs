// SPDX-License-Identifier: Apache-2.0
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub(super) enum InspectCommand {}

pub(super) fn run(command: InspectCommand) -> Result<ExitCode> {
    match command {}
}
