// SPDX-License-Identifier: Apache-2.0
//! A client that takes answers as they are.

use bytes::{Buf, Bytes, BytesMut};
use replication::Command;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::Node;
use super::super::reply::Reply;

pub(super) struct Client {
    stream: TcpStream,
    input: BytesMut,
}

impl Client {
    pub(super) async fn of(node: &Node) -> Self {
        Self { stream: TcpStream::connect(node.addr()).await.unwrap(), input: BytesMut::new() }
    }

    /// Sends a command written with blanks between its arguments, and gives the answer.
    pub(super) async fn call(&mut self, text: &str) -> Reply {
        self.call_args(text.split(' ').map(|word| Bytes::from(word.to_owned()))).await
    }

    /// Sends a command and gives the answer.
    pub(super) async fn call_args<A: Into<Bytes>>(&mut self, args: impl IntoIterator<Item = A>) -> Reply {
        let mut output = BytesMut::new();
        Command::new(args).encode(&mut output);
        self.send(&output).await;
        self.receive().await.expect("an answer")
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next answer; `None` when the node has closed the connection.
    pub(super) async fn receive(&mut self) -> Option<Reply> {
        loop {
            let mut rest = &self.input[..];
            if let Some(reply) = parse(&mut rest) {
                let length = self.input.len() - rest.len();
                self.input.advance(length);
                return Some(reply);
            }
            if self.stream.read_buf(&mut self.input).await.unwrap() == 0 {
                return None;
            }
        }
    }
}

/// The text of a string.
pub(super) fn text(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("no string: {other:?}"),
    }
}

fn parse(input: &mut &[u8]) -> Option<Reply> {
    let end = input.windows(2).position(|pair| pair == b"\r\n")?;
    let line = std::str::from_utf8(&input[1..end]).unwrap().to_owned();
    let sigil = input[0];
    *input = &input[end + 2..];
    let length = || line.parse::<i64>().unwrap();
    Some(match sigil {
        b'+' => Reply::Status(line.leak()),
        b'-' => Reply::Error(line.into()),
        b':' => Reply::Integer(length()),
        b'$' => match usize::try_from(length()) {
            Err(_) => Reply::Null,
            Ok(size) => {
                let bytes = Bytes::copy_from_slice(input.get(..size)?);
                *input = input.get(size + 2..)?;
                Reply::Bulk(bytes)
            }
        },
        b'*' => match usize::try_from(length()) {
            Err(_) => Reply::NullArray,
            Ok(count) => Reply::Array((0..count).map(|_| parse(input)).collect::<Option<_>>()?),
        },
        other => panic!("no answer begins with {other}"),
    })
}
