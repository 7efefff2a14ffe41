// SPDX-License-Identifier: Apache-2.0
//! A move that leaves the drain out loses writes, and the clients notice. Without this proof their silence would mean
//! nothing.

use std::path::Path;
use std::time::Duration;

use mover::Error;
use mover::sandbox::demo::{Demo, DemoError, DemoOptions, DemoReport};

#[tokio::test(flavor = "multi_thread")]
async fn clients_notice_when_the_drain_is_left_out() {
    assert_noticed(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_codis_notice_it_too() {
    assert_noticed(true).await;
}

async fn assert_noticed(codis: bool) {
    let mut seen = Vec::new();
    for seed in 1..=SEEDS {
        let report = match run(seed, codis, true).await {
            Ok(report) => report,
            // A step that comes late may not fit a list any more that clients have changed at the target. The mover has
            // noticed then, not the clients.
            Err(DemoError::Move(Error::Reply { .. })) => continue,
            Err(error) => panic!("seed {seed}: {error}"),
        };
        seen.push(report.client.wrong_values);
        if report.client.wrong_values > 0 {
            assert!(!report.is_clean(), "seed {seed}: wrong values, and yet it says it was clean");
            assert!(!report.client.examples.is_empty(), "seed {seed}: no example of a wrong value");
            return;
        }
    }
    panic!("without the drain {SEEDS} moves went well, as it seems: {seen:?} wrong values");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_see_nothing_when_it_is_not() {
    for seed in 1..=2 {
        let report = run(seed, false, false).await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(report.is_clean(), "seed {seed}: {:?}", report.client);
        assert_eq!(report.job.slots, usize::from(SLOTS));
        assert_eq!(report.job.fence_ms.count, usize::from(SLOTS));
        assert!(report.client.requests > 0 && report.client.keys_checked > 0, "{:?}", report.client);
    }
}

/// Many writers and many switches: each is another chance for a write to fall between log and fence.
async fn run(seed: u64, codis: bool, skip_drain: bool) -> Result<DemoReport, DemoError> {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(options(seed, codis, skip_drain, dir.path())).await.unwrap();
    let job = demo.job();
    Box::pin(demo.run(job)).await
}

fn options(seed: u64, codis: bool, skip_drain: bool, dir: &Path) -> DemoOptions {
    DemoOptions {
        keys: 2000,
        slots: SLOTS,
        writers: 6,
        pace: None,
        time: Duration::from_secs(1),
        seed,
        dir: dir.to_owned(),
        codis,
        skip_drain,
    }
}

const SLOTS: u16 = 16;

/// One is usually enough.
const SEEDS: u64 = 5;
