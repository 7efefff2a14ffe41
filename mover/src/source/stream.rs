// SPDX-License-Identifier: Apache-2.0
//! Entries of streams that the log names, and whether the target can take them.
//!
//! A server takes only an entry whose id is above the last one that it has given out, so the order in which entries arrive
//! decides which of them stay. The log does not always name them in the order of their ids: a clock may step back, and a
//! stream that was emptied begins anew. So the target is asked before anything is sent: what it has of these entries already
//! need not be sent, and what it would not take makes the key one to be read whole.
//!
//! A Pika 4.0 that loses the newest entry of a stream by XDEL takes another one for the first from then on, and trims from
//! there. Clients would meet that after the switch, so no newest entry is deleted at such a target: it is read whole.

use std::collections::HashMap;

use bytes::Bytes;
use snapshot::{Body, Kind, StreamEntry, StreamId};

use crate::Result;
use crate::batch::Patch;
use crate::dialect::Dialect;
use crate::endpoint::{Client, Endpoint};
use crate::source::inquiry::{Inquiry, Told};
use crate::source::reply::{self, Read};

/// A stream, and ids of it in ascending order.
#[derive(Debug)]
pub(super) struct NamedEntries {
    pub(super) key: Bytes,
    pub(super) ids: Vec<StreamId>,
}

/// What brings these entries to the target, of this dialect, which must have everything that was sent before; and the keys
/// that must be read whole.
///
/// # Errors
/// As [`Client::ask_all`].
pub(super) async fn read(
    source: &mut Client,
    target: &mut Client,
    dialect: Dialect,
    keys: Vec<NamedEntries>,
) -> Result<(Vec<Patch>, Vec<Bytes>)> {
    let (mut here, mut there) = (Inquiry::of(Dialect::Pika), Inquiry::of(dialect));
    for NamedEntries { key, ids } in &keys {
        for inquiry in [&mut here, &mut there] {
            let questions = inquiry.key();
            // A Pika locks a stream in a transaction only where a question about its expiry names it.
            questions.cmd("TYPE").arg(&key[..]).cmd("PTTL").arg(&key[..]).cmd("XINFO").arg("STREAM").arg(&key[..]);
            ids.iter().for_each(|id| {
                let id = id.to_string();
                questions.cmd("XRANGE").arg(&key[..]).arg(&id).arg(&id);
            });
        }
    }
    let (here, there) = tokio::try_join!(here.ask(source), there.ask(target))?;
    let (mut patches, mut whole) = (Vec::new(), Vec::new());
    for ((named, here), there) in keys.into_iter().zip(here).zip(there) {
        let (at_source, at_target) = (Side::told(source.endpoint(), here)?, Side::told(target.endpoint(), there)?);
        match at_source.zip(at_target).and_then(|(source, target)| patch(&named.ids, source, &target, dialect)) {
            Some((set, remove)) => patches.push(Patch { key: named.key, set, remove }),
            None => whole.push(named.key),
        }
    }
    Ok((patches, whole))
}

/// What a side has of the entries.
#[derive(Default, Debug)]
struct Side {
    entries: HashMap<StreamId, StreamEntry>,
    /// The last id that it has given out.
    last: StreamId,
}

impl Side {
    /// What the answers say; `None` for a key that is no stream.
    fn told(endpoint: &Endpoint, mut told: Told) -> Result<Option<Self>> {
        if reply::kind(endpoint, told.answer())? != Some(Kind::Stream) {
            return Ok(None);
        }
        let _ttl = told.answer();
        let info = reply::stream_info(told.answer()).unwrap_or_default();
        let mut side = Self { last: info.last_id, ..Self::default() };
        for answer in told {
            let value = match reply::read(endpoint, "XRANGE", answer)? {
                Read::Data(value) => value,
                Read::TypeChanged => return Ok(None),
            };
            let nonsense = || endpoint.answered("XRANGE", "something else than entries");
            for entry in reply::entries(value).ok_or_else(nonsense)? {
                side.last = side.last.max(entry.id);
                side.entries.insert(entry.id, entry);
            }
        }
        Ok(Some(side))
    }
}

/// What makes the target's stream have of these ids what the source's has; `None` where it would not take that, or would
/// lose its place.
fn patch(ids: &[StreamId], mut source: Side, target: &Side, dialect: Dialect) -> Option<(Body, Vec<Bytes>)> {
    let (mut entries, mut remove, mut last_id) = (Vec::new(), Vec::new(), StreamId::default());
    let mut loses_newest = false;
    for id in ids {
        match (source.entries.remove(id), target.entries.get(id)) {
            (Some(here), Some(there)) if here == *there => {}
            (Some(here), None) if *id > target.last => entries.push(here),
            (Some(_), _) => return None,
            (None, Some(_)) => {
                loses_newest |= *id == target.last;
                remove.push(id.to_string().into());
            }
            // The newest entry leaves its id behind when it goes, here as at the source.
            (None, None) if *id > target.last && *id == source.last => last_id = *id,
            (None, None) => {}
        }
    }
    loses_newest &= entries.is_empty();
    let loses_place = dialect == Dialect::Pika && (loses_newest || last_id != StreamId::default());
    (!loses_place).then_some((Body::Stream { entries, last_id }, remove))
}

/// The ids that these are the texts of, in ascending order; `None` when one is none.
pub(super) fn ids(texts: &[Bytes]) -> Option<Vec<StreamId>> {
    let id = |text: &Bytes| std::str::from_utf8(text).ok()?.parse().ok();
    let mut ids = texts.iter().map(id).collect::<Option<Vec<StreamId>>>()?;
    ids.sort_unstable();
    ids.dedup();
    Some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::HyperLogLogPolicy;

    const REDIS: Dialect = Dialect::Redis { hyperloglog: HyperLogLogPolicy::Raw };

    fn side(entries: &[(u64, &'static str)], last: u64) -> Side {
        let entry = |&(id, value): &(u64, &'static str)| {
            let id = StreamId::new(id, 0);
            (id, StreamEntry { id, fields: vec!["f".into(), value.into()] })
        };
        Side { entries: entries.iter().map(entry).collect(), last: StreamId::new(last, 0) }
    }

    /// The ids that are added and removed, and the one that is left behind.
    type Patched = (Vec<u64>, Vec<Bytes>, u64);

    fn patched(ids: &[u64], source: Side, target: &Side, dialect: Dialect) -> Option<Patched> {
        let ids: Vec<StreamId> = ids.iter().map(|id| StreamId::new(*id, 0)).collect();
        let (Body::Stream { entries, last_id }, remove) = patch(&ids, source, target, dialect)? else {
            panic!("no stream")
        };
        Some((entries.iter().map(|entry| entry.id.millis).collect(), remove, last_id.millis))
    }

    #[test]
    fn only_what_the_target_lacks_is_sent_in_the_order_of_ids() {
        let patched = |ids: &[u64], source, target: &Side| patched(ids, source, target, Dialect::Pika);
        let source = || side(&[(5, "a"), (6, "b"), (7, "c")], 7);
        assert_eq!(patched(&[5, 6, 7], source(), &side(&[(5, "a")], 5)), Some((vec![6, 7], vec![], 0)));
        assert_eq!(patched(&[4, 5], source(), &side(&[(4, "x"), (5, "a")], 5)), Some((vec![], vec!["4-0".into()], 0)));
        assert_eq!(patched(&[8, 9], side(&[], 10), &side(&[], 7)), Some((vec![], vec![], 0)), "10 is still to come");
    }

    #[test]
    fn what_the_target_would_not_take_is_read_whole() {
        let patched = |ids: &[u64], source, target: &Side| patched(ids, source, target, REDIS);
        assert_eq!(patched(&[5], side(&[(5, "a")], 9), &side(&[], 6)), None, "it is below the last one");
        assert_eq!(patched(&[5], side(&[(5, "a")], 9), &side(&[(5, "b")], 6)), None, "it is another one");
    }

    #[test]
    fn a_pika_loses_no_newest_entry_and_with_it_its_place() {
        let check = |ids: &[u64], source: Side, target: Side, on_redis: Patched, on_pika: Option<Patched>| {
            let again = Side { entries: source.entries.clone(), last: source.last };
            assert_eq!(patched(ids, source, &target, REDIS), Some(on_redis));
            assert_eq!(patched(ids, again, &target, Dialect::Pika), on_pika);
        };
        check(&[9], side(&[], 9), side(&[], 7), (vec![], vec![], 9), None);
        let (newer, older) = (|| side(&[(6, "b")], 6), || side(&[(5, "a")], 5));
        check(&[5], newer(), older(), (vec![], vec!["5-0".into()], 0), None);
        let both = || (vec![6], vec!["5-0".into()], 0);
        check(&[5, 6], newer(), older(), both(), Some(both()));
    }

    #[test]
    fn ids_are_numbers_and_not_texts() {
        let texts = ["10-1", "9-2", "10-1"].map(Bytes::from);
        assert_eq!(ids(&texts), Some(vec![StreamId::new(9, 2), StreamId::new(10, 1)]));
        assert_eq!(ids(&["5".into(), "x".into()]), None);
    }
}
