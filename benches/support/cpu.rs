// SPDX-License-Identifier: Apache-2.0
//! Who does the work: the processor time of processes, as Linux counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The processor time of a process and of its children that have ended.
pub(crate) fn used_by(process: u32) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&path)?;
    // The name in parentheses may hold anything, so the fields are counted from behind it.
    let (_, fields) = text.rsplit_once(") ").context("stat has no name")?;
    let ticks = fields.split(' ').skip(FIRST_TIME).take(TIMES).map(str::parse::<u32>);
    Ok(TICK * ticks.sum::<Result<u32, _>>()?)
}

/// The place of `utime` behind the name. `stime` follows, and the two of the children.
const FIRST_TIME: usize = 11;
const TIMES: usize = 4;

/// Linux counts for its users in hundredths of a second on every machine.
const TICK: Duration = Duration::from_millis(10);
