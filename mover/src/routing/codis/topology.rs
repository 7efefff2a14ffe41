// SPDX-License-Identifier: Apache-2.0
//! The two groups of a move, found by the addresses of its source and target.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::routing::codis::CodisOptions;
use crate::routing::codis::model::{Group, GroupId, Stats};
use crate::{Error, Result};

/// The groups that slots leave and go to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sides {
    pub(super) source: Side,
    pub(super) target: Side,
}

/// One of them, and the server that serves its slots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Side {
    pub(super) group: GroupId,
    /// As the dashboard writes its address, and so as it stands in the records of the proxies.
    pub(super) master: String,
}

impl Sides {
    /// The group whose master is the source, and the one whose master is the target, if no number is given.
    ///
    /// # Errors
    /// When there is no such group, or it is the same; the groups are listed.
    pub(super) async fn find(options: &CodisOptions, stats: &Stats) -> Result<Self> {
        let source = side("source", &options.source, options.source_group, stats).await?;
        let target = side("target", &options.target, options.target_group, stats).await?;
        if source.group == target.group {
            let what = format!("source and target are both {}, there is nothing to move", source.group);
            return Err(Error::Routing { what });
        }
        Ok(Self { source, target })
    }

    /// Whether it is one of the two groups.
    pub(super) fn contains(&self, group: GroupId) -> bool {
        group == self.source.group || group == self.target.group
    }
}

async fn side(name: &str, address: &str, number: Option<u32>, stats: &Stats) -> Result<Side> {
    let fault = |what: String| Error::Routing { what: format!("{what}. The groups are: {}", list(stats)) };
    if let Some(number) = number {
        let group = stats.group(GroupId(number)).ok_or_else(|| fault(format!("there is no group {number}")))?;
        let master = group.master().ok_or_else(|| fault(format!("{} has no server", group.id)))?;
        return Ok(Side { group: group.id, master: master.to_owned() });
    }
    let mut found = Vec::new();
    for group in &stats.group.models {
        if group.master().is_some_and(|master| master == address) {
            found.push(group);
        }
    }
    if found.is_empty() {
        let wanted = resolve(address).await;
        for group in &stats.group.models {
            let Some(master) = group.master() else { continue };
            if !resolve(master).await.is_disjoint(&wanted) {
                found.push(group);
            }
        }
    }
    let option = format!("--{name}-group");
    match found.as_slice() {
        [Group { id, servers, .. }] => {
            let master = servers.first().map(|server| server.server.clone()).unwrap_or_default();
            Ok(Side { group: *id, master })
        }
        [] => match stats.group.models.iter().find(|group| group.servers.iter().any(|server| server.server == address))
        {
            Some(group) => Err(fault(format!(
                "the {name} {address} is a replica in {}; give the address of its master {}",
                group.id,
                group.master().unwrap_or_default()
            ))),
            None => Err(fault(format!(
                "no group has the {name} {address} for its master; name its group by {option} if the dashboard knows \
                 it by another address"
            ))),
        },
        _ => Err(fault(format!("more than one group has the {name} {address} for its master; name it by {option}"))),
    }
}

/// All addresses behind a name; none when it has none.
async fn resolve(address: &str) -> HashSet<SocketAddr> {
    tokio::net::lookup_host(address).await.map(Iterator::collect).unwrap_or_default()
}

fn list(stats: &Stats) -> String {
    let mut text = String::new();
    for group in &stats.group.models {
        let separator = if text.is_empty() { "" } else { ", " };
        let master = group.master().unwrap_or("no server");
        write!(text, "{separator}{} ({master})", group.id).expect("a String takes every text");
    }
    match text.is_empty() {
        true => "none".to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATS: &str = r#"{"slots":[],"group":{"models":[
        {"id":1,"servers":[{"server":"127.0.0.1:24001"},{"server":"127.0.0.1:24003"}],"promoting":{}},
        {"id":2,"servers":[{"server":"127.0.0.1:24101"}],"promoting":{}},
        {"id":3,"servers":[],"promoting":{}}],"stats":{}},
        "proxy":{"models":[],"stats":{}},"slot_action":{"disabled":false,"executor":0}}"#;

    async fn find(source: &str, target: &str, groups: [Option<u32>; 2]) -> Result<Sides, String> {
        let mut options = CodisOptions::new("d:1", source, target);
        [options.source_group, options.target_group] = groups;
        let stats = serde_json::from_str(STATS).unwrap();
        Sides::find(&options, &stats).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn groups_are_found_by_address_or_number() {
        let sides = find("127.0.0.1:24001", "localhost:24101", [None; 2]).await.unwrap();
        assert_eq!((sides.source.group, sides.target.group), (GroupId(1), GroupId(2)));
        assert_eq!(sides.target.master, "127.0.0.1:24101");
        let sides = find("pika-1:9221", "pika-2:9221", [Some(2), Some(1)]).await.unwrap();
        assert_eq!(sides.source.master, "127.0.0.1:24101");
    }

    #[tokio::test]
    async fn what_is_no_group_of_its_own_is_refused() {
        let fault = find("127.0.0.1:24003", "127.0.0.1:24101", [None; 2]).await.unwrap_err();
        assert!(fault.contains("is a replica in group 1") && fault.contains("24001"), "{fault}");
        let fault = find("127.0.0.1:24001", "127.0.0.1:1", [None; 2]).await.unwrap_err();
        assert!(fault.contains("--target-group") && fault.contains("group 2 (127.0.0.1:24101)"), "{fault}");
        let fault = find("127.0.0.1:24001", "127.0.0.1:24001", [None; 2]).await.unwrap_err();
        assert!(fault.contains("both group 1"), "{fault}");
        let fault = find("127.0.0.1:24001", "x:1", [None, Some(3)]).await.unwrap_err();
        assert!(fault.contains("group 3 has no server"), "{fault}");
        let fault = find("127.0.0.1:24001", "x:1", [None, Some(4)]).await.unwrap_err();
        assert!(fault.contains("no group 4"), "{fault}");
    }
}
