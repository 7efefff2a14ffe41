// SPDX-License-Identifier: Apache-2.0
//! One client: its requests go out in order, its replies come back in order.
//!
//! A request that waits at a fence holds back those behind it on the same connection, and no others. When its client goes
//! away meanwhile it is sent all the same once the fence is down, as Codis does.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use rand::RngExt;
use replication::{Command, CommandError, Slot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::backend::{Answer, BackendError};
use super::relay::{Keyless, Shared};
use super::route::{self, Route, Split};
use super::table::{Offline, Pass};
use crate::sandbox::reply::Reply;

/// Serves one client until it goes away or breaks the protocol.
pub(super) async fn run(mut stream: TcpStream, number: usize, shared: Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    shared.pulse.beat().await;
    if !shared.online.load(Ordering::SeqCst) {
        // In the words of Codis.
        return stream.write_all(&route::error("router is not online")).await;
    }
    let (read, write) = stream.split();
    let (sender, pending) = mpsc::channel(PENDING_MAX);
    let session = Session { shared: &shared, number, pending: sender };
    tokio::try_join!(session.receive(read), answer(write, pending, &shared))?;
    Ok(())
}

struct Session<'a> {
    shared: &'a Shared,
    number: usize,
    pending: mpsc::Sender<Pending>,
}

/// A reply in its place in the row.
enum Pending {
    Ready(Bytes),
    One(oneshot::Receiver<Answer>),
    Parts(Split, Vec<oneshot::Receiver<Answer>>),
}

impl Session<'_> {
    /// Reads requests until the client has no more.
    async fn receive(self, mut read: ReadHalf<'_>) -> io::Result<()> {
        let mut buffer = BytesMut::with_capacity(BUFFER);
        while read.read_buf(&mut buffer).await? > 0 {
            self.shared.pulse.beat().await;
            let mut input = mem::take(&mut buffer).freeze();
            loop {
                match Command::parse(&input) {
                    Ok((command, length)) => {
                        if !self.dispatch(&command, input.split_to(length)).await {
                            return Ok(());
                        }
                    }
                    Err(CommandError::Incomplete) => break,
                    Err(error) => {
                        self.queue(Pending::Ready(route::error(&format!("protocol error: {error}")))).await;
                        return Ok(());
                    }
                }
            }
            buffer = input.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            buffer.reserve(BUFFER);
        }
        Ok(())
    }

    /// Sends one request on its way; `false` when the session is to end.
    async fn dispatch(&self, command: &Command, raw: Bytes) -> bool {
        if command.args().is_empty() {
            return true;
        }
        self.shared.counters.requests.fetch_add(1, Ordering::Relaxed);
        let pending = match route::route(command) {
            Err(error) => Pending::Ready(error),
            Ok(Route::Local(reply)) => Pending::Ready(reply),
            Ok(Route::Quit) => {
                self.queue(Pending::Ready(Bytes::from("+OK\r\n"))).await;
                return false;
            }
            Ok(Route::Ping(name)) => self.ping(name, raw).await,
            Ok(Route::Keyless) => Pending::One(self.send_keyless(raw).await),
            Ok(Route::Key) => Pending::One(self.send(self.slot_of(&command.args()[1]), raw).await),
            Ok(Route::Split(split)) => Pending::Parts(split, self.send_parts(split, command).await),
        };
        self.queue(pending).await
    }

    async fn ping(&self, name: Option<Bytes>, raw: Bytes) -> Pending {
        match (&self.shared.keyless, name) {
            (Keyless::Home(_), None) => Pending::Ready(Bytes::from("+PONG\r\n")),
            (Keyless::Home(_), Some(text)) => Pending::Ready(route::bulk(&text)),
            (Keyless::AnySlot, None) => Pending::One(self.send_keyless(raw).await),
            (Keyless::AnySlot, Some(name)) => {
                let name = String::from_utf8_lossy(&name);
                let settled = self.shared.filling.lock().await;
                let backend = self.shared.pool.find(&name);
                drop(settled);
                match backend {
                    None => {
                        Pending::Ready(route::error(&format!("backend server '{}' not found", name.escape_debug())))
                    }
                    Some(backend) => {
                        let raw = Bytes::from("*1\r\n$4\r\nPING\r\n");
                        Pending::One(backend.send(self.number, raw, None).await)
                    }
                }
            }
        }
    }

    async fn send_keyless(&self, raw: Bytes) -> oneshot::Receiver<Answer> {
        match &self.shared.keyless {
            Keyless::Home(home) => home.send(self.number, raw, None).await,
            Keyless::AnySlot => {
                let any = rand::rng().random_range(0..self.shared.table.count().get());
                self.send(Slot::new(any), raw).await
            }
        }
    }

    async fn send(&self, slot: Slot, raw: Bytes) -> oneshot::Receiver<Answer> {
        match self.enter(slot).await {
            Ok(pass) => {
                let backend = Arc::clone(pass.backend());
                backend.send(self.number, raw, Some(pass)).await
            }
            Err(Offline) => {
                let (sender, answer) = oneshot::channel();
                // The other end is returned.
                let _ = sender.send(Err(BackendError::Offline));
                answer
            }
        }
    }

    fn slot_of(&self, key: &[u8]) -> Slot {
        self.shared.table.count().slot_of(key)
    }

    /// Each part waits at the fence of its own slot, with the earlier ones already on their way.
    async fn send_parts(&self, split: Split, command: &Command) -> Vec<oneshot::Receiver<Answer>> {
        let args = command.args();
        let mut answers = Vec::with_capacity(args.len());
        for part in args[1..].chunks(split.width()) {
            let mut raw = BytesMut::new();
            Command::new(args[..1].iter().chain(part).cloned()).encode(&mut raw);
            answers.push(self.send(self.slot_of(&part[0]), raw.freeze()).await);
        }
        answers
    }

    async fn enter(&self, slot: Slot) -> Result<Pass, Offline> {
        match self.shared.table.try_enter(slot) {
            Some(entered) => entered,
            None => {
                self.shared.counters.waits.fetch_add(1, Ordering::Relaxed);
                self.shared.table.enter(slot).await
            }
        }
    }

    async fn queue(&self, pending: Pending) -> bool {
        self.pending.send(pending).await.is_ok()
    }
}

/// Writes the replies in the order of the requests, as many at once as are there.
async fn answer(mut write: WriteHalf<'_>, mut pending: mpsc::Receiver<Pending>, shared: &Shared) -> io::Result<()> {
    let mut output = BytesMut::with_capacity(BUFFER);
    while let Some(mut next) = pending.recv().await {
        loop {
            let reply = match next.poll() {
                Some(reply) => reply,
                None => {
                    shared.pulse.beat().await;
                    write.write_all_buf(&mut output).await?;
                    next.wait().await
                }
            };
            match reply {
                Ok(reply) => output.extend_from_slice(&reply),
                Err(failure) => {
                    shared.counters.failures.fetch_add(1, Ordering::Relaxed);
                    output.extend_from_slice(&route::error(&failure.to_string()));
                }
            }
            match pending.try_recv() {
                Ok(more) if output.len() < OUTPUT_MAX => next = more,
                Ok(more) => {
                    shared.pulse.beat().await;
                    write.write_all_buf(&mut output).await?;
                    next = more;
                }
                Err(_) => break,
            }
        }
        shared.pulse.beat().await;
        write.write_all_buf(&mut output).await?;
    }
    write.shutdown().await
}

impl Pending {
    /// The reply if it is already here.
    fn poll(&mut self) -> Option<Answer> {
        match self {
            Self::Ready(reply) => Some(Ok(mem::take(reply))),
            Self::One(answer) => match answer.try_recv() {
                Ok(answer) => Some(answer),
                Err(oneshot::error::TryRecvError::Empty) => None,
                Err(oneshot::error::TryRecvError::Closed) => Some(Err(BackendError::Stopped)),
            },
            Self::Parts(..) => None,
        }
    }

    async fn wait(self) -> Answer {
        match self {
            Self::Ready(reply) => Ok(reply),
            Self::One(answer) => received(answer).await,
            Self::Parts(split, parts) => {
                let mut answers = Vec::with_capacity(parts.len());
                for part in parts {
                    answers.push(received(part).await);
                }
                answers.into_iter().collect::<Result<Vec<_>, _>>().map(|replies| split.merge(&replies))
            }
        }
    }
}

async fn received(answer: oneshot::Receiver<Answer>) -> Answer {
    answer.await.unwrap_or(Err(BackendError::Stopped))
}

impl Split {
    /// One reply out of the replies of the parts; the first that does not fit stands for all.
    fn merge(self, replies: &[Bytes]) -> Bytes {
        match self {
            Self::Status => replies.iter().find(|reply| &reply[..] != b"+OK\r\n").unwrap_or(&replies[0]).clone(),
            Self::Join => {
                let mut joined = BytesMut::from(format!("*{}\r\n", replies.len()).as_bytes());
                for reply in replies {
                    match reply.strip_prefix(b"*1\r\n") {
                        Some(element) => joined.extend_from_slice(element),
                        None => return reply.clone(),
                    }
                }
                joined.freeze()
            }
            Self::Sum => {
                let mut sum = 0;
                for reply in replies {
                    match Reply::decode(reply) {
                        Ok(Reply::Integer(number)) => sum += number,
                        _ => return reply.clone(),
                    }
                }
                Bytes::from(format!(":{sum}\r\n"))
            }
        }
    }
}

/// Requests of one client that are on their way.
const PENDING_MAX: usize = 1024;
const BUFFER: usize = 16 * 1024;
const OUTPUT_MAX: usize = 256 * 1024;
