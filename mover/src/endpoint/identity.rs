// SPDX-License-Identifier: Apache-2.0
//! Which server a node says it is, and which one it is taken for: its behaviour decides, not its version's first letters.

use std::fmt;

use serde::{Serialize, Serializer};

use super::names::is_unknown_command;
use super::{Client, Info};
use crate::{Error, Result};

/// What a server says it is, and what it was taken for. As JSON it is its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// `Pika` or `Redis`.
    pub product: &'static str,
    /// Its version in its own words. The release 4.0.1 of Pika says 4.0.0.
    pub version: String,
    /// The start of the commit that it was built from, where it says so.
    pub git: Option<String>,
    /// The version whose facts were found to hold, where that is another one than it says.
    pub taken_for: Option<&'static str>,
}

impl Identity {
    /// The Pika that answered `INFO server` like this; `None` for no Pika at all.
    ///
    /// # Errors
    /// Why a Pika of this version cannot be taken, and what helps.
    pub(crate) fn of_pika(server: &Info) -> Option<Result<Self, (String, &'static str)>> {
        let version = server.get("pika_version")?.trim_start_matches('v').to_owned();
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        Some(match major {
            Some(4) => Ok(Self {
                product: "Pika",
                version,
                git: server.get("pika_git_sha").filter(|sha| !sha.is_empty()).map(|sha| sha.chars().take(8).collect()),
                taken_for: Some(TAKEN_FOR),
            }),
            Some(0..4) => Err((format!("its version {version} has another layout on disk"), "use a Pika 4.0")),
            _ => Err((format!("its version {version} is not known"), "use a Pika 4.0")),
        })
    }

    /// The Redis that answered `INFO server` like this.
    pub(crate) fn of_redis(server: &Info) -> Self {
        let version = server.get("redis_version").unwrap_or("of no version").to_owned();
        Self { product: "Redis", version, git: None, taken_for: None }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.product, self.version)?;
        if let Some(git) = &self.git {
            write!(f, " (git {git})")?;
        }
        match self.taken_for {
            Some(version) => write!(f, ", taken for {version}: a master without Raft and strong replication"),
            None => Ok(()),
        }
    }
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Refuses a Pika whose writes go through Raft: its log is not the one that is followed here.
///
/// # Errors
/// [`Error::Unfit`], [`Error::Lost`].
pub(crate) async fn check_no_raft(client: &mut Client) -> Result<()> {
    match client.ask(redis::cmd("RAFT.CLUSTER").arg("INFO")).await {
        // It does not know the command, which is what is hoped for.
        Err(Error::Unfit { .. }) => Ok(()),
        Err(error @ Error::Reply { .. }) if is_denied(&error) => Err(error),
        Ok(_) | Err(Error::Reply { .. }) => {
            let help = "use a build without Raft: what its log names is not yet in its data";
            Err(client.endpoint().unfit("it knows RAFT.CLUSTER, so its writes may go through Raft", help))
        }
        Err(error) => Err(error),
    }
}

fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Reply { reply, .. } if reply.starts_with("NOAUTH") && !is_unknown_command(reply))
}

/// The release whose layout on disk, log and answers are the ones that are known here.
const TAKEN_FOR: &str = "4.0.1";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Result<Identity, (String, &'static str)>> {
        Identity::of_pika(&Info::from_text(text))
    }

    #[test]
    fn a_pika_4_is_taken_for_the_one_that_is_known() {
        let text = "# Server\r\npika_version:4.0.0\r\npika_git_sha:23d9bf6f0123456789\r\nrun_id:x\r\n";
        let found = of(text).unwrap().unwrap();
        assert_eq!(
            found.to_string(),
            "Pika 4.0.0 (git 23d9bf6f), taken for 4.0.1: a master without Raft and strong replication"
        );
        assert_eq!(serde_json::to_string(&found).unwrap(), format!("\"{found}\""));
        for version in ["v4.0.1", "4.0.2", "4.1.0", "4"] {
            let found = of(&format!("pika_version:{version}\r\npika_git_sha:\r\n")).unwrap().unwrap();
            assert_eq!((found.version.as_str(), found.git), (version.trim_start_matches('v'), None));
        }
        let redis = Identity::of_redis(&Info::from_text("redis_version:7.0.15\r\n"));
        assert_eq!(redis.to_string(), "Redis 7.0.15");
    }

    #[test]
    fn other_versions_are_refused_with_the_reason() {
        assert_eq!(of("redis_version:7.0.15\r\n"), None);
        for (version, reason) in
            [("3.5.6", "layout"), ("5.0.0", "not known"), ("unstable", "not known"), ("", "not known")]
        {
            let (what, _) = of(&format!("pika_version:{version}\r\n")).unwrap().unwrap_err();
            assert!(what.contains(reason) && what.contains(version), "{what}");
        }
    }
}
