// SPDX-License-Identifier: Apache-2.0
//! Many keys of all types, written once before a move.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use tokio::task::JoinSet;

use super::config::Tag;
use super::connection::Connection;
use super::kind::{Request, text};
use super::{LoadError, Reply};

/// What a [`fill`] writes. The same configuration writes the same keys.
#[derive(Clone, Debug)]
pub struct FillConfig {
    /// What is sent as AUTH.
    pub password: Option<String>,
    /// The slots that get the keys, in turn.
    pub tags: Vec<Tag>,
    /// Ordinary keys in all.
    pub keys: usize,
    /// Where names and values come from.
    pub seed: u64,
    /// Bytes of a string; elements of collections have a quarter of it.
    pub value_bytes: usize,
    /// Keys with very many elements, besides the ordinary ones: hashes, lists, sets and sorted sets in turn.
    pub big_keys: usize,
    /// Elements of each.
    pub big_elements: usize,
    /// Whether one key in a hundred is a HyperLogLog.
    pub hyperloglogs: bool,
    /// Connections at the same time.
    pub connections: usize,
}

impl FillConfig {
    /// So many keys with values of 64 bytes, and four of 10,000 elements, over two connections.
    pub fn new(tags: Vec<Tag>, keys: usize) -> Self {
        Self {
            password: None,
            tags,
            keys,
            seed: 1,
            value_bytes: 64,
            big_keys: 4,
            big_elements: 10_000,
            hyperloglogs: false,
            connections: 2,
        }
    }
}

/// What a [`fill`] has written.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct FillReport {
    /// Keys, the big ones among them.
    pub keys: u64,
    /// Keys with an expiry.
    pub expiring: u64,
    /// Keys by type.
    pub types: BTreeMap<String, u64>,
    /// Commands sent.
    pub commands: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// How long it took.
    #[serde(skip)]
    pub elapsed: Duration,
}

/// Writes many keys of all types: 55 % strings, then hashes, lists, sets, sorted sets, streams and bitmaps; one in ten
/// expires, in an hour at least. Names are `{<tag>}:fill:<seed>:<number>`; keys that exist already are added to.
///
/// # Errors
/// When there are no tags, a connection fails, or any command is refused.
pub async fn fill(addr: SocketAddr, config: FillConfig) -> Result<FillReport, LoadError> {
    if config.tags.is_empty() || config.connections == 0 {
        return Err(LoadError::Config { what: "no tags or no connections" });
    }
    let start = Instant::now();
    let config = Arc::new(config);
    let mut tasks = JoinSet::new();
    for number in 0..config.connections {
        tasks.spawn(Filler::run(addr, Arc::clone(&config), number));
    }
    let mut total = FillReport::default();
    while let Some(ended) = tasks.join_next().await {
        let part = ended.map_err(|error| LoadError::Connection { addr, source: error.into() })??;
        total.keys += part.keys;
        total.expiring += part.expiring;
        total.commands += part.commands;
        total.bytes += part.bytes;
        for (name, count) in part.types {
            *total.types.entry(name).or_default() += count;
        }
    }
    total.elapsed = start.elapsed();
    Ok(total)
}

/// One connection's share.
struct Filler {
    addr: SocketAddr,
    connection: Connection,
    output: BytesMut,
    names: Vec<&'static str>,
    report: FillReport,
}

impl Filler {
    async fn run(addr: SocketAddr, config: Arc<FillConfig>, number: usize) -> Result<FillReport, LoadError> {
        let connection = Connection::open(addr, config.password.as_deref()).await;
        let connection = connection.map_err(|source| LoadError::Connection { addr, source })?;
        let (output, names, report) = (BytesMut::new(), Vec::new(), FillReport::default());
        let mut filler = Self { addr, connection, output, names, report };
        for index in (number..config.keys + config.big_keys).step_by(config.connections) {
            let mut rng = StdRng::seed_from_u64(config.seed.wrapping_add((index as u64 + 1) << 24));
            let tag = &config.tags[index % config.tags.len()].name;
            let key = Bytes::from(format!("{{{tag}}}:fill:{}:{index}", config.seed));
            let big = index.checked_sub(config.keys);
            let (name, requests) = match big {
                Some(number) => big_key(number, config.big_elements, &mut rng, config.value_bytes / 4),
                None => ordinary_key(&mut rng, &config),
            };
            *filler.report.types.entry(name.to_owned()).or_default() += 1;
            filler.report.keys += 1;
            for request in &requests {
                filler.push(&key, request).await?;
            }
            if name != "stream" && name != "hyperloglog" && rng.random_ratio(1, 10) {
                filler.report.expiring += 1;
                filler.push(&key, &Request::new("EXPIRE", [text(rng.random_range(3600..100_000))])).await?;
            }
        }
        filler.flush().await?;
        Ok(filler.report)
    }

    async fn push(&mut self, key: &Bytes, request: &Request) -> Result<(), LoadError> {
        request.encode(key, &mut self.output);
        self.names.push(request.name);
        match self.names.len() >= COMMANDS_MAX || self.output.len() >= BYTES_MAX {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    async fn flush(&mut self) -> Result<(), LoadError> {
        let addr = self.addr;
        let mut replies = Vec::with_capacity(self.names.len());
        let result = self.connection.exchange(&self.output, self.names.len(), REPLY_MAX, &mut replies).await;
        result.map_err(|source| LoadError::Connection { addr, source })?;
        for (command, (reply, _)) in self.names.drain(..).zip(replies) {
            if let Reply::Error(why) = reply {
                return Err(LoadError::Refused { addr, command, why: why.escape_ascii().to_string() });
            }
            self.report.commands += 1;
        }
        self.report.bytes += self.output.len() as u64;
        self.output.clear();
        Ok(())
    }
}

type Key = (&'static str, Vec<Request>);

fn ordinary_key(rng: &mut StdRng, config: &FillConfig) -> Key {
    let bytes = config.value_bytes;
    let elements = rng.random_range(1..=16);
    match rng.random_range(0..100) {
        55..=69 => ("hash", vec![hash(0..elements, rng, bytes / 4)]),
        70..=79 => ("list", vec![list(0..elements, rng, bytes / 4)]),
        80..=88 => ("set", vec![set(0..elements, rng, bytes / 4)]),
        89..=94 => ("zset", vec![zset(0..elements, rng, bytes / 4)]),
        95..=96 => ("stream", (1..=elements).map(|id| entry(id, rng, bytes / 4)).collect()),
        97..=98 => ("bitmap", (0..elements).map(|_| bit(rng)).collect()),
        99 if config.hyperloglogs => ("hyperloglog", vec![Request::new("PFADD", (0..elements * 10).map(text))]),
        _ => ("string", vec![Request::new("SET", [words(rng, bytes)])]),
    }
}

/// Its elements come in several commands.
fn big_key(number: usize, elements: usize, rng: &mut StdRng, bytes: usize) -> Key {
    let chunks = (0..elements).step_by(ELEMENTS_MAX).map(|first| first..elements.min(first + ELEMENTS_MAX));
    match number % 4 {
        0 => ("hash", chunks.map(|chunk| hash(chunk, rng, bytes)).collect()),
        1 => ("list", chunks.map(|chunk| list(chunk, rng, bytes)).collect()),
        2 => ("set", chunks.map(|chunk| set(chunk, rng, bytes)).collect()),
        _ => ("zset", chunks.map(|chunk| zset(chunk, rng, bytes)).collect()),
    }
}

type Numbers = std::ops::Range<usize>;

fn hash(numbers: Numbers, rng: &mut StdRng, bytes: usize) -> Request {
    Request::new("HMSET", numbers.flat_map(|number| [text(format_args!("field:{number}")), words(rng, bytes)]))
}

fn list(numbers: Numbers, rng: &mut StdRng, bytes: usize) -> Request {
    Request::new("RPUSH", numbers.map(|_| words(rng, bytes)))
}

fn set(numbers: Numbers, rng: &mut StdRng, bytes: usize) -> Request {
    Request::new("SADD", numbers.map(|_| words(rng, bytes.max(8))))
}

fn zset(numbers: Numbers, rng: &mut StdRng, bytes: usize) -> Request {
    let mut score = || f64::from(rng.random_range(-2_000_000..2_000_000)) / 2.0;
    let scores: Vec<_> = numbers.clone().map(|_| score()).collect();
    let pair = |(number, score)| [text(score), text(format_args!("member:{number}:{:1$}", "", bytes / 2))];
    Request::new("ZADD", numbers.zip(scores).flat_map(pair))
}

fn entry(id: usize, rng: &mut StdRng, bytes: usize) -> Request {
    Request::new("XADD", [text(format_args!("{id}-{}", id % 3)), text("field"), words(rng, bytes)])
}

fn bit(rng: &mut StdRng) -> Request {
    Request::new("SETBIT", [text(rng.random_range(0..2048)), text(1)])
}

/// Letters and digits, so many bytes but at least one.
fn words(rng: &mut StdRng, bytes: usize) -> Bytes {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz 01234";
    let letter = |byte: u8| LETTERS[usize::from(byte % 32)];
    (0..bytes.max(1)).map(|_| letter(rng.random())).collect()
}

const COMMANDS_MAX: usize = 200;
const BYTES_MAX: usize = 64 * 1024;
const ELEMENTS_MAX: usize = 200;
const REPLY_MAX: Duration = Duration::from_secs(60);
