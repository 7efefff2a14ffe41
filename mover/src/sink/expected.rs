// SPDX-License-Identifier: Apache-2.0
//! What the sink knows of answers that have not come yet: the command of each, and what it tells of a key.
//!
//! A counted write must tell whether the target had its key before, and has it afterwards. A removal tells the first: it
//! answers whether there was something to remove. Other writes need a question.
//!
//! EXISTS has traps. A Pika counts deleted streams, and may answer from its cache. A Redis counts streams that were emptied,
//! which a Pika neither lists nor deletes. XLEN has none of them: 0 and `no such key` mean no key, WRONGTYPE means a key of
//! another type. So the sink asks a Pika XLEN, and a Redis wherever a stream is written. It does not ask a Redis XLEN about
//! other keys, as each answer would raise the number of errors that operators watch. That leaves one case uncounted: a
//! stream that was emptied and then became a key of another type, at a Redis.

use snapshot::Kind;

use crate::batch::{KeyCounts, Patch};
use crate::dialect::{Dialect, Verb};
use crate::sink::answer::Answer;

/// What was sent and has no answer yet.
#[derive(Default, Debug)]
pub(super) struct Expected {
    answers: Vec<(Verb, Tells)>,
}

/// What an answer tells of its key.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Tells {
    /// Nothing that is counted.
    #[default]
    Nothing,
    /// Whether it was there before the write.
    Before(Then),
    /// Whether it is there behind the write.
    Behind,
}

/// What a write makes of its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Then {
    /// It is there.
    There,
    /// It is not there.
    Gone,
    /// A later answer tells.
    Told,
}

impl Expected {
    pub(super) fn push(&mut self, verb: Verb, tells: Tells) {
        self.answers.push((verb, tells));
    }

    /// How many answers there will be.
    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    /// The command that an answer belongs to, and what it tells.
    pub(super) fn of(&self, index: usize) -> (Verb, Tells) {
        self.answers[index]
    }

    pub(super) fn clear(&mut self) {
        self.answers.clear();
    }
}

/// The question before a key is written whole; none where its removal tells.
pub(super) fn before_whole(dialect: Dialect, key: &[u8], lands_as: Kind) -> Option<Verb> {
    let removal_tells = match dialect {
        Dialect::Pika => lands_as != Kind::String,
        Dialect::Redis { .. } => !matches!(lands_as, Kind::String | Kind::Stream),
    };
    (!removal_tells).then(|| question(dialect, key, lands_as))
}

/// What asks whether a key is there that is or will be of this type.
pub(super) fn question(dialect: Dialect, key: &[u8], kind: Kind) -> Verb {
    match (dialect, kind) {
        // A Pika quotes the key in its error, and an answer ends with the line.
        (Dialect::Pika, _) if key.contains(&b'\n') => Verb::Exists,
        (Dialect::Pika, _) | (Dialect::Redis { .. }, Kind::Stream) => Verb::XLen,
        (Dialect::Redis { .. }, _) => Verb::Exists,
    }
}

/// What becomes of the key of a patch.
pub(super) fn behind_patch(patch: &Patch) -> Then {
    match patch.remove.is_empty() && !patch.set.is_empty() {
        true => Then::There,
        false => Then::Told,
    }
}

/// Counts keys by the answers of a batch, taken in order.
#[derive(Default, Debug)]
pub(super) struct Counter {
    was_there: Option<bool>,
    counts: KeyCounts,
}

impl Counter {
    pub(super) fn take(&mut self, tells: Tells, answer: Answer<'_>) {
        let is_there = is_there(answer);
        match tells {
            Tells::Nothing => {}
            Tells::Before(Then::There) => self.change(is_there, Some(true)),
            Tells::Before(Then::Gone) => self.change(is_there, Some(false)),
            Tells::Before(Then::Told) => self.was_there = is_there,
            Tells::Behind => {
                let was_there = self.was_there.take();
                self.change(was_there, is_there);
            }
        }
    }

    pub(super) fn counts(&self) -> KeyCounts {
        self.counts
    }

    fn change(&mut self, before: Option<bool>, behind: Option<bool>) {
        match (before, behind) {
            (Some(false), Some(true)) => self.counts.created += 1,
            (Some(true), Some(false)) => self.counts.deleted += 1,
            (Some(_), Some(_)) => {}
            (None, _) | (_, None) => self.counts.unclear += 1,
        }
    }
}

/// Whether there is a key, as the answer to a question or a removal says.
fn is_there(answer: Answer<'_>) -> Option<bool> {
    match answer {
        Answer::Number(number) => Some(number > 0),
        Answer::Refused(b"ERR no such key") => Some(false),
        Answer::Refused(error) => error.windows(WRONG_TYPE.len()).any(|part| part == WRONG_TYPE).then_some(true),
        Answer::Done => None,
    }
}

const WRONG_TYPE: &[u8] = b"WRONGTYPE";

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(answers: &[(Tells, Answer<'_>)]) -> [u64; 3] {
        let mut counter = Counter::default();
        answers.iter().for_each(|(tells, answer)| counter.take(*tells, *answer));
        let KeyCounts { created, deleted, unclear } = counter.counts();
        [created, deleted, unclear]
    }

    #[test]
    fn a_change_is_counted_and_nothing_else() {
        let before = |then, number| (Tells::Before(then), Answer::Number(number));
        assert_eq!(counted(&[before(Then::There, 0), before(Then::There, 1), before(Then::There, 7)]), [1, 0, 0]);
        assert_eq!(counted(&[before(Then::Gone, 0), before(Then::Gone, 1)]), [0, 1, 0]);
        let around =
            |before, behind| counted(&[(Tells::Before(Then::Told), before), DONE, (Tells::Behind, behind), DONE]);
        let [gone, there] = [Answer::Number(0), Answer::Number(3)];
        assert_eq!([around(gone, gone), around(there, there)], [[0; 3]; 2]);
        assert_eq!([around(gone, there), around(there, gone)], [[1, 0, 0], [0, 1, 0]]);
    }

    #[test]
    fn an_error_tells_whether_there_is_a_key_of_another_type() {
        let before = |error: &'static [u8]| counted(&[(Tells::Before(Then::There), Answer::Refused(error))]);
        assert_eq!(before(b"ERR no such key"), [1, 0, 0]);
        assert_eq!(before(b"WRONGTYPE Operation against a key holding the wrong kind of value"), [0; 3]);
        assert_eq!(before(b"ERR Invalid argument: WRONGTYPE, key: k, expected type: stream, got type: hash"), [0; 3]);
    }

    #[test]
    fn what_no_answer_tells_is_not_guessed() {
        assert_eq!(counted(&[(Tells::Before(Then::There), Answer::Refused(b"NOPERM no"))]), [0, 0, 1]);
        let behind = (Tells::Behind, Answer::Number(1));
        assert_eq!(counted(&[(Tells::Before(Then::Told), Answer::Done), behind]), [0, 0, 1]);
        // Nothing is left of the write before.
        assert_eq!(counted(&[(Tells::Before(Then::Told), Answer::Number(1)), behind, behind]), [0, 0, 1]);
    }

    const DONE: (Tells, Answer<'static>) = (Tells::Nothing, Answer::Done);
}
