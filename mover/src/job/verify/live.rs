// SPDX-License-Identifier: Apache-2.0
//! What a checkpoint that was taken long before the comparison leaves open: unlogged writes since then. All keys of the
//! checkpoint are read live on both sides, and keys that only the source has are looked for.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use redis::Value;
use snapshot::ScanRequest;

use crate::job::verify::difference::{Difference, Differing};
use crate::job::verify::{CHUNK_KEYS, Verify};
use crate::{Error, Result};

impl Verify<'_> {
    /// Compares the keys of the checkpoint as both sides have them now.
    pub(super) async fn live_keys(&mut self) -> Result<()> {
        let (sender, chunks) = flume::bounded::<Vec<Bytes>>(CHUNKS_AHEAD);
        let checkpoint = Arc::clone(&self.checkpoint);
        let request = ScanRequest::new(self.slots.clone());
        let scan = tokio::task::spawn_blocking(move || {
            let mut chunk = Vec::with_capacity(CHUNK_KEYS);
            for instance in 0..checkpoint.instances() {
                checkpoint.scan(instance, &request, |piece| {
                    if piece.part.is_first() {
                        chunk.push(piece.key);
                    }
                    if chunk.len() == CHUNK_KEYS && sender.send(std::mem::take(&mut chunk)).is_err() {
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                })?;
            }
            // A receiver that is gone has failed, and its error is the one that counts.
            let _ = sender.send(chunk);
            Ok::<_, Error>(())
        });
        while let Ok(mut chunk) = chunks.recv_async().await {
            chunk.retain(|key| self.is_chosen(key));
            self.look_closer(&chunk).await?;
        }
        scan.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Keys that the target has not got become suspects.
    pub(super) async fn only_on_source(&mut self) -> Result<()> {
        let (mut source, mut target) = (self.plan.source.client(), self.target.client());
        let mut cursor = Some("0".to_owned());
        while let Some(at) = cursor {
            let (mut keys, next) = source.scan(&at).await?;
            keys.retain(|key| self.is_ours(key));
            let mut pipeline = redis::Pipeline::with_capacity(keys.len());
            keys.iter().for_each(|key| {
                pipeline.cmd("EXISTS").arg(&key[..]);
            });
            for (key, reply) in keys.into_iter().zip(target.ask_all(&mut pipeline).await?) {
                if reply != Value::Int(1) {
                    self.suspect(Differing { key: key.into(), how: Difference::Missing })?;
                }
            }
            cursor = next;
        }
        Ok(())
    }
}

const CHUNKS_AHEAD: usize = 4;
