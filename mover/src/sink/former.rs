// SPDX-License-Identifier: Apache-2.0
use std::time::{Duration, Instant};

use redis::Value;
use tokio::time::sleep;
use tracing::info;

use crate::endpoint::RESPONSE_TIMEOUT;
use crate::sink::Target;
use crate::{Error, Result};

impl Target {
    /// Returns when the server serves none of these connections any more: what one of them had sent before its end may be
    /// there and not be done yet, and would else be done behind what a later connection writes.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost) when it does not let go of them, and as [`Target::keys`].
    pub async fn outlive(&mut self, connections: &[String]) -> Result<()> {
        if connections.is_empty() {
            return Ok(());
        }
        let begin = Instant::now();
        loop {
            let served = self.served(connections).await?;
            if served.is_empty() {
                return Ok(());
            }
            info!(?served, "connections of an earlier attempt are still served, ending them");
            for connection in &served {
                match self.client.ask(redis::cmd("CLIENT").arg("KILL").arg(connection)).await {
                    // It has gone by itself meanwhile.
                    Ok(_) | Err(Error::Reply { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            if begin.elapsed() > RESPONSE_TIMEOUT {
                let what = format!("it still serves the connection {} of an earlier attempt", served[0]);
                return Err(self.endpoint().lost(what));
            }
            sleep(STEP).await;
        }
    }

    /// Those of these connections that it serves.
    async fn served(&mut self, connections: &[String]) -> Result<Vec<String>> {
        let text = match self.client.ask(redis::cmd("CLIENT").arg("LIST")).await? {
            Value::BulkString(text) => String::from_utf8_lossy(&text).into_owned(),
            Value::SimpleString(text) => text,
            Value::VerbatimString { text, .. } => text,
            other => return Err(self.endpoint().answered("CLIENT LIST", format!("{other:?}"))),
        };
        let addresses = text.split_ascii_whitespace().filter_map(|word| word.strip_prefix("addr="));
        let served = addresses.filter(|address| connections.iter().any(|connection| connection == address));
        Ok(served.map(str::to_owned).collect())
    }
}

/// Between two looks: a command that is being done takes less, as a rule.
const STEP: Duration = Duration::from_millis(10);
