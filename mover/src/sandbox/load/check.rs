// SPDX-License-Identifier: Apache-2.0
//! Reading keys back whole: after a lost answer, and all of them when the load is checked.

use tokio::time::sleep;

use super::kind::Question;
use super::writer::Writer;
use crate::sandbox::reply::Reply;

impl Writer {
    /// Reads every key back. A key that cannot be read after several tries ends it: there is nobody to ask.
    pub(super) async fn check(&mut self) {
        let mut readable = true;
        for index in 0..self.keys.len() {
            readable = readable && self.read_back(index).await;
            self.shared.tally.checked(readable);
        }
    }

    async fn read_back(&mut self, index: usize) -> bool {
        // From here on only away from an address that does not answer.
        self.turn_to_any();
        // What was found wrong needs no second look.
        let mut read = self.keys[index].is_spoilt();
        for _ in 0..TRIES {
            if read {
                break;
            }
            sleep(self.keys[index].unsettled(self.shared.config.settle)).await;
            read = self.settle(index).await;
        }
        read
    }

    /// Reads a key back whole and finds out which of its states it is in; `false` when it could not be read.
    pub(super) async fn settle(&mut self, index: usize) -> bool {
        let states = self.keys[index].states.clone();
        let mut difference = None;
        for state in states {
            match self.compare(index, &state.whole()).await {
                Err(()) => return false,
                Ok(None) => {
                    self.keys[index].settle(state);
                    return true;
                }
                Ok(found) => difference = found,
            }
        }
        let key = &mut self.keys[index];
        if let Some(((request, expected), reply)) = difference {
            self.shared.tally.wrong(&key.name, &request, &expected, &reply);
        }
        key.spoil();
        true
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
