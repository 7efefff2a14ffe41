// SPDX-License-Identifier: Apache-2.0
//! The target as a server that speaks RESP.

use std::net::SocketAddr;

use flume::{Receiver, Sender};
use replication::{Slot, SlotCount, SlotSet};

use crate::batch::{Batch, KeyCounts};
use crate::dialect::{Dialect, HyperLogLogPolicy, Verb};
use crate::endpoint::{Client, Endpoint, Identity, Info, Names, READS, check_no_raft};
use crate::sink::answer::Answer;
use crate::sink::expected::{Counter, Expected};
use crate::sink::pipe::{Pipe, PipeReader, PipeWriter};
use crate::sink::render::Commands;
use crate::sink::{Answers, Outlet, Sink, count};
use crate::{BoxFuture, Error, Result};

/// A target that has been looked at and found fit.
#[derive(Clone)]
pub struct Target {
    pub(super) client: Client,
    pub(super) dialect: Dialect,
    slot_count: SlotCount,
    run: String,
    identity: Identity,
}

impl Target {
    /// Connects and checks that the server is one that may be written to.
    ///
    /// # Errors
    /// [`Error::Connect`](crate::Error::Connect), and [`Error::Unfit`](crate::Error::Unfit) for a replica or an unknown
    /// version.
    pub async fn connect(endpoint: &Endpoint, slot_count: SlotCount, hyperloglog: HyperLogLogPolicy) -> Result<Self> {
        let (mut client, server) = connect_by_its_names(endpoint).await?;
        let dialect = Dialect::of(endpoint, &server, hyperloglog)?;
        let run = server.get("run_id").unwrap_or_default().to_owned();
        let identity = match Identity::of_pika(&server) {
            Some(Ok(identity)) => identity,
            _ => Identity::of_redis(&server),
        };
        client.check_commands(&READS).await?;
        client.check_commands(&["CLIENT"]).await?;
        if dialect == Dialect::Pika {
            client.check_commands(&["ACL"]).await?;
            client.check_user().await?;
            check_no_raft(&mut client).await?;
        }
        client.check_master("a replica takes no writes").await?;
        Ok(Self { client, dialect, slot_count, run, identity })
    }

    /// Checks that it can be written to, and that it keeps what is written.
    ///
    /// # Errors
    /// [`Error::Unfit`] with the command that it does not know, or for a Redis that deletes keys when its memory is full.
    pub async fn check_writes(&self) -> Result<()> {
        let mut client = self.client();
        let verbs: Vec<&str> =
            Verb::ALL.into_iter().filter(|verb| self.dialect.allows(*verb)).map(Verb::name).collect();
        client.check_commands(&verbs).await?;
        if self.dialect == Dialect::Pika {
            return Ok(());
        }
        if let Some(policy) = evicting_policy(&client.info("memory").await?) {
            let what = format!("it deletes keys when its memory is full (maxmemory-policy {policy})");
            return Err(self.endpoint().unfit(what, "say `CONFIG SET maxmemory-policy noeviction` there"));
        }
        Ok(())
    }

    /// What it says it is, and what it was taken for.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What it understands.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The process that it is: another one after a restart.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// That it is the process that it was, and a master.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost) after a restart, [`Error::Unfit`](crate::Error::Unfit) for a replica.
    pub async fn check(&mut self) -> Result<()> {
        self.client.check_same(&self.run).await
    }

    /// The server.
    pub fn endpoint(&self) -> &Endpoint {
        self.client.endpoint()
    }

    /// A connection for questions.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A connection for questions that nobody else has.
    ///
    /// # Errors
    /// [`Error::Connect`](crate::Error::Connect).
    pub async fn another(&self) -> Result<Client> {
        self.client.another().await
    }

    /// A new bulk connection.
    ///
    /// # Errors
    /// [`Error::Connect`](crate::Error::Connect).
    pub async fn sink(&self) -> Result<RedisSink> {
        let pipe = Pipe::connect(self.endpoint()).await?;
        Ok(RedisSink { endpoint: self.endpoint().clone(), pipe, dialect: self.dialect })
    }

    /// The slot of a key.
    pub fn slot_of(&self, key: &[u8]) -> Slot {
        self.slot_count.slot_of(key)
    }

    /// One page of the target's keys that lie in `slots`, and the cursor of the next page; `None` after the last one.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost), [`Error::Reply`](crate::Error::Reply).
    pub async fn keys(&mut self, slots: &SlotSet, cursor: &str) -> Result<(Vec<Vec<u8>>, Option<String>)> {
        let (mut keys, next) = self.client.scan(cursor).await?;
        keys.retain(|key| slots.contains(self.slot_of(key)) && !replication::is_internal_key(key));
        Ok((keys, next))
    }

    /// Deletes every key of `slots` and returns how many there were.
    ///
    /// # Errors
    /// As [`Target::keys`].
    pub async fn purge(&mut self, slots: &SlotSet) -> Result<u64> {
        let (mut purged, mut in_vain) = (0, 0);
        // A scan may pass keys by while others are deleted around it.
        while in_vain < PURGES_IN_VAIN {
            let (mut met, mut deleted, mut cursor) = (0, 0, Some("0".to_owned()));
            while let Some(at) = cursor {
                let (keys, next) = self.keys(slots, &at).await?;
                deleted += self.delete(&keys).await?;
                met += keys.len();
                cursor = next;
            }
            if met == 0 {
                return Ok(purged);
            }
            purged += deleted;
            // Those that it met may have expired meanwhile, but not again and again.
            in_vain = if deleted == 0 { in_vain + 1 } else { 0 };
        }
        Err(self.client.endpoint().answered("SCAN", "keys again and again that it does not delete"))
    }

    /// Deletes these keys and returns how many of them there were.
    ///
    /// # Errors
    /// As [`Target::keys`].
    pub async fn delete(&mut self, keys: &[Vec<u8>]) -> Result<u64> {
        let were_there = self.client.delete(self.dialect.removal().name(), keys).await?;
        Ok(were_there.into_iter().filter(|was_there| *was_there).count() as u64)
    }
}

/// Connects to a server that may be no Pika, whose commands then have their usual names, and asks what it is.
async fn connect_by_its_names(endpoint: &Endpoint) -> Result<(Client, Info)> {
    let mut client = endpoint.connect().await?;
    if !endpoint.names.are_only_of_pika() {
        let server = client.info("server").await?;
        return Ok((client, server));
    }
    let mut usual = client.clone().named(Names::default());
    let server = match client.info("server").await {
        Err(Error::Unfit { .. }) => usual.info("server").await?,
        server => server?,
    };
    let is_pika = server.get("pika_version").is_some();
    Ok((if is_pika { client } else { usual }, server))
}

/// The policy by which a Redis deletes keys that nobody asked to be deleted; `None` when it never does.
fn evicting_policy(memory: &Info) -> Option<&str> {
    let is_bounded = memory.get("maxmemory").is_some_and(|bytes| bytes.parse::<u64>().is_ok_and(|bytes| bytes > 0));
    memory.get("maxmemory_policy").filter(|policy| is_bounded && *policy != "noeviction")
}

/// A bulk connection to a RESP server.
#[derive(Debug)]
pub struct RedisSink {
    endpoint: Endpoint,
    pipe: Pipe,
    dialect: Dialect,
}

impl RedisSink {
    /// Its own end of the connection.
    pub fn local_addr(&self) -> SocketAddr {
        self.pipe.local_addr()
    }
}

impl Sink for RedisSink {
    fn split(self: Box<Self>) -> (Box<dyn Outlet>, Box<dyn Answers>) {
        let Self { endpoint, pipe, dialect } = *self;
        let (reader, writer) = pipe.split();
        // The line bounds what has no answer, and so what stands in here.
        let (unanswered, expected) = flume::unbounded();
        let outlet = RedisOutlet { writer, commands: Commands::new(dialect).named(endpoint.names.clone()), unanswered };
        (Box::new(outlet), Box::new(RedisAnswers { endpoint, reader, expected }))
    }

    fn window(&self) -> usize {
        WINDOW
    }
}

struct RedisOutlet {
    writer: PipeWriter,
    commands: Commands,
    unanswered: Sender<Expected>,
}

impl RedisOutlet {
    async fn send_batch(&mut self, batch: &Batch) -> Result<()> {
        for write in batch.writes() {
            self.commands.render(write, batch.is_counted())?;
        }
        // Before the first byte goes: its answer may come at once.
        let expected = self.commands.take_expected();
        self.unanswered.send(expected).map_err(|_| Error::LineStopped)?;
        self.writer.write(self.commands.bytes()).await?;
        self.commands.clear();
        Ok(())
    }
}

impl Outlet for RedisOutlet {
    fn commands(&self, batch: &Batch) -> usize {
        count::of_batch(self.commands.dialect(), batch)
    }

    fn send<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.send_batch(batch))
    }
}

struct RedisAnswers {
    endpoint: Endpoint,
    reader: PipeReader,
    expected: Receiver<Expected>,
}

impl RedisAnswers {
    async fn next_batch(&mut self) -> Result<KeyCounts> {
        let expected = self.expected.recv_async().await.map_err(|_| Error::LineStopped)?;
        let Self { endpoint, reader, .. } = self;
        let (mut refusal, mut counter) = (None, Counter::default());
        // No refusal can mean "I have it": whoever reads a stream asks the target first what it has.
        let check = |index: usize, answer: Answer<'_>| {
            let (verb, tells) = expected.of(index);
            counter.take(tells, answer);
            let Answer::Refused(line) = answer else { return };
            if refusal.is_none() && !verb.is_question() {
                refusal = Some(endpoint.answered(verb.name(), String::from_utf8_lossy(line)));
            }
        };
        reader.read(expected.len(), check).await?;
        refusal.map_or_else(|| Ok(counter.counts()), Err)
    }
}

impl Answers for RedisAnswers {
    fn next(&mut self) -> BoxFuture<'_, Result<KeyCounts>> {
        Box::pin(self.next_batch())
    }
}

/// The server has the next batches at hand while it works on one, and not so many that another client's command that comes
/// in between waits for long.
const WINDOW: usize = 256 << 10;

/// So often a whole scan may meet keys of which none is deleted.
const PURGES_IN_VAIN: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bounded_redis_with_a_policy_deletes_keys() {
        let of = |text: &str| evicting_policy(&Info::from_text(text)).map(str::to_owned);
        let text =
            |bytes: &str, policy: &str| format!("# Memory\r\nmaxmemory:{bytes}\r\nmaxmemory_policy:{policy}\r\n");
        assert_eq!(of(&text("1048576", "allkeys-lru")), Some("allkeys-lru".to_owned()));
        assert_eq!(of(&text("1048576", "volatile-ttl")), Some("volatile-ttl".to_owned()));
        assert_eq!(of(&text("1048576", "noeviction")), None);
        assert_eq!(of(&text("0", "allkeys-lru")), None);
        assert_eq!(of(""), None);
    }
}
