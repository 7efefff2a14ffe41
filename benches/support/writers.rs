// SPDX-License-Identifier: Apache-2.0
//! Clients that only write strings, many in one pipeline, so that they leave the machine to whoever is measured. They
//! remember what was acknowledged last of each key, and look for it in the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use mover::sandbox::load::Tag;

use super::dump;

/// Those who write.
pub(crate) struct Writers {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Written>>>,
}

/// What was written.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) commands: u64,
    /// The longest that a pipeline took.
    pub(crate) longest: Duration,
    /// Keys that do not have the value that was acknowledged last.
    pub(crate) wrong: u64,
}

struct Writer {
    connection: redis::Connection,
    keys: Vec<String>,
    /// The number that each key was last given.
    last: Vec<u64>,
    written: Written,
}

impl Writers {
    /// Commands that travel together.
    pub(crate) const PIPELINE: usize = 32;

    /// Gives all keys their first value, then begins, with `rate` commands per second in all or as fast as it goes.
    pub(crate) fn start(address: SocketAddr, tags: &[Tag], rate: Option<f64>) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let client = redis::Client::open(format!("redis://{address}"))?;
        let mut threads = Vec::with_capacity(WRITERS);
        for writer in 0..WRITERS {
            let name = |number: usize| format!("{{{}}}:writer:{writer}:{number}", tags[number % tags.len()].name);
            let keys: Vec<String> = (0..KEYS).map(name).collect();
            let mut writer = Writer {
                connection: client.get_connection()?,
                last: vec![0; keys.len()],
                keys,
                written: Written::default(),
            };
            writer.write_all_once()?;
            let ended = Arc::clone(&over);
            let step = rate.map(|rate| Duration::from_secs_f64((WRITERS * Self::PIPELINE) as f64 / rate));
            threads.push(thread::spawn(move || writer.run(step, &ended)));
        }
        Ok(Self { over, threads })
    }

    /// Ends them and looks for everything that they wrote.
    pub(crate) fn end(self) -> Result<Written> {
        self.over.store(true, Ordering::Release);
        let mut all = Written::default();
        for thread in self.threads {
            let Written { commands, longest, wrong } = thread.join().map_err(|_| anyhow!("a writer panicked"))??;
            all = Written {
                commands: all.commands + commands,
                longest: all.longest.max(longest),
                wrong: all.wrong + wrong,
            };
        }
        Ok(all)
    }
}

impl Writer {
    fn run(mut self, step: Option<Duration>, over: &AtomicBool) -> Result<Written> {
        let mut due = Instant::now();
        for pipeline in 1.. {
            if over.load(Ordering::Acquire) {
                break;
            }
            let begin = Instant::now();
            let numbers = (0..Writers::PIPELINE as u64).map(|place| pipeline * Writers::PIPELINE as u64 + place);
            self.write(numbers.map(|number| (dump::scrambled(number) as usize % KEYS, number)))?;
            self.written.commands += Writers::PIPELINE as u64;
            self.written.longest = self.written.longest.max(begin.elapsed());
            if let Some(step) = step {
                due += step;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        self.check()?;
        Ok(self.written)
    }

    fn write_all_once(&mut self) -> Result<()> {
        (0..KEYS / FIRST).try_for_each(|chunk| self.write((chunk * FIRST..(chunk + 1) * FIRST).map(|key| (key, 0))))
    }

    fn write(&mut self, values: impl Iterator<Item = (usize, u64)>) -> Result<()> {
        let mut pipeline = redis::pipe();
        for (key, number) in values {
            pipeline.cmd("SET").arg(&self.keys[key]).arg(value(number)).ignore();
            self.last[key] = number;
        }
        Ok(pipeline.query(&mut self.connection)?)
    }

    fn check(&mut self) -> Result<()> {
        for (keys, numbers) in self.keys.chunks(FIRST).zip(self.last.chunks(FIRST)) {
            let mut pipeline = redis::pipe();
            for key in keys {
                pipeline.cmd("GET").arg(key);
            }
            let found: Vec<Option<String>> = pipeline.query(&mut self.connection)?;
            ensure!(found.len() == numbers.len(), "an answer is missing");
            let is_wrong = |(found, number): &(&Option<String>, &u64)| found.as_ref() != Some(&value(**number));
            self.written.wrong += found.iter().zip(numbers).filter(is_wrong).count() as u64;
        }
        Ok(())
    }
}

/// A hundred bytes that are of this number alone.
fn value(number: u64) -> String {
    format!("{number:0>100}")
}

const WRITERS: usize = 2;

/// Keys of each.
const KEYS: usize = 50_000;

/// Commands in one pipeline of those that do not count.
const FIRST: usize = 500;
