// SPDX-License-Identifier: Apache-2.0
//! The complaint that this project began with, where it was made.

use crate::harness::RealCluster;
use crate::one_busy_slot::{SLOT, assert_nobody_notices};

#[tokio::test(flavor = "multi_thread")]
async fn one_busy_slot_moves_and_nobody_notices() {
    let Some(cluster) = RealCluster::start().await else { return };
    let slots = [SLOT].into_iter().collect();
    let dashboard = cluster.codis.dashboard_addr().to_string();
    let (source, target) = (cluster.source.addr(), cluster.target.addr());
    assert_nobody_notices(source, target, dashboard, cluster.load(&slots)).await;
    assert_eq!(cluster.switched(), slots);
    cluster.codis.assert_no_fence();
}
