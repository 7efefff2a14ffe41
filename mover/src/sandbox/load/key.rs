// SPDX-License-Identifier: Apache-2.0
//! One key of a writer: the states it may be in, which is one state unless an answer was lost.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;

use super::entry::{Entry, Window};
use super::expected::Expected;
use super::kind::{Operation, Scale, Value};
use crate::sandbox::reply::Reply;

#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: Bytes,
    pub(super) states: Vec<Entry>,
    /// What a big key is while it is empty, and how big; it keeps its type.
    big: Option<(Value, Scale)>,
    doubted: Option<Instant>,
    spoilt: bool,
}

impl Key {
    /// A key that does not exist.
    pub(super) fn new(name: Bytes) -> Self {
        Self { name, states: vec![Entry::default()], big: None, doubted: None, spoilt: false }
    }

    /// A key that does not exist and will be a collection of so many elements.
    pub(super) fn big(name: Bytes, empty: Value, elements: usize) -> Self {
        Self { big: Some((empty, Scale::big(elements))), ..Self::new(name) }
    }

    /// What builds the collection of a big key.
    pub(super) fn build(&self) -> Vec<Operation> {
        self.big.as_ref().map_or_else(Vec::new, |(empty, scale)| empty.build(scale.elements))
    }

    /// Whether its state is known.
    pub(super) fn is_sure(&self) -> bool {
        !self.spoilt && self.doubted.is_none()
    }

    /// Whether a reply was wrong: the model means nothing until the key has been deleted.
    pub(super) fn is_spoilt(&self) -> bool {
        self.spoilt
    }

    /// How long until no command of unknown fate can be running any more.
    pub(super) fn unsettled(&self, settle: Duration) -> Duration {
        self.doubted.map_or(Duration::ZERO, |since| settle.saturating_sub(since.elapsed()))
    }

    /// A command for this state of it.
    pub(super) fn choose(&self, state: &Entry, rng: &mut StdRng, hyperloglogs: bool) -> Operation {
        match &self.big {
            None => state.choose(rng, hyperloglogs),
            Some((empty, scale)) => state.value.as_ref().unwrap_or(empty).choose(rng, *scale),
        }
    }

    /// A read that has a node cache this state of it.
    pub(super) fn fill_cache(&self, state: &Entry) -> Option<Operation> {
        let scale = self.big.as_ref().map_or(Scale::SMALL, |(_, scale)| *scale);
        state.value.as_ref()?.fill_cache(scale)
    }

    /// One of many writes that are sent to a big key at once.
    pub(super) fn burst(&self, state: Option<&Value>, rng: &mut StdRng) -> Option<Operation> {
        let (empty, scale) = self.big.as_ref()?;
        Some(state.unwrap_or(empty).burst(rng, *scale))
    }

    /// Nothing is cached of it any more.
    pub(super) fn clear_taint(&mut self) {
        self.states.iter_mut().for_each(Entry::clear_taint);
    }

    /// Takes a command into the model that another key's reply has told of.
    pub(super) fn take(&mut self, operation: &Operation, window: Window) {
        for state in &mut self.states {
            state.apply(operation, window);
        }
    }

    /// Takes the reply to a command into the model. Where a node may have a cache, it may have answered a read wrongly.
    ///
    /// # Errors
    /// What the reply had to be. The key is spoilt then.
    pub(super) fn answer(
        &mut self,
        operation: &Operation,
        reply: &Reply,
        window: Window,
        may_be_cached: bool,
    ) -> Result<(), Expected> {
        let mut wanted = None;
        self.states.retain_mut(|state| {
            let is_unreliable = may_be_cached && state.is_unreliable(operation);
            let expected = state.apply(operation, window);
            let matches = is_unreliable || expected.matches(reply, window);
            wanted = Some(expected);
            matches
        });
        match wanted {
            Some(expected) if self.states.is_empty() => {
                self.spoil();
                Err(expected)
            }
            _ => Ok(()),
        }
    }

    /// Takes a command into the model of which nobody knows whether it ran or will run.
    pub(super) fn doubt(&mut self, operation: &Operation, window: Window) {
        let mut after = self.states.clone();
        for state in &mut after {
            state.apply(operation, window);
        }
        self.states.append(&mut after);
        self.doubted = Some(Instant::now());
    }

    /// Only this state was found. What no read shows may be as in any of them.
    pub(super) fn settle(&mut self, mut state: Entry) {
        self.states.iter().for_each(|other| state.take_hidden(other));
        self.states = vec![state];
        self.doubted = None;
    }

    /// None of the states was found.
    pub(super) fn spoil(&mut self) {
        self.states = vec![Entry::forgotten()];
        self.spoilt = true;
    }

    /// It has been deleted, and `there` tells whether there was anything. That nothing was there does not mean that there
    /// never was a stream.
    pub(super) fn forget(&mut self, there: bool) {
        let is_new = !there && !self.states.iter().any(Entry::was_ever_stream);
        self.states = vec![if is_new { Entry::default() } else { Entry::forgotten() }];
        self.doubted = None;
        self.spoilt = false;
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::Generic;
    use super::*;

    const WINDOW: Window = Window { first: 0, last: 0, slack: 0 };

    fn set(value: &'static str) -> Operation {
        Operation::Generic(Generic::Set(Bytes::from(value)))
    }

    fn holds(state: &Entry, value: Option<&'static str>) -> bool {
        let (request, expected) = &state.whole()[0];
        assert_eq!(request.name, "GET");
        expected.matches(&Reply::Bulk(value.map(Bytes::from)), WINDOW)
    }

    #[test]
    fn a_lost_answer_leaves_both_states_possible() {
        let mut key = Key::new(Bytes::from("k"));
        key.doubt(&set("a"), WINDOW);
        assert!(!key.is_sure());
        assert!(matches!(&key.states[..], [before, after] if holds(before, None) && holds(after, Some("a"))));
        key.settle(key.states[1].clone());
        assert!(key.is_sure() && holds(&key.states[0], Some("a")));
    }

    #[test]
    fn what_no_read_shows_outlives_a_lost_answer_and_a_deletion() {
        let mut key = Key::new(Bytes::from("k"));
        key.states = vec![Entry::of(Value::stream())];
        let delete = Operation::Generic(Generic::Del);
        for operation in [&delete, &set("a"), &delete] {
            key.take(operation, WINDOW);
        }
        assert!(key.states[0].was_ever_stream());
        key.forget(false);
        assert!(key.states[0].was_ever_stream(), "entries of the stream may show again in the next one");

        let mut key = Key::new(Bytes::from("k"));
        key.doubt(&Operation::Generic(Generic::Del), WINDOW);
        key.states[1] = Entry::forgotten();
        key.settle(key.states[0].clone());
        assert!(key.states[0].was_ever_stream(), "both states read alike");

        let mut key = Key::new(Bytes::from("k"));
        key.forget(false);
        assert!(!key.states[0].was_ever_stream());
    }

    #[test]
    fn a_later_reply_decides_between_them() {
        let mut key = Key::new(Bytes::from("k"));
        key.doubt(&set("a"), WINDOW);
        let delete = Operation::Generic(Generic::Del);
        assert_eq!(key.answer(&delete, &Reply::Integer(1), WINDOW, true), Ok(()));
        assert_eq!(key.states.len(), 1, "only where there was a key it could be deleted");
        assert_eq!(key.answer(&delete, &Reply::Integer(1), WINDOW, true), Err(Expected::Integer(0)));
        assert!(key.is_spoilt());
    }

    #[test]
    fn a_read_may_be_stale_after_a_write_that_passes_the_cache_by_and_no_other() {
        let mut key = Key::new(Bytes::from("k"));
        let ok = Reply::Status(Bytes::from("OK"));
        let get = Value::string(b"").fill_cache(Scale::SMALL).expect("strings are cached");
        let stale = Reply::Bulk(Some(Bytes::from("old")));
        let unlink = Operation::Generic(Generic::Unlink);
        assert_eq!(key.answer(&set("a"), &ok, WINDOW, true), Ok(()));
        assert_eq!(key.answer(&unlink, &Reply::Integer(1), WINDOW, true), Ok(()));
        assert_eq!(key.answer(&get, &stale, WINDOW, true), Ok(()));
        assert!(key.states[0].whole_past_cache().is_some_and(|questions| questions[0].0.name == "HSCAN"));
        let set_nx = Operation::Generic(Generic::SetNx(Bytes::from("b")));
        assert_eq!(key.answer(&set_nx, &Reply::Integer(1), WINDOW, true), Ok(()));
        assert_eq!(key.answer(&get, &stale, WINDOW, true), Ok(()));
        assert!(key.states[0].whole_past_cache().is_none(), "nothing tells what it holds");
        assert_eq!(key.answer(&get, &stale, WINDOW, false), Err(Expected::Bulk(Some(Bytes::from("b")))));
        key.forget(false);
        assert_eq!(key.answer(&set("c"), &ok, WINDOW, true), Ok(()));
        assert_eq!(key.answer(&get, &stale, WINDOW, true), Err(Expected::Bulk(Some(Bytes::from("c")))));
    }
}
