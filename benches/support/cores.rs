// SPDX-License-Identifier: Apache-2.0
//! Which core runs what, so that two that measure each other do not stand in line for one.

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

/// Keeps a process of one thread, or with `None` this thread, on the core with this number, of those that there are.
pub(crate) fn keep_on(process: Option<u32>, core: usize) -> Result<()> {
    let process =
        process.map(|id| i32::try_from(id).ok().and_then(Pid::from_raw).context("no such process")).transpose()?;
    let allowed = sched_getaffinity(None)?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    let mut one = CpuSet::new();
    one.set(cores[core % cores.len()]);
    Ok(sched_setaffinity(process, &one)?)
}
