// SPDX-License-Identifier: Apache-2.0
//! Whether the target holds what it should: portions of keys go in at one half of a connection, and those that the target
//! does not have so come out of the other.
//!
//! Questions are typed: values of strings, fields of a hash, members of a set, scores of members, elements of a list by
//! index, entries of a stream between ids. They say how many elements they name, a count says that there are no others, and
//! another question tells of the expiry. A Pika counts no entries of a stream that it shows although they were those of an
//! earlier one, so there is no gap between the ids, before the first or behind the last. Answers are compared as they come in and are not kept.

mod judge;
mod key_scan;
mod question;
mod replies;

pub use judge::Judge;
pub use key_scan::KeyScan;
pub use question::Questions;

use snapshot::{Piece, StreamId};

use self::question::Terms;
use self::replies::Replies;
use crate::Result;
use crate::dialect::Dialect;
use crate::endpoint::Info;
use crate::sink::Target;
use crate::sink::pipe::Pipe;

/// A piece of a key as the target should hold it.
#[derive(Clone, PartialEq, Debug)]
pub struct Portion {
    /// The piece.
    pub piece: Piece,
    /// Elements of the key in the pieces before it.
    pub before: usize,
    /// The last entry of a stream in the pieces before it.
    pub last_before: Option<StreamId>,
}

impl Target {
    /// A new connection that compares, as two halves to be used at the same time.
    ///
    /// # Errors
    /// [`Error::Connect`](crate::Error::Connect), [`Error::Lost`](crate::Error::Lost).
    pub async fn compare(&self) -> Result<(Questions, Judge)> {
        let terms = self.terms().await?;
        let (reader, writer) = Pipe::connect(self.endpoint()).await?.split();
        Ok((Questions::new(terms, writer), Judge::new(terms, Replies::new(reader))))
    }

    /// A walk over all of the target's keys on a connection of its own.
    ///
    /// # Errors
    /// [`Error::Connect`](crate::Error::Connect), [`Error::Lost`](crate::Error::Lost).
    pub async fn key_scan(&self) -> Result<KeyScan> {
        let (reader, writer) = Pipe::connect(self.endpoint()).await?.split();
        KeyScan::begin(writer, Replies::new(reader)).await
    }

    async fn terms(&self) -> Result<Terms> {
        let mut client = self.client();
        let (by_members, may_expire) = match self.dialect() {
            Dialect::Pika => (false, true),
            Dialect::Redis { .. } => {
                let keyspace = client.info("keyspace").await?;
                (
                    has_questions_by_members(&client.info("server").await?),
                    may_expire(&keyspace, self.endpoint().database),
                )
            }
        };
        Ok(Terms { dialect: self.dialect(), by_members, may_expire })
    }
}

/// SMISMEMBER and ZMSCORE came with Redis 6.2.
fn has_questions_by_members(server: &Info) -> bool {
    let version = server.get("redis_version").unwrap_or_default();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 2)
}

/// Whether any key of the database may have an expiry: a Redis counts those that do, so where there are none it need not
/// be asked about each key that should have none.
fn may_expire(keyspace: &Info, database: u32) -> bool {
    let Some(line) = keyspace.get(&format!("db{database}")) else { return true };
    !line.split(',').any(|field| field == "expires=0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_tells_what_may_be_asked() {
        let of = |version: &str| has_questions_by_members(&Info::from_text(format!("redis_version:{version}\r\n")));
        assert!(of("6.2.0") && of("7.0.15") && of("255.255.255"));
        assert!(!of("6.0.16") && !of("6") && !of("unstable"));
    }

    #[test]
    fn only_a_count_of_none_says_that_nothing_expires() {
        let of = |text: &str| may_expire(&Info::from_text(text), 0);
        assert!(!of("# Keyspace\r\ndb0:keys=5,expires=0,avg_ttl=0\r\ndb1:keys=1,expires=1,avg_ttl=9\r\n"));
        assert!(of("# Keyspace\r\ndb0:keys=5,expires=10,avg_ttl=0\r\n"));
        assert!(of("# Keyspace\r\ndb1:keys=1,expires=0,avg_ttl=0\r\n"));
    }
}
