// SPDX-License-Identifier: Apache-2.0
//! What a cluster is made of.

use std::net::SocketAddr;
use std::time::Duration;

use replication::SlotCount;

/// How to start a [`Codis`](super::Codis).
#[derive(Clone, Debug)]
pub struct CodisConfig {
    /// The name of the product.
    pub product_name: String,
    /// The secret of the product: what its nodes are sent as AUTH, and part of the digests; empty for none.
    pub product_auth: String,
    /// The groups by their number, from 1, with their servers, the master first. Every slot is at the first group.
    pub groups: Vec<(u32, Vec<SocketAddr>)>,
    /// How many proxies there are at first.
    pub proxies: usize,
    /// How keys are cut into slots.
    pub slot_count: SlotCount,
    /// How long the dashboard waits for a proxy: as long it stands still when one hangs.
    pub push_time_max: Duration,
    /// How often the dashboard does what it does by itself.
    pub intervals: Intervals,
    /// Failed checks after which a server is offline.
    pub dead_checks: i8,
    /// How long a native migration copies, or seems to: it moves no key.
    pub copy_time: Duration,
}

impl CodisConfig {
    /// A product `demo` without a secret, with two proxies, as patient and as lazy as a real one.
    pub fn new(groups: Vec<(u32, Vec<SocketAddr>)>) -> Self {
        Self {
            product_name: "demo".to_owned(),
            product_auth: String::new(),
            groups,
            proxies: 2,
            slot_count: SlotCount::CODIS,
            push_time_max: Duration::from_secs(60),
            intervals: Intervals::default(),
            dead_checks: 10,
            copy_time: Duration::from_secs(1),
        }
    }

    /// Two groups of one server each, 1 and 2, the first with all slots.
    pub fn pair(source: SocketAddr, target: SocketAddr) -> Self {
        Self::new(vec![(1, vec![source]), (2, vec![target])])
    }
}

/// How long the parts of a cluster pause between their turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Intervals {
    /// The dashboard asks its proxies and servers for their statistics, and brings proxies online that are not.
    pub statistics: Duration,
    /// It checks servers that are well.
    pub check: Duration,
    /// It checks servers that have not answered once, and those that are offline.
    pub failover: Duration,
    /// It looks for native migrations to do.
    pub action: Duration,
    /// A proxy that is not online asks for it.
    pub registration: Duration,
}

impl Default for Intervals {
    /// Those of a real one.
    fn default() -> Self {
        Self {
            statistics: Duration::from_secs(1),
            check: Duration::from_secs(10),
            failover: Duration::from_secs(2),
            action: Duration::from_secs(1),
            registration: Duration::from_secs(3),
        }
    }
}

impl Intervals {
    /// Short ones, for tests that wait for them.
    pub fn brisk() -> Self {
        Self {
            statistics: Duration::from_millis(50),
            check: Duration::from_millis(100),
            failover: Duration::from_millis(100),
            action: Duration::from_millis(50),
            registration: Duration::from_millis(50),
        }
    }
}
