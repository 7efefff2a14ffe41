// SPDX-License-Identifier: Apache-2.0
//! What the commands of lists do, one step each.
//!
//! Elements of a list have no address that lasts, so a change of one cannot be looked up afterwards. But every command of
//! a list that Pika logs does the same to the same list wherever it is executed: whoever has exactly the list of a place
//! in the log has the list of every later place by doing the steps in between, in order and each once.

use std::iter;

use bytes::Bytes;

/// One command of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListStep {
    /// Puts elements at an end, one after the other.
    Push {
        /// Which end.
        end: ListEnd,
        /// The elements, in the order in which they are pushed.
        elements: Vec<Bytes>,
        /// Whether nothing happens where there is no list: LPUSHX and RPUSHX.
        onto_existing: bool,
    },
    /// Takes elements off an end, as many as there are at most.
    Pop {
        /// Which end.
        end: ListEnd,
        /// How many.
        count: u64,
        /// Whether it looks like the pop that Pika logs for a client that waited in BLPOP or BRPOP. Such a pop is the
        /// one change of a list that a checkpoint may hold although its entry lies behind the checkpoint's place.
        may_be_served: bool,
    },
    /// Replaces the element at a place; a negative one counts from the tail.
    Set {
        /// The place.
        index: i64,
        /// The new element.
        element: Bytes,
    },
    /// Puts an element beside the first one that equals the pivot.
    Insert {
        /// On which side of it.
        after: bool,
        /// The element to look for.
        pivot: Bytes,
        /// The new element.
        element: Bytes,
    },
    /// Takes out elements that equal this one: so many from the head on, from the tail on when negative, all when zero.
    Remove {
        /// How many.
        count: i64,
        /// The element.
        element: Bytes,
    },
    /// Keeps what lies between two places, both included; negative ones count from the tail.
    Trim {
        /// The first place that stays.
        first: i64,
        /// The last place that stays.
        last: i64,
    },
}

/// An end of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListEnd {
    /// The left one.
    Head,
    /// The right one.
    Tail,
}

impl ListStep {
    /// The step that the command of this name does with these arguments, those behind the key; `None` for any other
    /// command and for arguments that are not in its form.
    pub(crate) fn of(name: &[u8], rest: &[Bytes]) -> Option<Self> {
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        let end = match name.first()?.to_ascii_uppercase() {
            b'R' => ListEnd::Tail,
            _ => ListEnd::Head,
        };
        match rest {
            elements @ [_, ..] if is("LPUSH") || is("RPUSH") || is("LPUSHX") || is("RPUSHX") => {
                let onto_existing = is("LPUSHX") || is("RPUSHX");
                Some(Self::Push { end, elements: elements.to_vec(), onto_existing })
            }
            [] if is("LPOP") || is("RPOP") => {
                Some(Self::Pop { end, count: 1, may_be_served: name == b"lpop" || name == b"rpop" })
            }
            [count] if is("LPOP") || is("RPOP") => {
                let count = u64::try_from(integer(count)?).ok()?;
                Some(Self::Pop { end, count, may_be_served: false })
            }
            [index, element] if is("LSET") => Some(Self::Set { index: integer(index)?, element: element.clone() }),
            [place, pivot, element] if is("LINSERT") => {
                let after = place.eq_ignore_ascii_case(b"AFTER");
                let is_place = after || place.eq_ignore_ascii_case(b"BEFORE");
                is_place.then(|| Self::Insert { after, pivot: pivot.clone(), element: element.clone() })
            }
            [count, element] if is("LREM") => Some(Self::Remove { count: integer(count)?, element: element.clone() }),
            [first, last] if is("LTRIM") => Some(Self::Trim { first: integer(first)?, last: integer(last)? }),
            _ => None,
        }
    }

    /// Bytes of user data in it.
    pub fn size(&self) -> usize {
        match self {
            Self::Push { elements, .. } => elements.iter().map(Bytes::len).sum(),
            Self::Set { element, .. } | Self::Remove { element, .. } => element.len(),
            Self::Insert { pivot, element, .. } => pivot.len() + element.len(),
            Self::Pop { .. } | Self::Trim { .. } => 0,
        }
    }

    /// The same step with memory of its own: an argument of an entry keeps a block of the log in memory.
    #[must_use]
    pub fn detached(self) -> Self {
        let own = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
        match self {
            Self::Push { end, elements, onto_existing } => {
                Self::Push { end, elements: elements.into_iter().map(own).collect(), onto_existing }
            }
            Self::Set { index, element } => Self::Set { index, element: own(element) },
            Self::Insert { after, pivot, element } => Self::Insert { after, pivot: own(pivot), element: own(element) },
            Self::Remove { count, element } => Self::Remove { count, element: own(element) },
            step @ (Self::Pop { .. } | Self::Trim { .. }) => step,
        }
    }

    /// Does it to a list, where an empty one is one that does not exist: what all servers do, in short.
    pub fn apply(&self, list: &mut Vec<Bytes>) {
        match self {
            Self::Push { onto_existing: true, .. } if list.is_empty() => {}
            Self::Push { end: ListEnd::Head, elements, .. } => {
                drop(list.splice(0..0, elements.iter().rev().cloned()));
            }
            Self::Push { end: ListEnd::Tail, elements, .. } => list.extend(elements.iter().cloned()),
            Self::Pop { end, count, .. } => {
                let count = usize::try_from(*count).unwrap_or(usize::MAX).min(list.len());
                match end {
                    ListEnd::Head => drop(list.drain(..count)),
                    ListEnd::Tail => list.truncate(list.len() - count),
                }
            }
            Self::Set { index, element } => {
                let found = place(list, *index).and_then(|at| list.get_mut(at));
                found.into_iter().zip(iter::once(element)).for_each(|(old, new)| *old = new.clone());
            }
            Self::Insert { after, pivot, element } => {
                if let Some(at) = list.iter().position(|found| found == pivot) {
                    list.insert(at + usize::from(*after), element.clone());
                }
            }
            Self::Remove { count, element } => remove(list, *count, element),
            Self::Trim { first, last } => {
                let first = place(list, *first).unwrap_or(0);
                let end = place(list, *last).map_or(0, |at| at.saturating_add(1)).min(list.len());
                list.truncate(end);
                drop(list.drain(..first.min(end)));
            }
        }
    }
}

/// A place counted from the head; `None` for one in front of it.
fn place(list: &[Bytes], index: i64) -> Option<usize> {
    match usize::try_from(index) {
        Ok(at) => Some(at),
        Err(_) => list.len().checked_sub(usize::try_from(index.unsigned_abs()).ok()?),
    }
}

fn remove(list: &mut Vec<Bytes>, count: i64, element: &Bytes) {
    let mut left = match count {
        0 => u64::MAX,
        count => count.unsigned_abs(),
    };
    let mut stays = |found: &Bytes| {
        let goes = left > 0 && found == element;
        left -= u64::from(goes);
        !goes
    };
    match count {
        0.. => list.retain(stays),
        _ => {
            let mut kept: Vec<Bytes> = list.drain(..).rev().filter(|found| stays(found)).collect();
            kept.reverse();
            *list = kept;
        }
    }
}

fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a command leaves of a list; both are words.
    fn after(list: &str, command: &str) -> String {
        let words = |text: &str| text.split_whitespace().map(|word| Bytes::from(word.to_owned())).collect::<Vec<_>>();
        let command = words(command);
        let step = ListStep::of(&command[0], &command[1..]).unwrap_or_else(|| panic!("{command:?}"));
        let mut list = words(list);
        step.apply(&mut list);
        assert_eq!(step.clone().detached(), step);
        list.iter().map(|element| String::from_utf8_lossy(element).into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn steps_do_what_a_server_does() {
        for (list, command, expected) in [
            ("a", "LPUSH b c", "c b a"),
            ("a", "rpush b c", "a b c"),
            ("", "LPUSH a", "a"),
            ("", "LPUSHX a", ""),
            ("", "RPUSHX a b", ""),
            ("a", "RPUSHX b", "a b"),
            ("a b c", "LPOP", "b c"),
            ("a b c", "RPOP 2", "a"),
            ("a b c", "LPOP 9", ""),
            ("a b c", "LPOP 0", "a b c"),
            ("", "RPOP", ""),
            ("a b c", "LSET -1 x", "a b x"),
            ("a b c", "LSET 3 x", "a b c"),
            ("", "LSET 0 x", ""),
            ("a b a", "LINSERT before a x", "x a b a"),
            ("a b a", "LINSERT AFTER b x", "a b x a"),
            ("a b", "LINSERT AFTER x y", "a b"),
            ("a b a c a", "LREM 2 a", "b c a"),
            ("a b a c a", "LREM -2 a", "a b c"),
            ("a b a c a", "LREM 0 a", "b c"),
            ("a b", "LREM 1 x", "a b"),
            ("a b c d", "LTRIM 1 2", "b c"),
            ("a b c d", "LTRIM -2 -1", "c d"),
            ("a b c d", "LTRIM -9 1", "a b"),
            ("a b c d", "LTRIM 0 -9", ""),
            ("a b c d", "LTRIM 3 1", ""),
            ("a b c d", "LTRIM 4 9", ""),
            ("a b c d", "LTRIM 0 99", "a b c d"),
        ] {
            assert_eq!(after(list, command), expected, "{command} on {list:?}");
        }
    }

    #[test]
    fn what_is_not_in_the_form_is_no_step() {
        let of = |text: &str| {
            let words: Vec<Bytes> = text.split_whitespace().map(|word| Bytes::from(word.to_owned())).collect();
            ListStep::of(&words[0], &words[1..])
        };
        for text in ["LPUSH", "LPOP -1", "LPOP x", "LPOP 1 2", "LSET 0", "LSET x y", "LINSERT x a b", "LREM 1", "LLEN"]
        {
            assert_eq!(of(text), None, "{text}");
        }
        let pop = |may_be_served| Some(ListStep::Pop { end: ListEnd::Head, count: 1, may_be_served });
        assert_eq!((of("lpop"), of("LPOP"), of("lpop 1")), (pop(true), pop(false), pop(false)));
    }
}
