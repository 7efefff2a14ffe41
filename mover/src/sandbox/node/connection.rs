// SPDX-License-Identifier: Apache-2.0
//! Bytes in, bytes out: the pipeline of one client.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf, Bytes, BytesMut};
use replication::{Command, CommandError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::core::Core;
use super::reply::Reply;
use super::session::{Session, Step, Wait};

/// Serves a client until it goes, says QUIT or breaks the protocol.
pub(super) async fn serve(core: Arc<Core>, stream: TcpStream) {
    core.stats.connections.fetch_add(1, Ordering::Relaxed);
    let _counted = Counted::enter(&core, &stream);
    let session = Session::new(core);
    let mut connection = Connection { stream, session, output: BytesMut::new() };
    // A client that is gone is no fault of the node's, and nobody is left to be told.
    if let Err(error) = connection.run().await {
        tracing::debug!(%error, "a client was lost");
    }
}

struct Connection {
    stream: TcpStream,
    session: Session,
    /// Answers that are not yet sent.
    output: BytesMut,
}

impl Connection {
    async fn run(&mut self) -> io::Result<()> {
        let mut input = BytesMut::with_capacity(READ_BYTES);
        loop {
            if self.stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            let rest = self.answer_all(input.freeze()).await?;
            self.send().await?;
            let Some(rest) = rest else {
                return Ok(());
            };
            // Only when an answered command still holds on to the buffer must what is left be copied.
            input = rest.try_into_mut().unwrap_or_else(|rest| BytesMut::from(&rest[..]));
            if input.len() > REQUEST_MAX {
                return self.refuse("request is too long").await;
            }
            input.reserve(READ_BYTES);
        }
    }

    /// Answers every command that has come in whole and gives what is left; `None` when the session is over.
    async fn answer_all(&mut self, mut input: Bytes) -> io::Result<Option<Bytes>> {
        loop {
            match Command::parse(&input) {
                Ok((command, length)) => {
                    input.advance(length);
                    if command.args().is_empty() {
                        continue;
                    }
                    self.answer(&command).await?;
                    if self.session.is_over() {
                        return Ok(None);
                    }
                }
                // An argument takes more memory than its bytes, so their number has a bound of its own.
                Err(CommandError::Incomplete) if announced(&input) > ARGUMENTS_MAX => {
                    self.refuse("request has too many arguments").await?;
                    return Ok(None);
                }
                Err(CommandError::Incomplete) => return Ok(Some(input)),
                Err(error @ CommandError::Malformed { .. }) => {
                    self.refuse(&error.to_string()).await?;
                    return Ok(None);
                }
            }
        }
    }

    async fn answer(&mut self, command: &Command) -> io::Result<()> {
        let reply = match self.session.step(command).await {
            Step::Answer(reply) => reply,
            Step::Wait(wait) => {
                self.send().await?;
                self.wait(wait).await?
            }
        };
        reply.encode(&mut self.output);
        match self.output.len() >= WRITE_BYTES {
            true => self.send().await,
            false => Ok(()),
        }
    }

    /// Waits for an element, but not for a client that is gone.
    async fn wait(&mut self, wait: Wait) -> io::Result<Reply> {
        let mut byte = [0];
        let gone = async {
            match self.stream.peek(&mut byte).await {
                Ok(0) => io::Error::from(io::ErrorKind::ConnectionAborted),
                // It has sent more, which must wait.
                Ok(_) => pending().await,
                Err(error) => error,
            }
        };
        tokio::select! {
            reply = wait.finish(&self.session.core) => Ok(reply),
            error = gone => Err(error),
        }
    }

    async fn refuse(&mut self, why: &str) -> io::Result<()> {
        Reply::err(format!("Protocol error: {why}")).encode(&mut self.output);
        self.send().await
    }

    async fn send(&mut self) -> io::Result<()> {
        self.stream.write_all_buf(&mut self.output).await
    }
}

/// How many arguments the request at the front says that it has.
fn announced(input: &[u8]) -> usize {
    let digits = input.iter().skip(1).take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: usize, digit| number.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
}

/// Counts and lists a client as long as it is served.
struct Counted {
    core: Arc<Core>,
    address: String,
}

impl Counted {
    fn enter(core: &Arc<Core>, stream: &TcpStream) -> Self {
        let address = stream.peer_addr().map_or_else(|_| String::new(), |address| address.to_string());
        core.stats.clients.fetch_add(1, Ordering::Relaxed);
        core.clients.enter(&address);
        Self { core: Arc::clone(core), address }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.core.stats.clients.fetch_sub(1, Ordering::Relaxed);
        self.core.clients.leave(&self.address);
    }
}

/// Room made for each read.
const READ_BYTES: usize = 64 << 10;
/// Answers are sent when so many bytes have gathered, or when no further command is there.
const WRITE_BYTES: usize = 256 << 10;
/// The longest request: an argument of 512 MiB and what surrounds it.
const REQUEST_MAX: usize = (512 << 20) + (64 << 10);
/// The most arguments of a request.
const ARGUMENTS_MAX: usize = 1 << 20;
