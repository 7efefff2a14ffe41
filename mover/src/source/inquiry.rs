// SPDX-License-Identifier: Apache-2.0
//! Questions about live keys: the one way in which any key of a node is read.
//!
//! A Pika answers most reads from a cache that some of its own writes pass by, and fills it with what it is asked. Inside of
//! MULTI … EXEC it does neither: commands go to the database, and EXEC holds the record locks of the keys that they name.
//! So everything that is asked about one key is of one moment, and a change that it shows is in the log already, for a
//! writer logs under the same lock. What holds a lock keeps writers waiting, so a transaction is short.
//!
//! ```text
//! TIME  MULTI  TYPE a  PTTL a  …  TYPE b  PTTL b  …  EXEC  TIME
//! ```
//!
//! An expiry is counted from the server's own clock at the moment of its answer: between the two times, or exactly where the
//! transaction itself asks for the time. (That costs a lock that all such transactions share, so it is done where a key is
//! known to expire.) A Redis has no such cache; it is asked the same without transactions.

use std::ops::Range;
use std::time::Duration;
use std::vec;

use redis::{Pipeline, Value};
use snapshot::UnixMillis;

use crate::Result;
use crate::dialect::Dialect;
use crate::endpoint::{Client, Endpoint, error_text};

/// Questions about some keys of one server, in the order of the keys.
pub(super) struct Inquiry {
    pipeline: Pipeline,
    is_in_transactions: bool,
    is_timed: bool,
    /// Where the questions about each key begin.
    keys: Vec<usize>,
    groups: Vec<Group>,
    open: Option<Group>,
}

/// Keys that are asked about in one transaction.
#[derive(Clone, Debug)]
struct Group {
    /// Where its commands begin: TIME is the first.
    begin: usize,
    keys: Range<usize>,
}

/// The answers about one key.
#[derive(Debug)]
pub(super) struct Told {
    /// The server's time before and after they were given.
    asked: UnixMillis,
    answered: UnixMillis,
    answers: vec::IntoIter<Value>,
}

impl Told {
    /// The next answer; nothing behind the last one.
    pub(super) fn answer(&mut self) -> Value {
        self.answers.next().unwrap_or_default()
    }

    /// The server's time when they were given, if that is known well enough for an expiry.
    pub(super) fn time(&self) -> Option<UnixMillis> {
        (self.answered.since(self.asked) <= TIMES_APART_MAX).then_some(self.asked)
    }
}

impl Iterator for Told {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        self.answers.next()
    }
}

impl Inquiry {
    /// One of a server of this dialect.
    pub(super) fn of(dialect: Dialect) -> Self {
        Self {
            pipeline: Pipeline::new(),
            is_in_transactions: dialect == Dialect::Pika,
            is_timed: false,
            keys: Vec::new(),
            groups: Vec::new(),
            open: None,
        }
    }

    /// Has every transaction say exactly at what time it is.
    pub(super) fn timed(self, is_timed: bool) -> Self {
        Self { is_timed, ..self }
    }

    /// Where to put the questions about the next key; all of them name it.
    pub(super) fn key(&mut self) -> &mut Pipeline {
        let is_full = |group: &Group| group.keys.len() >= KEYS_MAX || self.pipeline.len() - group.begin >= COMMANDS_MAX;
        if self.open.as_ref().is_some_and(is_full) {
            self.close();
        }
        let begin = self.pipeline.len();
        let at = self.keys.len();
        let group = self.open.get_or_insert(Group { begin, keys: at..at });
        group.keys.end += 1;
        if group.keys.len() == 1 {
            self.pipeline.cmd("TIME");
            if self.is_in_transactions {
                self.pipeline.cmd("MULTI");
            }
            if self.is_timed {
                self.pipeline.cmd("TIME");
            }
        }
        self.keys.push(self.pipeline.len());
        &mut self.pipeline
    }

    /// Ends the transaction: the next key is in another one.
    pub(super) fn close(&mut self) {
        if let Some(group) = self.open.take() {
            if self.is_in_transactions {
                self.pipeline.cmd("EXEC");
            }
            self.pipeline.cmd("TIME");
            self.groups.push(group);
        }
    }

    /// Asks, and gives the answers about each key.
    ///
    /// # Errors
    /// As [`Client::ask_all`], and [`Error::Reply`](crate::Error::Reply) where the server will not do a transaction.
    pub(super) async fn ask(mut self, client: &mut Client) -> Result<Vec<Told>> {
        self.close();
        let end = self.pipeline.len();
        let mut replies = client.ask_all(&mut self.pipeline).await?.into_iter();
        let mut told = Vec::with_capacity(self.keys.len());
        for (index, group) in self.groups.iter().enumerate() {
            let next = self.groups.get(index + 1).map_or(end, |next| next.begin);
            let count = next - group.begin;
            self.take(client.endpoint(), group, replies.by_ref().take(count).collect(), &mut told)?;
        }
        Ok(told)
    }

    /// Takes the replies of one transaction apart.
    fn take(&self, endpoint: &Endpoint, group: &Group, replies: Vec<Value>, told: &mut Vec<Told>) -> Result<()> {
        let count = replies.len();
        let mut replies = replies.into_iter();
        let mut asked = time(endpoint, replies.next().unwrap_or_default())?;
        let lead = 1 + usize::from(self.is_in_transactions);
        let (mut answers, closing) = if self.is_in_transactions {
            // What is between MULTI and EXEC was queued; EXEC, the last but one, has the answers.
            let executed = replies.by_ref().nth(count - 3).unwrap_or_default();
            let answers = match executed {
                Value::Array(answers) if answers.len() == count - 4 => answers,
                Value::ServerError(error) => return Err(endpoint.answered("EXEC", error_text(&error))),
                other => return Err(endpoint.answered("EXEC", format!("{other:?}"))),
            };
            (answers.into_iter(), replies.next())
        } else {
            let mut answers: Vec<Value> = replies.collect();
            let closing = answers.pop();
            (answers.into_iter(), closing)
        };
        let mut answered = time(endpoint, closing.unwrap_or_default())?;
        if self.is_timed {
            asked = time(endpoint, answers.next().unwrap_or_default())?;
            answered = asked;
        }
        let first = group.begin + lead + usize::from(self.is_timed);
        let all = answers.len();
        for key in group.keys.clone() {
            let begin = self.keys[key];
            let end = self.keys.get(key + 1).filter(|_| key + 1 < group.keys.end).map_or(first + all, |next| *next);
            let own: Vec<Value> = answers.by_ref().take(end - begin).collect();
            told.push(Told { asked, answered, answers: own.into_iter() });
        }
        Ok(())
    }
}

/// The server's time.
fn time(endpoint: &Endpoint, reply: Value) -> Result<UnixMillis> {
    let part = |value: &Value| redis::from_redis_value_ref::<u64>(value).ok();
    let millis = match &reply {
        Value::Array(parts) => match &parts[..] {
            [seconds, micros] => part(seconds).zip(part(micros)),
            _ => None,
        },
        _ => None,
    };
    let (seconds, micros) = millis.ok_or_else(|| endpoint.answered("TIME", format!("{reply:?}")))?;
    Ok(UnixMillis(seconds.saturating_mul(1000).saturating_add(micros / 1000)))
}

/// Keys in one transaction. Writers of them wait as long as it lasts: a fraction of a millisecond.
const KEYS_MAX: usize = 32;

/// Commands in one transaction, unless one key has more.
const COMMANDS_MAX: usize = 256;

/// An expiry may be off by so much.
const TIMES_APART_MAX: Duration = Duration::from_millis(20);
