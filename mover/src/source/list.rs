// SPDX-License-Identifier: Apache-2.0
//! A list as it is at one moment.

use bytes::Bytes;
use redis::Value;
use snapshot::{Body, Kind};

use crate::Result;
use crate::source::reply::{self, Read};
use crate::source::reread::Reread;

impl Reread {
    /// All elements of a list in one answer, none of a key that is gone; `None` for one that is too long for that, or is no
    /// list.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost), [`Error::Reply`](crate::Error::Reply).
    pub async fn list(&mut self, key: &Bytes) -> Result<Option<Vec<Bytes>>> {
        if self.has_unsafe_name(key) {
            return Ok(None);
        }
        let mut inquiry = self.inquiry();
        inquiry.key().cmd("LLEN").arg(&key[..]);
        let endpoint = self.client.endpoint().clone();
        for mut told in inquiry.ask(&mut self.client).await? {
            match reply::read(&endpoint, "LLEN", told.answer())? {
                Read::Data(Value::Int(..=LENGTH_MAX)) => {}
                Read::Data(_) | Read::TypeChanged => return Ok(None),
            }
        }
        let mut inquiry = self.inquiry();
        inquiry.key().cmd("LRANGE").arg(&key[..]).arg(0).arg(LENGTH_MAX);
        let mut told = inquiry.ask(&mut self.client).await?;
        let Some(answer) = told.first_mut().map(|told| told.answer()) else { return Ok(None) };
        let Read::Data(value) = reply::read(&endpoint, "LRANGE", answer)? else { return Ok(None) };
        match reply::body(&endpoint, Kind::List, value)? {
            Body::List(elements) if elements.len() as i64 <= LENGTH_MAX => Ok(Some(elements)),
            _ => Ok(None),
        }
    }
}

/// A list of this length is answered in some milliseconds; its writers wait for so long.
const LENGTH_MAX: i64 = 1 << 15;
