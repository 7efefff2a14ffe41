// SPDX-License-Identifier: Apache-2.0
//! Strings of which the log tells how long they are: they need no question before they are read.

use bytes::Bytes;
use redis::Value;
use snapshot::Kind;

use crate::Result;
use crate::batch::Write;
use crate::source::reply;
use crate::source::reread::Reading;
use crate::source::small::{Found, Ttl};

/// A key that should be a string of so many bytes.
pub(super) struct LoggedValue {
    pub(super) key: Bytes,
    pub(super) length: usize,
}

impl Reading<'_> {
    /// Reads these and gives back those that are something else by now. No more is asked for than a byte beyond what is
    /// expected, so memory holds whatever they have become.
    pub(super) async fn read_values(
        &mut self,
        values: Vec<LoggedValue>,
        writes: &mut Vec<Write>,
    ) -> Result<Vec<Bytes>> {
        let mut inquiry = self.reread.inquiry();
        for LoggedValue { key, length } in &values {
            inquiry.key().cmd("PTTL").arg(&key[..]).cmd("GETRANGE").arg(&key[..]).arg(0).arg(*length);
        }
        let told = inquiry.ask(&mut self.reread.client).await?;
        let (mut strings, mut others) = (Vec::new(), Vec::new());
        for (LoggedValue { key, length }, mut told) in values.into_iter().zip(told) {
            let endpoint = self.reread.client.endpoint();
            let ttl = Ttl::told(endpoint, &mut told)?;
            match (ttl, told.answer()) {
                // A missing key gives an empty text as well.
                (Ttl::None | Ttl::Until(_), Value::BulkString(text)) if (1..=length).contains(&text.len()) => {
                    let body = reply::body(endpoint, Kind::String, Value::BulkString(text))?;
                    strings.push((Found::string(key, ttl), body));
                }
                // Errors, too: whoever looks closer will meet them.
                _ => others.push(key),
            }
        }
        self.read_strings(strings, writes).await?;
        Ok(others)
    }
}
