// SPDX-License-Identifier: Apache-2.0
//! What answers say about portions of keys.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use snapshot::{Body, StreamEntry, StreamId, UnixMillis};

use crate::Result;
use crate::sink::compare::Portion;
use crate::sink::compare::question::{Question, Terms, count_command};
use crate::sink::compare::replies::Replies;

/// The half of a connection that judges the answers, in the order in which portions were asked about.
#[derive(Debug)]
pub struct Judge {
    terms: Terms,
    replies: Replies,
}

impl Judge {
    pub(super) fn new(terms: Terms, replies: Replies) -> Self {
        Self { terms, replies }
    }

    /// Which of the oldest portions without an answer are not at the target as they should; they were asked about at
    /// `asked`. One that is about to expire is as it should be, whatever it is.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost), and [`Error::Reply`](crate::Error::Reply) for an error that is not about a
    /// type.
    pub async fn differing<'a>(&mut self, portions: &'a [Portion], asked: UnixMillis) -> Result<Vec<&'a Portion>> {
        // What cannot be asked here must be looked at in another way.
        let mut differs: Vec<bool> = portions.iter().map(|portion| !self.terms.may_ask(portion)).collect();
        if self.terms.asks_in_transactions() {
            self.begin_transaction(portions).await?;
        }
        for question in self.terms.questions(portions) {
            match question {
                Question::Values => self.values(portions, &mut differs).await?,
                Question::IsHyperLogLog { index } => {
                    let is_one = self.replies.of("PFCOUNT").number().await?.is_some();
                    differs[index] |= is_one != matches!(portions[index].piece.body, Body::HyperLogLog(_));
                }
                Question::Elements { index, range } => {
                    differs[index] |= !self.elements(&portions[index].piece.body, range).await?;
                }
                Question::Count { index } => differs[index] |= !self.count(&portions[index]).await?,
                Question::LastId { index } => differs[index] |= !self.last_id(&portions[index].piece.body).await?,
                Question::Expiry { index } => {
                    let left = self.replies.of("PTTL").number().await?;
                    differs[index] |= !expires_so(portions[index].piece.expire_at, left, asked);
                }
            }
        }
        if !differs.contains(&true) {
            return Ok(Vec::new());
        }
        let soon = UnixMillis(UnixMillis::now().0 + millis(EXPIRY_TOLERANCE));
        let lasts = |portion: &Portion| portion.piece.expire_at.is_none_or(|at| at > soon);
        let judged = portions.iter().zip(differs);
        Ok(judged.filter(|(portion, differs)| *differs && lasts(portion)).map(|(portion, _)| portion).collect())
    }

    /// Comes to the answers of a transaction: what stands before them says only that the questions were taken.
    async fn begin_transaction(&mut self, portions: &[Portion]) -> Result<()> {
        let terms = self.terms;
        let commands: usize = terms.questions(portions).map(|question| terms.commands(&question, portions)).sum();
        if commands == 0 {
            return Ok(());
        }
        let replies = self.replies.of("MULTI");
        replies.skip(1 + commands as u64).await?;
        let replies = replies.of("EXEC");
        match replies.array().await? {
            Some(answers) if answers == commands as u64 => Ok(()),
            _ => Err(replies.nonsense()),
        }
    }

    async fn values(&mut self, portions: &[Portion], differs: &mut [bool]) -> Result<()> {
        let terms = self.terms;
        let strings = || portions.iter().enumerate().filter(move |(_, portion)| terms.asks_for_value(portion));
        let replies = self.replies.of("MGET");
        let Some(count) = replies.array().await? else {
            // One of another type is enough for a Pika to answer none.
            strings().for_each(|(index, _)| differs[index] = true);
            return Ok(());
        };
        if count != strings().count() as u64 {
            return Err(replies.nonsense());
        }
        for (index, portion) in strings() {
            if let Body::String(value) | Body::HyperLogLog(value) = &portion.piece.body {
                differs[index] = !replies.is(value).await? || terms.refuses(&portion.piece.body);
            }
        }
        Ok(())
    }

    async fn elements(&mut self, body: &Body, range: Range<usize>) -> Result<bool> {
        match body {
            Body::Hash(fields) => self.strings("HMGET", fields[range].iter().map(|(_, value)| value)).await,
            Body::List(elements) => self.strings("LRANGE", elements[range].iter()).await,
            Body::Set(_) => self.members(range.len()).await,
            Body::Zset(members) => self.scores(&members[range]).await,
            Body::Stream { entries, .. } => self.entries(&entries[range]).await,
            Body::String(_) | Body::HyperLogLog(_) => unreachable!("a string is asked for by its value"),
        }
    }

    /// Whether an array has exactly these strings.
    async fn strings<'a>(
        &mut self,
        command: &'static str,
        expected: impl ExactSizeIterator<Item = &'a Bytes>,
    ) -> Result<bool> {
        let replies = self.replies.of(command);
        let Some(count) = replies.array().await? else { return Ok(false) };
        if count != expected.len() as u64 {
            return replies.skip(count).await.map(|()| false);
        }
        let mut same = true;
        for expected in expected {
            same &= replies.is(expected).await?;
        }
        Ok(same)
    }

    async fn members(&mut self, members: usize) -> Result<bool> {
        let mut same = self.begin("SMISMEMBER", "SISMEMBER", members).await?;
        for _ in 0..if same { members } else { 0 } {
            same &= self.replies.number().await? == Some(1);
        }
        Ok(same)
    }

    async fn scores(&mut self, members: &[(Bytes, f64)]) -> Result<bool> {
        let mut same = self.begin("ZMSCORE", "ZSCORE", members.len()).await?;
        for (_, expected) in if same { members } else { &[] } {
            let score = self.replies.text(score_of).await?.flatten();
            // A Redis keeps small ones as integers, where -0 is 0.
            same &= score.is_some_and(|score| score == *expected || score.is_nan() && expected.is_nan());
        }
        Ok(same)
    }

    /// Comes to the answers about single members; whether there are as many as there should.
    async fn begin(&mut self, many: &'static str, one: &'static str, members: usize) -> Result<bool> {
        if !self.terms.by_members {
            self.replies.of(one);
            return Ok(true);
        }
        match self.replies.of(many).array().await? {
            Some(count) if count == members as u64 => Ok(true),
            Some(_) => Err(self.replies.nonsense()),
            None => Ok(false),
        }
    }

    async fn entries(&mut self, expected: &[StreamEntry]) -> Result<bool> {
        let Some(count) = self.replies.of("XRANGE").array().await? else { return Ok(false) };
        if count != expected.len() as u64 {
            return self.replies.skip(count).await.map(|()| false);
        }
        let mut same = true;
        for entry in expected {
            if self.replies.array().await? != Some(2) {
                return Err(self.replies.nonsense());
            }
            same &= self.replies.text(id_of).await?.flatten() == Some(entry.id);
            same &= self.strings("XRANGE", entry.fields.iter()).await?;
        }
        Ok(same)
    }

    async fn count(&mut self, portion: &Portion) -> Result<bool> {
        let command = count_command(portion.piece.body.kind());
        let expected = portion.before + portion.piece.body.len();
        Ok(self.replies.of(command).number().await? == i64::try_from(expected).ok())
    }

    async fn last_id(&mut self, body: &Body) -> Result<bool> {
        let replies = self.replies.of("XINFO");
        let Some(count) = replies.array().await? else { return Ok(false) };
        let mut found = None;
        for _ in 0..count / 2 {
            match replies.text(|name| name == b"last-generated-id").await? {
                Some(true) => found = replies.text(id_of).await?.flatten(),
                _ => replies.skip(1).await?,
            }
        }
        replies.skip(count % 2).await?;
        let Body::Stream { entries, last_id } = body else { unreachable!("only a stream has ids") };
        let greatest = entries.last().map_or(*last_id, |entry| entry.id.max(*last_id));
        Ok(found == Some(greatest))
    }
}

/// Whether a key that has so many milliseconds left, as it was answered since `asked`, expires at `at`.
fn expires_so(at: Option<UnixMillis>, left: Option<i64>, asked: UnixMillis) -> bool {
    let tolerance = millis(EXPIRY_TOLERANCE);
    match (at, left) {
        (None, left) => left == Some(-1),
        (Some(UnixMillis(at)), Some(left @ 1..)) => {
            let left = left.unsigned_abs();
            // The target has answered at some time between the two.
            let (earliest, latest) = (asked.0.saturating_add(left), UnixMillis::now().0.saturating_add(left));
            earliest <= at.saturating_add(tolerance) && latest.saturating_add(tolerance) >= at
        }
        (Some(_), _) => false,
    }
}

fn score_of(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn id_of(text: &[u8]) -> Option<StreamId> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A Pika keeps whole seconds, rounded up.
const EXPIRY_TOLERANCE: Duration = Duration::from_secs(1);
