// SPDX-License-Identifier: Apache-2.0
//! Strings of which the log tells how long they are: they need no question before they are read.

use bytes::Bytes;
use redis::{Pipeline, Value};
use snapshot::{Kind, UnixMillis};

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
        let mut pipeline = Pipeline::with_capacity(2 * values.len());
        for LoggedValue { key, length } in &values {
            pipeline.cmd("PTTL").arg(&key[..]).cmd("GETRANGE").arg(&key[..]).arg(0).arg(*length);
        }
        let asked = UnixMillis::now();
        let mut replies = self.reread.client.ask_all(&mut pipeline).await?.into_iter();
        let (mut strings, mut others) = (Vec::new(), Vec::new());
        for LoggedValue { key, length } in values {
            let endpoint = self.reread.client.endpoint();
            let ttl = Ttl::of_reply(endpoint, asked, replies.next().unwrap_or_default())?;
            match (ttl, replies.next().unwrap_or_default()) {
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
