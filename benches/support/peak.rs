// SPDX-License-Identifier: Apache-2.0
//! The most memory that a process has had, as Linux counts it.

use std::fs;

use anyhow::{Context, Result};

/// The largest resident size that a living process has had, in bytes (`VmHWM`).
pub(crate) fn resident_max(process: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("the process has ended")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes << 10)
}
