// SPDX-License-Identifier: Apache-2.0
//! The keys that the source has now, compared as both sides have them now: slower than a checkpoint, and a load for the
//! source, but nothing of the source need be here.

use bytes::Bytes;

use super::CHUNK_KEYS;
use super::Verify;
use super::extra::{Extra, counted};
use super::sides::Looked;
use crate::Result;
use crate::endpoint::Client;
use crate::flow::Gate;

impl Verify<'_> {
    /// Compares them all, and counts those of the target. What comes or goes meanwhile stands in the log.
    pub(super) async fn live_keys(&mut self) -> Result<Option<Extra>> {
        let mut scan = self.both.source_keys();
        let mut chunk = Vec::with_capacity(CHUNK_KEYS);
        while let Some(keys) = scan.next().await? {
            chunk.extend(keys.into_iter().filter(|key| self.both.source_has(key)).map(Bytes::from));
            if chunk.len() >= CHUNK_KEYS {
                self.live_chunk(&std::mem::take(&mut chunk)).await?;
            }
        }
        self.live_chunk(&chunk).await?;
        counted(self.both.extra()).await
    }

    async fn live_chunk(&mut self, keys: &[Bytes]) -> Result<()> {
        let (looked, bytes) = self.both.sides.look(keys).await?;
        self.throttle.admit(bytes, keys.len()).await;
        looked.into_iter().filter_map(Looked::differing).try_for_each(|differing| self.suspects.suspect(differing))?;
        self.both.bytes += bytes as u64;
        self.both.compared(keys.len());
        Ok(())
    }
}

/// A walk over all keys of the source.
pub(super) struct SourceKeys {
    client: Client,
    gate: Gate,
    cursor: Option<String>,
}

impl SourceKeys {
    pub(super) fn new(client: Client, gate: Gate) -> Self {
        Self { client, gate, cursor: Some("0".to_owned()) }
    }

    /// The next ones, perhaps none; `None` after the last one.
    async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>> {
        let Some(cursor) = self.cursor.take() else { return Ok(None) };
        self.gate.admit().await?;
        let (keys, next) = self.client.scan(&cursor).await?;
        self.cursor = next;
        Ok(Some(keys))
    }
}
