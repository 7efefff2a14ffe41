// SPDX-License-Identifier: Apache-2.0
//! From writes to the commands of a dialect.

use bytes::Bytes;
use replication::{ListEnd, ListStep};
use snapshot::{Body, Kind, Piece, StreamEntry, StreamId, score_text};

use crate::batch::{Patch, Steps, Write};
use crate::dialect::{Dialect, HyperLogLogPolicy, Verb};
use crate::endpoint::Names;
use crate::error::Unmovable;
use crate::sink::expected::{self, Expected, Tells, Then};
use crate::sink::hyperloglog;
use crate::sink::rope::Rope;
use crate::sink::witness::witnesses;

/// Commands as bytes, and what is known about their answers.
#[derive(Debug)]
pub(super) struct Commands {
    dialect: Dialect,
    names: Names,
    bytes: Rope,
    expected: Expected,
    /// What the answer to the next command tells.
    tells: Tells,
}

impl Commands {
    pub(super) fn new(dialect: Dialect) -> Self {
        let (names, bytes, expected) = (Names::default(), Rope::default(), Expected::default());
        Self { dialect, names, bytes, expected, tells: Tells::Nothing }
    }

    /// The same for a target that knows its commands by these names.
    pub(super) fn named(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// The target's dialect.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The commands so far, as they go over the line.
    pub(super) fn bytes(&mut self) -> &mut Rope {
        self.bytes.seal();
        &mut self.bytes
    }

    /// The answers that they will get.
    #[cfg(test)]
    pub(super) fn expected(&self) -> &Expected {
        &self.expected
    }

    /// Hands over what answers will be compared with.
    pub(super) fn take_expected(&mut self) -> Expected {
        std::mem::take(&mut self.expected)
    }

    /// Makes it empty and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.expected.clear();
    }

    /// Appends what does `write` at the target, and if it `is_counted` what tells whether its key comes or goes by that.
    ///
    /// # Errors
    /// [`Unmovable`] when no command of the dialect can do it.
    pub(super) fn render(&mut self, write: &Write, is_counted: bool) -> Result<(), Unmovable> {
        match (write, is_counted) {
            (Write::Piece(piece), _) => self.piece(piece, is_counted),
            (Write::Patch(patch), false) => self.patch(patch),
            (Write::Patch(patch), true) => {
                let question = expected::question(self.dialect, &patch.key, patch.set.kind());
                let then = expected::behind_patch(patch);
                self.question(question, &patch.key, Tells::Before(then));
                self.patch(patch)?;
                if then == Then::Told {
                    self.question(question, &patch.key, Tells::Behind);
                }
                Ok(())
            }
            (Write::Steps(steps), false) => {
                self.steps(steps);
                Ok(())
            }
            (Write::Steps(steps), true) => {
                let question = expected::question(self.dialect, &steps.key, Kind::List);
                self.question(question, &steps.key, Tells::Before(Then::Told));
                self.steps(steps);
                self.question(question, &steps.key, Tells::Behind);
                Ok(())
            }
            (Write::Remove(key), _) => {
                self.tells = if is_counted { Tells::Before(Then::Gone) } else { Tells::Nothing };
                self.command(self.dialect.removal(), &[key]);
                Ok(())
            }
        }
    }

    /// Makes the target ready for a key that is written whole.
    fn replace(&mut self, piece: &Piece, is_counted: bool) {
        let lands_as = self.dialect.lands_as(piece.body.kind());
        if is_counted {
            let is_stream = matches!(piece.body, Body::Stream { .. });
            let then = if is_stream && piece.body.is_empty() { Then::Gone } else { Then::There };
            match expected::before_whole(self.dialect, &piece.key, lands_as) {
                Some(question) => self.question(question, &piece.key, Tells::Before(then)),
                None => self.tells = Tells::Before(then),
            }
        }
        // SET replaces whatever was there, a removal before it would be a second command for nothing.
        if lands_as != Kind::String {
            self.command(self.dialect.removal(), &[&piece.key]);
        }
    }

    fn question(&mut self, verb: Verb, key: &Bytes, tells: Tells) {
        self.tells = tells;
        self.command(verb, &[key]);
    }

    fn piece(&mut self, piece: &Piece, is_counted: bool) -> Result<(), Unmovable> {
        if piece.part.is_first() {
            self.replace(piece, is_counted);
        }
        self.elements(&piece.key, &piece.body)?;
        if !piece.part.is_last() {
            return Ok(());
        }
        if let Body::Stream { entries, last_id } = &piece.body {
            self.last_id(&piece.key, entries.last().map(|entry| entry.id), *last_id);
        }
        if let Some(at) = piece.expire_at {
            let (verb, argument) = self.dialect.expiry(at);
            self.command(verb, &[&piece.key, argument.to_string().as_bytes()]);
        }
        Ok(())
    }

    fn patch(&mut self, patch: &Patch) -> Result<(), Unmovable> {
        self.elements(&patch.key, &patch.set)?;
        if let Body::Stream { entries, last_id } = &patch.set {
            self.last_id(&patch.key, entries.last().map(|entry| entry.id), *last_id);
        }
        let removal = match patch.set.kind() {
            Kind::Hash => Verb::HDel,
            Kind::Set => Verb::SRem,
            Kind::Zset => Verb::ZRem,
            Kind::Stream => Verb::XDel,
            kind @ (Kind::String | Kind::HyperLogLog | Kind::List) => {
                unreachable!("a {kind} is always read whole, it has no elements to patch")
            }
        };
        for chunk in patch.remove.chunks(ELEMENTS_MAX) {
            self.begin(removal, 1 + chunk.len());
            self.argument(&patch.key);
            chunk.iter().for_each(|element| self.argument(element));
        }
        Ok(())
    }

    fn steps(&mut self, steps: &Steps) {
        let key = &steps.key;
        for step in &steps.steps {
            match step {
                ListStep::Push { end, elements, onto_existing } => {
                    let verb = match (end, onto_existing) {
                        (ListEnd::Head, false) => Verb::LPush,
                        (ListEnd::Tail, false) => Verb::RPush,
                        (ListEnd::Head, true) => Verb::LPushX,
                        (ListEnd::Tail, true) => Verb::RPushX,
                    };
                    self.members(verb, key, elements);
                }
                ListStep::Pop { count: 0, .. } => {}
                // A pop of several is not known to a Redis before 6.2, and every pop sends back what it took.
                ListStep::Pop { end, count, .. } => {
                    let count = i64::try_from(*count).unwrap_or(i64::MAX).min(LIST_LENGTH_MAX);
                    match end {
                        ListEnd::Head => self.trim(key, count, -1),
                        ListEnd::Tail => self.trim(key, 0, -count - 1),
                    }
                }
                ListStep::Set { index, element } => {
                    self.command(Verb::LSet, &[key, index.to_string().as_bytes(), element]);
                }
                ListStep::Insert { after, pivot, element } => {
                    let place: &[u8] = if *after { b"AFTER" } else { b"BEFORE" };
                    self.command(Verb::LInsert, &[key, place, pivot, element]);
                }
                ListStep::Remove { count, element } => {
                    self.command(Verb::LRem, &[key, count.to_string().as_bytes(), element]);
                }
                ListStep::Trim { first, last } => self.trim(key, *first, *last),
            }
        }
    }

    fn trim(&mut self, key: &Bytes, first: i64, last: i64) {
        self.command(Verb::LTrim, &[key, first.to_string().as_bytes(), last.to_string().as_bytes()]);
    }

    fn elements(&mut self, key: &Bytes, body: &Body) -> Result<(), Unmovable> {
        match body {
            Body::String(value) => {
                self.begin(Verb::Set, 2);
                self.argument(key);
                self.value(value);
            }
            Body::HyperLogLog(registers) => self.hyperloglog(key, registers)?,
            Body::Hash(fields) => {
                for chunk in fields.chunks(ELEMENTS_MAX) {
                    self.begin(Verb::HMSet, 1 + 2 * chunk.len());
                    self.argument(key);
                    for (field, value) in chunk {
                        self.value(field);
                        self.value(value);
                    }
                }
            }
            Body::List(elements) => self.members(Verb::RPush, key, elements),
            Body::Set(members) => self.members(Verb::SAdd, key, members),
            Body::Zset(members) => self.scores(key, members)?,
            Body::Stream { entries, .. } => entries.iter().for_each(|entry| self.entry(key, entry)),
        }
        Ok(())
    }

    fn members(&mut self, verb: Verb, key: &Bytes, members: &[Bytes]) {
        for chunk in members.chunks(ELEMENTS_MAX) {
            self.begin(verb, 1 + chunk.len());
            self.argument(key);
            chunk.iter().for_each(|member| self.value(member));
        }
    }

    fn scores(&mut self, key: &Bytes, members: &[(Bytes, f64)]) -> Result<(), Unmovable> {
        if members.iter().any(|(_, score)| score.is_nan()) {
            return Err(unmovable(key, Kind::Zset, "it has a score that is no number"));
        }
        for chunk in members.chunks(ELEMENTS_MAX) {
            self.begin(Verb::ZAdd, 1 + 2 * chunk.len());
            self.argument(key);
            for (member, score) in chunk {
                self.argument(score_text(*score).as_bytes());
                self.value(member);
            }
        }
        Ok(())
    }

    fn entry(&mut self, key: &Bytes, entry: &StreamEntry) {
        self.begin(Verb::XAdd, 2 + entry.fields.len());
        self.argument(key);
        self.argument(entry.id.to_string().as_bytes());
        entry.fields.iter().for_each(|field| self.value(field));
    }

    /// Makes the target give out ids above `last_id` only, as the source does. A stream without entries comes into
    /// being that way.
    fn last_id(&mut self, key: &Bytes, last_entry: Option<StreamId>, last_id: StreamId) {
        if last_id == StreamId::default() || last_entry.is_some_and(|entry| entry >= last_id) {
            return;
        }
        match (self.dialect, last_entry) {
            (Dialect::Redis { .. }, Some(_)) => self.command(Verb::XSetId, &[key, last_id.to_string().as_bytes()]),
            // Pika has no XSETID, and none works without a key: an entry leaves its id behind when it goes.
            (Dialect::Pika, _) | (_, None) => {
                let ids = witnesses(last_entry, last_id).map(|id| id.to_string());
                ids.clone().for_each(|id| self.command(Verb::XAdd, &[key, id.as_bytes(), b"", b""]));
                // One by one: at once they would not heal what the first one does.
                ids.rev().for_each(|id| self.command(Verb::XDel, &[key, id.as_bytes()]));
            }
        }
    }

    fn hyperloglog(&mut self, key: &Bytes, registers: &Bytes) -> Result<(), Unmovable> {
        match self.dialect {
            Dialect::Redis { hyperloglog: HyperLogLogPolicy::Raw } => {
                self.begin(Verb::Set, 2);
                self.argument(key);
                self.value(registers);
            }
            Dialect::Redis { hyperloglog: HyperLogLogPolicy::Refuse } => {
                let why = "Redis counts by other registers; `--hyperloglog raw` moves Pika's as a plain string";
                return Err(unmovable(key, Kind::HyperLogLog, why));
            }
            Dialect::Pika => {
                let elements = hyperloglog::elements(registers).ok_or_else(|| {
                    unmovable(key, Kind::HyperLogLog, "it has registers that no element gives, left by PFMERGE")
                })?;
                if elements.is_empty() {
                    self.command(Verb::PFAdd, &[key]);
                }
                for chunk in elements.chunks(HYPERLOGLOG_ELEMENTS_MAX) {
                    self.begin(Verb::PFAdd, 1 + chunk.len());
                    self.argument(key);
                    chunk.iter().for_each(|element| self.argument(element));
                }
            }
        }
        Ok(())
    }

    fn command(&mut self, verb: Verb, arguments: &[&[u8]]) {
        self.begin(verb, arguments.len());
        arguments.iter().for_each(|argument| self.argument(argument));
    }

    /// The one place where a command begins: what the dialect forbids stops here.
    fn begin(&mut self, verb: Verb, arguments: usize) {
        assert!(self.dialect.allows(verb), "{} must never be sent to a {}", verb.name(), self.dialect);
        self.expected.push(verb, std::mem::take(&mut self.tells));
        self.length(b'*', arguments + 1);
        if self.names.renames().is_empty() {
            return self.argument(verb.name().as_bytes());
        }
        let names = self.names.clone();
        self.argument(names.of(verb.name()).as_bytes());
    }

    fn argument(&mut self, argument: &[u8]) {
        self.length(b'$', argument.len());
        self.bytes.put(argument);
        self.bytes.put(b"\r\n");
    }

    /// An argument that may be large.
    fn value(&mut self, value: &Bytes) {
        self.length(b'$', value.len());
        self.bytes.share(value);
        self.bytes.put(b"\r\n");
    }

    fn length(&mut self, mark: u8, number: usize) {
        let mut digits = itoa::Buffer::new();
        self.bytes.put(&[mark]);
        self.bytes.put(digits.format(number).as_bytes());
        self.bytes.put(b"\r\n");
    }
}

fn unmovable(key: &Bytes, kind: Kind, why: &'static str) -> Unmovable {
    Unmovable { key: key.clone(), kind, why: why.into() }
}

/// Elements in one command: a longer one would hold the target's other clients for too long.
pub(super) const ELEMENTS_MAX: usize = 512;

/// More elements than a list can have, and far from where a server's arithmetic ends.
const LIST_LENGTH_MAX: i64 = 1 << 48;

/// Pika takes 254 elements in one PFADD.
pub(super) const HYPERLOGLOG_ELEMENTS_MAX: usize = 250;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Buf as _;
    use snapshot::{Part, UnixMillis};

    const REDIS: Dialect = Dialect::Redis { hyperloglog: HyperLogLogPolicy::Refuse };

    fn rendered(dialect: Dialect, write: Write) -> String {
        rendered_as(dialect, write, false)
    }

    fn rendered_as(dialect: Dialect, write: Write, is_counted: bool) -> String {
        let mut commands = Commands::new(dialect);
        commands.render(&write, is_counted).unwrap();
        let rope = commands.bytes();
        let mut input = rope.copy_to_bytes(rope.remaining());
        let mut lines = Vec::new();
        while !input.is_empty() {
            let (command, length) = replication::Command::parse(&input).unwrap();
            let words: Vec<_> = command.args().iter().map(|arg| arg.escape_ascii().to_string()).collect();
            lines.push(words.join(" "));
            input = input.slice(length..);
        }
        assert_eq!(lines.len(), commands.expected().len());
        lines.join("; ")
    }

    fn piece(part: Part, expire_at: Option<u64>, body: Body) -> Write {
        Write::Piece(Piece { key: "k".into(), part, expire_at: expire_at.map(UnixMillis), body })
    }

    #[test]
    fn each_dialect_has_its_own_expiry() {
        let write = || piece(Part::Whole, Some(1_700_000_000_001), Body::String("v".into()));
        assert_eq!(rendered(REDIS, write()), "SET k v; PEXPIREAT k 1700000000001");
        assert_eq!(rendered(Dialect::Pika, write()), "SET k v; EXPIREAT k 1700000001");
    }

    #[test]
    fn only_the_first_piece_replaces_and_only_the_last_expires() {
        let list = |part| piece(part, Some(2000), Body::List(vec!["a".into()]));
        assert_eq!(rendered(REDIS, list(Part::First)), "UNLINK k; RPUSH k a");
        assert_eq!(rendered(REDIS, list(Part::Middle)), "RPUSH k a");
        assert_eq!(rendered(Dialect::Pika, list(Part::Last)), "RPUSH k a; EXPIREAT k 2");
    }

    #[test]
    fn a_stream_keeps_its_last_id() {
        let entries = vec![StreamEntry { id: StreamId::new(1, 1), fields: vec!["f".into(), "v".into()] }];
        let stream = |last| piece(Part::Whole, None, Body::Stream { entries: entries.clone(), last_id: last });
        assert_eq!(rendered(REDIS, stream(StreamId::new(1, 1))), "UNLINK k; XADD k 1-1 f v");
        assert_eq!(rendered(REDIS, stream(StreamId::new(2, 0))), "UNLINK k; XADD k 1-1 f v; XSETID k 2-0");
        let emptied = piece(Part::Whole, None, Body::Stream { entries: vec![], last_id: StreamId::new(2, 0) });
        assert_eq!(rendered(REDIS, emptied), "UNLINK k; XADD k 2-0  ; XDEL k 2-0");
        let on_pika = "DEL k; XADD k 1-1 f v; XADD k 1-4  ; XADD k 1-5  ; XDEL k 1-5; XDEL k 1-4";
        assert_eq!(rendered(Dialect::Pika, stream(StreamId::new(1, 5))), on_pika);
        let beside = "DEL k; XADD k 1-1 f v; XADD k 1-2  ; XDEL k 1-2";
        assert_eq!(rendered(Dialect::Pika, stream(StreamId::new(1, 2))), beside);
    }

    #[test]
    fn a_patch_sets_and_removes_elements() {
        let set = Body::Zset(vec![("a".into(), 1.5), ("b".into(), f64::NEG_INFINITY)]);
        let patch = Write::Patch(Patch { key: "k".into(), set, remove: vec!["c".into()] });
        assert_eq!(rendered(REDIS, patch), "ZADD k 1.5 a -inf b; ZREM k c");
        let stream = |last_id| {
            let set = Body::Stream { entries: vec![], last_id };
            Write::Patch(Patch { key: "k".into(), set, remove: vec!["5-0".into()] })
        };
        assert_eq!(rendered(REDIS, stream(StreamId::default())), "XDEL k 5-0");
        // An entry that came and went leaves its id behind.
        assert_eq!(rendered(Dialect::Pika, stream(StreamId::new(7, 0))), "XADD k 7-0  ; XDEL k 7-0; XDEL k 5-0");
    }

    #[test]
    fn steps_of_a_list_are_done_by_what_every_target_has() {
        let push = |end, onto_existing| ListStep::Push { end, elements: vec!["a".into(), "b".into()], onto_existing };
        let pop = |end, count| ListStep::Pop { end, count, may_be_served: false };
        let steps = vec![
            push(ListEnd::Head, false),
            push(ListEnd::Tail, true),
            pop(ListEnd::Head, 1),
            pop(ListEnd::Tail, 3),
            pop(ListEnd::Tail, 0),
            ListStep::Set { index: -1, element: "x".into() },
            ListStep::Insert { after: true, pivot: "a".into(), element: "x".into() },
            ListStep::Remove { count: -2, element: "a".into() },
            ListStep::Trim { first: 0, last: 99 },
        ];
        let expected = "LPUSH k a b; RPUSHX k a b; LTRIM k 1 -1; LTRIM k 0 -4; LSET k -1 x; LINSERT k AFTER a x; \
                        LREM k -2 a; LTRIM k 0 99";
        for dialect in [REDIS, Dialect::Pika] {
            assert_eq!(rendered(dialect, Write::Steps(Steps { key: "k".into(), steps: steps.clone() })), expected);
        }
    }

    #[test]
    fn only_what_is_counted_asks_whether_its_key_is_there() {
        let counted = |dialect, write| rendered_as(dialect, write, true);
        let string = |part| piece(part, None, Body::String("v".into()));
        assert_eq!(counted(REDIS, string(Part::Whole)), "EXISTS k; SET k v");
        assert_eq!(counted(Dialect::Pika, string(Part::Whole)), "XLEN k; SET k v");
        let hash = |part| piece(part, None, Body::Hash(vec![("f".into(), "v".into())]));
        assert_eq!(counted(REDIS, hash(Part::First)), rendered(REDIS, hash(Part::First)), "its removal tells");
        let stream = || piece(Part::Whole, None, Body::Stream { entries: vec![], last_id: StreamId::new(2, 0) });
        assert_eq!(counted(REDIS, stream()), "XLEN k; UNLINK k; XADD k 2-0  ; XDEL k 2-0");
        assert_eq!(counted(Dialect::Pika, stream()), rendered(Dialect::Pika, stream()));
        assert_eq!(counted(REDIS, Write::Remove("k".into())), "UNLINK k");
        let patch = |remove| Write::Patch(Patch { key: "k".into(), set: Body::Zset(vec![("a".into(), 1.0)]), remove });
        assert_eq!(counted(REDIS, patch(vec![])), "EXISTS k; ZADD k 1 a");
        assert_eq!(counted(REDIS, patch(vec!["b".into()])), "EXISTS k; ZADD k 1 a; ZREM k b; EXISTS k");
        let pop = ListStep::Pop { end: ListEnd::Head, count: 1, may_be_served: false };
        let steps = Write::Steps(Steps { key: "k".into(), steps: vec![pop] });
        assert_eq!(counted(Dialect::Pika, steps), "XLEN k; LTRIM k 1 -1; XLEN k");
        let mut of_lines = string(Part::Whole);
        if let Write::Piece(piece) = &mut of_lines {
            piece.key = "k\nk".into();
        }
        assert_eq!(counted(Dialect::Pika, of_lines), "EXISTS k\\nk; SET k\\nk v");
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let refused = |dialect, body| Commands::new(dialect).render(&piece(Part::Whole, None, body), false).is_err();
        assert!(refused(REDIS, Body::HyperLogLog(Bytes::new())));
        assert!(refused(REDIS, Body::Zset(vec![("a".into(), f64::NAN)])));
        assert!(refused(Dialect::Pika, Body::HyperLogLog(vec![16; hyperloglog::REGISTERS].into())));
        assert_eq!(
            rendered(Dialect::Pika, piece(Part::Whole, None, Body::HyperLogLog(Bytes::new()))),
            "DEL k; PFADD k"
        );
    }
}
