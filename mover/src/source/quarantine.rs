// SPDX-License-Identifier: Apache-2.0
//! Keys of which the names may cut an answer in two.
//!
//! A Pika quotes a key's name as it is in the error that the key has another type. An end of line in a name would cut
//! that error in two, so such a key is read whole, alone and in quarantine: on a connection of which nothing else is lost
//! when its answers are not to be trusted any more.

use bytes::Bytes;
use redis::{Pipeline, Value};

use crate::Result;
use crate::dialect::Dialect;
use crate::source::reread::{Reading, Reread, Wanted};

impl Reread {
    /// Whether an error that quotes this name would look like two answers.
    pub(super) fn has_unsafe_name(&self, key: &[u8]) -> bool {
        self.dialect == Dialect::Pika && key.iter().any(|byte| matches!(byte, b'\r' | b'\n'))
    }
}

impl Reading<'_> {
    /// Begins to read a key on a connection that nothing else goes over.
    pub(super) async fn enter_quarantine(&mut self, key: Bytes) -> Result<()> {
        let alone = match self.reread.quarantine.take() {
            Some(client) => client,
            None => self.reread.client.another().await?,
        };
        self.reread.quarantine = Some(std::mem::replace(&mut self.reread.client, alone));
        self.queue.push_back(Wanted::whole(key.clone()));
        self.in_quarantine = Some(key);
        Ok(())
    }

    /// The answer to PFCOUNT for a key in quarantine, on a connection that is given up behind it. The server refuses any other
    /// string in an error that quotes the name, so only what comes before the name's end of line can be relied on: that the
    /// type is wrong.
    pub(super) async fn count_alone(&mut self, key: &Bytes) -> Result<Value> {
        let mut alone = self.reread.client.another().await?;
        let mut question = Pipeline::with_capacity(1);
        question.cmd("PFCOUNT").arg(&key[..]);
        Ok(alone.send(&mut question).await?.pop().unwrap_or_default())
    }

    /// Goes back to the usual connection.
    pub(super) fn leave_quarantine(&mut self) {
        if self.in_quarantine.take().is_some()
            && let Some(usual) = self.reread.quarantine.take()
        {
            self.reread.quarantine = Some(std::mem::replace(&mut self.reread.client, usual));
        }
    }

    /// Gives the connection up, and the key to be read again.
    pub(super) fn break_quarantine(&mut self) {
        self.big.clear();
        self.found.clear();
        self.queue.clear();
        self.again.extend(self.in_quarantine.clone().map(Wanted::whole));
        self.leave_quarantine();
        self.reread.quarantine = None;
    }
}
