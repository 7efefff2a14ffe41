// SPDX-License-Identifier: Apache-2.0
//! The log that a job follows, where it is to be had: in the node's own files, held by links, or in a mirror of them that a
//! receiver on the node's machine fills.

use std::path::PathBuf;

use replication::BinlogOffset;
use replication::binlog::{Mirror, Spool, Tail};

use crate::Result;
use crate::sink::RemoteLog;

/// A log that is kept from some offset on.
pub(super) enum Log {
    /// The node is on this machine.
    Here(Spool),
    /// It is not.
    Mirrored(Box<Mirrored>),
}

/// A mirror and what fills it.
pub(super) struct Mirrored {
    mirror: Mirror,
    remote: RemoteLog,
}

impl Log {
    /// Mirrors the log from `from` on in `dir`, which is made anew.
    ///
    /// # Errors
    /// [`Error::Binlog`](crate::Error::Binlog) when it cannot be made, and what the receiver says.
    pub(super) async fn mirrored(mut remote: RemoteLog, dir: PathBuf, from: BinlogOffset) -> Result<Self> {
        let mut mirror = Mirror::create(dir, from)?;
        Box::pin(remote.follow(&mut mirror)).await?;
        Ok(Self::Mirrored(Box::new(Mirrored { mirror, remote })))
    }

    /// Where it ends now. What comes before that can be read.
    pub(super) async fn end(&mut self) -> Result<BinlogOffset> {
        match self {
            Self::Here(spool) => Ok(spool.manifest()?.end),
            // Boxed, for hardly any log is mirrored: every round of a follower would be as large as this.
            Self::Mirrored(mirrored) => {
                let Mirrored { mirror, remote } = &mut **mirrored;
                Box::pin(remote.follow(mirror)).await
            }
        }
    }

    /// Has all of it where it can be read.
    pub(super) async fn fetch(&mut self) -> Result<()> {
        match self {
            Self::Here(_) => Ok(()),
            Self::Mirrored(_) => self.end().await.map(drop),
        }
    }

    /// Reads it from `from` on.
    pub(super) fn tail(&self, from: BinlogOffset) -> Result<Tail> {
        Ok(match self {
            Self::Here(spool) => Tail::open_spooled(spool, from)?,
            Self::Mirrored(mirrored) => Tail::open(mirrored.mirror.dir(), from)?,
        })
    }
}
