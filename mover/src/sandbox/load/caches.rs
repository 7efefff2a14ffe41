// SPDX-License-Identifier: Apache-2.0
//! The read caches of the nodes, which are switched off before keys are read back.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::config::LoadConfig;
use super::connection::Connection;
use crate::sandbox::reply::Reply;

/// What `cache-model` was at the nodes where it was not off.
#[derive(Default, Debug)]
pub(super) struct Caches(Vec<(SocketAddr, Bytes)>);

impl Caches {
    /// Switches off the caches of all nodes. An off cache is empty, and a Redis has none.
    pub(super) async fn switch_off(&mut self, config: &LoadConfig) -> io::Result<()> {
        for &node in &config.nodes {
            let model = patiently(|| model(node, config)).await?;
            if let Some(model) = model.filter(|model| &model[..] != OFF) {
                patiently(|| set_model(node, OFF, config)).await?;
                self.0.push((node, model));
            }
        }
        Ok(())
    }

    /// Makes the caches what they were.
    pub(super) async fn switch_back(self, config: &LoadConfig) -> io::Result<()> {
        for (node, model) in &self.0 {
            patiently(|| set_model(*node, model, config)).await?;
        }
        Ok(())
    }
}

/// Whether a reply may come from a cache: unless all nodes are known and have theirs off.
pub(super) async fn may_be_cached(config: &LoadConfig) -> bool {
    for &node in &config.nodes {
        match model(node, config).await {
            Ok(model) if model.as_deref().is_none_or(|model| model == OFF) => {}
            _ => return true,
        }
    }
    config.nodes.is_empty()
}

/// The setting at a node; `None` where there is no such setting.
async fn model(node: SocketAddr, config: &LoadConfig) -> io::Result<Option<Bytes>> {
    let mut connection = Connection::open(node, config.node_password.as_deref()).await?;
    match connection.call(&[b"CONFIG", b"GET", SETTING], config.reply_time_max).await? {
        Reply::Array(Some(parts)) => match <[Reply; 2]>::try_from(parts) {
            Ok([_, Reply::Bulk(Some(model))]) => Ok(Some(model)),
            _ => Ok(None),
        },
        other => Err(io::Error::other(format!("{node} answered CONFIG GET with {other:?}"))),
    }
}

async fn set_model(node: SocketAddr, model: &[u8], config: &LoadConfig) -> io::Result<()> {
    let mut connection = Connection::open(node, config.node_password.as_deref()).await?;
    connection.call(&[b"CONFIG", b"SET", SETTING, model], config.reply_time_max).await?;
    Ok(())
}

/// A node may have been started again only just now.
async fn patiently<T, F: Future<Output = io::Result<T>>>(mut attempt: impl FnMut() -> F) -> io::Result<T> {
    for _ in 1..ATTEMPTS {
        if let Ok(done) = attempt().await {
            return Ok(done);
        }
        sleep(RETRY_BACKOFF).await;
    }
    attempt().await
}

const SETTING: &[u8] = b"cache-model";
const OFF: &[u8] = b"0";
const ATTEMPTS: usize = 20;
const RETRY_BACKOFF: Duration = Duration::from_millis(100);
