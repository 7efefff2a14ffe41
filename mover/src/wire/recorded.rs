// SPDX-License-Identifier: Apache-2.0
//! What goes over a connection, in memory: for whoever takes the decoders to task without a network.

use std::sync::Arc;

use super::Error;
use super::compress::Compression;
use super::incoming::{Answer, Incoming, answer};
use super::outgoing::Outgoing;
use super::traffic::Traffic;
use crate::batch::Batch;

/// What a sender sends of these batches, behind the greeting.
///
/// # Errors
/// A batch is larger than `limit`.
pub async fn sent(batches: &[Batch], job: u64, limit: u64, compression: Compression) -> Result<Vec<u8>, Error> {
    let mut stream = Vec::new();
    let mut outgoing = Outgoing::new(&mut stream, job, limit, compression, Arc::new(Traffic::default()));
    for batch in batches {
        outgoing.send(batch).await?;
    }
    drop(outgoing);
    Ok(stream)
}

/// The batches that a receiver takes from a stream, and what ended it if that was not its end.
pub async fn received(stream: &[u8], job: u64, limit: u64) -> (Vec<Batch>, Option<Error>) {
    let mut incoming = Incoming::new(stream, job, limit, true, Arc::new(Traffic::default()));
    let mut batches = Vec::new();
    loop {
        let batch = match incoming.announced().await {
            Ok(Some(announced)) => incoming.batch(announced).await,
            Ok(None) => return (batches, None),
            Err(error) => return (batches, Some(error)),
        };
        match batch {
            Ok(arrived) => batches.push(arrived.batch),
            Err(error) => return (batches, Some(error)),
        }
    }
}

/// The last batch that a receiver said it has done.
///
/// # Errors
/// An answer that is none, or the [`Error`] that the receiver tells of.
pub async fn answered(mut stream: &[u8], job: u64) -> Result<u64, Error> {
    let mut done = 0;
    while let Some(answer) = answer(&mut stream, job).await? {
        match answer {
            Answer::Done(sequence, _) => done = sequence,
            // A receiver that has failed says nothing more.
            Answer::Failed(_) => break,
        }
    }
    Ok(done)
}
