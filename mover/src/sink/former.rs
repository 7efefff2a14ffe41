// SPDX-License-Identifier: Apache-2.0
use std::time::{Duration, Instant};

use redis::Value;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::Result;
use crate::sink::Target;

impl Target {
    /// Returns when the server is done with these connections, whose owner is gone: what one of them had sent before its end
    /// may have come and not be done yet, and would else be done behind what a later connection writes.
    ///
    /// None is ended from here: the server knows them by their addresses, and another client may have one of these by now.
    ///
    /// # Errors
    /// As [`Target::keys`].
    pub async fn outlive(&mut self, connections: &[String]) -> Result<()> {
        if connections.is_empty() {
            return Ok(());
        }
        let begin = Instant::now();
        loop {
            let at_work = self.at_work(connections).await?;
            if at_work.is_empty() {
                return Ok(());
            }
            if begin.elapsed() > OTHERS_MAX {
                // Its owner would have nothing left to send.
                warn!(?at_work, "connections are taken for those of other clients");
                return Ok(());
            }
            info!(?at_work, "waiting until the target is done with an earlier attempt");
            sleep(STEP).await;
        }
    }

    /// Those of these connections that the server has heard of lately.
    async fn at_work(&mut self, connections: &[String]) -> Result<Vec<String>> {
        let text = match self.client.ask(redis::cmd("CLIENT").arg("LIST")).await? {
            Value::BulkString(text) => String::from_utf8_lossy(&text).into_owned(),
            Value::SimpleString(text) => text,
            Value::VerbatimString { text, .. } => text,
            other => return Err(self.endpoint().answered("CLIENT LIST", format!("{other:?}"))),
        };
        let mut at_work = Vec::new();
        for line in text.lines() {
            let value = |name: &str| line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name));
            let is_idle = value("idle=").and_then(|idle| idle.parse().ok()).is_some_and(|idle: u64| idle >= IDLE_MIN);
            let address = value("addr=").filter(|address| connections.iter().any(|connection| connection == address));
            at_work.extend(address.filter(|_| !is_idle).map(str::to_owned));
        }
        Ok(at_work)
    }
}

/// Between two looks: a command that is being done takes less, as a rule.
const STEP: Duration = Duration::from_millis(10);

/// Seconds after which nothing is left to be read of a connection whose end the server has not heard of.
const IDLE_MIN: u64 = 2;

/// A connection that is busy for so long has an owner who lives.
const OTHERS_MAX: Duration = Duration::from_secs(10);
