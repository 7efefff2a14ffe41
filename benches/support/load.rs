// SPDX-License-Identifier: Apache-2.0
//! Clients of a Redis that keep to a schedule, and how long they waited.
//!
//! One thread drives all connections and never sleeps: a timer would be as coarse as what is to be measured. Requests are
//! sent when they are due, whether or not earlier ones have been answered, so a server that stands still is seen by all
//! that are due meanwhile.

use std::collections::VecDeque;
use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::cores;

/// Clients that read and write keys with this tag, half of each.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) tag: String,
}

/// What they saw.
pub(crate) struct Seen {
    /// Requests that were answered, in a second.
    pub(crate) rate: f64,
    /// Nanoseconds from when a request was due until it was answered.
    pub(crate) waits: Histogram<u64>,
}

/// Clients that run.
pub(crate) struct Running(JoinHandle<Result<Seen>>);

struct Client {
    stream: TcpStream,
    /// When the request that is out was due.
    due: Instant,
    /// Bytes of its answer that have not come yet.
    missing: usize,
}

impl Load {
    /// Writes all keys once, so that every answer has a known length.
    pub(crate) fn prepare(&self) -> Result<()> {
        let mut connection = redis::Client::open(format!("redis://{}", self.address))?.get_connection()?;
        let mut pipeline = redis::pipe();
        for number in 0..KEYS {
            pipeline.cmd("SET").arg(self.key(number)).arg(value()).ignore();
        }
        Ok(pipeline.query(&mut connection)?)
    }

    /// Runs them, at `rate` requests per second in all or each as fast as it is answered.
    pub(crate) fn run(&self, rate: Option<f64>, length: Duration) -> Result<Seen> {
        cores::keep_on(None, 1)?;
        let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(CLIENTS));
        let begin = Instant::now();
        let mut clients = self.connect(&poll)?;
        let requests = self.requests();
        let mut idle: VecDeque<usize> = (0..CLIENTS).collect();
        let step = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
        let (mut due, mut sent, end) = (begin, 0, begin + length);
        let mut waits = histogram()?;
        while due < end || idle.len() < CLIENTS {
            let now = Instant::now();
            while due <= now
                && due < end
                && let Some(client) = idle.pop_front()
            {
                let (request, answer) = &requests[sent % requests.len()];
                clients[client].send(due, request, *answer)?;
                sent += 1;
                due = if rate.is_some() { due + step } else { now };
            }
            poll.poll(&mut events, Some(Duration::ZERO))?;
            for event in &events {
                let Token(index) = event.token();
                if let Some(wait) = clients[index].receive()? {
                    waits.record(u64::try_from(wait.as_nanos())?)?;
                    idle.push_back(index);
                }
            }
            ensure!(now < end + OVERTIME, "the server does not answer");
        }
        Ok(Seen { rate: sent as f64 / begin.elapsed().as_secs_f64(), waits })
    }

    /// Runs them on a thread of their own.
    pub(crate) fn spawn(&self, rate: f64, length: Duration) -> Running {
        let load = self.clone();
        Running(std::thread::spawn(move || load.run(Some(rate), length)))
    }

    fn connect(&self, poll: &Poll) -> Result<Vec<Client>> {
        let client = |index| {
            let stream = std::net::TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            Ok(Client { stream, due: Instant::now(), missing: 0 })
        };
        (0..CLIENTS).map(client).collect()
    }

    /// All requests, and the length of the answer to each.
    fn requests(&self) -> Vec<(String, usize)> {
        let (value, get_answer) = (value(), value().len() + "$100\r\n\r\n".len());
        let both = |number: usize| {
            let key = self.key(number);
            [(format!("SET {key} {value}\r\n"), "+OK\r\n".len()), (format!("GET {key}\r\n"), get_answer)]
        };
        (0..KEYS).flat_map(both).collect()
    }

    fn key(&self, number: usize) -> String {
        format!("{{{}}}:{number}", self.tag)
    }
}

impl Running {
    /// What they saw, once their time is over.
    pub(crate) fn join(self) -> Result<Seen> {
        self.0.join().map_err(|_| anyhow!("the clients panicked"))?
    }
}

impl Client {
    fn send(&mut self, due: Instant, request: &str, answer: usize) -> Result<()> {
        (self.due, self.missing) = (due, answer);
        // Nothing else is on its way, so there is room.
        Ok(self.stream.write_all(request.as_bytes())?)
    }

    /// How long the answer took, once all of it is there.
    fn receive(&mut self) -> Result<Option<Duration>> {
        let mut text = [0; 512];
        let length = match self.stream.read(&mut text) {
            Ok(0) => bail!("the server has hung up"),
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let is_sound = length <= self.missing && text[0] != b'-';
        ensure!(is_sound, "the server answered {}", text[..length].escape_ascii());
        self.missing -= length;
        Ok((self.missing == 0).then(|| self.due.elapsed()))
    }
}

impl Seen {
    /// Of so large a part of the requests, the time that they took at most.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.waits.value_at_quantile(share))
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| self.quantile(share));
        write!(f, "{:.0}/s p50 {p50:.0?} p99 {p99:.0?} p99.9 {p999:.0?}", self.rate)
    }
}

pub(crate) fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}

fn value() -> String {
    "v".repeat(100)
}

const CLIENTS: usize = 50;
const KEYS: usize = 10_000;

/// How long the last answers may take.
const OVERTIME: Duration = Duration::from_secs(30);
