// SPDX-License-Identifier: Apache-2.0
//! One client: chooses commands, sends them, and holds every reply against its model.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use super::check::Found;
use super::config::LoadConfig;
use super::connection::Connection;
use super::counter::Counter;
use super::entry::{Entry, Window, now};
use super::expected::Expected;
use super::key::Key;
use super::kind::{Operation, Request, Value};
use super::tally::Tally;
use crate::sandbox::reply::Reply;

/// What all writers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: LoadConfig,
    pub(super) tally: Tally,
    pub(super) counters: Vec<Counter>,
    /// Whether some node may answer reads from a cache.
    pub(super) may_be_cached: bool,
    /// Whether none does now.
    pub(super) caches_are_off: AtomicBool,
}

/// An order to read every key back; its sender is dropped when that is done.
pub(super) type Check = oneshot::Sender<()>;

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) rng: StdRng,
    /// One for each address, opened when it is needed.
    connections: Vec<Option<Connection>>,
    /// The address that is used now.
    at: usize,
    pub(super) keys: Vec<Key>,
    /// Ordinary keys of hot tags, those of other tags, and big keys.
    groups: [Vec<usize>; 3],
    /// The big hash and the stream, which are also written many times at once.
    pub(super) hot: Vec<usize>,
}

impl Writer {
    /// With its own keys, which do not exist yet.
    pub(super) fn new(shared: Arc<Shared>, number: usize) -> Self {
        let config = &shared.config;
        let seed = config.seed.wrapping_add((number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let prefix = |tag: &str| format!("{{{tag}}}:load:{}:{number}", config.seed);
        let mut keys = Vec::new();
        let mut groups = [Vec::new(), Vec::new(), Vec::new()];
        for tag in &config.tags {
            for index in 0..config.keys_per_tag {
                groups[usize::from(!tag.hot)].push(keys.len());
                keys.push(Key::new(Bytes::from(format!("{}:{index}", prefix(&tag.name)))));
            }
        }
        let mut hot = Vec::new();
        if let Some(tag) = config.tags.first().filter(|_| config.big_elements > 0) {
            for (kind, empty) in [("hash", Value::hash()), ("list", Value::list()), ("zset", Value::zset())] {
                groups[BIG].push(keys.len());
                let name = Bytes::from(format!("{}:big:{kind}", prefix(&tag.name)));
                keys.push(Key::big(name, empty, config.big_elements));
            }
            groups[BIG].push(keys.len());
            hot = vec![groups[BIG][0], keys.len()];
            let name = Bytes::from(format!("{}:big:stream", prefix(&tag.name)));
            keys.push(Key::big(name, Value::stream(), STREAM_ENTRIES));
        }
        let (connections, at) = (config.addrs.iter().map(|_| None).collect(), number % config.addrs.len());
        Self { rng: StdRng::seed_from_u64(seed), connections, at, keys, groups, hot, shared }
    }

    /// Connects, deletes what an earlier load of this name left, and builds the big keys.
    pub(super) async fn prepare(&mut self) -> io::Result<()> {
        let password = self.shared.config.password.as_deref();
        self.connections[self.at] = Some(Connection::open(self.addr(), password).await?);
        for index in 0..self.keys.len() {
            self.forget(index).await;
            for operation in self.keys[index].build() {
                self.send(vec![(index, operation)]).await;
            }
        }
        let report = self.shared.tally.report();
        match self.connections[self.at].is_some() && report.is_clean() {
            true => Ok(()),
            false => Err(io::Error::other(report.to_string())),
        }
    }

    /// Works until there can be no more orders, then reads every key back.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Check>) {
        let writers = u32::try_from(self.shared.config.writers).unwrap_or(u32::MAX);
        let interval = self.shared.config.pace.map(|pace| Duration::from_secs(1) * writers / pace.max(1));
        let mut due = Instant::now();
        loop {
            let order = match interval {
                None => orders.try_recv().map_err(|error| error == mpsc::error::TryRecvError::Empty),
                Some(_) => timeout_at(due, orders.recv()).await.map_or(Err(true), |order| order.ok_or(false)),
            };
            match order {
                Ok(_check) => self.check().await,
                Err(true) => {
                    let sent = self.turn().await;
                    // After a stall the pace goes on; what was missed is not made up for.
                    due = due.max(Instant::now() - DELAY_MAX) + interval.unwrap_or_default() * sent;
                }
                Err(false) => break,
            }
        }
        self.check().await;
    }

    /// Sends a little and checks the replies; tells how many requests it meant to send.
    async fn turn(&mut self) -> u32 {
        self.turn_to_any();
        if !self.connect().await {
            return 1;
        }
        match self.rng.random_range(0..100) {
            0..=4 => self.count().await,
            5..=14 => self.pipeline().await,
            15..=16 => self.several().await,
            17 => self.burst().await,
            _ => self.single().await,
        }
    }

    pub(super) async fn single(&mut self) -> u32 {
        let index = self.pick(true);
        let key = &self.keys[index];
        if key.is_spoilt() {
            self.forget(index).await;
        } else if key.is_sure() {
            let operation = key.choose(&key.states[0], &mut self.rng, self.shared.config.hyperloglogs);
            if operation.request().bypasses_cache() {
                self.fill_cache(index).await;
            }
            // A reply may have been lost meanwhile.
            if self.keys[index].is_sure() {
                self.send(vec![(index, operation)]).await;
            }
        } else if key.unsettled(self.shared.config.settle).is_zero() {
            if self.settle(index).await == Found::OnlyCached {
                self.forget(index).await;
            }
        } else {
            // Most keys may be in doubt after a crash: no busy loop.
            sleep(Duration::from_millis(1)).await;
        }
        1
    }

    /// Most often has the node cache a key that is about to be changed behind the cache's back.
    pub(super) async fn fill_cache(&mut self, index: usize) {
        let key = &self.keys[index];
        let read = key.fill_cache(&key.states[0]).filter(|_| self.rng.random_ratio(3, 4));
        if let Some(read) = read {
            self.send(vec![(index, read)]).await;
        }
    }

    /// Several commands at once, some of them for the same key.
    async fn pipeline(&mut self) -> u32 {
        let mut ahead: BTreeMap<usize, Entry> = BTreeMap::new();
        let mut steps = Vec::new();
        let wanted = self.rng.random_range(2..=8);
        for _ in 0..wanted {
            let index = match steps.last() {
                Some(&(index, _)) if self.rng.random_ratio(1, 3) => index,
                _ => self.pick(false),
            };
            let key = &self.keys[index];
            let would_overtake = !self.shared.config.in_order && ahead.contains_key(&index);
            if key.is_sure() && !would_overtake {
                let state = ahead.entry(index).or_insert_with(|| key.states[0].clone());
                let operation = key.choose(state, &mut self.rng, self.shared.config.hyperloglogs);
                state.apply(&operation, self.window(now()));
                steps.push((index, operation));
            }
        }
        self.send(steps).await;
        wanted
    }

    /// Counts one of the shared counters up.
    async fn count(&mut self) -> u32 {
        let shared = Arc::clone(&self.shared);
        let counter = &shared.counters[self.rng.random_range(0..shared.counters.len())];
        let request = Request::new("INCR", []);
        counter.send();
        let (replies, _) = self.exchange(&[(&counter.key, &request)]).await;
        for reply in replies {
            let expected = match reply {
                Reply::Integer(value) => counter.acknowledge(value),
                // Counted as an error already; nobody knows whether it ran.
                Reply::Error(_) => Ok(()),
                _ => Err(Expected::Untold(counter.greatest())),
            };
            if let Err(expected) = expected {
                shared.tally.wrong(&counter.key, &request, &expected, &reply);
            }
        }
        1
    }

    pub(super) fn pick(&mut self, big: bool) -> usize {
        let [hot, cold, large] = &self.groups;
        let group = match () {
            () if big && !large.is_empty() && self.rng.random_ratio(1, 16) => large,
            () if cold.is_empty() => hot,
            () if hot.is_empty() || !self.rng.random_bool(self.shared.config.hot_share) => cold,
            () => hot,
        };
        // A tenth of it all goes to one key of each writer.
        match self.rng.random_ratio(1, 10) {
            true => group[0],
            false => group[self.rng.random_range(0..group.len())],
        }
    }

    /// Sends commands at once and takes the replies into the model.
    pub(super) async fn send(&mut self, steps: Vec<(usize, Operation)>) -> Window {
        let requests: Vec<_> = steps.iter().map(|(_, operation)| operation.request()).collect();
        let names: Vec<_> = steps.iter().map(|(index, _)| self.keys[*index].name.clone()).collect();
        let pairs: Vec<_> = names.iter().zip(&requests).collect();
        let (replies, window) = self.exchange(&pairs).await;
        let mut replies = replies.into_iter();
        for ((index, operation), request) in steps.iter().zip(&requests) {
            let key = &mut self.keys[*index];
            match replies.next() {
                _ if key.is_spoilt() => {}
                None | Some(Reply::Error(_)) => key.doubt(operation, window),
                Some(reply) => {
                    if let Err(expected) = key.answer(operation, &reply, window, self.shared.may_be_cached) {
                        self.shared.tally.wrong(&key.name, request, &expected, &reply);
                    }
                }
            }
        }
        window
    }

    /// Deletes a key, whatever it is.
    async fn forget(&mut self, index: usize) {
        let name = self.keys[index].name.clone();
        let (replies, _) = self.exchange(&[(&name, &Request::new("DEL", []))]).await;
        if let Some(Reply::Integer(count)) = replies.first() {
            self.keys[index].forget(*count > 0);
        }
    }

    /// The address that is used now.
    pub(super) fn addr(&self) -> SocketAddr {
        self.shared.config.addrs[self.at]
    }

    /// Goes on through any of the addresses.
    pub(super) fn turn_to_any(&mut self) {
        let count = self.connections.len();
        if count > 1 {
            self.at = self.rng.random_range(0..count);
        }
    }

    /// Makes sure there is a connection; waits a little when there is none, and turns to the next address.
    pub(super) async fn connect(&mut self) -> bool {
        if self.connections[self.at].is_none() {
            match Connection::open(self.addr(), self.shared.config.password.as_deref()).await {
                Ok(connection) => self.connections[self.at] = Some(connection),
                Err(error) => {
                    self.shared.tally.error(&format!("cannot connect to {}: {error}", self.addr()));
                    sleep(CONNECT_PAUSE).await;
                    self.at = (self.at + 1) % self.connections.len();
                    return false;
                }
            }
        }
        true
    }

    /// Sends requests at once. When there are fewer replies than requests, the connection was lost.
    pub(super) async fn exchange(&mut self, requests: &[(&Bytes, &Request)]) -> (Vec<Reply>, Window) {
        let first = now();
        let mut replies = Vec::with_capacity(requests.len());
        if let Some(connection) = &mut self.connections[self.at] {
            let mut output = BytesMut::new();
            requests.iter().for_each(|(key, request)| request.encode(key, &mut output));
            let time_max = self.shared.config.reply_time_max;
            let result = connection.exchange(&output, requests.len(), time_max, &mut replies).await;
            if let Err(error) = result {
                self.connections[self.at] = None;
                self.shared.tally.error(&format!("connection lost: {error}"));
            }
        }
        let tally = &self.shared.tally;
        tally.answered(requests.iter().zip(&replies).map(|((_, request), (_, time))| (request.name, *time)));
        for ((key, request), (reply, _)) in requests.iter().zip(&replies) {
            if let Reply::Error(text) = reply {
                let text = text.escape_ascii();
                tally.error(&format!("{} {}: {text}", request.name, key.escape_ascii()));
            }
        }
        (replies.into_iter().map(|(reply, _)| reply).collect(), self.window(first))
    }

    pub(super) fn window(&self, first: i64) -> Window {
        let slack = i64::try_from(self.shared.config.expiry_slack.as_millis()).unwrap_or(i64::MAX / 4);
        Window { first, last: now(), slack }
    }
}

const BIG: usize = 2;
/// About how many entries the stream among the big keys has.
const STREAM_ENTRIES: usize = 64;
const CONNECT_PAUSE: Duration = Duration::from_millis(20);
const DELAY_MAX: Duration = Duration::from_millis(100);
