// SPDX-License-Identifier: Apache-2.0
//! Replies, looked at as they come in. None is kept: memory is a buffer of a fixed size, however much is answered.

use std::ops::Range;

use crate::Result;
use crate::sink::pipe::PipeReader;
use crate::sink::reply::{Token, parse};

/// The reading half of a connection for questions.
#[derive(Debug)]
pub(super) struct Replies {
    reader: PipeReader,
    /// How much of the reader's input was taken.
    used: usize,
    /// The command that is being answered, for errors.
    command: &'static str,
}

/// What a reply begins with.
#[derive(Clone, Debug)]
enum Head {
    /// A short string, whole: where it stands in the input.
    Short(Range<usize>),
    Long(u64),
    Number(i64),
    Array(u64),
    /// Nothing, or an error that says that the key is gone or another type.
    Other,
}

impl Replies {
    pub(super) fn new(reader: PipeReader) -> Self {
        Self { reader, used: 0, command: "" }
    }

    /// Says which command the next replies answer.
    pub(super) fn of(&mut self, command: &'static str) -> &mut Self {
        self.command = command;
        self
    }

    /// Whether the next reply is this string.
    pub(super) async fn is(&mut self, expected: &[u8]) -> Result<bool> {
        match self.head().await? {
            Head::Short(place) => Ok(self.reader.input()[place] == *expected),
            Head::Long(length) => self.long(length, expected).await,
            Head::Array(count) => self.skip(count).await.map(|()| false),
            Head::Number(_) | Head::Other => Ok(false),
        }
    }

    /// The next reply, if it is a number.
    pub(super) async fn number(&mut self) -> Result<Option<i64>> {
        match self.head().await? {
            Head::Number(number) => Ok(Some(number)),
            other => self.pass(other).await.map(|()| None),
        }
    }

    /// How many replies follow, if the next one is an array.
    pub(super) async fn array(&mut self) -> Result<Option<u64>> {
        match self.head().await? {
            Head::Array(count) => Ok(Some(count)),
            other => self.pass(other).await.map(|()| None),
        }
    }

    /// What `take` makes of the next reply, if that is a short string.
    pub(super) async fn text<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        match self.head().await? {
            Head::Short(place) => Ok(Some(take(&self.reader.input()[place]))),
            other => self.pass(other).await.map(|()| None),
        }
    }

    /// The next reply, if it is a string of any length: to be asked for only where there are no long ones as a rule.
    pub(super) async fn string(&mut self, mut take: impl FnMut(&[u8])) -> Result<bool> {
        match self.head().await? {
            Head::Short(place) => take(&self.reader.input()[place]),
            Head::Long(length) => {
                let mut whole = Vec::new();
                self.long_parts(length, |part| whole.extend_from_slice(part)).await?;
                take(&whole);
            }
            other => return self.pass(other).await.map(|()| false),
        }
        Ok(true)
    }

    /// Passes so many replies over, whatever they are.
    pub(super) async fn skip(&mut self, count: u64) -> Result<()> {
        let mut left = count;
        while left > 0 {
            left -= 1;
            match self.head().await? {
                Head::Array(count) => left = left.saturating_add(count),
                Head::Long(length) => self.long_parts(length, |_| ()).await?,
                Head::Short(_) | Head::Number(_) | Head::Other => {}
            }
        }
        Ok(())
    }

    /// The error that an answer is none to what was asked.
    pub(super) fn nonsense(&self) -> crate::Error {
        self.reader.endpoint().answered(self.command, "something else than was asked for")
    }

    /// Passes what follows this head.
    async fn pass(&mut self, head: Head) -> Result<()> {
        match head {
            Head::Array(count) => self.skip(count).await,
            Head::Long(length) => self.long_parts(length, |_| ()).await,
            Head::Short(_) | Head::Number(_) | Head::Other => Ok(()),
        }
    }

    async fn head(&mut self) -> Result<Head> {
        loop {
            match parse(&self.reader.input()[self.used..]) {
                Ok(Some((token, length))) => {
                    let end = self.used + length;
                    let head = match token {
                        Token::String(bytes) => Head::Short(end - 2 - bytes.len()..end - 2),
                        Token::Long(length) => Head::Long(length),
                        Token::Number(number) => Head::Number(number),
                        Token::Array(count) => Head::Array(count),
                        Token::Nil | Token::Text(_) => Head::Other,
                        Token::Error(line) if is_about_key(line) => Head::Other,
                        Token::Error(line) => {
                            let line = String::from_utf8_lossy(line);
                            return Err(self.reader.endpoint().answered(self.command, line));
                        }
                    };
                    self.used = end;
                    return Ok(head);
                }
                Ok(None) => self.fill().await?,
                Err(fault) => return Err(self.reader.endpoint().lost(fault)),
            }
        }
    }

    /// Compares the bytes of a long string as they come.
    async fn long(&mut self, length: u64, expected: &[u8]) -> Result<bool> {
        let mut same = length == expected.len() as u64;
        let mut rest = expected;
        self.long_parts(length, |part| {
            if same {
                let (front, behind) = rest.split_at(part.len());
                (same, rest) = (front == part, behind);
            }
        })
        .await?;
        Ok(same)
    }

    /// Hands out the bytes of a long string as they come, and passes its end.
    async fn long_parts(&mut self, length: u64, mut take: impl FnMut(&[u8])) -> Result<()> {
        let mut left = length;
        while left > 0 {
            let input = &self.reader.input()[self.used..];
            if input.is_empty() {
                self.fill().await?;
                continue;
            }
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
            take(&input[..part]);
            self.used += part;
            left -= part as u64;
        }
        while self.reader.input().len() < self.used + 2 {
            self.fill().await?;
        }
        if self.reader.input()[self.used..self.used + 2] != *b"\r\n" {
            return Err(self.reader.endpoint().lost("a string of another length than it was said to have"));
        }
        self.used += 2;
        Ok(())
    }

    async fn fill(&mut self) -> Result<()> {
        self.reader.consume(std::mem::take(&mut self.used));
        self.reader.fill().await
    }
}

/// Whether an error says no more than that the key is of another type, or gone.
fn is_about_key(line: &[u8]) -> bool {
    let has = |part: &[u8]| line.windows(part.len()).any(|window| window == part);
    // Pika wraps the first in other texts, and answers the second to XLEN and XINFO; both also say so of a Redis.
    has(b"WRONGTYPE") || has(b"no such key")
}
