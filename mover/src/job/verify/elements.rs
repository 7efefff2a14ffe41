// SPDX-License-Identifier: Apache-2.0
//! One key that never holds still, compared element by element: a difference is excused only where the log names it.
//!
//! The target is read first, while nothing is on its way there, and the source behind it; then the log is read to its end.
//! An element that the log names between is read again by the follower. Any other one must be the same. Elements of a list
//! have no names, so there must be a place in the log where the target's list, after what was done to it since, is the
//! source's.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use snapshot::{Body, Kind, score_text};

use crate::Result;
use crate::batch::Write;
use crate::dialect::Dialect;
use crate::job::noted::Touched;
use crate::source::{Reread, Wanted};

/// The elements of a key, as hashes of their names and of what they hold.
#[derive(Default, Debug)]
pub(super) struct Elements {
    kind: Option<Kind>,
    expires: bool,
    of: HashMap<u64, u64>,
    /// Those of a list, in their order, if they are of one moment.
    list: Option<Vec<Bytes>>,
    /// Whether it changed while it was read, or has too many elements.
    is_unclear: bool,
}

/// What two readings of a key say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is the same, but for what the log names.
    Explained,
    /// Something differs that the log does not name.
    Unexplained,
    /// Nobody can tell.
    Unclear,
}

/// Reads a key as a server has it now.
pub(super) async fn read(reread: &mut Reread, dialect: Dialect, key: &Bytes) -> Result<Elements> {
    let mut elements = Elements::default();
    let mut reading = reread.read(vec![Wanted::whole(key.clone())]);
    while let Some(writes) = reading.next().await? {
        for write in writes {
            match write {
                Write::Piece(piece) => {
                    elements.kind = Some(dialect.lands_as(piece.body.kind()));
                    elements.expires = piece.expire_at.is_some();
                    elements.add(&piece.body);
                }
                Write::Remove(_) => elements = Elements::default(),
                Write::Patch(_) | Write::Steps(_) => unreachable!("a whole read gives pieces"),
            }
        }
    }
    let (again, _) = reading.finish();
    elements.is_unclear |= !again.is_empty();
    if elements.kind == Some(Kind::List) && !elements.expires {
        elements.list = reread.list(key).await?;
    }
    Ok(elements)
}

/// What the readings say, the older one of the target, where the log has named so much since.
pub(super) fn judge(target: &Elements, source: &Elements, touched: &Touched) -> Verdict {
    if touched.is_whole() {
        return Verdict::Explained;
    }
    if target.is_unclear || source.is_unclear {
        return Verdict::Unclear;
    }
    if touched.is_unclear() {
        return if target.of == source.of { Verdict::Explained } else { Verdict::Unclear };
    }
    if let Some(verdict) = judge_list(target, source, touched) {
        return verdict;
    }
    if (target.kind, target.expires) != (source.kind, source.expires) {
        return if touched.is_any() && (target.kind.is_none() || source.kind.is_none()) {
            // Its first element came, or its last one went.
            Verdict::Unclear
        } else {
            Verdict::Unexplained
        };
    }
    let named: HashSet<u64> = touched.elements().map(|name| hash(&name[..])).collect();
    let differs = |(name, held): (&u64, &u64)| source.of.get(name) != Some(held);
    // What went unnamed off an end is in the older reading only.
    let gone = |name: &u64| touched.is_cut() && !source.of.contains_key(name);
    let unnamed = target.of.iter().filter(|element| differs(*element)).map(|(name, _)| name);
    let is_explained = unnamed
        .chain(source.of.keys().filter(|name| !target.of.contains_key(*name)))
        .all(|name| named.contains(name) || gone(name));
    if is_explained { Verdict::Explained } else { Verdict::Unexplained }
}

/// What they say of a list, if it is one that was changed meanwhile.
fn judge_list(target: &Elements, source: &Elements, touched: &Touched) -> Option<Verdict> {
    let is_list = |side: &Elements| matches!(side.kind, None | Some(Kind::List));
    if touched.steps().is_empty() || !is_list(target) || !is_list(source) {
        return None;
    }
    if target.expires || source.expires {
        // Its steps are not replayed: it is read whole.
        return Some(Verdict::Explained);
    }
    let list = |side: &Elements| side.list.clone().or_else(|| side.kind.is_none().then(Vec::new));
    let (Some(target), Some(source)) = (list(target), list(source)) else { return Some(Verdict::Unclear) };
    // The target may have been ahead of the place from which on the steps are known: then it was read whole behind it.
    for begin in 0..=touched.steps().len() {
        let mut list = target.clone();
        if list == source {
            return Some(Verdict::Explained);
        }
        for step in &touched.steps()[begin..] {
            step.apply(&mut list);
            if list == source {
                return Some(Verdict::Explained);
            }
        }
    }
    Some(Verdict::Unexplained)
}

impl Elements {
    fn add(&mut self, body: &Body) {
        if self.of.len() + body.len() > ELEMENTS_MAX {
            self.is_unclear = true;
            return;
        }
        let first = self.of.len() as u64;
        match body {
            // Parts of a string, and elements of a list, have no names but their places.
            Body::String(value) | Body::HyperLogLog(value) => drop(self.of.insert(first, hash(value))),
            Body::List(list) => self.of.extend((first..).zip(list.iter().map(hash))),
            Body::Hash(fields) => self.of.extend(fields.iter().map(|(field, value)| (hash(&field[..]), hash(value)))),
            Body::Set(members) => self.of.extend(members.iter().map(|member| (hash(&member[..]), 0))),
            Body::Zset(members) => {
                let score = |score: f64| hash(&score_text(score + 0.0));
                self.of.extend(members.iter().map(|(member, at)| (hash(&member[..]), score(*at))));
            }
            Body::Stream { entries, .. } => {
                let entries = entries.iter().map(|entry| (hash(entry.id.to_string().as_bytes()), hash(&entry.fields)));
                self.of.extend(entries);
            }
        }
    }
}

fn hash(element: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    element.hash(&mut hasher);
    hasher.finish()
}

/// Elements that are held at once: 16 MB and some.
const ELEMENTS_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use replication::{Cut, Extent, ListEnd, ListStep};

    fn zset(members: &[(&'static str, f64)]) -> Elements {
        let mut elements = Elements { kind: Some(Kind::Zset), ..Elements::default() };
        elements.add(&Body::Zset(members.iter().map(|(member, score)| (Bytes::from(*member), *score)).collect()));
        elements
    }

    fn touched(extents: &[Extent]) -> Touched {
        let mut touched = Touched::default();
        extents.iter().for_each(|extent| touched.add(extent));
        touched
    }

    fn named(names: &[&'static str]) -> Extent {
        Extent::Elements(names.iter().map(|name| Bytes::from(*name)).collect())
    }

    #[test]
    fn only_named_elements_may_differ() {
        let (target, source) = (zset(&[("a", 1.0), ("b", 2.0)]), zset(&[("a", 1.5), ("b", 2.0)]));
        assert_eq!(judge(&target, &source, &touched(&[named(&["a"])])), Verdict::Explained);
        assert_eq!(judge(&target, &source, &touched(&[named(&["b"])])), Verdict::Unexplained);
        assert_eq!(judge(&target, &source, &touched(&[named(&["b"]), Extent::Whole])), Verdict::Explained);
        let more = zset(&[("a", 1.0), ("b", 2.0), ("c", 3.0)]);
        assert_eq!(judge(&target, &more, &touched(&[named(&["a"])])), Verdict::Unexplained);
        assert_eq!(judge(&more, &target, &touched(&[named(&["c"])])), Verdict::Explained);
    }

    #[test]
    fn what_went_off_an_end_is_in_the_older_reading_only() {
        let cut = || touched(&[Extent::Cut { elements: vec![], cut: Cut::LOW }]);
        let (full, popped) = (zset(&[("a", 1.0), ("b", 2.0)]), zset(&[("b", 2.0)]));
        assert_eq!(judge(&full, &popped, &cut()), Verdict::Explained);
        assert_eq!(judge(&popped, &full, &cut()), Verdict::Unexplained);
        assert_eq!(judge(&full, &zset(&[("b", 3.0)]), &cut()), Verdict::Unexplained);
    }

    #[test]
    fn steps_of_a_list_lead_from_one_reading_to_the_other() {
        let list = |elements: &[&'static str]| {
            let mut of = Elements { kind: Some(Kind::List), ..Elements::default() };
            let elements: Vec<Bytes> = elements.iter().map(|element| Bytes::from(*element)).collect();
            of.add(&Body::List(elements.clone()));
            of.list = Some(elements);
            of
        };
        let push = |element: &'static str| {
            let (end, onto_existing) = (ListEnd::Tail, false);
            Extent::Steps(vec![ListStep::Push { end, elements: vec![element.into()], onto_existing }])
        };
        let steps = || touched(&[push("b"), push("c")]);
        for source in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
            assert_eq!(judge(&list(&["a"]), &list(source), &steps()), Verdict::Explained, "{source:?}");
        }
        assert_eq!(judge(&list(&["a", "b"]), &list(&["a", "b", "c"]), &steps()), Verdict::Explained, "it was ahead");
        assert_eq!(judge(&list(&["x"]), &list(&["a", "b"]), &steps()), Verdict::Unexplained);
        assert_eq!(judge(&list(&["a"]), &list(&["b"]), &Touched::default()), Verdict::Unexplained);
        let gone = Elements::default();
        assert_eq!(judge(&gone, &list(&["b"]), &steps()), Verdict::Explained, "it came into being");
    }
}
