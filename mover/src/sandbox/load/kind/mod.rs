// SPDX-License-Identifier: Apache-2.0
//! The types of a key: for each one its model value, the commands the load sends for it, and how it is read back whole.
//!
//! Only commands that Redis and Pika 4.0.1 answer alike, and no names with NUL bytes.

mod cache;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
mod list;
mod set;
mod stream;
mod string;
mod zset;

use bytes::{Bytes, BytesMut};
use rand::RngExt;
use rand::rngs::StdRng;
use replication::Command;

use super::expected::Expected;

pub(super) use self::generic::Operation as Generic;
pub(super) use self::list::Operation as ListOperation;
pub(super) use self::stream::Id;

/// A command without its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Request {
    pub(super) name: &'static str,
    pub(super) args: Vec<Bytes>,
}

impl Request {
    pub(super) fn new(name: &'static str, args: impl IntoIterator<Item = Bytes>) -> Self {
        Self { name, args: args.into_iter().collect() }
    }

    /// Appends the command for this key.
    pub(super) fn encode(&self, key: &Bytes, out: &mut BytesMut) {
        let head = [Bytes::from_static(self.name.as_bytes()), key.clone()];
        Command::new(head.into_iter().chain(self.args.iter().cloned())).encode(out);
    }
}

/// A request and what its reply must be.
pub(super) type Question = (Request, Expected);

/// How large a key may become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// About how many elements a collection holds.
    pub(super) elements: usize,
    /// Whether the load may read it whole.
    pub(super) whole: bool,
}

impl Scale {
    /// An ordinary key.
    pub(super) const SMALL: Self = Self { elements: 24, whole: true };

    /// A key that is only touched by element.
    pub(super) const fn big(elements: usize) -> Self {
        Self { elements, whole: false }
    }

    /// A name out of twice as many as the key shall hold: about half of them are there.
    fn name(self, rng: &mut StdRng, letter: char) -> Bytes {
        text(format_args!("{letter}{}", rng.random_range(0..self.elements * 2)))
    }

    /// One to four different names.
    fn names(self, rng: &mut StdRng, letter: char) -> Vec<Bytes> {
        let mut names: Vec<_> = (0..rng.random_range(1..=4)).map(|_| self.name(rng, letter)).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// The kind of a value, as the list below names them.
macro_rules! kinds {
    ($($name:ident in $module:ident),*) => {
        /// What a key holds.
        #[derive(Clone, Debug)]
        pub(super) enum Value {
            $($name($module::Value)),*
        }

        /// A command the load sends.
        #[derive(Clone, Debug)]
        pub(super) enum Operation {
            Generic(Generic),
            $($name($module::Operation)),*
        }

        impl Value {
            /// Whether the key does not exist.
            pub(super) fn is_absent(&self) -> bool {
                match self {
                    $(Self::$name(value) => value.is_absent()),*
                }
            }

            /// A command for a key that holds this.
            pub(super) fn choose(&self, rng: &mut StdRng, scale: Scale) -> Operation {
                match self {
                    $(Self::$name(value) => Operation::$name($module::Operation::choose(value, rng, scale))),*
                }
            }

            /// A read that has a node cache it, if it caches such keys at all.
            pub(super) fn fill_cache(&self, scale: Scale) -> Option<Operation> {
                match self {
                    $(Self::$name(_) => $module::Operation::fill_cache(scale).map(Operation::$name)),*
                }
            }

            /// A read of all of it that never comes from a node's cache, if there is one.
            pub(super) fn scan(&self) -> Option<Operation> {
                match self {
                    $(Self::$name(_) => $module::Operation::scan().map(Operation::$name)),*
                }
            }

            /// What reads all of it and is never answered from a node's cache; `None` where there is no such read.
            pub(super) fn whole_past_cache(&self) -> Option<Vec<Question>> {
                match self {
                    $(Self::$name(value) => value.whole_past_cache()),*
                }
            }

            /// What reads all of it.
            pub(super) fn whole(&self) -> Vec<Question> {
                match self {
                    $(Self::$name(value) => value.whole()),*
                }
            }
        }

        impl Operation {
            /// The command without its key.
            pub(super) fn request(&self) -> Request {
                match self {
                    Self::Generic(operation) => operation.request(),
                    $(Self::$name(operation) => operation.request()),*
                }
            }

            /// Does to the value what a node does, and tells what the node answers.
            pub(super) fn apply(&self, value: &mut Option<Value>) -> Expected {
                match self {
                    Self::Generic(_) => Expected::Error,
                    $(Self::$name(operation) => {
                        let expected = match value.get_or_insert_with(|| Value::$name($module::Value::default())) {
                            Value::$name(value) => operation.apply(value),
                            _ => Expected::Error,
                        };
                        value.take_if(|value| value.is_absent());
                        expected
                    }),*
                }
            }
        }
    };
}

kinds!(
    String in string,
    Hash in hash,
    List in list,
    Set in set,
    Zset in zset,
    Stream in stream,
    HyperLogLog in hyperloglog
);

impl Value {
    /// An absent value of a random kind.
    pub(super) fn any(rng: &mut StdRng, hyperloglogs: bool) -> Self {
        match rng.random_range(0..if hyperloglogs { 14 } else { 13 }) {
            0..=2 => Self::String(string::Value::default()),
            3..=4 => Self::hash(),
            5..=6 => Self::list(),
            7..=8 => Self::Set(set::Value::default()),
            9..=10 => Self::zset(),
            11..=12 => Self::stream(),
            _ => Self::HyperLogLog(hyperloglog::Value::default()),
        }
    }

    pub(super) fn string(bytes: &[u8]) -> Self {
        Self::String(string::Value::from(bytes))
    }

    pub(super) fn hash() -> Self {
        Self::Hash(hash::Value::default())
    }

    pub(super) fn list() -> Self {
        Self::List(list::Value::default())
    }

    pub(super) fn zset() -> Self {
        Self::Zset(zset::Value::default())
    }

    pub(super) fn stream() -> Self {
        Self::Stream(stream::Value::default())
    }

    /// One of many writes that are sent to a hot key at once.
    pub(super) fn burst(&self, rng: &mut StdRng, scale: Scale) -> Operation {
        match self {
            Self::Stream(value) => Operation::Stream(stream::Operation::burst(value, rng, scale)),
            Self::Hash(_) if rng.random() => Operation::Hash(hash::Operation::count_up(rng)),
            Self::Hash(_) => Operation::Hash(hash::Operation::set_one(rng, scale)),
            other => other.choose(rng, scale),
        }
    }

    /// Commands that build a collection of `elements`, for a hash, a list or a sorted set.
    pub(super) fn build(&self, elements: usize) -> Vec<Operation> {
        let numbers: Vec<_> = (0..elements).collect();
        let chunks = numbers.chunks(100);
        match self {
            Self::Hash(_) => chunks.map(|chunk| Operation::Hash(hash::Operation::fill(chunk))).collect(),
            Self::List(_) => chunks.map(|chunk| Operation::List(list::Operation::fill(chunk))).collect(),
            Self::Zset(_) => chunks.map(|chunk| Operation::Zset(zset::Operation::fill(chunk))).collect(),
            _ => Vec::new(),
        }
    }
}

/// The elements from one index to another, both included and negative ones counted from the end.
fn span(length: usize, first: i64, last: i64) -> std::ops::Range<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let place = |index: i64| if index < 0 { length + index } else { index };
    let first = place(first).clamp(0, length);
    let end = (place(last) + 1).clamp(first, length);
    let index = |place: i64| usize::try_from(place).unwrap_or_default();
    index(first)..index(end)
}

/// Something as the bytes of its text.
pub(super) fn text(value: impl std::fmt::Display) -> Bytes {
    Bytes::from(value.to_string())
}

/// A few random bytes, all values among them.
pub(super) fn blob(rng: &mut StdRng) -> Bytes {
    let length = rng.random_range(1..=24);
    (0..length).map(|_| rng.random::<u8>()).collect()
}
