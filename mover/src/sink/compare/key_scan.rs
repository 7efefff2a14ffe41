// SPDX-License-Identifier: Apache-2.0
//! All keys of the target, page by page.

use bytes::BytesMut;
use replication::Command;

use crate::Result;
use crate::endpoint::scan_count;
use crate::sink::compare::replies::Replies;
use crate::sink::pipe::PipeWriter;

/// A walk over the keys of a server. While a page is looked at, the server makes the next one.
#[derive(Debug)]
pub struct KeyScan {
    writer: PipeWriter,
    replies: Replies,
}

impl KeyScan {
    pub(super) async fn begin(writer: PipeWriter, replies: Replies) -> Result<Self> {
        let mut scan = Self { writer, replies };
        scan.ask("0").await?;
        Ok(scan)
    }

    /// Hands out the keys of the next page; whether there is one more. A key may come more than once.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost), [`Error::Reply`](crate::Error::Reply).
    pub async fn page(&mut self, mut take: impl FnMut(&[u8])) -> Result<bool> {
        let replies = self.replies.of("SCAN");
        if replies.array().await? != Some(2) {
            return Err(replies.nonsense());
        }
        let cursor = replies.text(|cursor| String::from_utf8_lossy(cursor).into_owned()).await?;
        let cursor = cursor.ok_or_else(|| replies.nonsense())?;
        let more = cursor != "0";
        if more {
            self.ask(&cursor).await?;
        }
        let count = self.replies.array().await?.ok_or_else(|| self.replies.nonsense())?;
        for _ in 0..count {
            if !self.replies.string(&mut take).await? {
                return Err(self.replies.nonsense());
            }
        }
        Ok(more)
    }

    async fn ask(&mut self, cursor: &str) -> Result<()> {
        let mut bytes = BytesMut::new();
        let name = self.writer.name_of("SCAN").to_owned();
        let command = [name, cursor.to_owned(), "COUNT".to_owned(), scan_count().to_string()];
        Command::new(command).encode(&mut bytes);
        self.writer.write(&mut bytes).await
    }
}
