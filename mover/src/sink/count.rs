// SPDX-License-Identifier: Apache-2.0
//! How many commands a write becomes, without making them: what a limit on commands is held to, also where another
//! machine renders them.

use replication::ListStep;
use snapshot::{Body, Kind, Piece, StreamId};

use crate::batch::{Batch, Patch, Write};
use crate::dialect::{Dialect, HyperLogLogPolicy};
use crate::sink::expected::{self, Then};
use crate::sink::render::{ELEMENTS_MAX, HYPERLOGLOG_ELEMENTS_MAX};
use crate::sink::witness::witnesses;

/// The commands that do a batch at a target of this dialect.
pub(super) fn of_batch(dialect: Dialect, batch: &Batch) -> usize {
    batch.writes().iter().map(|write| commands(dialect, write, batch.is_counted())).sum()
}

fn commands(dialect: Dialect, write: &Write, is_counted: bool) -> usize {
    let questions = if is_counted { questions(dialect, write) } else { 0 };
    let commands = match write {
        Write::Piece(piece) => of_piece(dialect, piece),
        Write::Patch(patch) => of_patch(dialect, patch),
        Write::Steps(steps) => steps.steps.iter().map(of_step).sum(),
        Write::Remove(_) => 1,
    };
    questions + commands
}

/// What asks whether the key of the write is there.
fn questions(dialect: Dialect, write: &Write) -> usize {
    match write {
        Write::Piece(piece) if piece.part.is_first() => {
            let question = expected::before_whole(dialect, &piece.key, dialect.lands_as(piece.body.kind()));
            usize::from(question.is_some())
        }
        Write::Patch(patch) => 1 + usize::from(expected::behind_patch(patch) == Then::Told),
        Write::Steps(_) => 2,
        Write::Piece(_) | Write::Remove(_) => 0,
    }
}

fn of_piece(dialect: Dialect, piece: &Piece) -> usize {
    let replaces = piece.part.is_first() && dialect.lands_as(piece.body.kind()) != Kind::String;
    let expires = piece.part.is_last() && piece.expire_at.is_some();
    let last_id = if piece.part.is_last() { of_last_id(dialect, &piece.body) } else { 0 };
    usize::from(replaces) + of_body(dialect, &piece.body) + last_id + usize::from(expires)
}

fn of_patch(dialect: Dialect, patch: &Patch) -> usize {
    of_body(dialect, &patch.set) + of_last_id(dialect, &patch.set) + patch.remove.len().div_ceil(ELEMENTS_MAX)
}

/// What makes a stream give out ids above its last one only.
fn of_last_id(dialect: Dialect, body: &Body) -> usize {
    let Body::Stream { entries, last_id } = body else { return 0 };
    match (dialect, entries.last().map(|entry| entry.id)) {
        _ if *last_id == StreamId::default() => 0,
        (_, Some(entry)) if entry >= *last_id => 0,
        (Dialect::Redis { .. }, Some(_)) => 1,
        (Dialect::Pika, last_entry) | (_, last_entry @ None) => 2 * witnesses(last_entry, *last_id).count(),
    }
}

fn of_step(step: &ListStep) -> usize {
    match step {
        ListStep::Push { elements, .. } => elements.len().div_ceil(ELEMENTS_MAX),
        ListStep::Pop { count: 0, .. } => 0,
        _ => 1,
    }
}

fn of_body(dialect: Dialect, body: &Body) -> usize {
    match body {
        Body::String(_) => 1,
        Body::HyperLogLog(registers) => match dialect {
            Dialect::Redis { hyperloglog: HyperLogLogPolicy::Raw | HyperLogLogPolicy::Refuse } => 1,
            Dialect::Pika => {
                let set = registers.iter().filter(|rank| **rank != 0).count();
                set.div_ceil(HYPERLOGLOG_ELEMENTS_MAX).max(1)
            }
        },
        Body::Stream { entries, .. } => entries.len(),
        Body::Hash(_) | Body::List(_) | Body::Set(_) | Body::Zset(_) => body.len().div_ceil(ELEMENTS_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Steps;
    use crate::sink::render::Commands;
    use bytes::Bytes;
    use proptest::prelude::*;
    use snapshot::{Part, StreamEntry, UnixMillis};

    fn body(kind: usize, count: usize, last_id: u64) -> Body {
        let element = |number: usize| Bytes::from(number.to_string());
        match kind {
            0 => Body::String(element(count)),
            1 => Body::HyperLogLog((0..1 << 17).map(|index| u8::from(index < count)).collect()),
            2 => Body::Hash((0..count).map(|number| (element(number), element(number))).collect()),
            3 => Body::List((0..count).map(element).collect()),
            4 => Body::Set((0..count).map(element).collect()),
            5 => Body::Zset((0..count).map(|number| (element(number), 1.0)).collect()),
            _ => {
                let entry = |number: usize| {
                    let fields = vec![element(number), element(number)];
                    StreamEntry { id: StreamId::new(number as u64 + 1, 0), fields }
                };
                Body::Stream { entries: (0..count).map(entry).collect(), last_id: StreamId::new(last_id, 0) }
            }
        }
    }

    proptest! {
        #[test]
        fn as_many_are_counted_as_are_rendered(
            pika: bool,
            is_counted: bool,
            kind in 0..7usize,
            count in 0..1100usize,
            last_id in 0..1200u64,
            part in prop::sample::select(vec![Part::Whole, Part::First, Part::Middle, Part::Last]),
            expire_at in prop::option::of(1..9u64),
            removed in prop::option::of(prop_oneof![0..2usize, 0..1100usize]),
        ) {
            let dialect = match pika {
                true => Dialect::Pika,
                false => Dialect::Redis { hyperloglog: HyperLogLogPolicy::Raw },
            };
            let body = body(kind, count, last_id);
            let write = match removed {
                Some(1) if kind == 3 => {
                    let step = ListStep::Trim { first: 0, last: -1 };
                    Write::Steps(Steps { key: "k".into(), steps: vec![step; count] })
                }
                Some(removed) if matches!(kind, 2 | 4..) => {
                    let remove = (0..removed).map(|number| Bytes::from(format!("{number}-0"))).collect();
                    Write::Patch(Patch { key: "k".into(), set: body, remove })
                }
                _ => Write::Piece(Piece { key: "k".into(), part, expire_at: expire_at.map(UnixMillis), body }),
            };
            let mut rendered = Commands::new(dialect);
            rendered.render(&write, is_counted).unwrap();
            prop_assert_eq!(commands(dialect, &write, is_counted), rendered.expected().len());
        }
    }
}
