// SPDX-License-Identifier: Apache-2.0
//! Both sides, asked about some keys as they are now.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::difference::{Difference, Differing};
use super::digest::{self, Digest};
use super::elements::{self, Elements};
use crate::Result;
use crate::dialect::Dialect;
use crate::job::plan::Plan;
use crate::source::{Known, Reread, Strings};

/// What reads both sides.
pub(super) struct Sides {
    source: Reread,
    target: Reread,
    /// Of the target.
    dialect: Dialect,
}

/// A key as both sides had it at one moment, or at two close to each other.
pub(super) struct Looked {
    pub(super) key: Bytes,
    pub(super) source: Option<Digest>,
    pub(super) target: Option<Digest>,
    /// It did not change while it was read.
    pub(super) is_settled: bool,
}

impl Looked {
    /// How it differs, if it does.
    pub(super) fn difference(&self) -> Option<Difference> {
        let how = match (&self.source, &self.target) {
            (Some(source), Some(target)) => source.difference(target),
            (Some(_), None) => Some(Difference::Missing),
            (None, Some(_)) => Some(Difference::Extra),
            (None, None) => None,
        };
        how.or_else(|| (!self.is_settled).then_some(Difference::Unsettled))
    }

    /// Whether time may end a difference: one side has let the key expire, the other has not yet.
    pub(super) fn may_pass(&self) -> bool {
        match (&self.source, &self.target) {
            (Some(only), None) | (None, Some(only)) => only.expires(),
            _ => false,
        }
    }

    /// The key and how it differs, if it does.
    pub(super) fn differing(self) -> Option<Differing> {
        Some(Differing { how: self.difference()?, key: self.key })
    }
}

impl Sides {
    /// Connects to both sides.
    pub(super) async fn of(plan: &Plan) -> Result<Self> {
        // What is learnt here must not reach the follower: a read of the target is no read of the source.
        let reread =
            |client, dialect| Reread::new(client, dialect, Arc::new(Known::new())).with_strings(Strings::Parts);
        let dialect = plan.target.dialect();
        let (source, target) = tokio::try_join!(plan.source.another(), plan.target.another())?;
        Ok(Self { source: reread(source, Dialect::Pika), target: reread(target, dialect), dialect })
    }

    /// Reads keys as both sides have them now, and the bytes that this took.
    pub(super) async fn look(&mut self, keys: &[Bytes]) -> Result<(Vec<Looked>, usize)> {
        let (mut source, mut target) = tokio::try_join!(
            digest::read(&mut self.source, self.dialect, keys),
            digest::read(&mut self.target, self.dialect, keys),
        )?;
        let unsettled: HashSet<Bytes> = source.again.into_iter().chain(target.again).collect();
        let looked = keys.iter().map(|key| Looked {
            key: key.clone(),
            source: source.of.remove(key),
            target: target.of.remove(key),
            is_settled: !unsettled.contains(key),
        });
        Ok((looked.collect(), source.bytes + target.bytes))
    }

    /// What a key has at the source now, element by element.
    pub(super) async fn source_elements(&mut self, key: &Bytes) -> Result<Elements> {
        elements::read(&mut self.source, self.dialect, key).await
    }

    /// What it has at the target.
    pub(super) async fn target_elements(&mut self, key: &Bytes) -> Result<Elements> {
        elements::read(&mut self.target, self.dialect, key).await
    }

    /// Those of `keys` that are not the same on both sides now.
    pub(super) async fn compare(&mut self, keys: &[Bytes]) -> Result<Vec<Differing>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let (looked, _) = self.look(keys).await?;
        Ok(looked.into_iter().filter_map(Looked::differing).collect())
    }
}
