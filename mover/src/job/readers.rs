// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::flow::Feed;
use crate::job::gauge::AtSource;
use crate::job::streams::WrittenStreams;
use crate::source::{Reread, Unsettled, Wanted};
use crate::{Error, Result};

/// Those who read changed keys at the source and send them on their way.
pub(super) struct Readers {
    idle: Vec<Reader>,
}

struct Reader {
    reread: Reread,
    feed: Feed,
    at_source: AtSource,
    streams: Arc<WrittenStreams>,
}

impl Readers {
    /// One for each connection to the source, with a way into the line. The streams that they write are noted.
    pub(super) fn new(
        connections: impl Iterator<Item = (Reread, Feed)>,
        at_source: &AtSource,
        streams: &Arc<WrittenStreams>,
    ) -> Self {
        let reader = |(reread, feed)| {
            let (at_source, streams) = (at_source.clone(), Arc::clone(streams));
            Reader { reread, feed, at_source, streams }
        };
        Self { idle: connections.map(reader).collect() }
    }

    /// How many of them would share so many keys: several when there are many.
    pub(super) fn needed(&self, keys: usize) -> usize {
        keys.div_ceil(SHARE_MIN).min(self.idle.len())
    }

    /// Reads keys, and gives back those that changed under it, and those of which the log must say more. It says `tick` now
    /// and then.
    pub(super) async fn read(
        &mut self,
        wanted: Vec<Wanted>,
        mut tick: impl FnMut() -> Result<()>,
    ) -> Result<(Vec<Wanted>, Vec<Unsettled>)> {
        let share = wanted.len().div_ceil(self.needed(wanted.len()).max(1));
        let mut wanted = wanted.into_iter().peekable();
        let mut tasks = JoinSet::new();
        while wanted.peek().is_some() {
            let share: Vec<Wanted> = wanted.by_ref().take(share).collect();
            let Some(mut reader) = self.idle.pop() else { unreachable!("there are as many shares as readers") };
            tasks.spawn(async move {
                let (again, open) = reader.run(share).await?;
                Ok::<_, Error>((reader, again, open))
            });
        }
        let (mut all_again, mut unsettled) = (Vec::new(), Vec::new());
        while !tasks.is_empty() {
            let Ok(Some(task)) = timeout(TICK, tasks.join_next()).await else {
                tick()?;
                continue;
            };
            let (reader, again, open) = task.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
            self.idle.push(reader);
            all_again.extend(again);
            unsettled.extend(open);
        }
        Ok((all_again, unsettled))
    }
}

impl Reader {
    async fn run(&mut self, wanted: Vec<Wanted>) -> Result<(Vec<Wanted>, Vec<Unsettled>)> {
        let mut reading = self.reread.read(wanted);
        while let Some(writes) = self.at_source.count(reading.next()).await? {
            for write in writes {
                self.streams.note(&write);
                self.feed.push(write).await?;
            }
        }
        let outcome = reading.finish();
        self.feed.flush().await?;
        Ok(outcome)
    }
}

/// Keys for which a further connection is worth it.
const SHARE_MIN: usize = 64;

/// Whatever takes longer is looked at in between.
pub(super) const TICK: Duration = Duration::from_millis(500);
