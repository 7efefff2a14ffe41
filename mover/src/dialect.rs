// SPDX-License-Identifier: Apache-2.0
//! What each kind of target understands, and what must never be sent to it.
//!
//! Facts about Pika 4.0.1: PEXPIREAT cuts milliseconds to 32 bits and so destroys the key; PSETEX stops the stream of
//! its replicas; SETEX, SET EX and APPEND reach them wrong. A plain write followed by EXPIREAT in whole seconds is
//! right everywhere.

use std::fmt;
use std::str::FromStr;

use snapshot::{Kind, UnixMillis};

use crate::Result;
use crate::endpoint::Identity;
use crate::endpoint::{Endpoint, Info};

/// What a target understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// Redis 6 or newer, or what speaks like it.
    Redis {
        /// What to do with Pika's HyperLogLogs, which Redis cannot read.
        hyperloglog: HyperLogLogPolicy,
    },
    /// Pika 4.0.
    Pika,
}

/// What becomes of a HyperLogLog on a target that has another kind of them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum HyperLogLogPolicy {
    /// The move is refused: the counts would be lost.
    #[default]
    Refuse,
    /// Pika's registers become a plain string of 131,072 bytes, by the operator's choice.
    Raw,
}

impl FromStr for HyperLogLogPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "raw" => Ok(Self::Raw),
            other => Err(format!("`{other}` is neither `refuse` nor `raw`")),
        }
    }
}

/// The commands a sink may send. Whatever is not here is never sent to any target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    Set,
    Del,
    Unlink,
    HMSet,
    HDel,
    RPush,
    LPush,
    RPushX,
    LPushX,
    LSet,
    LInsert,
    LRem,
    LTrim,
    SAdd,
    SRem,
    ZAdd,
    ZRem,
    XAdd,
    XDel,
    XSetId,
    PFAdd,
    ExpireAt,
    PExpireAt,
    Exists,
    XLen,
}

impl Verb {
    /// All of them.
    pub(crate) const ALL: [Self; 25] = [
        Self::Set,
        Self::Del,
        Self::Unlink,
        Self::HMSet,
        Self::HDel,
        Self::RPush,
        Self::LPush,
        Self::RPushX,
        Self::LPushX,
        Self::LSet,
        Self::LInsert,
        Self::LRem,
        Self::LTrim,
        Self::SAdd,
        Self::SRem,
        Self::ZAdd,
        Self::ZRem,
        Self::XAdd,
        Self::XDel,
        Self::XSetId,
        Self::PFAdd,
        Self::ExpireAt,
        Self::PExpireAt,
        Self::Exists,
        Self::XLen,
    ];

    /// Its name on the wire.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Del => "DEL",
            Self::Unlink => "UNLINK",
            Self::HMSet => "HMSET",
            Self::HDel => "HDEL",
            Self::RPush => "RPUSH",
            Self::LPush => "LPUSH",
            Self::RPushX => "RPUSHX",
            Self::LPushX => "LPUSHX",
            Self::LSet => "LSET",
            Self::LInsert => "LINSERT",
            Self::LRem => "LREM",
            Self::LTrim => "LTRIM",
            Self::SAdd => "SADD",
            Self::SRem => "SREM",
            Self::ZAdd => "ZADD",
            Self::ZRem => "ZREM",
            Self::XAdd => "XADD",
            Self::XDel => "XDEL",
            Self::XSetId => "XSETID",
            Self::PFAdd => "PFADD",
            Self::ExpireAt => "EXPIREAT",
            Self::PExpireAt => "PEXPIREAT",
            Self::Exists => "EXISTS",
            Self::XLen => "XLEN",
        }
    }

    /// Whether it changes nothing, so that an error in answer to it says nothing about the writes around it.
    pub(crate) const fn is_question(self) -> bool {
        matches!(self, Self::Exists | Self::XLen)
    }
}

impl Dialect {
    /// The dialect of the server that answered `INFO server` with `info`.
    ///
    /// # Errors
    /// [`Error::Unfit`](crate::Error::Unfit) for a Redis before 6 and for what is neither.
    pub fn of(endpoint: &Endpoint, info: &Info, hyperloglog: HyperLogLogPolicy) -> Result<Self> {
        match Identity::of_pika(info) {
            Some(Ok(_)) => return Ok(Self::Pika),
            Some(Err(_)) => {
                let version = info.get("pika_version").unwrap_or_default();
                return Err(endpoint.unfit(format!("it is a Pika {version}"), "use a Pika 4.0 or a Redis 6 or newer"));
            }
            None => {}
        }
        let version = info.get("redis_version").unwrap_or("of no version");
        match version.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
            Some(6..) => Ok(Self::Redis { hyperloglog }),
            _ => Err(endpoint.unfit(format!("it is a Redis {version}"), "use a Redis 6 or newer or a Pika 4.0")),
        }
    }

    /// Whether the target may ever be sent `verb`.
    pub(crate) const fn allows(self, verb: Verb) -> bool {
        match self {
            Self::Redis { .. } => !matches!(verb, Verb::PFAdd),
            Self::Pika => !matches!(verb, Verb::PExpireAt | Verb::XSetId | Verb::Unlink),
        }
    }

    /// How the target is told to forget a key: without blocking, where that has a command of its own.
    pub(crate) const fn removal(self) -> Verb {
        match self {
            Self::Redis { .. } => Verb::Unlink,
            Self::Pika => Verb::Del,
        }
    }

    /// How the target is told when a key expires: the command and its argument.
    pub(crate) const fn expiry(self, at: UnixMillis) -> (Verb, u64) {
        match self {
            Self::Redis { .. } => (Verb::PExpireAt, at.0),
            Self::Pika => (Verb::ExpireAt, at.seconds_ceil()),
        }
    }

    /// What a key of `kind` becomes there.
    pub fn lands_as(self, kind: Kind) -> Kind {
        match (self, kind) {
            (Self::Redis { hyperloglog: HyperLogLogPolicy::Raw }, Kind::HyperLogLog) => Kind::String,
            _ => kind,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis { .. } => "Redis",
            Self::Pika => "Pika",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Side;

    #[test]
    fn pika_is_never_told_what_destroys_a_key() {
        assert!(!Dialect::Pika.allows(Verb::PExpireAt));
        assert_eq!(Dialect::Pika.expiry(UnixMillis(1_000_000_000_001)), (Verb::ExpireAt, 1_000_000_001));
        assert_eq!(Dialect::Pika.expiry(UnixMillis(1_000_000_000_000)), (Verb::ExpireAt, 1_000_000_000));
    }

    #[test]
    fn the_version_decides() {
        let endpoint = Endpoint::parse(Side::Target, "h:1", None).unwrap();
        let of = |text: &str| Dialect::of(&endpoint, &Info::from_text(text), HyperLogLogPolicy::Refuse);
        assert_eq!(of("# Server\r\npika_version:4.0.0\r\n").unwrap(), Dialect::Pika);
        assert_eq!(of("# Server\r\npika_version:v4.1.0\r\n").unwrap(), Dialect::Pika);
        assert!(matches!(of("redis_version:7.0.15\r\n").unwrap(), Dialect::Redis { .. }));
        for text in
            ["redis_version:5.0.1\r\n", "pika_version:3.5.5\r\nredis_version:6.0.0\r\n", "pika_version:5.0.0\r\n", ""]
        {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
