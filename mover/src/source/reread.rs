// SPDX-License-Identifier: Apache-2.0
//! Reading live keys, from the source to move them and from both sides to compare them.
//!
//! The server's own answers have traps. TYPE names keys that are gone, a missing key has a TTL of 0 or -2, and ZRANGE
//! is wrong where a score is -inf: so an empty read decides whether a key is there, and sorted sets are read with
//! ZSCAN. A HyperLogLog says it is a string, only PFCOUNT tells. A type may change between two questions: then the key
//! is to be read again. All that is asked goes through an [`Inquiry`], past a Pika's cache.
//!
//! What is asked at once is bounded by bytes, as far as sizes are known or can be guessed, and by elements where they
//! cannot. The redis crate holds an answer twice while it decodes it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use replication::{Extent, ListStep};
use snapshot::{Body, Kind};

use crate::batch::{Patch, Steps, Write};
use crate::dialect::Dialect;
use crate::endpoint::Client;
use crate::source::cut::{self, CutKey};
use crate::source::elements;
use crate::source::estimate::Estimate;
use crate::source::inquiry::Inquiry;
use crate::source::known::Known;
use crate::source::large::{LARGE_MIN, LargeStrings, Turn};
use crate::source::page::{Paging, ScanPattern, Step, Strings};
use crate::source::small::Found;
use crate::source::stream::{self, NamedEntries};
use crate::source::value::LoggedValue;
use crate::{Error, Result};

/// A key to be read, and how much of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Wanted {
    /// The user's key.
    pub key: Bytes,
    /// All of it, or some elements.
    pub extent: Extent,
}

impl Wanted {
    /// The whole of `key`.
    pub fn whole(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), extent: Extent::Whole }
    }

    fn is_value(&self) -> bool {
        matches!(self.extent, Extent::Value { .. })
    }
}

/// A key of which a read alone does not say all; the log must be seen to be silent about it.
#[derive(Clone, PartialEq, Debug)]
pub enum Unsettled {
    /// A list without expiry that was read whole: of which place in the log is it?
    List(Bytes),
    /// A sorted set that lost members the log does not name: those that were found missing are all of them, unless what
    /// stood behind them had been touched by then.
    Cut(Wanted),
}

impl Unsettled {
    /// The key.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::List(key) | Self::Cut(Wanted { key, .. }) => key,
        }
    }
}

/// Reads live keys of one server.
pub struct Reread {
    pub(super) client: Client,
    pub(super) dialect: Dialect,
    pub(super) known: Arc<Known>,
    pub(super) estimate: Estimate,
    target: Option<(Client, Dialect)>,
    /// Keys that were read once more because their number of elements was another one than was read. Should a server count
    /// wrong, that is enough.
    doubted: HashSet<Bytes>,
    /// The connection for keys whose names may cut an answer in two, while there is one.
    pub(super) quarantine: Option<Client>,
    pattern: ScanPattern,
    strings: Strings,
    large: Option<LargeStrings>,
}

impl Reread {
    /// A reader of the server behind `client`.
    pub fn new(client: Client, dialect: Dialect, known: Arc<Known>) -> Self {
        let (pattern, estimate) = (ScanPattern::unique(), Estimate::new());
        Self {
            client,
            dialect,
            known,
            estimate,
            target: None,
            doubted: HashSet::new(),
            quarantine: None,
            pattern,
            strings: Strings::Whole,
            large: None,
        }
    }

    /// Lets it ask the target, of this dialect, what it has of a stream, and which elements stand where the source lost
    /// some. Nothing else may write there, and what was read before must have landed: [`Known::needs_target`] says when.
    #[must_use]
    pub fn against(self, target: Client, dialect: Dialect) -> Self {
        Self { target: Some((target, dialect)), ..self }
    }

    /// Makes it take turns with others at large strings. Those for which it has none are to be read again.
    #[must_use]
    pub fn taking_turns(self, large: LargeStrings) -> Self {
        Self { large: Some(large), ..self }
    }

    /// Makes it give out big strings in this way.
    #[must_use]
    pub fn with_strings(self, strings: Strings) -> Self {
        Self { strings, ..self }
    }

    /// Begins to read `wanted`.
    pub fn read(&mut self, wanted: Vec<Wanted>) -> Reading<'_> {
        let (unsafe_names, wanted): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|wanted| self.has_unsafe_name(&wanted.key));
        // Groups of values need fewer trips to the server than others, unless they are mixed.
        let (values, others): (Vec<_>, Vec<_>) = wanted.into_iter().partition(Wanted::is_value);
        Reading {
            reread: self,
            queue: values.into_iter().chain(others).collect(),
            found: VecDeque::new(),
            big: VecDeque::new(),
            turn: None,
            unsafe_names: unsafe_names.into_iter().map(|wanted| wanted.key).collect(),
            in_quarantine: None,
            again: Vec::new(),
            unsettled: Vec::new(),
        }
    }

    /// Questions for the server.
    pub(super) fn inquiry(&self) -> Inquiry {
        Inquiry::of(self.dialect)
    }
}

/// A read that is under way: memory for one group of small keys or some pages of big ones.
pub struct Reading<'a> {
    pub(super) reread: &'a mut Reread,
    pub(super) queue: VecDeque<Wanted>,
    /// Keys of known type and size that are to be read whole.
    pub(super) found: VecDeque<Found>,
    pub(super) big: VecDeque<Paging>,
    /// While a large string is among the big keys, and until all that was read has been handed on.
    turn: Option<Turn>,
    /// Keys whose names may cut an answer in two: they are read one by one when all else is done.
    pub(super) unsafe_names: VecDeque<Bytes>,
    /// The one that is being read. The reader's connection and that of the quarantine are changed over meanwhile.
    pub(super) in_quarantine: Option<Bytes>,
    pub(super) again: Vec<Wanted>,
    pub(super) unsettled: Vec<Unsettled>,
}

/// What a group of wanted keys turns into.
#[derive(Default)]
struct Group {
    whole: Vec<Bytes>,
    values: Vec<LoggedValue>,
    by_element: Vec<(Bytes, Kind, Vec<Bytes>)>,
    entries: Vec<NamedEntries>,
    cuts: Vec<CutKey>,
}

impl Reading<'_> {
    /// The next writes; `None` when everything has been read.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost), [`Error::Reply`](crate::Error::Reply).
    pub async fn next(&mut self) -> Result<Option<Vec<Write>>> {
        let mut writes = Vec::new();
        let outcome = if !self.big.is_empty() {
            self.pages(&mut writes).await
        } else if !self.found.is_empty() {
            self.read_small(&mut writes).await
        } else if !self.queue.is_empty() {
            self.group(&mut writes).await
        } else {
            self.leave_quarantine();
            return match self.unsafe_names.pop_front() {
                Some(key) => self.enter_quarantine(key).await.map(|()| Some(writes)),
                None => Ok(None),
            };
        };
        match (outcome, self.in_quarantine.is_some()) {
            // Its type changed between two questions, so that an error was taken for answers.
            (Err(Error::Lost { .. } | Error::Reply { .. }), true) => self.break_quarantine(),
            (outcome, _) => outcome?,
        }
        Ok(Some(writes))
    }

    /// Keys that changed under the read, to be read again, and those about which the log must be asked.
    pub fn finish(self) -> (Vec<Wanted>, Vec<Unsettled>) {
        (self.again, self.unsettled)
    }

    async fn group(&mut self, writes: &mut Vec<Write>) -> Result<()> {
        let mut group = self.sort(writes);
        if let Some((target, dialect)) = self.reread.target.as_mut().filter(|_| !group.cuts.is_empty()) {
            let cuts = std::mem::take(&mut group.cuts);
            for (cut, gone) in cut::gone(&mut self.reread.client, target, *dialect, cuts).await? {
                let Some(gone) = gone else {
                    group.whole.push(cut.key);
                    continue;
                };
                writes.extend(cut.removals(&gone));
                let CutKey { key, kind, elements, cut } = cut;
                if kind == Kind::Zset {
                    let extent = Extent::Cut { elements: elements.clone(), cut };
                    self.unsettled.push(Unsettled::Cut(Wanted { key: key.clone(), extent }));
                }
                // Also where the log names none: whether the key is the same still must be seen.
                self.queue.push_front(Wanted { key, extent: Extent::Elements(elements) });
            }
        }
        if !group.by_element.is_empty() {
            let by_element = std::mem::take(&mut group.by_element);
            let (patches, changed) = elements::read(&mut self.reread.client, by_element).await?;
            self.patch(patches, changed, &mut group, writes);
        }
        if let Some((target, dialect)) = self.reread.target.as_mut().filter(|_| !group.entries.is_empty()) {
            let entries = std::mem::take(&mut group.entries);
            let (patches, changed) = stream::read(&mut self.reread.client, target, *dialect, entries).await?;
            self.patch(patches, changed, &mut group, writes);
        }
        group.whole.extend(self.read_values(group.values, writes).await?);
        for key in &group.whole {
            self.reread.known.forget(key);
        }
        for key in self.find(group.whole, writes).await? {
            match key.is_small() {
                true => self.found.push_back(key),
                false => self.begin_paging(key),
            }
        }
        Ok(())
    }

    /// Takes patches, and keys that must be read whole instead.
    fn patch(&mut self, patches: Vec<Patch>, changed: Vec<Bytes>, group: &mut Group, writes: &mut Vec<Write>) {
        for patch in &patches {
            self.reread.estimate.learn(patch.set.len(), patch.set.size());
        }
        writes.extend(patches.into_iter().filter(|patch| !patch.is_empty()).map(Write::Patch));
        // What is left of a key that is going to be read whole is in the whole.
        self.queue.retain(|wanted| !changed.contains(&wanted.key));
        group.whole.extend(changed);
    }

    /// Takes keys off the queue: steps become writes at once, all else must be asked for.
    fn sort(&mut self, writes: &mut Vec<Write>) -> Group {
        let mut group = Group::default();
        let mut budget = self.reread.estimate.elements(READ_SIZE).min(ELEMENTS_AT_ONCE);
        let mut value_budget = READ_SIZE;
        for _ in 0..GROUP_KEYS {
            if !group.values.is_empty() && !self.queue.front().is_some_and(Wanted::is_value) {
                break;
            }
            let Some(Wanted { key, extent }) = self.queue.pop_front() else { break };
            let kind = |elements: &[Bytes]| self.reread.known.kind(&key, elements.len());
            if matches!(extent, Extent::Cut { cut, .. } if cut.is_deleted_by_id) {
                self.reread.known.doubt_first_entry(&key);
            }
            match extent {
                Extent::Whole => group.whole.push(key),
                Extent::Value { length } if length > VALUE_MAX => group.whole.push(key),
                Extent::Value { length } => {
                    group.values.push(LoggedValue { key, length });
                    value_budget = value_budget.saturating_sub(length);
                    if value_budget == 0 {
                        break;
                    }
                }
                Extent::Steps(steps) => match steps.first() {
                    Some(first) if self.reread.known.may_step(&key, first) => put_steps(&key, steps, writes),
                    Some(_) => group.whole.push(key),
                    // A whole read has seen what there was.
                    None => {}
                },
                Extent::Cut { elements, cut } if cut.is_open() => match kind(&elements) {
                    // Others than the first entries may be gone.
                    Some(Kind::Stream) if !self.reread.known.knows_first_entry(&key) => group.whole.push(key),
                    Some(kind @ (Kind::Zset | Kind::Stream)) if self.reread.target.is_some() => {
                        group.cuts.push(CutKey { key, kind, elements, cut });
                    }
                    _ => group.whole.push(key),
                },
                Extent::Elements(elements) | Extent::Cut { elements, .. } => {
                    let Some(kind) = kind(&elements) else {
                        group.whole.push(key);
                        continue;
                    };
                    if budget == 0 && !elements.is_empty() {
                        self.queue.push_front(Wanted { key, extent: Extent::Elements(elements) });
                        break;
                    }
                    budget -= self.take_elements(key, kind, elements, budget, &mut group);
                }
            }
        }
        group
    }

    /// Puts elements of a key into the group, so many at most, and the rest back into the queue. How many were taken.
    fn take_elements(
        &mut self,
        key: Bytes,
        kind: Kind,
        mut elements: Vec<Bytes>,
        most: usize,
        group: &mut Group,
    ) -> usize {
        // The parts of a stream are sent one after the other, so the first one has the least ids.
        let ids = if kind == Kind::Stream { stream::ids(&elements) } else { None };
        if kind == Kind::Stream && (ids.is_none() || self.reread.target.is_none()) {
            group.whole.push(key);
            return 0;
        }
        if let Some(ids) = &ids {
            elements = ids.iter().map(|id| id.to_string().into()).collect();
        }
        let rest = elements.split_off(most.min(elements.len()));
        if !rest.is_empty() {
            self.queue.push_front(Wanted { key: key.clone(), extent: Extent::Elements(rest) });
        }
        let taken = elements.len();
        match ids {
            Some(ids) => group.entries.push(NamedEntries { key, ids: ids.into_iter().take(taken).collect() }),
            None => group.by_element.push((key, kind, elements)),
        }
        taken
    }

    fn begin_paging(&mut self, key: Found) {
        let large = self.reread.large.as_ref().filter(|_| key.string_length() >= LARGE_MIN);
        if let Some(large) = large {
            let turn = if self.turn.is_none() { large.turn() } else { None };
            if turn.is_none() {
                return self.again.push(Wanted::whole(key.into_key()));
            }
            self.turn = turn;
        }
        match key.big() {
            Ok(big) => self.big.push_back(Paging::new(big, self.reread.pattern.clone(), self.reread.strings)),
            Err(key) => self.again.push(Wanted::whole(key)),
        }
    }

    /// A page of each of some keys.
    async fn pages(&mut self, writes: &mut Vec<Write>) -> Result<()> {
        let (mut chosen, mut weight) = (Vec::new(), 0);
        while let Some(paging) = self.big.front().filter(|_| chosen.len() < PAGES_AT_ONCE) {
            weight += paging.weight(&self.reread.estimate);
            if !chosen.is_empty() && weight > READ_SIZE {
                break;
            }
            chosen.extend(self.big.pop_front());
        }
        let commands: Vec<_> = chosen.iter().map(Paging::command).collect();
        let asked: Vec<bool> = commands.iter().map(Option::is_some).collect();
        let mut inquiry = self.reread.inquiry();
        for (paging, command) in chosen.iter().zip(commands) {
            let Some(command) = command else { continue };
            let questions = inquiry.key().add_command(command);
            if let Some(size) = paging.size_command() {
                questions.cmd(size).arg(&paging.key()[..]);
            }
            // A page is long, and no other key need be locked for it.
            inquiry.close();
        }
        let mut told = inquiry.ask(&mut self.reread.client).await?.into_iter();
        let mut going = Vec::with_capacity(chosen.len());
        for (mut paging, asked) in chosen.into_iter().zip(asked) {
            let answers = if asked { told.next() } else { None };
            match paging.step(self.reread.client.endpoint(), answers)? {
                Step::Done(..) if paging.has_lost_its_place() && self.reread.doubted.insert(paging.key().clone()) => {
                    self.again.push(Wanted::whole(paging.key().clone()));
                }
                Step::Piece(piece) => {
                    writes.extend(piece.map(Write::Piece));
                    going.push(paging);
                }
                Step::Done(None, _) => writes.push(Write::Remove(paging.key().clone())),
                Step::Done(Some(piece), elements) => {
                    self.learn(paging.key(), paging.kind(), elements, paging.expires());
                    if paging.knows_first_entry() {
                        self.reread.known.learn_first_entry(paging.key());
                    }
                    writes.push(Write::Piece(piece));
                }
                Step::Changed => self.again.push(Wanted::whole(paging.key().clone())),
            }
        }
        going.into_iter().rev().for_each(|paging| self.big.push_front(paging));
        Ok(())
    }

    /// Remembers a key that was read whole.
    pub(super) fn learn(&mut self, key: &Bytes, kind: Kind, elements: usize, expires: bool) {
        self.reread.known.learn(key, kind, elements, expires);
        if kind == Kind::List && !expires {
            self.unsettled.push(Unsettled::List(key.clone()));
        }
    }
}

impl CutKey {
    /// What removes these elements at the target, some at a time.
    fn removals(&self, gone: &[Bytes]) -> Vec<Write> {
        let nothing = match self.kind {
            Kind::Stream => Body::Stream { entries: Vec::new(), last_id: Default::default() },
            _ => Body::Zset(Vec::new()),
        };
        let patch = |gone: &[Bytes]| Patch { key: self.key.clone(), set: nothing.clone(), remove: gone.to_vec() };
        gone.chunks(ELEMENTS_AT_ONCE).map(|gone| Write::Patch(patch(gone))).collect()
    }
}

/// Steps in writes of about the size of a batch.
fn put_steps(key: &Bytes, steps: Vec<ListStep>, writes: &mut Vec<Write>) {
    let (mut part, mut size) = (Vec::new(), 0);
    for step in steps {
        size += step.size() + STEP_OVERHEAD;
        part.push(step);
        if size > STEPS_SIZE {
            writes.push(Write::Steps(Steps { key: key.clone(), steps: std::mem::take(&mut part) }));
            size = 0;
        }
    }
    if !part.is_empty() {
        writes.push(Write::Steps(Steps { key: key.clone(), steps: part }));
    }
}

/// Keys in one pipeline of questions.
const GROUP_KEYS: usize = 128;

/// Pages in one pipeline.
const PAGES_AT_ONCE: usize = 8;

/// Bytes that one pipeline of reads may give, about, or one element that is larger.
pub(super) const READ_SIZE: usize = 2 << 20;

/// Elements of which the sizes are guessed in one pipeline. Should all of them be of a megabyte for once, memory holds.
pub(super) const ELEMENTS_AT_ONCE: usize = 256;

/// A longer string is read as any other key, its length first.
const VALUE_MAX: usize = READ_SIZE / 2;

/// Bytes of the steps of a list that travel as one write.
const STEPS_SIZE: usize = 32 << 10;

/// What a step costs beside its bytes.
const STEP_OVERHEAD: usize = 32;
