// SPDX-License-Identifier: Apache-2.0
//! A connection of either kind, cut in two.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, BufReader, split};
use tokio::net::TcpStream;

use super::tls::{ClientTls, ServerTls};

/// What the other end says.
pub(crate) type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// Where it listens.
pub(crate) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Both halves of a connection that was made to `host`.
///
/// # Errors
/// When the other end has no certificate that this end trusts, or does not trust this end's.
pub(crate) async fn connected(stream: TcpStream, host: &str, tls: Option<&ClientTls>) -> io::Result<(Reader, Writer)> {
    stream.set_nodelay(true)?;
    match tls {
        Some(tls) => Ok(halves(tls.connect(host, stream).await?)),
        None => Ok(plain_halves(stream)),
    }
}

/// Both halves of a connection that was accepted.
///
/// # Errors
/// As [`connected`].
pub(crate) async fn accepted(stream: TcpStream, tls: Option<&ServerTls>) -> io::Result<(Reader, Writer)> {
    stream.set_nodelay(true)?;
    match tls {
        Some(tls) => Ok(halves(tls.accept(stream).await?)),
        None => Ok(plain_halves(stream)),
    }
}

fn plain_halves(stream: TcpStream) -> (Reader, Writer) {
    let (reader, writer) = stream.into_split();
    (Box::new(BufReader::with_capacity(BUFFER, reader)), Box::new(writer))
}

fn halves(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> (Reader, Writer) {
    let (reader, writer) = split(stream);
    (Box::new(BufReader::with_capacity(BUFFER, reader)), Box::new(writer))
}

/// A usual frame, compressed, and the header of the next one.
const BUFFER: usize = 64 << 10;
