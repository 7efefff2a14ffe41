// SPDX-License-Identifier: Apache-2.0
//! How far the target's replicas are. Where clients read from replicas, a slot that is switched before they have it goes
//! back in time.

use std::fmt;
use std::time::Duration;

use redis::Value;

use crate::Result;
use crate::dialect::Dialect;
use crate::endpoint::Info;
use crate::sink::Target;

/// A replica of the target that has not got all that its master has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Behind {
    /// Its address.
    pub replica: String,
    /// Bytes of the master's log that it lacks, as the master knows; `None` while it is not following the log at all.
    pub bytes: Option<u64>,
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes {
            Some(bytes) => write!(f, "the target's replica {} is {bytes} bytes behind", self.replica),
            None => write!(f, "the target's replica {} is not in sync", self.replica),
        }
    }
}

impl Target {
    /// The replica that is furthest behind what the target has answered so far; `None` when all have it.
    ///
    /// A Redis is asked to have its replicas answer, for which it waits for some milliseconds. A Pika knows what it has
    /// sent to them, not what they have done with it.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost), [`Error::Reply`](crate::Error::Reply).
    pub async fn replica_behind(&mut self) -> Result<Option<Behind>> {
        let info = self.client.info("replication").await?;
        let replicas = self.replicas(&info);
        let is_redis = matches!(self.dialect, Dialect::Redis { .. });
        if is_redis && !replicas.is_empty() && self.wait(replicas.len()).await? >= replicas.len() as i64 {
            return Ok(None);
        }
        let behind = replicas.into_iter().filter(|behind| is_redis || behind.bytes != Some(0));
        Ok(behind.max_by_key(|behind| behind.bytes.unwrap_or(u64::MAX)))
    }

    /// Its replicas, as its `INFO replication` tells. A Redis knows of each what it had a second ago.
    pub fn replicas(&self, info: &Info) -> Vec<Behind> {
        match self.dialect {
            Dialect::Pika => of_pika(info, self.endpoint().database),
            Dialect::Redis { .. } => of_redis(info),
        }
    }

    /// How many replicas have got all of it.
    async fn wait(&mut self, replicas: usize) -> Result<i64> {
        let patience = u64::try_from(ANSWER_MAX.as_millis()).unwrap_or(u64::MAX);
        match self.client.ask(redis::cmd("WAIT").arg(replicas).arg(patience)).await? {
            Value::Int(count) => Ok(count),
            other => Err(self.endpoint().answered("WAIT", format!("{other:?}"))),
        }
    }
}

/// `slave0:ip=10.0.0.3,port=6379,state=online,offset=42,lag=0`, the offset as of its last answer.
fn of_redis(info: &Info) -> Vec<Behind> {
    let end: Option<u64> = info.get("master_repl_offset").and_then(|offset| offset.parse().ok());
    let lag = |line: &str| {
        let offset: u64 = field(line, "offset")?.parse().ok()?;
        // The link's own messages count too, so a replica that has all of the data may seem to be behind.
        (field(line, "state")? == "online").then(|| end.unwrap_or(u64::MAX).saturating_sub(offset))
    };
    lines(info).map(|line| Behind { replica: address(line), bytes: lag(line) }).collect()
}

/// `slave0:ip=10.0.0.3,port=9221,conn_fd=70,lag=(db0:42)(db1:0)`; instead of a number also `full syncing`.
fn of_pika(info: &Info, database: u32) -> Vec<Behind> {
    let name = format!("(db{database}:");
    let lag = |line: &str| line.split_once(&name)?.1.split_once(')')?.0.parse().ok();
    lines(info).map(|line| Behind { replica: address(line), bytes: lag(line) }).collect()
}

fn lines(info: &Info) -> impl Iterator<Item = &str> {
    (0..).map_while(|number| info.get(&format!("slave{number}")))
}

fn address(line: &str) -> String {
    format!("{}:{}", field(line, "ip").unwrap_or("?"), field(line, "port").unwrap_or("?"))
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

/// How long a Redis may wait for its replicas at a time.
const ANSWER_MAX: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(replica: &str, bytes: Option<u64>) -> Behind {
        Behind { replica: replica.to_owned(), bytes }
    }

    #[test]
    fn reads_what_a_redis_says() {
        let info = Info::from_text(
            "# Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
             slave0:ip=10.0.0.3,port=6380,state=online,offset=70,lag=1\r\n\
             slave1:ip=10.0.0.4,port=6380,state=wait_bgsave,offset=0,lag=0\r\nmaster_repl_offset:84\r\n",
        );
        assert_eq!(of_redis(&info), [behind("10.0.0.3:6380", Some(14)), behind("10.0.0.4:6380", None)]);
        assert_eq!(of_redis(&Info::from_text("role:master\r\nconnected_slaves:0\r\n")), []);
    }

    #[test]
    fn reads_what_a_pika_says() {
        let info = Info::from_text(
            "# Replication(MASTER)\r\nrole:master\r\nconnected_slaves:3\r\n\
             slave0:ip=10.0.0.3,port=9221,conn_fd=70,lag=(db0:42)(db1:7)\r\n\
             slave1:ip=10.0.0.4,port=9221,conn_fd=71,lag=(db0:full syncing)(db1:not syncing)\r\n\
             slave2:ip=10.0.0.5,port=9221,conn_fd=72,lag=\r\n",
        );
        let of = |database| of_pika(&info, database).into_iter().map(|behind| behind.bytes).collect::<Vec<_>>();
        assert_eq!(of(0), [Some(42), None, None]);
        assert_eq!(of(1), [Some(7), None, None]);
        assert_eq!(of_pika(&info, 0)[0].to_string(), "the target's replica 10.0.0.3:9221 is 42 bytes behind");
    }
}
