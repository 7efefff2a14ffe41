// SPDX-License-Identifier: Apache-2.0
//! The logical form in which keys travel.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

/// A bounded part of one key: small keys are one piece, big ones a sequence of pieces in order.
#[derive(Clone, PartialEq, Debug)]
pub struct Piece {
    /// The user's key.
    pub key: Bytes,
    /// Which part of the key this is. The first one replaces whatever the target had.
    pub part: Part,
    /// When the key expires; the same in every piece of a key. Streams never do.
    pub expire_at: Option<UnixMillis>,
    /// The elements.
    pub body: Body,
}

/// Where in its key a [`Piece`] stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The whole key.
    Whole,
    /// The first of several.
    First,
    /// Neither the first nor the last.
    Middle,
    /// The last of several: only now is the key complete.
    Last,
}

impl Part {
    /// Whether a key begins here.
    pub fn is_first(self) -> bool {
        matches!(self, Self::Whole | Self::First)
    }

    /// Whether a key ends here.
    pub fn is_last(self) -> bool {
        matches!(self, Self::Whole | Self::Last)
    }
}

/// The elements of a [`Piece`], in the order of the source.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    /// A string; a bitmap is one too.
    String(Bytes),
    /// The raw registers of a HyperLogLog: 131,072 bytes, or none for an empty one. Pika stores it as a flagged string.
    HyperLogLog(Bytes),
    /// Fields and values.
    Hash(Vec<(Bytes, Bytes)>),
    /// Elements from the head on.
    List(Vec<Bytes>),
    /// Members.
    Set(Vec<Bytes>),
    /// Members and scores; a geo set is one too.
    Zset(Vec<(Bytes, f64)>),
    /// Entries by ascending id.
    Stream {
        /// The entries.
        entries: Vec<StreamEntry>,
        /// The greatest id ever given out, which may be above that of the last entry.
        last_id: StreamId,
    },
}

impl Body {
    /// Its type.
    pub fn kind(&self) -> Kind {
        match self {
            Self::String(_) => Kind::String,
            Self::HyperLogLog(_) => Kind::HyperLogLog,
            Self::Hash(_) => Kind::Hash,
            Self::List(_) => Kind::List,
            Self::Set(_) => Kind::Set,
            Self::Zset(_) => Kind::Zset,
            Self::Stream { .. } => Kind::Stream,
        }
    }

    /// How many elements it holds; a string counts as one.
    pub fn len(&self) -> usize {
        match self {
            Self::String(_) | Self::HyperLogLog(_) => 1,
            Self::Hash(fields) => fields.len(),
            Self::List(elements) => elements.len(),
            Self::Set(members) => members.len(),
            Self::Zset(members) => members.len(),
            Self::Stream { entries, .. } => entries.len(),
        }
    }

    /// Whether it holds no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of user data in it.
    pub fn size(&self) -> usize {
        match self {
            Self::String(value) | Self::HyperLogLog(value) => value.len(),
            Self::Hash(fields) => fields.iter().map(|(field, value)| field.len() + value.len()).sum(),
            Self::List(elements) | Self::Set(elements) => elements.iter().map(Bytes::len).sum(),
            Self::Zset(members) => members.iter().map(|(member, _)| member.len() + size_of::<f64>()).sum(),
            Self::Stream { entries, .. } => entries.iter().map(StreamEntry::size).sum(),
        }
    }
}

impl Piece {
    /// Bytes of user data in it, the key included.
    pub fn size(&self) -> usize {
        self.key.len() + self.body.size()
    }
}

/// The type of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// A string or bitmap.
    String,
    /// A HyperLogLog.
    HyperLogLog,
    /// A hash.
    Hash,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set or geo set.
    Zset,
    /// A stream.
    Stream,
}

impl Kind {
    /// Its name in reports: `string`, `hyperloglog`, `hash`, `list`, `set`, `zset`, `stream`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::HyperLogLog => "hyperloglog",
            Self::Hash => "hash",
            Self::List => "list",
            Self::Set => "set",
            Self::Zset => "zset",
            Self::Stream => "stream",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One entry of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamEntry {
    /// Its id.
    pub id: StreamId,
    /// Fields and values, alternating as they were sent.
    pub fields: Vec<Bytes>,
}

impl StreamEntry {
    /// Bytes of user data in it, the id included.
    pub fn size(&self) -> usize {
        size_of::<StreamId>() + self.fields.iter().map(Bytes::len).sum::<usize>()
    }
}

/// The id of a stream entry: `<milliseconds>-<sequence>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct StreamId {
    /// Unix time in milliseconds, or whatever the client chose.
    pub millis: u64,
    /// Counts up within one millisecond.
    pub sequence: u64,
}

impl StreamId {
    /// The id `millis-sequence`.
    pub const fn new(millis: u64, sequence: u64) -> Self {
        Self { millis, sequence }
    }

    /// The least id above this one; `None` above the greatest.
    pub fn successor(self) -> Option<Self> {
        match self.sequence.checked_add(1) {
            Some(sequence) => Some(Self { sequence, ..self }),
            None => Some(Self::new(self.millis.checked_add(1)?, 0)),
        }
    }

    /// The greatest id below this one; `None` below the least.
    pub fn predecessor(self) -> Option<Self> {
        match self.sequence.checked_sub(1) {
            Some(sequence) => Some(Self { sequence, ..self }),
            None => Some(Self::new(self.millis.checked_sub(1)?, u64::MAX)),
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.sequence)
    }
}

impl FromStr for StreamId {
    type Err = StreamIdError;

    fn from_str(text: &str) -> Result<Self, StreamIdError> {
        let fault = || StreamIdError { text: text.to_owned() };
        let (millis, sequence) = text.split_once('-').ok_or_else(fault)?;
        let millis = millis.parse().map_err(|_| fault())?;
        let sequence = sequence.parse().map_err(|_| fault())?;
        Ok(Self { millis, sequence })
    }
}

/// A text that is no full stream id.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{text}` is no stream id of the form MILLISECONDS-SEQUENCE")]
pub struct StreamIdError {
    text: String,
}

/// A point in time: milliseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The time of the system's clock.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// The first whole second that is not before it: what `EXPIREAT` takes.
    pub const fn seconds_ceil(self) -> u64 {
        self.0.div_ceil(1000)
    }

    /// How far it lies behind `earlier`; zero when it is not behind it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A score as Pika and Redis print it: C's `%.17g`, which every parser reads back to the same bits.
pub fn score_text(score: f64) -> String {
    if score.is_nan() {
        return "nan".to_owned();
    }
    if score.is_infinite() {
        return if score > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if score == 0.0 {
        return if score.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{score:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("LowerExp writes an exponent");
    let exponent: i32 = exponent.parse().expect("LowerExp writes a decimal exponent");
    if !(-4..17).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.unsigned_abs());
    }
    let decimals = usize::try_from(16 - exponent).expect("the exponent is at most 16");
    trimmed(&format!("{score:.decimals$}")).to_owned()
}

/// Without the zeros that say nothing.
fn trimmed(number: &str) -> &str {
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_follow_one_another() {
        for (id, next) in [((1, 1), (1, 2)), ((1, u64::MAX), (2, 0)), ((0, 0), (0, 1))] {
            let [id, next] = [id, next].map(|(millis, sequence)| StreamId::new(millis, sequence));
            assert_eq!((id.successor(), next.predecessor()), (Some(next), Some(id)));
        }
        assert_eq!(StreamId::new(u64::MAX, u64::MAX).successor(), None);
        assert_eq!(StreamId::default().predecessor(), None);
    }

    #[test]
    fn scores_look_like_those_of_a_server() {
        let expected = [
            (-299.438, "-299.43799999999999"),
            (0.1, "0.10000000000000001"),
            (3.0000000000000004, "3.0000000000000004"),
            (123456789.12345679, "123456789.12345679"),
            (9007199254740992.0, "9007199254740992"),
            (1e308, "1e+308"),
            (-1e308, "-1e+308"),
            (1e-300, "1e-300"),
            (-0.0, "-0"),
            (0.0, "0"),
            (1e17, "1e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (f64::NEG_INFINITY, "-inf"),
            (3479099956230698.0, "3479099956230698"),
        ];
        for (score, text) in expected {
            assert_eq!(score_text(score), text);
        }
    }

    proptest! {
        #[test]
        fn a_score_reads_back_to_the_same_bits(bits: u64) {
            let score = f64::from_bits(bits);
            prop_assume!(!score.is_nan());
            let back: f64 = score_text(score).parse().expect("a number");
            prop_assert_eq!(back.to_bits(), bits);
        }

        #[test]
        fn stream_ids_round_trip(millis: u64, sequence: u64) {
            let id = StreamId::new(millis, sequence);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
