// SPDX-License-Identifier: Apache-2.0
//! One client connection: requests in one write, replies as they come.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use replication::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::sandbox::reply::{Measure, Reply};

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    input: BytesMut,
    measure: Measure,
}

impl Connection {
    /// Connects and sends AUTH where there is a password.
    pub(super) async fn open(addr: SocketAddr, password: Option<&str>) -> io::Result<Self> {
        let stream = timeout(CONNECT_MAX, TcpStream::connect(addr)).await.map_err(io::Error::from)??;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream, input: BytesMut::new(), measure: Measure::new() };
        if let Some(password) = password {
            let mut request = BytesMut::new();
            Command::new(["AUTH".to_owned(), password.to_owned()]).encode(&mut request);
            let mut replies = Vec::new();
            connection.exchange(&request, 1, CONNECT_MAX, &mut replies).await?;
            if let Some((Reply::Error(why), _)) = replies.pop() {
                return Err(io::Error::other(format!("AUTH: {}", why.escape_ascii())));
            }
        }
        Ok(connection)
    }

    /// Sends `count` requests and adds their replies, with the time each took, to `replies`. On an error those that came
    /// before it are there; the connection is of no use any more.
    pub(super) async fn exchange(
        &mut self,
        requests: &[u8],
        count: usize,
        time_max: Duration,
        replies: &mut Vec<(Reply, Duration)>,
    ) -> io::Result<()> {
        let wanted = replies.len() + count;
        let start = Instant::now();
        let work = async {
            self.stream.write_all(requests).await?;
            while replies.len() < wanted {
                let reply = self.receive().await?;
                replies.push((reply, start.elapsed()));
            }
            Ok(())
        };
        timeout(time_max, work).await.unwrap_or_else(|_| Err(io::Error::other(format!("no reply within {time_max:?}"))))
    }

    /// Sends one command and waits for its reply.
    pub(super) async fn call(&mut self, words: &[&[u8]], time_max: Duration) -> io::Result<Reply> {
        let mut request = BytesMut::new();
        Command::new(words.iter().map(|word| Bytes::copy_from_slice(word))).encode(&mut request);
        let mut replies = Vec::new();
        self.exchange(&request, 1, time_max, &mut replies).await?;
        match replies.pop() {
            Some((Reply::Error(why), _)) => Err(io::Error::other(why.escape_ascii().to_string())),
            Some((reply, _)) => Ok(reply),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    async fn receive(&mut self) -> io::Result<Reply> {
        loop {
            if let Some(length) = self.measure.advance(&self.input).map_err(io::Error::other)? {
                let reply: Bytes = self.input.split_to(length).freeze();
                return Reply::decode(&reply).map_err(io::Error::other);
            }
            self.input.reserve(BUFFER);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"));
            }
        }
    }
}

const CONNECT_MAX: Duration = Duration::from_secs(2);
const BUFFER: usize = 16 * 1024;
