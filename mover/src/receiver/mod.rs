// SPDX-License-Identifier: Apache-2.0
//! The agent on the target's machine: takes batches from senders and applies them over the loopback, and reads the target's
//! log out to those who would undo a move.
//!
//! ```text
//!  sender ══frames══▶ read ─▶ Batch ─▶ apply ─▶ target        one session per connection, in step with its own sink
//!         ◀───acks─────────────────── land ◀──┘
//! ```
//!
//! A batch is acknowledged when the target has answered all of it, never earlier. What senders have on their way is
//! bounded: a batch takes its bytes from one budget before they are read, and gives them back once the target's
//! connection has taken them. Nobody is listened to beyond a few KiB before he has shown that he knows the token.

mod crowd;
mod lineage;
mod readout;
mod session;
mod status;
mod warnings;

pub use status::Status;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use replication::SlotCount;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::info;

use crate::dialect::{Dialect, HyperLogLogPolicy};
use crate::endpoint::Endpoint;
use crate::flow::{Budget, Limit, Scope, Throttle};
use crate::receiver::crowd::Crowd;
use crate::receiver::lineage::Lineage;
use crate::receiver::warnings::Warnings;
use crate::sink::Target;
use crate::wire::{ServerTls, Token};
use crate::{Error, Result, Side};

/// What a receiver is told.
#[derive(Clone, Debug)]
pub struct ReceiverOptions {
    /// Where it listens, as `ADDRESS:PORT`.
    pub listen: String,
    /// Where it applies what it gets.
    pub target: Endpoint,
    /// What its senders must know. Only on the loopback it may be left out.
    pub token: Option<Token>,
    /// Its certificate. Beyond the loopback it must have one, unless that is [waived](Self::insecure).
    pub tls: Option<ServerTls>,
    /// Whether it may listen beyond the loopback without TLS.
    pub insecure: bool,
    /// The memory that it may take in all, about.
    pub memory: ByteSize,
    /// The most that goes to the target, from all senders together. It may be changed while they send.
    pub limit: Limit,
}

/// A receiver that is bound to its address.
#[derive(Debug)]
pub struct Receiver {
    listener: TcpListener,
    addr: SocketAddr,
    shared: Arc<Shared>,
}

/// What all sessions of a receiver have in common.
#[derive(Debug)]
struct Shared {
    options: ReceiverOptions,
    budget: Budget,
    throttle: Throttle,
    status: Arc<Status>,
    warnings: Warnings,
    stopping: watch::Sender<bool>,
    lineage: Lineage,
}

impl Receiver {
    /// Binds a receiver to its address. It answers nobody yet.
    ///
    /// # Errors
    /// [`Error::Connect`] when the address cannot be had, [`Error::Unfit`] when strangers could write to the target.
    pub async fn bind(options: ReceiverOptions) -> Result<Self> {
        let fault = |fault: std::io::Error| Error::Connect {
            side: Side::Receiver,
            address: options.listen.clone(),
            fault: format!("it cannot listen there: {fault}"),
        };
        let listener = TcpListener::bind(&options.listen).await.map_err(fault)?;
        let addr = listener.local_addr().map_err(fault)?;
        if !addr.ip().is_loopback() {
            check_exposure(&options)?;
        }
        let shared = Shared {
            budget: Budget::new(usize::try_from(options.memory.as_u64() / 2).unwrap_or(usize::MAX)),
            throttle: Throttle::over([(Scope::Target, options.limit.clone())]),
            status: Arc::default(),
            warnings: Warnings::default(),
            stopping: watch::Sender::new(false),
            lineage: Lineage::default(),
            options,
        };
        Ok(Self { listener, addr, shared: Arc::new(shared) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it has done so far.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.shared.status)
    }

    /// Waits until its target is there, and gives what that understands. Each failed attempt is told, with the time until
    /// the next one.
    ///
    /// # Errors
    /// Whatever waiting does not help against: a wrong password, a replica.
    pub async fn wait_for_target(&self, mut tell: impl FnMut(&Error, Duration)) -> Result<Dialect> {
        let mut pause = PAUSE;
        loop {
            match self.shared.target(0, HyperLogLogPolicy::default()).await {
                Ok(target) => return Ok(target.dialect()),
                Err(error @ (Error::Connect { .. } | Error::Lost { .. })) => {
                    tell(&error, pause);
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes senders until `stop`. What has been read of their batches by then is applied and acknowledged.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, shared, .. } = self;
        let mut crowd = Crowd::default();
        let mut sessions = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                (stream, peer) = accept(&listener, &shared) => {
                    sessions.spawn(session::serve(Arc::clone(&shared), stream, peer, crowd.enter()));
                }
                Some(ended) = sessions.join_next() => {
                    if let Err(panic) = ended {
                        shared.warnings.warn(|| format!("a session ended with a fault of ours: {panic}"));
                    }
                }
                () = &mut stop => break,
            }
        }
        drop(listener);
        shared.stopping.send_replace(true);
        let ended = timeout(FAREWELL, async { while sessions.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            info!(sessions = sessions.len(), "the target does not answer, its sessions are dropped");
        }
    }
}

impl Shared {
    async fn target(&self, database: u32, hyperloglog: HyperLogLogPolicy) -> Result<Target> {
        let endpoint = Endpoint { database, ..self.options.target.clone() };
        // It is never asked for the keys of slots, so the number of slots does not matter.
        let target = Target::connect(&endpoint, SlotCount::CODIS, hyperloglog).await?;
        target.check_writes().await?;
        Ok(target)
    }

    /// The largest batch that is taken, as encoded: two of them and what is beside them fit into the memory.
    fn batch_max(&self) -> u64 {
        self.options.memory.as_u64() / 3
    }
}

/// The next connection.
async fn accept(listener: &TcpListener, shared: &Shared) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(fault) => {
                shared.warnings.warn(|| format!("a connection could not be accepted: {fault}"));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whoever reaches it could write to the target, or read what is moved.
fn check_exposure(options: &ReceiverOptions) -> Result<()> {
    let unfit = |what: &str, help: &str| Error::Unfit {
        side: Side::Receiver,
        address: options.listen.clone(),
        what: what.to_owned(),
        help: help.to_owned(),
    };
    let checks_certificates = options.tls.as_ref().is_some_and(ServerTls::wants_client_certificate);
    if options.token.is_none() && !checks_certificates {
        let what = "it would take writes from anybody who reaches this machine";
        return Err(unfit(
            what,
            "give it a token (`--token-file`), or `--tls-client-ca`, or let it listen on 127.0.0.1",
        ));
    }
    if options.tls.is_none() && !options.insecure {
        let what = "what is moved would cross the network in the clear";
        return Err(unfit(what, "give it a certificate (`--tls-cert`, `--tls-key`), or say `--insecure`"));
    }
    Ok(())
}

/// Between attempts to reach the target, at first and at most.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// After the system had no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the target may take to answer what it was sent, once the receiver was told to end.
const FAREWELL: Duration = Duration::from_secs(5);
