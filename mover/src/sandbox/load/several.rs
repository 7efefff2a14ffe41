// SPDX-License-Identifier: Apache-2.0
//! Commands for several keys of a writer and a tag, and bursts of them for its hot keys.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::RngExt;

use super::config::CommandSet;
use super::entry::Entry;
use super::expected::Expected;
use super::kind::{Generic, ListOperation, Operation, Request, Value, blob, text};
use super::writer::Writer;
use crate::sandbox::reply::Reply;

impl Writer {
    /// One command for several keys, if the addresses take such commands and there are keys for it.
    pub(super) async fn several(&mut self) -> u32 {
        let index = self.pick(false);
        let others = self.keys_beside(index);
        let other = others.start + self.rng.random_range(0..others.len());
        let choice = self.rng.random_range(0..4);
        let done = match (self.shared.config.commands, choice) {
            (CommandSet::Pika, 0) => self.delete_pattern(index).await,
            (CommandSet::Pika, 1) => self.set_both(index, other).await,
            (CommandSet::OneKey, _) => false,
            _ => self.move_element(index).await,
        };
        if !done {
            self.single().await;
        }
        1
    }

    /// The ordinary keys of a key's tag, the key among them.
    fn keys_beside(&self, index: usize) -> std::ops::Range<usize> {
        let count = self.shared.config.keys_per_tag;
        let first = index / count * count;
        first..first + count
    }

    /// RPOPLPUSH from a list near this key to another key, or onto itself.
    async fn move_element(&mut self, index: usize) -> bool {
        let near = self.keys_beside(index);
        let start = self.rng.random_range(0..near.len());
        let turned = |at: usize| near.start + (start + at) % near.len();
        let state = |at: usize| Some(&self.keys[at]).filter(|key| key.is_sure()).map(|key| &key.states[0]);
        let source = (0..near.len()).map(turned).find(|&at| state(at).is_some_and(|it| it.last_element().is_some()));
        let Some(source) = source else {
            return false;
        };
        let targets: Vec<_> = near.clone().filter(|&at| state(at).is_some_and(Entry::takes_elements)).collect();
        let target = targets[self.rng.random_range(0..targets.len())];
        self.fill_cache(source).await;
        self.fill_cache(target).await;
        if !self.keys[source].is_sure() || !self.keys[target].is_sure() {
            return true;
        }
        let name = self.keys[target].name.clone();
        if source == target {
            self.send(vec![(source, Operation::List(ListOperation::Turn(name)))]).await;
            return true;
        }
        let Some(element) = self.keys[source].states[0].last_element().cloned() else {
            return true;
        };
        let took_in = Operation::List(ListOperation::MoveIn(element));
        let gave = Operation::List(ListOperation::MoveOut(name));
        let window = self.send(vec![(source, gave)]).await;
        // The other key shares the fate of this one.
        match (self.keys[source].is_spoilt(), self.keys[source].is_sure()) {
            (true, _) => self.keys[target].spoil(),
            (_, true) => self.keys[target].take(&took_in, window),
            _ => self.keys[target].doubt(&took_in, window),
        }
        true
    }

    /// MSETNX of two keys.
    async fn set_both(&mut self, one: usize, other: usize) -> bool {
        let is_fit = |at: usize| self.keys[at].is_sure() && self.keys[at].states[0].is_plain();
        if one == other || !is_fit(one) || !is_fit(other) {
            return false;
        }
        let is_free = [one, other].iter().all(|&at| self.keys[at].states[0].value.is_none());
        let values = [blob(&mut self.rng), blob(&mut self.rng)];
        let args = [values[0].clone(), self.keys[other].name.clone(), values[1].clone()];
        let changes = [one, other].into_iter().zip(values.map(Generic::SetNx));
        let changes = if is_free { changes.collect() } else { Vec::new() };
        self.send_for_all(one, Request::new("MSETNX", args), i64::from(is_free), changes).await;
        true
    }

    /// PKPATTERNMATCHDEL of some keys of this writer.
    async fn delete_pattern(&mut self, index: usize) -> bool {
        let prefix = self.keys[index].name.clone();
        let doomed: Vec<_> = self.keys_beside(index).filter(|&at| self.keys[at].name.starts_with(&prefix)).collect();
        let is_fit = |at: &usize| self.keys[*at].is_sure() && self.keys[*at].states[0].is_plain();
        if !doomed.iter().all(is_fit) {
            return false;
        }
        for &at in &doomed {
            self.fill_cache(at).await;
        }
        if !doomed.iter().all(|&at| self.keys[at].is_sure()) {
            return true;
        }
        let count = doomed.iter().filter(|&&at| self.keys[at].states[0].value.is_some()).count();
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let pattern = text(format_args!("{}*", prefix.escape_ascii()));
        let request = Request::new("PKPATTERNMATCHDEL", []);
        let changes = doomed.into_iter().map(|at| (at, Generic::Unlink)).collect();
        self.send_as(index, &pattern, request, count, changes).await;
        true
    }

    async fn send_for_all(&mut self, index: usize, request: Request, count: i64, changes: Vec<(usize, Generic)>) {
        let name = self.keys[index].name.clone();
        self.send_as(index, &name, request, count, changes).await;
    }

    /// Sends a request that answers a count and makes these changes.
    async fn send_as(
        &mut self,
        index: usize,
        first: &Bytes,
        request: Request,
        count: i64,
        changes: Vec<(usize, Generic)>,
    ) {
        let (replies, window) = self.exchange(&[(first, &request)]).await;
        let expected = Expected::Integer(count);
        let reply = replies.first();
        let is_wrong = reply.is_some_and(|reply| !matches!(reply, Reply::Error(_)) && !expected.matches(reply, window));
        if let Some(reply) = reply.filter(|_| is_wrong) {
            self.shared.tally.wrong(first, &request, &expected, reply);
            self.keys[index].spoil();
        }
        for (at, change) in changes {
            let change = Operation::Generic(change);
            match reply {
                Some(_) if is_wrong => self.keys[at].spoil(),
                None | Some(Reply::Error(_)) => self.keys[at].doubt(&change, window),
                Some(_) => self.keys[at].take(&change, window),
            }
        }
    }

    /// Many writes of the hot stream and the hot hash at once, which a Codis as it is shipped sends over one connection.
    pub(super) async fn burst(&mut self) -> u32 {
        let hot: Vec<_> = self.hot.iter().copied().filter(|&index| self.keys[index].is_sure()).collect();
        if hot.is_empty() {
            return self.single().await;
        }
        // Only what is added to a stream depends on what it holds.
        let mut streams: BTreeMap<usize, Entry> = BTreeMap::new();
        let mut steps = Vec::new();
        for _ in 0..self.shared.config.burst {
            let index = hot[self.rng.random_range(0..hot.len())];
            let key = &self.keys[index];
            let is_hash = matches!(key.states[0].value, Some(Value::Hash(_)));
            let window = self.window(super::entry::now());
            let operation = if is_hash {
                key.burst(key.states[0].value.as_ref(), &mut self.rng)
            } else {
                let state = streams.entry(index).or_insert_with(|| key.states[0].clone());
                let operation = key.burst(state.value.as_ref(), &mut self.rng);
                operation.iter().for_each(|operation| drop(state.apply(operation, window)));
                operation
            };
            steps.extend(operation.map(|operation| (index, operation)));
        }
        let sent = u32::try_from(steps.len()).unwrap_or(u32::MAX);
        self.send(steps).await;
        sent
    }
}
