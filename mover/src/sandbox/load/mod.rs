// SPDX-License-Identifier: Apache-2.0
//! Clients that write and read all types through an address and know what every reply must be: the oracle of a live move.
//!
//! A comparison after a move proves nothing about the move; only clients see a value that was lost or stale for a moment.
//! Each writer owns its keys, so that its model is exact; counters that all writers share are held to weaker, still exact
//! laws. Keys carry hash tags, so that the load can be sent to chosen slots.

mod caches;
mod check;
mod config;
mod connection;
mod counter;
mod entry;
mod expected;
mod fill;
mod key;
mod kind;
mod report;
mod several;
mod tally;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

pub use self::config::{Addrs, CommandSet, LoadConfig, Tag, tag_for_slot};
pub use self::fill::{FillConfig, FillReport, fill};
pub use self::report::{Latency, Report, WrongValue};

use self::caches::Caches;
use self::connection::Connection;
use self::counter::Counter;
use self::expected::Expected;
use self::kind::Request;
use self::tally::Tally;
use self::writer::{Check, Shared, Writer};
use crate::sandbox::reply::Reply;

/// Why a load or a fill failed as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is nothing to do, or no such share.
    #[error("the load cannot be: {what}")]
    Config {
        /// What is wrong with the configuration.
        what: &'static str,
    },
    /// The address does not answer as it must before the load can begin.
    #[error("cannot begin at {addr}")]
    Connection {
        /// Where to.
        addr: SocketAddr,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// A fill was answered with an error.
    #[error("{addr} refused a {command}: {why}")]
    Refused {
        /// Who refused.
        addr: SocketAddr,
        /// The command's name.
        command: &'static str,
        /// The error reply.
        why: String,
    },
}

/// A running load. Dropping it ends it at once, without a check.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    orders: Vec<mpsc::Sender<Check>>,
    writers: JoinSet<()>,
}

impl Load {
    /// Deletes the load's own keys, builds its big ones and lets the writers begin.
    ///
    /// # Errors
    /// When the configuration makes no sense or the address does not take the first commands.
    pub async fn start(config: LoadConfig) -> Result<Self, LoadError> {
        check_config(&config)?;
        let addr = config.addrs[0];
        let fault = |source| LoadError::Connection { addr, source };
        let counters = counters(&config);
        let may_be_cached = caches::may_be_cached(&config).await;
        let (tally, caches_are_off) = (Tally::new(config.seed), AtomicBool::new(false));
        let shared = Arc::new(Shared { tally, counters, config, may_be_cached, caches_are_off });
        let mut connection = Connection::open(addr, shared.config.password.as_deref()).await.map_err(fault)?;
        for counter in &shared.counters {
            ask(&mut connection, &counter.key, &Request::new("DEL", []), &shared.config).await.map_err(fault)?;
        }
        let mut ready = Vec::new();
        for number in 0..shared.config.writers {
            let mut writer = Writer::new(Arc::clone(&shared), number);
            writer.prepare().await.map_err(|source| LoadError::Connection { addr: writer.addr(), source })?;
            ready.push(writer);
        }
        let mut writers = JoinSet::new();
        let start = |writer: Writer| {
            let (sender, orders) = mpsc::channel(1);
            writers.spawn(writer.run(orders));
            sender
        };
        let orders = ready.into_iter().map(start).collect();
        Ok(Self { shared, orders, writers })
    }

    /// A load of this length, with the check at its end.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn run_for(config: LoadConfig, length: Duration) -> Result<Report, LoadError> {
        let load = Self::start(config).await?;
        sleep(length).await;
        Ok(load.stop().await)
    }

    /// What it has seen so far.
    pub fn report(&self) -> Report {
        self.shared.tally.report()
    }

    /// Lets every writer read all of its keys back, while the others may still write theirs, and returns what was seen
    /// so far, the differences among it.
    pub async fn check_all(&self) -> Report {
        self.shared.tally.begin_check();
        let caches = self.switch_caches_off().await;
        let mut done = Vec::new();
        for orders in &self.orders {
            let (order, checked) = oneshot::channel();
            // A writer that has failed is reported by stop.
            if orders.send(order).await.is_ok() {
                done.push(checked);
            }
        }
        for checked in done {
            // The writer drops its end when it has done all it can.
            let _ = checked.await;
        }
        self.check_counters().await;
        self.shared.caches_are_off.store(false, Ordering::SeqCst);
        self.note_failure(caches.switch_back(&self.shared.config).await);
        self.report()
    }

    /// Ends the writers, reads every key back and returns what was seen. The nodes' caches stay off.
    pub async fn stop(mut self) -> Report {
        self.shared.tally.begin_check();
        self.switch_caches_off().await;
        self.orders.clear();
        while let Some(ended) = self.writers.join_next().await {
            if let Err(error) = ended {
                self.shared.tally.error(&format!("a writer failed: {error}"));
            }
        }
        self.check_counters().await;
        self.report()
    }

    /// Has all that is read from here on come from the nodes' data; what their caches were before.
    async fn switch_caches_off(&self) -> Caches {
        let mut caches = Caches::default();
        let config = &self.shared.config;
        let switched = caches.switch_off(config).await;
        self.shared.caches_are_off.store(switched.is_ok() && !config.nodes.is_empty(), Ordering::SeqCst);
        self.note_failure(switched);
        caches
    }

    fn note_failure(&self, result: io::Result<()>) {
        if let Err(error) = result {
            self.shared.tally.error(&format!("cannot switch a cache: {error}"));
        }
    }

    async fn check_counters(&self) {
        for counter in &self.shared.counters {
            let read = match self.check_counter(counter).await {
                Ok(()) => true,
                Err(error) => {
                    self.shared.tally.error(&format!("counter {}: {error}", counter.key.escape_ascii()));
                    false
                }
            };
            self.shared.tally.checked(read);
        }
    }

    /// To the first address that answers.
    async fn connect(&self) -> io::Result<Connection> {
        let config = &self.shared.config;
        let mut failure = io::ErrorKind::AddrNotAvailable.into();
        for &addr in &config.addrs {
            match Connection::open(addr, config.password.as_deref()).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn check_counter(&self, counter: &Counter) -> io::Result<()> {
        let config = &self.shared.config;
        let mut connection = self.connect().await?;
        let least = counter.least();
        let request = Request::new("GET", []);
        let reply = ask(&mut connection, &counter.key, &request, config).await?;
        let possible = least..=counter.greatest();
        let value = match &reply {
            Reply::Bulk(None) => Some(0),
            Reply::Bulk(Some(digits)) => std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()),
            _ => None,
        };
        if !value.is_some_and(|value| possible.contains(&value)) {
            let expected = Expected::Between(*possible.start(), *possible.end());
            self.shared.tally.wrong(&counter.key, &request, &expected, &reply);
        }
        Ok(())
    }
}

fn check_config(config: &LoadConfig) -> Result<(), LoadError> {
    let what = match config {
        LoadConfig { writers: 0, .. } => "no writers",
        LoadConfig { addrs, .. } if addrs.is_empty() => "no address",
        LoadConfig { tags, .. } if tags.is_empty() => "no tags",
        LoadConfig { keys_per_tag: 0, .. } => "no keys",
        LoadConfig { hot_share, .. } if !(0.0..=1.0).contains(hot_share) => "the hot share is not from 0 to 1",
        _ => return Ok(()),
    };
    Err(LoadError::Config { what })
}

/// One for each hot tag, or for the first tag where none is hot.
fn counters(config: &LoadConfig) -> Vec<Counter> {
    let hot: Vec<_> = config.tags.iter().filter(|tag| tag.hot).collect();
    let tags = if hot.is_empty() { config.tags.iter().take(1).collect() } else { hot };
    let name = |tag: &Tag| Bytes::from(format!("{{{}}}:load:{}:counter", tag.name, config.seed));
    tags.into_iter().map(|tag| Counter::new(name(tag))).collect()
}

/// One request outside of the load.
async fn ask(connection: &mut Connection, key: &Bytes, request: &Request, config: &LoadConfig) -> io::Result<Reply> {
    let words: Vec<&[u8]> =
        [request.name.as_bytes(), key].into_iter().chain(request.args.iter().map(|arg| &arg[..])).collect();
    connection.call(&words, config.reply_time_max).await
}
