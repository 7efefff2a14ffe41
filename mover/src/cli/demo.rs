// SPDX-License-Identifier: Apache-2.0
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

#[derive(Args, Debug)]
pub(super) struct DemoArgs {}

pub(super) async fn run(args: DemoArgs) -> Result<ExitCode> {
    let _ = args;
    Ok(ExitCode::SUCCESS)
}
