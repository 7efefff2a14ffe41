// SPDX-License-Identifier: Apache-2.0
//! What makes a stream give out ids above its last one only, where no command sets that one.

use snapshot::StreamId;

/// The ids of entries that come and go behind a stream's last entry, so that `last_id` was given out.
///
/// A Pika that loses the newest entry takes the one before it for the first from then on, and trims from there, until it
/// loses that one too. So another entry goes behind the newest, where there is room for it; where there is none, the source
/// has lost its place in the same way.
pub(super) fn witnesses(
    last_entry: Option<StreamId>,
    last_id: StreamId,
) -> impl DoubleEndedIterator<Item = StreamId> + Clone {
    let before = last_id.predecessor().filter(|before| last_entry.is_some_and(|entry| entry < *before));
    before.into_iter().chain([last_id])
}
