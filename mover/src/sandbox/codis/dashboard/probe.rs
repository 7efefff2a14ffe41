// SPDX-License-Identifier: Apache-2.0
//! Asking a server how it is.

use std::collections::BTreeMap;
use std::io;

use bytes::{Bytes, BytesMut};
use replication::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::sandbox::reply::{Measure, Reply};

/// What `INFO replication` says, by field.
///
/// # Errors
/// When the server cannot be reached or does not like the password.
pub(super) async fn info(addr: &str, password: Option<&str>) -> io::Result<BTreeMap<String, String>> {
    let mut stream = TcpStream::connect(addr).await?;
    if let Some(password) = password {
        ask(&mut stream, &["AUTH", password]).await?;
    }
    match ask(&mut stream, &["INFO", "replication"]).await? {
        Reply::Bulk(Some(text)) => Ok(fields(&text)),
        other => Err(io::Error::other(format!("INFO was answered {other:?}"))),
    }
}

async fn ask(stream: &mut TcpStream, words: &[&str]) -> io::Result<Reply> {
    let mut output = BytesMut::new();
    Command::new(words.iter().map(|word| (*word).to_owned())).encode(&mut output);
    stream.write_all(&output).await?;
    let (mut input, mut measure) = (BytesMut::new(), Measure::new());
    while measure.advance(&input).map_err(io::Error::other)?.is_none() {
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    match Reply::decode(&input.freeze()).map_err(io::Error::other)? {
        Reply::Error(why) => Err(io::Error::other(format!("{}: {}", words[0], why.escape_ascii()))),
        reply => Ok(reply),
    }
}

fn fields(text: &Bytes) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(text);
    let fields = text.lines().filter_map(|line| line.trim().split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
