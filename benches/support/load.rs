// SPDX-License-Identifier: Apache-2.0
//! Clients of a Redis that keep to a schedule, and how long they waited.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use hdrhistogram::Histogram;

/// Clients that read and write keys with this tag, half of each.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) address: String,
    pub(crate) tag: String,
}

/// What they saw.
pub(crate) struct Seen {
    /// Requests per second that were answered.
    pub(crate) rate: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Load {
    /// Runs them, at `rate` requests per second in all or as fast as they can.
    pub(crate) fn run(&self, rate: Option<f64>, length: Duration) -> Result<Seen> {
        let begin = Instant::now();
        let step = rate.map(|rate| Duration::from_secs_f64(CLIENTS as f64 / rate));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let load = self.clone();
                // Their turns are spread over a step.
                let first = begin + step.unwrap_or_default() * number as u32 / CLIENTS as u32;
                std::thread::spawn(move || load.client(number, first, step, begin + length))
            })
            .collect();
        let mut all = histogram()?;
        for client in clients {
            all.add(client.join().map_err(|_| anyhow!("a client panicked"))??)?;
        }
        let quantile = |share| Duration::from_nanos(all.value_at_quantile(share));
        let rate = all.len() as f64 / begin.elapsed().as_secs_f64();
        Ok(Seen { rate, p50: quantile(0.5), p99: quantile(0.99) })
    }

    fn client(&self, number: usize, first: Instant, step: Option<Duration>, end: Instant) -> Result<Histogram<u64>> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        let (mut stream, mut waits) = (BufReader::new(stream), histogram()?);
        let value = "v".repeat(100);
        let mut due = first;
        for turn in 0_usize.. {
            let now = Instant::now();
            if let (Some(step), true) = (step, turn > 0) {
                due += step;
            } else if step.is_none() {
                due = now;
            }
            if due >= end {
                break;
            }
            std::thread::sleep(due.saturating_duration_since(now));
            // Who is not late counts from when he really sent: how long a sleep lasts is not the server's doing.
            let late = due < now;
            let from = if late { due } else { Instant::now() };
            let key = format!("{{{}}}:{}", self.tag, (turn * CLIENTS + number) % KEYS);
            let request = match turn % 2 {
                0 => format!("SET {key} {value}\r\n"),
                _ => format!("GET {key}\r\n"),
            };
            stream.get_mut().write_all(request.as_bytes())?;
            answer(&mut stream)?;
            waits.record(u64::try_from(from.elapsed().as_nanos())?)?;
        }
        Ok(waits)
    }
}

fn answer(stream: &mut BufReader<TcpStream>) -> Result<()> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    ensure!(line.ends_with("\r\n") && !line.starts_with('-'), "the server answered {line:?}");
    if let Some(length) = line.strip_prefix('$').map(|length| length.trim().parse::<i64>()).transpose()?
        && let Ok(length) = usize::try_from(length)
    {
        let mut value = vec![0; length + 2];
        stream.read_exact(&mut value)?;
    }
    Ok(())
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s p50 {:.0?} p99 {:.0?}", self.rate, self.p50, self.p99)
    }
}

const CLIENTS: usize = 8;
const KEYS: usize = 10_000;
