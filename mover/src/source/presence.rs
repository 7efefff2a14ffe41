// SPDX-License-Identifier: Apache-2.0
//! Which keys a node has.

use redis::Value;

use crate::Result;
use crate::source::reread::Reread;

impl Reread {
    /// Those of `keys` that the server may not have. A Pika says of a deleted stream that it exists, so one of those is among
    /// them whenever TYPE names it.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost), [`Error::Reply`](crate::Error::Reply).
    pub async fn absent(&mut self, keys: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        let mut inquiry = self.inquiry();
        keys.iter().for_each(|key| {
            inquiry.key().cmd("EXISTS").arg(&key[..]).cmd("TYPE").arg(&key[..]);
        });
        let told = inquiry.ask(&mut self.client).await?;
        let mut absent = Vec::new();
        for (key, mut told) in keys.into_iter().zip(told) {
            match (told.answer(), told.answer()) {
                (Value::Int(1), Value::SimpleString(kind)) if !kind.starts_with("stream") => {}
                _ => absent.push(key),
            }
        }
        Ok(absent)
    }
}
