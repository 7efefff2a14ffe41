// SPDX-License-Identifier: Apache-2.0
//! The connections to one node: few, pipelined, and opened when they are needed.
//!
//! A request is sent once. When its connection ends before the answer, the node may have run it: the client is told so,
//! and nothing is sent again. There is no time-out either: a request stays on its way until the node answers or the
//! connection ends, because a fence must not come back while a slow node may still run it. What remains, here as in Codis,
//! is a node that ends a connection and runs the last command of it afterwards: no proxy can see that.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use replication::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::table::Pass;
use crate::sandbox::pulse::Pulse;
use crate::sandbox::reply::Measure;

/// The bytes of a reply, or why there is none.
pub(super) type Answer = Result<Bytes, BackendError>;

/// Why a request has no reply.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum BackendError {
    #[error("node {node} cannot be reached, nothing was sent: {why}")]
    Unreachable { node: Arc<str>, why: String },
    #[error("connection to node {node} ended before the reply, the command may have run: {why}")]
    Lost { node: Arc<str>, why: String },
    /// In the words of Codis.
    #[error("handle request, slot is not ready, may be offline")]
    Offline,
    #[error("the proxy has stopped, the command may have run")]
    Stopped,
}

/// Where a node listens and what it wants to hear first.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Host and port. It may be an address that leads nowhere: whoever is sent there is told so.
    pub(super) addr: Arc<str>,
    pub(super) password: Option<String>,
}

/// The way to one node.
#[derive(Debug)]
pub(super) struct Backend {
    addr: Arc<str>,
    lanes: Vec<mpsc::Sender<Request>>,
    keyed: AtomicU64,
}

impl Backend {
    /// Starts the connections' tasks; they end when the backend is dropped.
    pub(super) fn start(node: &Node, pulse: &Arc<Pulse>, tasks: &mut JoinSet<()>) -> Arc<Self> {
        let lane = |_| {
            let (sender, requests) = mpsc::channel(QUEUE_MAX);
            tasks.spawn(Lane { node: node.clone(), pulse: Arc::clone(pulse), requests }.run());
            sender
        };
        Arc::new(Self { addr: Arc::clone(&node.addr), lanes: (0..LANES).map(lane).collect(), keyed: AtomicU64::new(0) })
    }

    /// Host and port of the node.
    pub(super) fn addr(&self) -> &str {
        &self.addr
    }

    /// Keyed requests, or keys of them, that were sent here.
    pub(super) fn keyed(&self) -> u64 {
        self.keyed.load(Ordering::Relaxed)
    }

    /// Sends a request and returns where its reply will be. Requests of one session go out in the order of the calls.
    /// The pass comes back when the reply is here, whether or not anyone still waits for it.
    pub(super) async fn send(&self, session: usize, payload: Bytes, pass: Option<Pass>) -> oneshot::Receiver<Answer> {
        if pass.is_some() {
            self.keyed.fetch_add(1, Ordering::Relaxed);
        }
        let (sender, answer) = oneshot::channel();
        let request = Request { payload, waiting: Waiting { pass, sender } };
        if let Err(closed) = self.lanes[session % LANES].send(request).await {
            closed.0.waiting.finish(Err(BackendError::Stopped));
        }
        answer
    }
}

#[derive(Debug)]
struct Request {
    payload: Bytes,
    waiting: Waiting,
}

#[derive(Debug)]
struct Waiting {
    pass: Option<Pass>,
    sender: oneshot::Sender<Answer>,
}

impl Waiting {
    fn finish(self, answer: Answer) {
        drop(self.pass);
        // The client may be gone.
        let _ = self.sender.send(answer);
    }
}

/// One connection and the requests for it.
struct Lane {
    node: Node,
    pulse: Arc<Pulse>,
    requests: mpsc::Receiver<Request>,
}

impl Lane {
    async fn run(mut self) {
        while let Some(first) = self.requests.recv().await {
            self.pulse.beat().await;
            match timeout(CONNECT_MAX, self.node.connect()).await {
                Ok(Ok(stream)) => self.serve(stream, first).await,
                Ok(Err(error)) => self.refuse(first, &error.to_string()),
                Err(_) => self.refuse(first, "no connection in time"),
            }
        }
    }

    /// Fails what waits now; what comes later tries again.
    fn refuse(&mut self, first: Request, why: &str) {
        let error = BackendError::Unreachable { node: Arc::clone(&self.node.addr), why: why.to_owned() };
        first.waiting.finish(Err(error.clone()));
        while let Ok(request) = self.requests.try_recv() {
            request.waiting.finish(Err(error.clone()));
        }
    }

    /// Passes requests and replies on until the connection ends.
    async fn serve(&mut self, stream: TcpStream, first: Request) {
        let mut pipe = Pipe::default();
        pipe.send(first);
        let why = match self.pump(stream, &mut pipe).await {
            Ok(()) => "closed by the node".to_owned(),
            Err(error) => error.to_string(),
        };
        let error = BackendError::Lost { node: Arc::clone(&self.node.addr), why };
        for waiting in pipe.waiting {
            waiting.finish(Err(error.clone()));
        }
    }

    async fn pump(&mut self, mut stream: TcpStream, pipe: &mut Pipe) -> io::Result<()> {
        let (mut read, mut write) = stream.split();
        let mut batch = Vec::new();
        loop {
            self.pulse.beat().await;
            let open = pipe.output.is_empty() && pipe.waiting.len() < QUEUE_MAX;
            tokio::select! {
                count = self.requests.recv_many(&mut batch, BATCH_MAX), if open => match count {
                    0 => return Ok(()),
                    _ => batch.drain(..).for_each(|request| pipe.send(request)),
                },
                written = write.write_buf(&mut pipe.output), if !pipe.output.is_empty() => {
                    written?;
                }
                count = read.read_buf(&mut pipe.input) => {
                    self.pulse.beat().await;
                    match count? {
                        0 => return Ok(()),
                        _ => pipe.receive()?,
                    }
                }
            }
        }
    }
}

/// What is on its way over one connection.
struct Pipe {
    output: BytesMut,
    input: BytesMut,
    measure: Measure,
    waiting: VecDeque<Waiting>,
}

impl Default for Pipe {
    fn default() -> Self {
        let buffer = || BytesMut::with_capacity(BUFFER);
        Self { output: buffer(), input: buffer(), measure: Measure::new(), waiting: VecDeque::new() }
    }
}

impl Pipe {
    fn send(&mut self, request: Request) {
        self.output.extend_from_slice(&request.payload);
        self.waiting.push_back(request.waiting);
    }

    fn receive(&mut self) -> io::Result<()> {
        while !self.input.is_empty() {
            let Some(length) = self.measure.advance(&self.input).map_err(io::Error::other)? else {
                break;
            };
            let reply = self.input.split_to(length).freeze();
            let waiting = self.waiting.pop_front().ok_or_else(|| io::Error::other("a reply nobody asked for"))?;
            waiting.finish(Ok(reply));
        }
        self.input.reserve(BUFFER / 2);
        Ok(())
    }
}

impl Node {
    async fn connect(&self) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(&*self.addr).await?;
        stream.set_nodelay(true)?;
        if let Some(password) = &self.password {
            let mut request = BytesMut::new();
            Command::new(["AUTH".to_owned(), password.clone()]).encode(&mut request);
            stream.write_all(&request).await?;
            let reply = read_reply(&mut stream).await?;
            if !reply.starts_with(b"+") {
                return Err(io::Error::other(format!("AUTH: {}", reply.trim_ascii().escape_ascii())));
            }
        }
        Ok(stream)
    }
}

async fn read_reply(stream: &mut TcpStream) -> io::Result<BytesMut> {
    let mut input = BytesMut::new();
    let mut measure = Measure::new();
    while measure.advance(&input).map_err(io::Error::other)?.is_none() {
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(input)
}

/// Connections to a node: enough that a big reply for one client does not hold back all others.
const LANES: usize = 4;
/// Requests that wait in front of a connection, and as many on it.
const QUEUE_MAX: usize = 1024;
const BATCH_MAX: usize = 128;
const BUFFER: usize = 32 * 1024;
const CONNECT_MAX: Duration = Duration::from_secs(1);
