// SPDX-License-Identifier: Apache-2.0
//! A crash at a chosen entry of the journal, for the tests of what comes after it: from outside none can be had so exactly.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, anyhow};
use rustix::process::{Signal, getpid, kill_process};

use crate::job::journal::{Journal, Moment};

/// Sends this process a signal at the entry that the environment names, as in `kill before 17` or `stop after 3`.
pub(super) fn prepare(journal: &mut Journal) -> Result<()> {
    let Ok(text) = std::env::var(VARIABLE) else { return Ok(()) };
    let fault = || anyhow!("{VARIABLE} is `{text}`: write it as in `kill before 17`");
    let [signal, moment, number] = text.split(' ').collect::<Vec<_>>()[..] else { return Err(fault()) };
    let signal = match signal {
        "kill" => Signal::KILL,
        "stop" => Signal::STOP,
        _ => return Err(fault()),
    };
    let wanted = match moment {
        "before" => Moment::Before,
        "after" => Moment::After,
        _ => return Err(fault()),
    };
    let number: u64 = number.parse().map_err(|_| fault())?;
    let count = AtomicU64::new(0);
    journal.on_entry(move |moment| {
        if moment == wanted && count.fetch_add(1, Ordering::Relaxed) + 1 == number {
            // It cannot fail for our own process; if it did, the test would see that nothing crashed.
            let _ = kill_process(getpid(), signal);
        }
    });
    Ok(())
}

const VARIABLE: &str = "SLOTMOVER_TEST_ACCIDENT";
