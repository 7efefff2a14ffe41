// SPDX-License-Identifier: Apache-2.0
//! The checks of servers, and the pushes of whole groups that come of them: nothing breaks fences more often.
//!
//! A replica is never promoted here: a master that is offline stays the master, as in a group without a replica that may
//! take its place.

use std::io;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Dashboard, Topom, probe};
use crate::sandbox::codis::coordinator::Stored;
use crate::sandbox::codis::front::Fault;
use crate::sandbox::codis::model::GroupServer;

/// The state of a server that answers.
pub(super) const NORMAL: u8 = 0;
/// The state of a server that has not answered once.
pub(super) const SUSPECT: u8 = 1;
/// The state of a server that has not answered again and again.
pub(super) const OFFLINE: u8 = 2;

impl Dashboard {
    /// Checks the servers in this state, all at once, and holds the main mutex meanwhile: for a second if one hangs.
    pub(super) async fn check(&self, state: u8) {
        let mut topom = self.lock().await;
        let mut probes = JoinSet::new();
        for (group, index, addr) in topom.known.servers_in(state) {
            let (unreachable, password) = (self.is_unreachable(&addr), self.password().map(str::to_owned));
            probes.spawn(async move {
                let probe = match unreachable {
                    true => Err(io::ErrorKind::ConnectionRefused.into()),
                    false => {
                        let probe = timeout(PROBE_MAX, probe::info(&addr, password.as_deref())).await;
                        probe.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                    }
                };
                (group, index, probe.map(|fields| fields.get("role").cloned().unwrap_or_default()))
            });
        }
        let mut results = probes.join_all().await;
        results.sort_by_key(|(group, index, _)| (*group, *index));
        self.process.pulse().beat().await;
        for (group, index, role) in results {
            self.judge(&mut topom, group, index, role).await;
        }
    }

    async fn judge(&self, topom: &mut Topom, group: i64, index: usize, role: io::Result<String>) {
        let servers = topom.known.groups.get_mut(&group).map(|group| &mut group.servers);
        let Some(server) = servers.and_then(|servers| servers.get_mut(index)) else { return };
        let (push, settled) = match role {
            Ok(role) => (server.has_answered(role) == OFFLINE, true),
            Err(_) if server.state == NORMAL => {
                // Only in the dashboard's own picture: the push is the next check's affair.
                server.state = SUSPECT;
                (false, false)
            }
            // A master that is offline waits for a promotion, and nothing is pushed.
            Err(_) => (server.has_failed(self.config.dead_checks) == SUSPECT || index > 0, false),
        };
        if push {
            self.change_group(topom, group, |group| group.out_of_sync = true);
            match self.push_group(topom, group).await {
                Ok(()) => self.change_group(topom, group, |group| group.out_of_sync = !settled),
                Err(Fault(why)) => tracing::debug!(why, group, "a group of the sandbox was not pushed everywhere"),
            }
        }
    }
}

impl GroupServer {
    /// Takes an answer in and returns the state before it.
    fn has_answered(&mut self, role: String) -> u8 {
        let before = self.state;
        (self.state, self.recall_times, self.replica_group, self.role) = (NORMAL, 0, true, role);
        self.action.state = "synced".to_owned();
        before
    }

    /// Takes one more missing answer in and returns the state after it.
    fn has_failed(&mut self, failures_max: i8) -> u8 {
        self.recall_times = self.recall_times.saturating_add(1);
        if self.recall_times >= failures_max {
            (self.state, self.replica_group) = (OFFLINE, false);
            self.action.state.clear();
        }
        self.state
    }
}

impl Stored {
    /// The addresses of all servers.
    pub(super) fn servers(&self) -> Vec<String> {
        self.groups.values().flat_map(|group| &group.servers).map(|server| server.server.clone()).collect()
    }

    /// Group, place and address of the servers in this state.
    fn servers_in(&self, state: u8) -> Vec<(i64, usize, String)> {
        let servers = self.groups.values().flat_map(|group| {
            let servers = group.servers.iter().enumerate();
            servers.map(|(index, server)| (group.id, index, server))
        });
        let chosen = servers.filter(|(_, _, server)| server.state == state);
        chosen.map(|(group, index, server)| (group, index, server.server.clone())).collect()
    }
}

const PROBE_MAX: Duration = Duration::from_secs(1);
