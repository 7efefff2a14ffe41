// SPDX-License-Identifier: Apache-2.0
//! One call of one server by another: a connection, a request, an answer.

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::front::Fault;

/// Calls `method path` at an address and returns the JSON of the answer. The request is on its way when this is dropped or
/// fails: the server may carry it out all the same.
///
/// # Errors
/// The cause that the server gives, or why there is no answer within `time_max`.
pub(super) async fn call(
    addr: &str,
    method: &str,
    path: &str,
    body: &[u8],
    time_max: Duration,
) -> Result<Value, Fault> {
    let answer = timeout(time_max, exchange(addr, method, path, body)).await;
    let answer = answer.unwrap_or_else(|_| Err(io::Error::other(format!("no answer within {time_max:?}"))));
    let answer = answer.map_err(|error| Fault(format!("{method} {addr}{path}: {error}")))?;
    let (status, body) = parse(&answer).ok_or_else(|| Fault(format!("{method} {addr}{path}: this is no HTTP")))?;
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    match status {
        200 => Ok(value),
        800 => Err(Fault(value["Cause"].as_str().unwrap_or("no cause was given").to_owned())),
        other => Err(Fault(format!("[{other}] {addr}{path}"))),
    }
}

async fn exchange(addr: &str, method: &str, path: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let connecting = timeout(DIAL_MAX, TcpStream::connect(addr)).await;
    let mut stream = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    stream.set_nodelay(true)?;
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The status and the body of a whole answer, which ends with its connection.
fn parse(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let status = std::str::from_utf8(&answer[..end]).ok()?.split(' ').nth(1)?.parse().ok()?;
    Some((status, &answer[end + 4..]))
}

const DIAL_MAX: Duration = Duration::from_secs(1);
