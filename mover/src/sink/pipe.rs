// SPDX-License-Identifier: Apache-2.0
//! The bulk connection: commands out, answers in, nothing decoded that need not be.

use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::Result;
use crate::endpoint::{CONNECT_TIMEOUT, Endpoint, RESPONSE_TIMEOUT};
use crate::sink::answer::{Answer, parse};

/// A connection that sends many commands and hands their answers to whoever sent them.
#[derive(Debug)]
pub(super) struct Pipe {
    local: SocketAddr,
    reader: PipeReader,
    writer: PipeWriter,
}

/// Its half that takes commands.
#[derive(Debug)]
pub(super) struct PipeWriter {
    endpoint: Endpoint,
    stream: OwnedWriteHalf,
}

/// Its half that gives answers. Both must be used at the same time: a peer that answers while we still write must never
/// find both buffers full.
#[derive(Debug)]
pub(super) struct PipeReader {
    endpoint: Endpoint,
    stream: OwnedReadHalf,
    input: BytesMut,
}

impl Pipe {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`Error::Connect`](crate::Error::Connect).
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self> {
        let address = (endpoint.host.as_str(), endpoint.port);
        let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(connected) => connected.map_err(|fault| endpoint.refused(fault.to_string()))?,
            Err(_) => return Err(endpoint.refused(format!("no answer in {CONNECT_TIMEOUT:?}"))),
        };
        stream.set_nodelay(true).map_err(|fault| endpoint.refused(fault.to_string()))?;
        // What was not delivered at its end must not be later: another connection may have written since.
        stream.set_zero_linger().map_err(|fault| endpoint.refused(fault.to_string()))?;
        let local = stream.local_addr().map_err(|fault| endpoint.refused(fault.to_string()))?;
        let (reader, writer) = stream.into_split();
        let input = BytesMut::with_capacity(INPUT_SIZE);
        let mut pipe = Self {
            local,
            reader: PipeReader { endpoint: endpoint.clone(), stream: reader, input },
            writer: PipeWriter { endpoint: endpoint.clone(), stream: writer },
        };
        pipe.log_in(endpoint).await?;
        Ok(pipe)
    }

    /// Its own end, as the server sees it where nothing stands in between.
    pub(super) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Both halves.
    pub(super) fn split(self) -> (PipeReader, PipeWriter) {
        (self.reader, self.writer)
    }

    async fn log_in(&mut self, endpoint: &Endpoint) -> Result<()> {
        let password = endpoint.password.as_ref().map(|password| ["AUTH", password.reveal()].map(str::to_owned));
        let database = Some(endpoint.database).filter(|database| *database != 0);
        let select = database.map(|database| ["SELECT".to_owned(), database.to_string()]);
        for command in [password, select].into_iter().flatten() {
            let mut bytes = BytesMut::new();
            let [name, argument] = command;
            replication::Command::new([endpoint.names.of(&name).to_owned(), argument]).encode(&mut bytes);
            let mut refusal = None;
            let keep = |_, answer: Answer<'_>| {
                if let Answer::Refused(line) = answer {
                    refusal = Some(String::from_utf8_lossy(line).into_owned());
                }
            };
            self.writer.write(&mut bytes).await?;
            self.reader.read(1, keep).await?;
            if let Some(refusal) = refusal {
                return Err(endpoint.refused(refusal));
            }
        }
        Ok(())
    }
}

impl PipeWriter {
    /// The name that the server knows the command `name` by.
    pub(super) fn name_of<'a>(&'a self, name: &'a str) -> &'a str {
        self.endpoint.names.of(name)
    }

    /// Sends `commands` and consumes them.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost) when the connection breaks.
    pub(super) async fn write(&mut self, commands: &mut impl Buf) -> Result<()> {
        self.stream.write_all_buf(commands).await.map_err(|fault| self.endpoint.lost(fault))
    }
}

impl PipeReader {
    /// Takes `answers` answers.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost) when the connection breaks, answers nonsense or is silent for
    /// [`RESPONSE_TIMEOUT`].
    pub(super) async fn read(&mut self, answers: usize, mut take: impl FnMut(usize, Answer<'_>)) -> Result<()> {
        let mut taken = 0;
        while taken < answers {
            let mut used = 0;
            while taken < answers {
                match parse(&self.input[used..]) {
                    Ok(Some((answer, length))) => {
                        take(taken, answer);
                        used += length;
                        taken += 1;
                    }
                    Ok(None) => break,
                    Err(what) => return Err(self.endpoint.lost(what)),
                }
            }
            self.consume(used);
            if taken == answers {
                break;
            }
            self.fill().await?;
        }
        Ok(())
    }

    /// The server at the other end.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What has come in and was not taken yet.
    pub(super) fn input(&self) -> &[u8] {
        &self.input
    }

    /// Takes so much of the input.
    pub(super) fn consume(&mut self, length: usize) {
        self.input.advance(length);
    }

    /// Waits for more input.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost) when the connection breaks or is silent for [`RESPONSE_TIMEOUT`].
    pub(super) async fn fill(&mut self) -> Result<()> {
        let Self { endpoint, stream, input } = self;
        input.reserve(INPUT_SIZE);
        match timeout(RESPONSE_TIMEOUT, stream.read_buf(input)).await {
            Ok(Ok(0)) => Err(endpoint.lost("closed by the other end")),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(fault)) => Err(endpoint.lost(fault)),
            Err(_) => Err(endpoint.lost(format!("no answer in {RESPONSE_TIMEOUT:?}"))),
        }
    }
}

/// Answers are a few bytes each; this holds those of a batch.
const INPUT_SIZE: usize = 16 << 10;
