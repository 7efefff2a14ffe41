// SPDX-License-Identifier: Apache-2.0
//! What is asked about portions of keys. Whoever judges the answers goes through the same questions again.

use std::ops::Range;

use bytes::BytesMut;
use snapshot::{Body, Kind, StreamEntry, StreamId};

use crate::Result;
use crate::dialect::{Dialect, HyperLogLogPolicy};
use crate::sink::compare::Portion;
use crate::sink::pipe::PipeWriter;

/// What questions the target knows, and which of them need not be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Terms {
    pub(super) dialect: Dialect,
    /// Whether it tells of many members of one set at once.
    pub(super) by_members: bool,
    /// Whether a key that should have no expiry may have one.
    pub(super) may_expire: bool,
}

/// A question about some portions, one of which stands at `index`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Question {
    /// The values of all strings.
    Values,
    /// Whether a string of Pika is a HyperLogLog.
    IsHyperLogLog { index: usize },
    /// Some of the elements.
    Elements { index: usize, range: Range<usize> },
    /// How many elements there are in all.
    Count { index: usize },
    /// The greatest id that a stream has given out.
    LastId { index: usize },
    /// When it expires.
    Expiry { index: usize },
}

impl Terms {
    /// All that is asked about these portions, in order.
    pub(super) fn questions(self, portions: &[Portion]) -> impl Iterator<Item = Question> {
        let values = portions.iter().any(|portion| self.asks_for_value(portion)).then_some(Question::Values);
        let askable = portions.iter().enumerate().filter(move |(_, portion)| self.may_ask(portion));
        values.into_iter().chain(askable.flat_map(move |(index, portion)| {
            let elements = if is_string(portion) { 0 } else { portion.piece.body.len() };
            let end = portion.piece.part.is_last();
            let is_stream = portion.piece.body.kind() == Kind::Stream;
            let parts = (0..elements).step_by(ELEMENTS_MAX);
            let parts = parts.map(move |from| from..(from + ELEMENTS_MAX).min(elements));
            let parts = parts.chain((end && is_stream && elements == 0).then_some(0..0));
            self.asks_for_hyperloglog(portion)
                .then_some(Question::IsHyperLogLog { index })
                .into_iter()
                .chain(parts.map(move |range| Question::Elements { index, range }))
                .chain((end && !is_string(portion)).then_some(Question::Count { index }))
                .chain((end && is_stream).then_some(Question::LastId { index }))
                .chain((end && self.asks_for_expiry(portion)).then_some(Question::Expiry { index }))
        }))
    }

    /// Whether it is asked in transactions: else a Pika answers from a cache that need not hold what its database holds.
    pub(super) fn asks_in_transactions(self) -> bool {
        self.dialect == Dialect::Pika
    }

    /// How many commands a question is.
    pub(super) fn commands(self, question: &Question, portions: &[Portion]) -> usize {
        match question {
            Question::Elements { index, range } => match portions[*index].piece.body {
                Body::Set(_) | Body::Zset(_) if !self.by_members => range.len(),
                _ => 1,
            },
            _ => 1,
        }
    }

    /// Whether anything is asked about it. A Pika's errors have the key's name in them as it is, and one with an end of
    /// line would cut the answer in two.
    pub(super) fn may_ask(self, portion: &Portion) -> bool {
        self.dialect != Dialect::Pika || !portion.piece.key.iter().any(|byte| matches!(byte, b'\r' | b'\n'))
    }

    /// Whether nothing at the target is the same, by the operator's choice: a Redis counts by other registers.
    pub(super) fn refuses(self, body: &Body) -> bool {
        let refuses = self.dialect == Dialect::Redis { hyperloglog: HyperLogLogPolicy::Refuse };
        refuses && matches!(body, Body::HyperLogLog(_))
    }

    /// Whether it is among those whose values are asked for together.
    pub(super) fn asks_for_value(self, portion: &Portion) -> bool {
        is_string(portion) && self.may_ask(portion)
    }

    /// A Pika says only at PFCOUNT which of its strings are HyperLogLogs; no other string of their lengths may be one.
    fn asks_for_hyperloglog(self, portion: &Portion) -> bool {
        let is_doubtful = match &portion.piece.body {
            Body::HyperLogLog(_) => true,
            Body::String(value) => matches!(value.len(), 0 | REGISTERS),
            _ => false,
        };
        self.dialect == Dialect::Pika && is_doubtful
    }

    fn asks_for_expiry(self, portion: &Portion) -> bool {
        match self.dialect {
            // Pika's streams have none, and it answers 0 for them.
            Dialect::Pika => portion.piece.body.kind() != Kind::Stream,
            Dialect::Redis { .. } => self.may_expire || portion.piece.expire_at.is_some(),
        }
    }
}

/// The half of a connection that questions go into.
#[derive(Debug)]
pub struct Questions {
    terms: Terms,
    writer: PipeWriter,
    bytes: BytesMut,
    commands: usize,
}

impl Questions {
    pub(super) fn new(terms: Terms, writer: PipeWriter) -> Self {
        Self { terms, writer, bytes: BytesMut::new(), commands: 0 }
    }

    /// Makes the questions about these portions and tells how many commands they are.
    pub fn make(&mut self, portions: &[Portion]) -> usize {
        self.commands = 0;
        let mut questions = self.terms.questions(portions).peekable();
        let is_transaction = self.terms.asks_in_transactions() && questions.peek().is_some();
        if is_transaction {
            self.begin("MULTI", 0);
        }
        for question in questions {
            self.put(&question, portions);
        }
        if is_transaction {
            self.begin("EXEC", 0);
        }
        self.commands
    }

    /// Asks what was made.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost) when the connection breaks.
    pub async fn ask(&mut self) -> Result<()> {
        self.writer.write(&mut self.bytes).await?;
        if self.bytes.capacity() > KEPT_MAX {
            self.bytes = BytesMut::new();
        }
        Ok(())
    }

    fn put(&mut self, question: &Question, portions: &[Portion]) {
        let key = |index: &usize| &portions[*index].piece.key[..];
        match question {
            Question::Values => {
                let terms = self.terms;
                let strings = || portions.iter().filter(move |portion| terms.asks_for_value(portion));
                self.begin("MGET", strings().count());
                strings().for_each(|portion| self.argument(&portion.piece.key));
            }
            Question::IsHyperLogLog { index } => self.command("PFCOUNT", &[key(index)]),
            Question::Elements { index, range } => self.elements(&portions[*index], range),
            Question::Count { index } => {
                self.command(count_command(portions[*index].piece.body.kind()), &[key(index)]);
            }
            Question::LastId { index } => self.command("XINFO", &[b"STREAM", key(index)]),
            Question::Expiry { index } => self.command("PTTL", &[key(index)]),
        }
    }

    fn elements(&mut self, portion: &Portion, range: &Range<usize>) {
        let key = &portion.piece.key[..];
        match &portion.piece.body {
            Body::Hash(fields) => {
                self.begin("HMGET", 1 + range.len());
                self.argument(key);
                fields[range.clone()].iter().for_each(|(field, _)| self.argument(field));
            }
            Body::Set(members) => self.members("SMISMEMBER", "SISMEMBER", key, members[range.clone()].iter()),
            Body::Zset(members) => {
                let members = members[range.clone()].iter().map(|(member, _)| member);
                self.members("ZMSCORE", "ZSCORE", key, members);
            }
            Body::List(_) => {
                let (first, last) = (portion.before + range.start, portion.before + range.end - 1);
                self.command("LRANGE", &[key, first.to_string().as_bytes(), last.to_string().as_bytes()]);
            }
            Body::Stream { entries, .. } => {
                let (first, last) = interval(portion, entries, range);
                // One more shows what should not be there.
                let count = (range.len() + 1).to_string();
                self.command("XRANGE", &[key, first.as_bytes(), last.as_bytes(), b"COUNT", count.as_bytes()]);
            }
            Body::String(_) | Body::HyperLogLog(_) => unreachable!("a string is asked for by its value"),
        }
    }

    /// One question about many members, or as many about one.
    fn members<'a>(
        &mut self,
        many: &'static str,
        one: &'static str,
        key: &[u8],
        members: impl ExactSizeIterator<Item = &'a bytes::Bytes>,
    ) {
        if self.terms.by_members {
            self.begin(many, 1 + members.len());
            self.argument(key);
            members.for_each(|member| self.argument(member));
        } else {
            members.for_each(|member| self.command(one, &[key, member]));
        }
    }

    fn command(&mut self, name: &'static str, arguments: &[&[u8]]) {
        self.begin(name, arguments.len());
        arguments.iter().for_each(|argument| self.argument(argument));
    }

    /// The one place where a command begins: what may change anything stops here.
    fn begin(&mut self, name: &'static str, arguments: usize) {
        assert!(READS.contains(&name), "{name} is no question");
        self.commands += 1;
        self.length(b'*', arguments + 1);
        let name = self.writer.name_of(name);
        put_argument(&mut self.bytes, name.as_bytes());
    }

    fn argument(&mut self, argument: &[u8]) {
        put_argument(&mut self.bytes, argument);
    }

    fn length(&mut self, mark: u8, number: usize) {
        put_length(&mut self.bytes, mark, number);
    }
}

/// Where these entries of a stream stand and no others may: from behind the one before them to the last, or to the end.
fn interval(portion: &Portion, entries: &[StreamEntry], range: &Range<usize>) -> (String, String) {
    let before = entries[..range.start].last().map(|entry| entry.id).or(portion.last_before);
    let first = before.and_then(StreamId::successor);
    let is_end = portion.piece.part.is_last() && range.end == entries.len();
    let last = entries[..range.end].last().filter(|_| !is_end).map(|entry| entry.id);
    let text = |id: Option<StreamId>, end: &str| id.map_or_else(|| end.to_owned(), |id| id.to_string());
    (text(first, "-"), text(last, "+"))
}

fn put_argument(bytes: &mut BytesMut, argument: &[u8]) {
    put_length(bytes, b'$', argument.len());
    bytes.extend_from_slice(argument);
    bytes.extend_from_slice(b"\r\n");
}

fn put_length(bytes: &mut BytesMut, mark: u8, number: usize) {
    let mut digits = itoa::Buffer::new();
    bytes.extend_from_slice(&[mark]);
    bytes.extend_from_slice(digits.format(number).as_bytes());
    bytes.extend_from_slice(b"\r\n");
}

fn is_string(portion: &Portion) -> bool {
    matches!(portion.piece.body, Body::String(_) | Body::HyperLogLog(_))
}

/// What tells how many elements there are.
pub(super) fn count_command(kind: Kind) -> &'static str {
    match kind {
        Kind::Hash => "HLEN",
        Kind::List => "LLEN",
        Kind::Set => "SCARD",
        Kind::Zset => "ZCARD",
        Kind::Stream => "XLEN",
        Kind::String | Kind::HyperLogLog => unreachable!("a string has no elements"),
    }
}

const READS: [&str; 18] = [
    "MULTI",
    "EXEC",
    "MGET",
    "PFCOUNT",
    "HMGET",
    "HLEN",
    "SMISMEMBER",
    "SISMEMBER",
    "SCARD",
    "ZMSCORE",
    "ZSCORE",
    "ZCARD",
    "LRANGE",
    "LLEN",
    "XRANGE",
    "XLEN",
    "XINFO",
    "PTTL",
];

/// Elements in one question: more would hold the target's other clients for too long.
const ELEMENTS_MAX: usize = 512;

/// Memory for questions that is kept for the next ones.
const KEPT_MAX: usize = 256 << 10;

/// Bytes of a HyperLogLog's registers.
const REGISTERS: usize = 1 << 17;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use snapshot::{Part, Piece, UnixMillis};

    const REDIS: Dialect = Dialect::Redis { hyperloglog: HyperLogLogPolicy::Raw };

    fn portion(part: Part, expire_at: Option<u64>, body: Body) -> Portion {
        let piece = Piece { key: "k".into(), part, expire_at: expire_at.map(UnixMillis), body };
        Portion { piece, before: 0, last_before: None }
    }

    fn questions(dialect: Dialect, may_expire: bool, portion: Portion) -> Vec<Question> {
        Terms { dialect, by_members: true, may_expire }.questions(&[portion]).collect()
    }

    #[test]
    fn expiries_are_asked_for_where_they_may_differ() {
        let string = |expire_at| portion(Part::Whole, expire_at, Body::String("v".into()));
        let expiry = Question::Expiry { index: 0 };
        assert_eq!(questions(REDIS, false, string(None)), [Question::Values]);
        assert_eq!(questions(REDIS, true, string(None)), [Question::Values, expiry.clone()]);
        assert_eq!(questions(REDIS, false, string(Some(1))), [Question::Values, expiry.clone()]);
        let hyperloglog = portion(Part::Whole, None, Body::HyperLogLog(Bytes::new()));
        let asked = [Question::Values, Question::IsHyperLogLog { index: 0 }, expiry];
        assert_eq!(questions(Dialect::Pika, true, hyperloglog.clone()), asked);
        assert_eq!(questions(REDIS, false, hyperloglog), [Question::Values]);
    }

    #[test]
    fn a_big_key_is_asked_for_in_parts_and_counted_at_its_end() {
        let set = |part| portion(part, None, Body::Set((0..600).map(|number| number.to_string().into()).collect()));
        let parts = [0..512, 512..600].map(|range| Question::Elements { index: 0, range });
        assert_eq!(questions(REDIS, false, set(Part::First)), parts);
        let whole = [&parts[..], &[Question::Count { index: 0 }]].concat();
        assert_eq!(questions(REDIS, false, set(Part::Last)), whole);
    }

    #[test]
    fn entries_of_a_stream_are_asked_for_without_a_gap() {
        let entries: Vec<_> =
            (1..=600).map(|id| StreamEntry { id: StreamId::new(id, 0), fields: Vec::new() }).collect();
        let stream = |part, last_before: Option<u64>, entries: &[StreamEntry]| {
            let body = Body::Stream { entries: entries.to_vec(), last_id: StreamId::new(600, 0) };
            let last_before = last_before.map(|id| StreamId::new(id, 0));
            Portion { last_before, ..portion(part, None, body) }
        };
        let intervals = |portion: Portion| {
            let Body::Stream { entries, .. } = &portion.piece.body else { unreachable!() };
            let asked =
                questions(Dialect::Pika, true, portion.clone()).into_iter().filter_map(|question| match question {
                    Question::Elements { range, .. } => Some(interval(&portion, entries, &range)),
                    _ => None,
                });
            asked.map(|(first, last)| format!("{first} {last}")).collect::<Vec<_>>()
        };
        assert_eq!(intervals(stream(Part::Whole, None, &entries)), ["- 512-0", "512-1 +"]);
        assert_eq!(intervals(stream(Part::First, None, &entries[..5])), ["- 5-0"]);
        assert_eq!(intervals(stream(Part::Middle, Some(5), &entries[5..9])), ["5-1 9-0"]);
        assert_eq!(intervals(stream(Part::Last, Some(9), &entries[9..])), ["9-1 521-0", "521-1 +"]);
        assert_eq!(intervals(stream(Part::Whole, None, &[])), ["- +"]);
    }
}
