// SPDX-License-Identifier: Apache-2.0
//! The target behind a receiver of ours: batches go as frames, and what comes back says how far the target is.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::batch::{Batch, KeyCounts, Write};
use crate::dialect::{Dialect, HyperLogLogPolicy};
use crate::endpoint::{CONNECT_TIMEOUT, Client, Endpoint};
use crate::sink::{Answers, Outlet, Sink, Target, count};
use crate::wire::{
    self, Answer, ClientTls, Compression, Failure, Outgoing, Reader, Refusal, Terms, Token, Traffic, Writer,
};
use crate::{BoxFuture, Error, Result, Unmovable};

/// Which receiver batches go through, and how.
#[derive(Clone, Debug)]
pub struct ReceiverOptions {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// What it wants to know; a receiver on the loopback may have none.
    pub token: Option<Token>,
    /// Whom to trust as the receiver; no TLS when not given.
    pub tls: Option<ClientTls>,
    /// How batches are compressed.
    pub compression: Compression,
}

/// A receiver that has been greeted, and found to write to our target.
pub struct Receiver {
    options: ReceiverOptions,
    terms: Terms,
    dialect: Dialect,
    traffic: Arc<Traffic>,
}

impl Receiver {
    /// Connects and checks that the receiver is one of `target`. The lower half of `job` counts the attempts at what the
    /// upper half names: the receiver ends those before.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Login`] when one end does not know the token, and [`Error::Unfit`] for a receiver of
    /// another version or another target. What its target refused is an error of the target.
    pub async fn connect(options: ReceiverOptions, target: &Target, job: u64) -> Result<Self> {
        let raw_hyperloglogs = target.dialect() == Dialect::Redis { hyperloglog: HyperLogLogPolicy::Raw };
        let terms = Terms {
            job,
            database: target.endpoint().database,
            raw_hyperloglogs,
            compresses: options.compression != Compression::Off,
            log_of_slots: None,
        };
        let (_, welcome) = options.greet(&terms).await?;
        options.check(&welcome, target.client(), target.dialect()).await?;
        info!(receiver = options.endpoint.address(), target = welcome.target, "the receiver is ready");
        Ok(Self { options, terms, dialect: target.dialect(), traffic: Arc::default() })
    }

    /// A new connection for batches.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn sink(&self) -> Result<RemoteSink> {
        let ((reader, writer), welcome) = self.options.greet(&self.terms).await?;
        let compression = match welcome.compression {
            Some(_) => self.options.compression,
            None => Compression::Off,
        };
        let traffic = Arc::clone(&self.traffic);
        Ok(RemoteSink {
            endpoint: self.options.endpoint.clone(),
            dialect: self.dialect,
            job: self.terms.job,
            reader,
            outgoing: Outgoing::new(writer, self.terms.job, welcome.batch_max, compression, traffic),
        })
    }

    /// Bytes that were sent to it.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

impl ReceiverOptions {
    /// A new connection, and what the receiver says to it.
    pub(super) async fn greet(&self, terms: &Terms) -> Result<((Reader, Writer), wire::Welcome)> {
        let Self { endpoint, token, tls, .. } = self;
        let connected = timeout(CONNECT_TIMEOUT, async {
            let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
            wire::connected(stream, &endpoint.host, tls.as_ref()).await
        });
        let (mut reader, mut writer) = match connected.await {
            Ok(halves) => halves.map_err(|fault| endpoint.refused(fault.to_string()))?,
            Err(_) => return Err(endpoint.refused(format!("no answer in {CONNECT_TIMEOUT:?}"))),
        };
        match wire::introduce(&mut reader, &mut writer, token.as_ref(), terms).await {
            Ok(welcome) => Ok(((reader, writer), welcome)),
            Err(error) => Err(self.unwelcome(error)),
        }
    }

    /// That the receiver writes to this server.
    pub(super) async fn check(&self, welcome: &wire::Welcome, mut server: Client, dialect: Dialect) -> Result<()> {
        let run_id = server.info("server").await?.get("run_id").map(str::to_owned);
        if run_id != welcome.run_id || dialect.to_string() != welcome.dialect {
            let what = format!(
                "its target {}, a {}, is another server than the target at {}",
                welcome.target,
                welcome.dialect,
                server.endpoint().address()
            );
            return Err(self.endpoint.unfit(what, "name the receiver of this target, or the target of this receiver"));
        }
        if run_id.is_none() {
            warn!("the target does not say who it is, so it may not be the receiver's");
        }
        Ok(())
    }

    fn unwelcome(&self, error: wire::Error) -> Error {
        let endpoint = &self.endpoint;
        let (side, address) = (endpoint.side, endpoint.address());
        match error {
            wire::Error::Refused(Refusal::Target(failure)) => failure.into_error(&address),
            error @ (wire::Error::Refused(Refusal::Token { .. }) | wire::Error::Stranger) => {
                Error::Login { side, address, fault: error.to_string() }
            }
            error @ (wire::Error::Refused(Refusal::Version { .. }) | wire::Error::Version { .. }) => {
                endpoint.unfit(error.to_string(), "run the same version of slotmover on both machines")
            }
            error => Error::Connect { side, address, fault: error.to_string() },
        }
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A bulk connection to a receiver.
pub struct RemoteSink {
    endpoint: Endpoint,
    dialect: Dialect,
    job: u64,
    reader: Reader,
    outgoing: Outgoing<Writer>,
}

impl Sink for RemoteSink {
    fn split(self: Box<Self>) -> (Box<dyn Outlet>, Box<dyn Answers>) {
        let Self { endpoint, dialect, job, reader, outgoing } = *self;
        let heard = watch::Sender::new(Heard::default());
        let outlet = RemoteOutlet { endpoint: endpoint.clone(), dialect, outgoing, heard: heard.subscribe() };
        let answers = RemoteAnswers {
            endpoint,
            taken: 0,
            told: KeyCounts::default(),
            heard: heard.subscribe(),
            // It always reads, so that the receiver never waits for us to take its answers.
            listening: tokio::spawn(listen(reader, job, heard)),
        };
        (Box::new(outlet), Box::new(answers))
    }

    fn window(&self) -> usize {
        WINDOW
    }
}

/// What the receiver has said so far.
#[derive(Clone, Default, Debug)]
struct Heard {
    done: u64,
    /// What all batches up to there have done to the number of keys.
    counts: KeyCounts,
    end: Option<Ending>,
}

/// Why it will say nothing more.
#[derive(Clone, Debug)]
enum Ending {
    Failed(Failure),
    Lost(String),
}

impl Ending {
    fn into_error(self, endpoint: &Endpoint) -> Error {
        match self {
            Self::Failed(failure) => failure.into_error(&endpoint.address()),
            Self::Lost(fault) => endpoint.lost(fault),
        }
    }
}

async fn listen(mut reader: Reader, job: u64, heard: watch::Sender<Heard>) {
    let end = loop {
        match timeout(SILENCE, wire::answer(&mut reader, job)).await {
            Ok(Ok(Some(Answer::Done(sequence, counts)))) => heard.send_modify(|heard| {
                heard.done = heard.done.max(sequence);
                heard.counts = counts;
            }),
            Ok(Ok(Some(Answer::Failed(failure)))) => break Ending::Failed(failure),
            Ok(Ok(None)) => break Ending::Lost("closed by the other end".to_owned()),
            Ok(Err(error)) => break Ending::Lost(error.to_string()),
            Err(_) => break Ending::Lost(format!("no sign of life in {SILENCE:?}")),
        }
    };
    heard.send_modify(|heard| heard.end = Some(end));
}

struct RemoteOutlet {
    endpoint: Endpoint,
    dialect: Dialect,
    outgoing: Outgoing<Writer>,
    heard: watch::Receiver<Heard>,
}

impl RemoteOutlet {
    async fn send_batch(&mut self, batch: &Batch) -> Result<()> {
        let error = match self.outgoing.send(batch).await {
            Ok(()) => return Ok(()),
            Err(wire::Error::TooLarge { .. }) => return Err(too_large(batch)),
            Err(error) => error,
        };
        // The receiver may have said why before it closed.
        let ended = timeout(LAST_WORD, self.heard.wait_for(|heard| heard.end.is_some())).await;
        match ended.ok().and_then(Result::ok).and_then(|heard| heard.end.clone()) {
            Some(end) => Err(end.into_error(&self.endpoint)),
            None => Err(self.endpoint.lost(error)),
        }
    }
}

impl Outlet for RemoteOutlet {
    fn commands(&self, batch: &Batch) -> usize {
        count::of_batch(self.dialect, batch)
    }

    fn send<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.send_batch(batch))
    }
}

struct RemoteAnswers {
    endpoint: Endpoint,
    taken: u64,
    /// The counts that were given out with what was taken.
    told: KeyCounts,
    heard: watch::Receiver<Heard>,
    listening: JoinHandle<()>,
}

impl RemoteAnswers {
    async fn next_batch(&mut self) -> Result<KeyCounts> {
        let wanted = self.taken + 1;
        let heard = self.heard.wait_for(|heard| heard.done >= wanted || heard.end.is_some()).await;
        let heard = heard.map_err(|_| self.endpoint.lost("nobody listens to it any more"))?;
        match &heard.end {
            Some(end) if heard.done < wanted => Err(end.clone().into_error(&self.endpoint)),
            _ => {
                self.taken = wanted;
                // Several batches may be answered at once: the first of them gets the counts of all.
                Ok(heard.counts.since(std::mem::replace(&mut self.told, heard.counts)))
            }
        }
    }
}

impl Answers for RemoteAnswers {
    fn next(&mut self) -> BoxFuture<'_, Result<KeyCounts>> {
        Box::pin(self.next_batch())
    }
}

impl Drop for RemoteAnswers {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// The key that does not fit is the biggest one.
fn too_large(batch: &Batch) -> Error {
    let (key, kind) = match batch.writes().iter().max_by_key(|write| write.size()) {
        Some(Write::Piece(piece)) => (piece.key.clone(), piece.body.kind()),
        Some(Write::Patch(patch)) => (patch.key.clone(), patch.set.kind()),
        Some(Write::Steps(steps)) => (steps.key.clone(), snapshot::Kind::List),
        Some(Write::Remove(key)) => (key.clone(), snapshot::Kind::String),
        None => unreachable!("a batch of nothing is never too large"),
    };
    let why = "it is larger than a third of the receiver's `--memory`, and so more than that takes at once";
    Unmovable { key, kind, why: why.into() }.into()
}

/// What a network with a round trip of 100 ms carries at 80 MB/s.
const WINDOW: usize = 8 << 20;

/// The receiver says something every ten seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// How long it may take to hear why a connection broke.
const LAST_WORD: Duration = Duration::from_secs(2);
