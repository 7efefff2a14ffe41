// SPDX-License-Identifier: Apache-2.0
//! Two ways of doing the same, measured by turns: what else the machine does then hits both, and the ratio stays.

use std::time::Duration;

use anyhow::Result;

use super::cpu;

/// Runs both `rounds` times by turns and prints the median rates and the median of the ratios, ours by theirs, with the
/// worst and the best of them. Each gives its rate in `unit` per second. One run of each goes before, unmeasured.
///
/// The second ratio is that of the processor time that they took here and in child processes: on a machine that has
/// other work it is the one to trust.
pub(crate) fn compare(
    what: &str,
    unit: &str,
    rounds: usize,
    mut ours: impl FnMut() -> Result<f64>,
    mut theirs: impl FnMut() -> Result<f64>,
) -> Result<()> {
    theirs()?;
    ours()?;
    let mut measured = Vec::new();
    for round in 0..rounds {
        // Who goes first changes, or else one would always find the caches as the other left them.
        measured.push(match round % 2 {
            0 => {
                let first = Run::of(&mut theirs)?;
                (Run::of(&mut ours)?, first)
            }
            _ => (Run::of(&mut ours)?, Run::of(&mut theirs)?),
        });
    }
    let ratios = sorted(measured.iter().map(|(ours, theirs)| ours.rate / theirs.rate));
    let (worst, best) = (ratios[0], ratios[ratios.len() - 1]);
    println!(
        "{what:<28} ours {:>8.0} {unit}/s   theirs {:>8.0} {unit}/s   \
         ratio {:.2} ({worst:.2} to {best:.2}), {:.2} by processor time",
        median(&sorted(measured.iter().map(|(ours, _)| ours.rate))),
        median(&sorted(measured.iter().map(|(_, theirs)| theirs.rate))),
        median(&ratios),
        median(&sorted(measured.iter().map(|(ours, theirs)| theirs.cpu.div_duration_f64(ours.cpu)))),
    );
    Ok(())
}

struct Run {
    rate: f64,
    cpu: Duration,
}

impl Run {
    fn of(run: &mut impl FnMut() -> Result<f64>) -> Result<Self> {
        let before = cpu::used_by(std::process::id())?;
        let rate = run()?;
        Ok(Self { rate, cpu: cpu::used_by(std::process::id())? - before })
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
