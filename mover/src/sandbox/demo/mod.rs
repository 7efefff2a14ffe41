// SPDX-License-Identifier: Apache-2.0
//! The demonstration: two nodes, a proxy or a whole Codis, clients, and a move under their feet.

mod front;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use replication::{Slot, SlotCount, SlotSet};
use serde::Serialize;

use self::front::Front;
use crate::endpoint::Endpoint;
use crate::job::{Job, JobOptions, Report};
use crate::sandbox::codis::CodisError;
use crate::sandbox::load::{self, FillConfig, FillReport, Load, LoadConfig, LoadError, Tag};
use crate::sandbox::node::{self, Node, NodeConfig};
use crate::sandbox::proxy::ProxyError;
use crate::{Result, Side};

/// What the demonstration is to do.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Keys to fill the source with, of all types.
    pub keys: usize,
    /// Slots to move; as many more hold keys and stay.
    pub slots: u16,
    /// Clients that write and read all the time.
    pub writers: usize,
    /// Commands per second of all clients together; as many as they can when not given.
    pub pace: Option<u32>,
    /// How long the clients go on before and after the move, half of it each.
    pub time: Duration,
    /// Where the random choices come from.
    pub seed: u64,
    /// Where the nodes keep their files.
    pub dir: PathBuf,
    /// Whether a dashboard and two proxies stand in front of the nodes, instead of one proxy of our own.
    pub codis: bool,
    /// Leaves the drain out, so that a test can see that the clients see it.
    #[doc(hidden)]
    pub skip_drain: bool,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct DemoReport {
    /// What the job says.
    #[serde(flatten)]
    pub job: Report,
    /// What the clients say.
    pub client: ClientReport,
    /// Keys that the source was filled with.
    pub keys_filled: usize,
    /// Clients that wrote and read.
    pub writers: usize,
    /// Seconds from the first byte moved to the last slot switched.
    pub move_seconds: f64,
    /// How the clients' choices can be had again.
    pub seed: u64,
}

/// What the clients saw.
#[derive(Clone, Debug, Serialize)]
pub struct ClientReport {
    /// Requests that were answered.
    pub requests: u64,
    /// Answers that were errors, and connections that broke.
    pub errors: u64,
    /// Answers that differ from what the clients had been acknowledged.
    pub wrong_values: u64,
    /// The longest that a request took, in milliseconds.
    pub max_latency_ms: f64,
    /// What 99 % of them took at most, in milliseconds.
    pub p99_latency_ms: f64,
    /// Keys that were read back whole at the end.
    pub keys_checked: u64,
    /// The first errors and wrong values.
    pub examples: Vec<String>,
}

/// Why there was no demonstration.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each names its part of the sandbox")]
pub enum DemoError {
    #[error("a node of the sandbox: {0}")]
    Node(#[from] node::Error),
    #[error("the proxy of the sandbox: {0}")]
    Proxy(#[from] ProxyError),
    #[error("the Codis of the sandbox: {0}")]
    Codis(#[from] CodisError),
    #[error("the load: {0}")]
    Load(#[from] LoadError),
    #[error(transparent)]
    Move(#[from] crate::Error),
}

impl DemoReport {
    /// Whether no client saw an error or a wrong value, every key was checked, and both sides are equal.
    pub fn is_clean(&self) -> bool {
        let ClientReport { errors, wrong_values, .. } = self.client;
        errors == 0 && wrong_values == 0 && self.job.verify.mismatches == 0 && self.job.verify.extra == 0
    }
}

/// A small cluster that is filled and under load.
pub struct Demo {
    options: DemoOptions,
    source: Node,
    target: Node,
    front: Front,
    load: Load,
    filled: FillReport,
}

impl Demo {
    /// Starts both nodes, fills the source, and lets the clients begin.
    ///
    /// # Errors
    /// [`DemoError`] says which part did not start.
    pub async fn start(options: DemoOptions) -> Result<Self, DemoError> {
        let source = Node::start(NodeConfig::new(options.dir.join("source"))).await?;
        let target = Node::start(NodeConfig::new(options.dir.join("target"))).await?;
        let front = match options.codis {
            true => Front::codis(source.addr(), target.addr()).await?,
            false => Front::proxy(source.addr(), target.addr()).await?,
        };
        let filling = FillConfig { seed: options.seed, ..FillConfig::new(options.tags(), options.keys) };
        let filled = load::fill(source.addr(), filling).await?;
        let config = LoadConfig {
            writers: options.writers,
            pace: options.pace,
            seed: options.seed,
            hyperloglogs: true,
            nodes: vec![source.addr(), target.addr()],
            // A HyperLogLog and a few hundred keys per writer and slot are enough to meet every type in every slot.
            ..LoadConfig::new(front.addrs(), options.tags())
        };
        let load = Load::start(config).await?;
        Ok(Self { options, source, target, front, load, filled })
    }

    /// What the source was filled with.
    pub fn filled(&self) -> &FillReport {
        &self.filled
    }

    /// The move, ready to run.
    pub fn job(&self) -> Job {
        let endpoint = |side, node: &Node| Endpoint {
            side,
            host: node.addr().ip().to_string(),
            port: node.addr().port(),
            password: None,
            database: 0,
            names: crate::endpoint::Names::default(),
        };
        let mut options = JobOptions::new(self.options.moving());
        options.cutover.skip_drain = self.options.skip_drain;
        let (source, target) = (endpoint(Side::Source, &self.source), endpoint(Side::Target, &self.target));
        Job::new(source, target, options, self.front.control())
    }

    /// Lets the clients go on, runs the move, lets them go on again, and has them read back all their keys.
    ///
    /// # Errors
    /// [`DemoError::Move`] when the move failed, [`DemoError::Node`] when a node could not be stopped.
    pub async fn run(self, job: Job) -> Result<DemoReport, DemoError> {
        tokio::time::sleep(self.options.time / 2).await;
        let begin = Instant::now();
        let report = job.run().await?;
        let move_seconds = begin.elapsed().as_secs_f64();
        tokio::time::sleep(self.options.time / 2).await;
        let seen = self.load.stop().await;
        self.front.stop().await;
        self.source.stop().await?;
        self.target.stop().await?;
        Ok(DemoReport {
            job: report,
            client: client(&seen),
            keys_filled: self.options.keys,
            writers: self.options.writers,
            move_seconds,
            seed: self.options.seed,
        })
    }
}

impl DemoOptions {
    /// Every second of the slots that hold keys.
    fn moving(&self) -> SlotSet {
        self.slots_with_keys().step_by(2).collect()
    }

    fn tags(&self) -> Vec<Tag> {
        let moving = self.moving();
        let tag = |slot| {
            let tag = Tag::of_slot(slot, SlotCount::CODIS);
            if moving.contains(slot) { tag.hot() } else { tag }
        };
        self.slots_with_keys().map(tag).collect()
    }

    fn slots_with_keys(&self) -> impl Iterator<Item = Slot> {
        let count = SlotCount::CODIS.get();
        // Spread over the whole range and over all instances.
        let wanted = self.slots.saturating_mul(2).clamp(2, count);
        (0..wanted).map(move |index| {
            let number = u32::from(index) * u32::from(count) / u32::from(wanted);
            Slot::new(u16::try_from(number).expect("it is below the slot count"))
        })
    }
}

fn client(seen: &load::Report) -> ClientReport {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let wrong = seen.examples.iter().map(ToString::to_string);
    ClientReport {
        requests: seen.requests,
        // A key that could not be read back is no proof of anything, so it counts as an error.
        errors: seen.errors + seen.keys_unchecked,
        wrong_values: seen.wrong_values,
        max_latency_ms: milliseconds(seen.latency.max),
        p99_latency_ms: milliseconds(seen.latency.p99),
        keys_checked: seen.keys_checked,
        examples: seen.error_examples.iter().cloned().chain(wrong).collect(),
    }
}
