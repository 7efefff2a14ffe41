// SPDX-License-Identifier: Apache-2.0
//! Reading keys back whole: after a lost answer, and all of them when the load is checked.

use std::sync::atomic::Ordering;

use tokio::time::sleep;

use super::entry::Entry;
use super::key::Key;
use super::kind::Question;
use super::writer::Writer;
use crate::sandbox::reply::Reply;

/// What came of reading a key back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// The state it is in, or that it is in none that it may be in.
    State,
    /// Only reads that a cache may answer wrongly tell what it holds.
    OnlyCached,
    /// It could not be read.
    Nothing,
}

impl Writer {
    /// Reads every key back. A key that cannot be read after several tries ends it: there is nobody to ask.
    ///
    /// Where the nodes' caches could not be switched off, the keys whose cached reads mean nothing stay unchecked.
    pub(super) async fn check(&mut self) {
        if self.shared.caches_are_off.load(Ordering::SeqCst) {
            self.keys.iter_mut().for_each(Key::clear_taint);
        }
        let mut can_be_read = true;
        for index in 0..self.keys.len() {
            let found = if can_be_read { self.read_back(index).await } else { Found::Nothing };
            can_be_read = found != Found::Nothing;
            self.shared.tally.checked(found == Found::State);
        }
    }

    async fn read_back(&mut self, index: usize) -> Found {
        // From here on only away from an address that does not answer.
        self.turn_to_any();
        // What was found wrong needs no second look.
        if self.keys[index].is_spoilt() {
            return Found::State;
        }
        for _ in 0..TRIES {
            sleep(self.keys[index].unsettled(self.shared.config.settle)).await;
            let found = self.settle(index).await;
            if found != Found::Nothing {
                return found;
            }
        }
        Found::Nothing
    }

    /// Reads a key back whole and finds out which of its states it is in.
    pub(super) async fn settle(&mut self, index: usize) -> Found {
        let states = self.keys[index].states.clone();
        let questions = |state: &Entry| match self.shared.may_be_cached {
            true => state.whole_past_cache(),
            false => Some(state.whole()),
        };
        let Some(all): Option<Vec<_>> = states.iter().map(questions).collect() else {
            return Found::OnlyCached;
        };
        let mut difference = None;
        for (state, questions) in states.into_iter().zip(all) {
            match self.compare(index, &questions).await {
                Err(()) => return Found::Nothing,
                Ok(None) => {
                    self.keys[index].settle(state);
                    return Found::State;
                }
                Ok(found) => difference = found,
            }
        }
        let key = &mut self.keys[index];
        if let Some(((request, expected), reply)) = difference {
            self.shared.tally.wrong(&key.name, &request, &expected, &reply);
        }
        key.spoil();
        Found::State
    }

    /// Asks, and returns the first question that is not answered as expected. That the key has another type is an answer,
    /// any other error is none.
    async fn compare(&mut self, index: usize, questions: &[Question]) -> Result<Option<(Question, Reply)>, ()> {
        let name = self.keys[index].name.clone();
        for chunk in questions.chunks(QUESTIONS_MAX) {
            if !self.connect().await {
                return Err(());
            }
            let pairs: Vec<_> = chunk.iter().map(|(request, _)| (&name, request)).collect();
            let (replies, window) = self.exchange(&pairs).await;
            if replies.len() < chunk.len() {
                return Err(());
            }
            for (question, reply) in chunk.iter().zip(replies) {
                if matches!(&reply, Reply::Error(text) if !is_wrong_type(text)) {
                    return Err(());
                }
                if !question.1.matches(&reply, window) {
                    return Ok(Some((question.clone(), reply)));
                }
            }
        }
        Ok(None)
    }
}

/// Redis and Pika put other words around it.
fn is_wrong_type(error: &[u8]) -> bool {
    error.windows(WRONG_TYPE.len()).any(|part| part == WRONG_TYPE)
}

const WRONG_TYPE: &[u8] = b"WRONGTYPE";
const TRIES: usize = 5;
const QUESTIONS_MAX: usize = 200;
