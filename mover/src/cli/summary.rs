// SPDX-License-Identifier: Apache-2.0
use bytesize::ByteSize;

use crate::flow::HeldReport;
use crate::job::{FenceReport, KeyBalance, Report, VerificationReport, VerifyMode, VerifyReport};

/// Tells a person what a job has done.
pub(super) fn print(report: &Report) {
    if report.rollback.is_some() {
        println!("rolled back        every slot is at the source again, with what was written at the target");
    }
    let seconds = report.copy_seconds.max(0.001);
    let rate = ByteSize((report.bytes as f64 / seconds) as u64);
    for (side, identity) in [("source", &report.source), ("target", &report.target)] {
        if let Some(identity) = identity {
            println!("{side:<18} {identity}");
        }
    }
    println!("slots moved        {}", report.slots);
    println!("keys copied        {} ({}) in {seconds:.1} s, {rate}/s", report.keys, ByteSize(report.bytes));
    for HeldReport { cause, seconds } in report.held.iter().filter(|held| held.seconds >= SHOWN) {
        println!("held back          {seconds:.1} s by {cause}");
    }
    println!("changes followed   {}", report.changes);
    println!("number of keys     {}", balance(&report.counts));
    if let Some(cleaned) = report.cleaned {
        println!("keys deleted       {cleaned} at the source, which has them no more");
    }
    if report.unknown_commands > 0 {
        println!(
            "unknown commands   {} (their arguments were read again as keys, or a new checkpoint was taken)",
            report.unknown_commands
        );
        for command in &report.unknown {
            println!("unknown            {command}");
        }
    }
    print_fences(report.fence_ms);
    print_verify(&report.verify);
    if let (Some(wire), Some(raw)) = (report.wire_bytes, report.raw_bytes) {
        let ratio = raw as f64 / wire.max(1) as f64;
        println!("sent               {} for {} before compression (ratio {ratio:.2})", ByteSize(wire), ByteSize(raw));
    }
    for finding in &report.findings {
        println!("noticed            {finding}");
    }
    if let Some(rollback) = &report.rollback {
        println!("on the way back");
        println!("changes followed   {}", rollback.changes);
        if let Some(cleaned) = rollback.cleaned {
            println!("keys deleted       {cleaned} at the target, which has them no more");
        }
        print_fences(rollback.fence_ms);
        print_verify(&rollback.verify);
    }
    if let Some(why) = &report.no_way_back {
        println!("no rollback        {why}");
    }
}

/// The sum of the keys, as far as it is known.
fn balance(counts: &KeyBalance) -> String {
    let KeyBalance { before, created, deleted, expired, after } = *counts;
    let (Some(before), Some(created), Some(deleted)) = (before, created, deleted) else {
        return "not known: the job was interrupted, has a `--command-rate`, or the target did not tell what came and went"
            .to_owned();
    };
    let sum = format!("{before} before + {created} created - {deleted} deleted");
    match (expired, after) {
        (Some(expired), Some(after)) => format!("{sum} - {expired} expired = {after} after"),
        (None, Some(after)) => format!("{sum} is not {after} after: see what was noticed"),
        (_, None) => {
            format!("{sum}; those that expired and those after are not known: the source's keys were not counted")
        }
    }
}

fn print_fences(fence: FenceReport) {
    println!(
        "clients held       {:.1} ms at most, {:.1} ms usually (p99 {:.1} ms), {} times ({} more were lowered without a switch)",
        fence.max, fence.p50, fence.p99, fence.count, fence.retried
    );
}

fn print_verify(verify: &VerifyReport) {
    let what = match verify.mode {
        VerifyMode::Off => return println!("compared           nothing (--verify off)"),
        VerifyMode::Sample(_) => format!("{} keys (--verify {})", verify.keys, verify.mode),
        VerifyMode::Full => format!("{} keys", verify.keys),
    };
    let seconds = verify.seconds.max(0.001);
    println!(
        "compared           {what} in {seconds:.1} s, {:.0} keys/s: {} differ, {} only at the target, {} repaired before",
        verify.keys as f64 / seconds,
        verify.mismatches,
        verify.extra,
        verify.repaired
    );
    for difference in &verify.differences {
        println!("repaired           {difference}");
    }
    if verify.uncompared > 0 {
        let names: Vec<String> = verify.uncompared_keys.iter().map(|key| format!("`{key}`")).collect();
        println!("not compared       {} keys that never hold still, such as {}", verify.uncompared, names.join(", "));
    }
}

/// Tells a person what a comparison on its own has found.
pub(super) fn print_verification(report: &VerificationReport) {
    let VerificationReport { keys, bytes, mismatches, missing, extra, .. } = report;
    let mode = match report.mode {
        VerifyMode::Sample(_) => format!(" (--mode {})", report.mode),
        VerifyMode::Full | VerifyMode::Off => String::new(),
    };
    println!("slots compared     {}", report.slots);
    println!("keys compared      {keys}{mode}, {}, in {:.1} s", ByteSize(*bytes), report.seconds);
    for HeldReport { cause, seconds } in report.held.iter().filter(|held| held.seconds >= SHOWN) {
        println!("held back          {seconds:.1} s by {cause}");
    }
    let differing = report.differing();
    println!(
        "keys that differ   {differing}: {mismatches} mismatches, {missing} missing at the target, {extra} extra there"
    );
    report.differences.iter().for_each(|difference| println!("differs            {difference}"));
    print_more(differing, report.differences.len());
    if report.changing > 0 {
        println!("always changing    {} keys, at both sides at each look: not told apart", report.changing);
        report.changing_keys.iter().for_each(|key| println!("changing           `{key}`"));
        print_more(report.changing, report.changing_keys.len());
    }
    report.unreadable.iter().for_each(|what| println!("not compared       {what}"));
    report.findings.iter().for_each(|what| println!("noticed            {what}"));
    if !report.is_complete {
        println!("stopped early      so many keys differ that the rest was not compared");
    }
    match report.is_equal() {
        true => println!("EQUAL: source and target hold the same"),
        false => println!("DIFFERENT: source and target do not hold the same"),
    }
}

fn print_more(all: u64, shown: usize) {
    match all.saturating_sub(shown as u64) {
        0 => {}
        more => println!("                   and {more} more"),
    }
}

/// Seconds below which it was not held back.
const SHOWN: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_a_sum() {
        let moved = KeyBalance { before: Some(10), created: Some(5), deleted: Some(4), ..KeyBalance::default() };
        let whole = KeyBalance { expired: Some(2), after: Some(9), ..moved };
        assert_eq!(balance(&whole), "10 before + 5 created - 4 deleted - 2 expired = 9 after");
        assert!(balance(&moved).starts_with("10 before + 5 created - 4 deleted; those that expired"));
        let odd = KeyBalance { after: Some(13), ..moved };
        assert_eq!(balance(&odd), "10 before + 5 created - 4 deleted is not 13 after: see what was noticed");
        assert!(balance(&KeyBalance::default()).starts_with("not known"));
    }
}
