// SPDX-License-Identifier: Apache-2.0
//! As much of RESP as a proxy needs: where a message ends, and what a request is about.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Reads one whole request or reply, or `None` when the other side has no more.
pub(crate) async fn read(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Option<BytesMut>> {
    loop {
        if let Some(end) = end_of_value(buffer, 0, 0)? {
            return Ok(Some(buffer.split_to(end)));
        }
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}

/// The words of a request.
pub(crate) fn words(mut request: BytesMut) -> io::Result<Vec<BytesMut>> {
    let mut words = Vec::new();
    let (count, begin) = line(&request, 0)?.filter(|_| request[0] == b'*').ok_or_else(odd)?;
    request.advance(begin);
    for _ in 0..count {
        let (length, begin) = line(&request, 0)?.filter(|_| request[0] == b'$').ok_or_else(odd)?;
        request.advance(begin);
        words.push(request.split_to(usize::try_from(length).map_err(|_| odd())?));
        request.advance(2);
    }
    Ok(words)
}

/// Where the value that begins at `at` ends; `None` while bytes of it are missing.
fn end_of_value(input: &[u8], at: usize, depth: usize) -> io::Result<Option<usize>> {
    if depth > DEEPEST {
        return Err(odd());
    }
    let Some(kind) = input.get(at) else { return Ok(None) };
    let Some((number, mut end)) = line(input, at)? else { return Ok(None) };
    match kind {
        b'+' | b'-' | b':' => {}
        b'$' => end += usize::try_from(number).map_or(0, |length| length + 2),
        b'*' => {
            for _ in 0..number {
                match end_of_value(input, end, depth + 1)? {
                    Some(next) => end = next,
                    None => return Ok(None),
                }
            }
        }
        _ => return Err(odd()),
    }
    Ok((end <= input.len()).then_some(end))
}

/// The number in the line that begins at `at`, where there is to be one, and where the line ends.
fn line(input: &[u8], at: usize) -> io::Result<Option<(i64, usize)>> {
    let Some(length) = input[at..].iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    let end = at + length + 1;
    if !matches!(input[at], b'$' | b'*') {
        return Ok(Some((0, end)));
    }
    let text = std::str::from_utf8(&input[at + 1..end]).map_err(|_| odd())?;
    let number = text.trim_end().parse().ok().filter(|number| (-1..=LONGEST).contains(number));
    number.map(|number| Some((number, end))).ok_or_else(odd)
}

fn odd() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is no RESP")
}

/// A value may have 512 MB.
const LONGEST: i64 = 512 << 20;

/// No reply nests deeper than this: whoever sends more wants our stack.
const DEEPEST: usize = 8;
