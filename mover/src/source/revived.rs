// SPDX-License-Identifier: Apache-2.0
//! Entries of an earlier stream that a Pika shows in a later one of the same name.
//!
//! A Pika finds entries by the number of their stream, and numbers the streams of a name one after the other. A key of
//! another type under this name makes it forget where it was: the next stream begins with the first number again, and with
//! all entries of that number which no compaction has removed yet. XRANGE shows them, XLEN does not count them. What is
//! written once more gets the next number.

use bytes::Bytes;
use snapshot::{Body, Kind, StreamId};

use crate::Result;
use crate::dialect::Dialect;
use crate::endpoint::Client;
use crate::source::estimate::Estimate;
use crate::source::inquiry::Inquiry;
use crate::source::reply::{self, Read};
use crate::source::reread::{ELEMENTS_AT_ONCE, READ_SIZE};

/// Looks at streams of a Pika to which nobody writes meanwhile.
pub struct StreamCheck {
    client: Client,
    estimate: Estimate,
}

/// How far the entries of a stream have been counted.
struct Count {
    key: Bytes,
    /// How many it has.
    length: usize,
    entries: usize,
    from: StreamId,
}

impl StreamCheck {
    /// Of the server behind this connection.
    pub fn new(client: Client) -> Self {
        Self { client, estimate: Estimate::new() }
    }

    /// Those of these streams that show more entries than they have.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost), [`Error::Reply`](crate::Error::Reply).
    pub async fn revived(&mut self, streams: Vec<Bytes>) -> Result<Vec<Bytes>> {
        let mut counts = self.begin(streams).await?;
        let mut revived = Vec::new();
        while !counts.is_empty() {
            let mut room = self.estimate.elements(READ_SIZE).min(ELEMENTS_AT_ONCE);
            let mut asked = Vec::new();
            while let Some(count) = counts.pop_if(|_| room > 0) {
                let page = count.page().min(room);
                room -= page;
                asked.push((count, page));
            }
            for count in self.look(asked).await? {
                match count.entries > count.length {
                    true => revived.push(count.key),
                    false => counts.push(count),
                }
            }
        }
        Ok(revived)
    }

    /// How many entries each of them has.
    async fn begin(&mut self, streams: Vec<Bytes>) -> Result<Vec<Count>> {
        let mut inquiry = Inquiry::of(Dialect::Pika);
        for key in &streams {
            inquiry.key().cmd("XLEN").arg(&key[..]);
        }
        let told = inquiry.ask(&mut self.client).await?;
        let mut counts = Vec::with_capacity(streams.len());
        for (key, mut told) in streams.into_iter().zip(told) {
            // Else it is no stream any more.
            if let Read::Data(length) = reply::read(self.client.endpoint(), "XLEN", told.answer())? {
                let length = reply::integer(self.client.endpoint(), "XLEN", length)?;
                let length = usize::try_from(length).unwrap_or(0);
                counts.push(Count { key, length, entries: 0, from: StreamId::default() });
            }
        }
        Ok(counts)
    }

    /// Counts so many entries of each on. Gives those that are not done: that show too many, or that may show more.
    async fn look(&mut self, asked: Vec<(Count, usize)>) -> Result<Vec<Count>> {
        let mut inquiry = Inquiry::of(Dialect::Pika);
        for (Count { key, from, .. }, page) in &asked {
            let questions = inquiry.key().cmd("XRANGE").arg(&key[..]).arg(from.to_string()).arg("+");
            questions.arg("COUNT").arg(*page);
        }
        let told = inquiry.ask(&mut self.client).await?;
        let mut open = Vec::new();
        for ((mut count, page), mut told) in asked.into_iter().zip(told) {
            let endpoint = self.client.endpoint();
            let Read::Data(read) = reply::read(endpoint, "XRANGE", told.answer())? else { continue };
            let body = reply::body(endpoint, Kind::Stream, read)?;
            self.estimate.learn(body.len(), body.size());
            let Body::Stream { entries, .. } = body else { continue };
            count.entries += entries.len();
            let next = entries.last().filter(|_| entries.len() == page).and_then(|last| last.id.successor());
            match next {
                Some(next) => open.push(Count { from: next, ..count }),
                None if count.entries > count.length => open.push(count),
                None => {}
            }
        }
        Ok(open)
    }
}

impl Count {
    /// How many entries are to be read of it: one more than there should be.
    fn page(&self) -> usize {
        self.length.saturating_sub(self.entries) + 1
    }
}
