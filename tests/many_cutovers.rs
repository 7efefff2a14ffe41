// SPDX-License-Identifier: Apache-2.0
//! A hundred cutovers in a row behind a Codis with two proxies, and clients that see nothing of any.

use std::time::Duration;

use mover::sandbox::demo::{Demo, DemoOptions};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_slots_are_switched_one_by_one_through_two_proxies() {
    let dir = tempfile::tempdir().unwrap();
    let options = DemoOptions {
        keys: 5000,
        slots: SLOTS,
        writers: 4,
        pace: Some(2000),
        time: Duration::from_secs(1),
        seed: 7,
        dir: dir.path().to_owned(),
        codis: true,
        skip_drain: false,
    };
    let demo = Demo::start(options).await.unwrap();
    let job = demo.job();
    let report = Box::pin(demo.run(job)).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.client);
    assert_eq!(report.job.fence_ms.count, usize::from(SLOTS));
    assert!(report.client.requests > 0 && report.client.keys_checked > 0, "{:?}", report.client);
}

const SLOTS: u16 = 100;
