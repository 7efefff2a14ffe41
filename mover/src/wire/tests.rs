// SPDX-License-Identifier: Apache-2.0
//! Writes of all kinds, sent and received; frames that are damaged, out of order, or of somebody else.

use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use replication::{ListEnd, ListStep};
use snapshot::{Body, Part, Piece, StreamEntry, StreamId, UnixMillis};

use super::compress::Compression;
use super::error::Error;
use super::frame::{FRAME_MAX, HEADER_SIZE, Header, Kind};
use super::{Answer, Incoming, Outgoing, Traffic, acknowledge, answer};
use crate::batch::{Batch, KeyCounts, Patch, Steps, Write};

/// Some writes of any kinds.
pub(super) fn writes() -> impl Strategy<Value = Vec<Write>> {
    vec(write(), 0..12)
}

pub(super) fn batch(writes: Vec<Write>) -> Batch {
    // Both kinds of batches come up.
    let mut batch = Batch::new(writes.len() % 2 == 1);
    writes.into_iter().for_each(|write| batch.push(write));
    batch
}

fn write() -> impl Strategy<Value = Write> {
    let parts = vec![Part::Whole, Part::First, Part::Middle, Part::Last];
    let piece = (text(), prop::sample::select(parts), any::<Option<u64>>(), any_body()).prop_map(
        |(key, part, expire_at, body)| Write::Piece(Piece { key, part, expire_at: expire_at.map(UnixMillis), body }),
    );
    let patch = (text(), patchable(), texts()).prop_map(|(key, set, remove)| Write::Patch(Patch { key, set, remove }));
    let steps = (text(), vec(step(), 0..5)).prop_map(|(key, steps)| Write::Steps(Steps { key, steps }));
    prop_oneof![piece, patch, steps, text().prop_map(Write::Remove)]
}

fn step() -> impl Strategy<Value = ListStep> {
    let end = || prop::sample::select(vec![ListEnd::Head, ListEnd::Tail]);
    prop_oneof![
        (end(), texts(), any::<bool>()).prop_map(|(end, elements, onto_existing)| ListStep::Push {
            end,
            elements,
            onto_existing
        }),
        (end(), any::<u64>(), any::<bool>()).prop_map(|(end, count, may_be_served)| ListStep::Pop {
            end,
            count,
            may_be_served
        }),
        (any::<i64>(), text()).prop_map(|(index, element)| ListStep::Set { index, element }),
        (any::<bool>(), text(), text()).prop_map(|(after, pivot, element)| ListStep::Insert { after, pivot, element }),
        (any::<i64>(), text()).prop_map(|(count, element)| ListStep::Remove { count, element }),
        (any::<i64>(), any::<i64>()).prop_map(|(first, last)| ListStep::Trim { first, last }),
    ]
}

fn any_body() -> impl Strategy<Value = Body> {
    prop_oneof![
        text().prop_map(Body::String),
        text().prop_map(Body::HyperLogLog),
        texts().prop_map(Body::List),
        patchable(),
    ]
}

fn patchable() -> impl Strategy<Value = Body> {
    let id = || (any::<u64>(), any::<u64>()).prop_map(|(millis, sequence)| StreamId::new(millis, sequence));
    let entry = (id(), texts()).prop_map(|(id, fields)| StreamEntry { id, fields });
    prop_oneof![
        vec((text(), text()), 0..5).prop_map(Body::Hash),
        texts().prop_map(Body::Set),
        vec((text(), any::<u64>().prop_map(f64::from_bits)), 0..5).prop_map(Body::Zset),
        (vec(entry, 0..4), id()).prop_map(|(entries, last_id)| Body::Stream { entries, last_id }),
    ]
}

fn texts() -> impl Strategy<Value = Vec<Bytes>> {
    vec(text(), 0..6)
}

fn text() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

/// The batches as they travel, in a stream of job 7.
async fn sent(batches: &[Batch], compression: Compression) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut outgoing = Outgoing::new(&mut stream, JOB, LIMIT, compression, Arc::default());
    for batch in batches {
        outgoing.send(batch).await.unwrap();
    }
    drop(outgoing);
    stream
}

/// The batches of a stream, up to what it ends with.
async fn received(stream: &[u8]) -> (Vec<Batch>, Result<(), Error>) {
    let mut incoming = Incoming::new(stream, JOB, LIMIT, true, Arc::new(Traffic::default()));
    let mut batches = Vec::new();
    loop {
        match incoming.announced().await {
            Ok(Some(announced)) => match incoming.batch(announced).await {
                Ok(arrived) => batches.push(arrived.batch),
                Err(error) => return (batches, Err(error)),
            },
            Ok(None) => return (batches, Ok(())),
            Err(error) => return (batches, Err(error)),
        }
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

fn string(key: &str, value: impl Into<Bytes>) -> Write {
    let body = Body::String(value.into());
    Write::Piece(Piece { key: Bytes::copy_from_slice(key.as_bytes()), part: Part::Whole, expire_at: None, body })
}

/// Bytes that do not become smaller.
fn noise(size: usize) -> Vec<u8> {
    let mut seed = 1u64;
    std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as u8
    })
    .take(size)
    .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn batches_arrive_as_they_were_sent(first in writes(), second in writes()) {
        let batches = [first, second].into_iter().filter(|writes| !writes.is_empty()).map(batch).collect::<Vec<_>>();
        for compression in [Compression::Off, Compression::Zstd(1)] {
            let stream = run(sent(&batches, compression));
            let (back, end) = run(received(&stream));
            end.unwrap();
            // As text: a score that is no number equals nothing.
            prop_assert_eq!(format!("{back:?}"), format!("{batches:?}"));
        }
    }

    #[test]
    fn a_flipped_byte_is_refused_and_nothing_behind_it_is_taken(
        first in writes(), second in writes(), at: prop::sample::Index, mask in 1u8..,
    ) {
        let batches = [first, second].into_iter().filter(|writes| !writes.is_empty()).map(batch).collect::<Vec<_>>();
        prop_assume!(!batches.is_empty());
        for compression in [Compression::Off, Compression::Zstd(1)] {
            let mut stream = run(sent(&batches, compression));
            let whole = run(sent(&batches[..1], compression)).len();
            let at = at.index(stream.len());
            stream[at] ^= mask;
            let (back, end) = run(received(&stream));
            prop_assert!(end.is_err());
            prop_assert_eq!(back.len(), usize::from(at >= whole));
        }
    }
}

proptest! {
    #[test]
    fn acknowledgements_arrive_as_they_were_sent(sequence: u64, created: u64, deleted: u64, unclear: u64, job: u64) {
        let (mut stream, counts) = (Vec::new(), KeyCounts { created, deleted, unclear });
        run(acknowledge(&mut stream, job, sequence, counts)).unwrap();
        let Some(Answer::Done(number, told)) = run(answer(&mut &stream[..], job)).unwrap() else { panic!("none") };
        prop_assert_eq!((number, told), (sequence, counts));
        for length in 1..stream.len() {
            let cut = run(answer(&mut &stream[..length], job));
            prop_assert!(matches!(cut, Err(Error::Truncated)), "{:?}", cut);
        }
    }

    #[test]
    fn an_acknowledgement_of_another_length_is_refused(payload in vec(any::<u8>(), 0..99)) {
        prop_assume!(payload.len() != 24);
        let stream = [&Header::plain(Kind::Ack, JOB, 1, &payload).encode()[..], &payload].concat();
        let is_refused = matches!(run(answer(&mut &stream[..], JOB)), Err(Error::Malformed { .. }));
        prop_assert!(is_refused);
    }
}

#[test]
fn a_stream_that_is_cut_is_refused_wherever_it_is_not_between_batches() {
    let batches = [batch(vec![string("one", "1")]), batch(vec![string("two", "2".repeat(99))])];
    for compression in [Compression::Off, Compression::Zstd(1)] {
        let stream = run(sent(&batches, compression));
        let first = run(sent(&batches[..1], compression)).len();
        for length in 0..stream.len() {
            let (back, end) = run(received(&stream[..length]));
            assert_eq!(back.len(), usize::from(length >= first), "{length}");
            match end {
                Ok(()) => assert!(length == 0 || length == first, "{length}"),
                Err(error) => assert!(matches!(error, Error::Truncated), "{length}: {error}"),
            }
        }
    }
}

#[test]
fn what_is_large_travels_in_parts() {
    let noise = noise(3 * FRAME_MAX + 12345);
    let text = "something that becomes smaller, ".repeat(FRAME_MAX / 10);
    for (value, is_smaller) in [(noise, false), (text.into_bytes(), true)] {
        let batches = [batch(vec![string("small", "1"), string("large", value), string("small", "2")])];
        for compression in [Compression::Off, Compression::Zstd(1)] {
            let stream = run(sent(&batches, compression));
            let (back, end) = run(received(&stream));
            end.unwrap();
            assert!(back[0].writes() == batches[0].writes());
            assert_eq!(stream.len() < back[0].size() / 2, is_smaller && compression != Compression::Off);
        }
        // A part that is left out.
        let stream = run(sent(&batches, Compression::Off));
        let frame = HEADER_SIZE + FRAME_MAX;
        let (back, end) = run(received(&[&stream[..frame], &stream[2 * frame..]].concat()));
        assert!(back.is_empty() && end.is_err());
    }
}

#[test]
fn both_ends_count_the_same_bytes() {
    let batches = [batch(vec![string("key", "v".repeat(70_000))]), batch(vec![string("key", noise(70_000))])];
    let (there, here) = (Arc::new(Traffic::default()), Arc::new(Traffic::default()));
    let mut stream = Vec::new();
    run(async {
        let mut outgoing = Outgoing::new(&mut stream, JOB, LIMIT, Compression::Auto, Arc::clone(&there));
        for batch in &batches {
            outgoing.send(batch).await.unwrap();
        }
        drop(outgoing);
        let mut incoming = Incoming::new(&stream[..], JOB, LIMIT, true, Arc::clone(&here));
        while let Some(announced) = incoming.announced().await.unwrap() {
            incoming.batch(announced).await.unwrap();
        }
    });
    assert_eq!(there.wire_bytes(), stream.len() as u64);
    assert_eq!((there.wire_bytes(), there.raw_bytes()), (here.wire_bytes(), here.raw_bytes()));
    assert!(there.raw_bytes() > 140_000 && there.wire_bytes() < 75_000, "{there:?}");
}

#[test]
fn what_is_too_large_is_not_sent_and_not_taken() {
    let batches = [batch(vec![string("key", noise(70_000))])];
    let mut stream = Vec::new();
    let error = run(Outgoing::new(&mut stream, JOB, 70_000, Compression::Off, Arc::default()).send(&batches[0]));
    assert!(matches!(error, Err(Error::TooLarge { limit: 70_000, .. })) && stream.is_empty(), "{error:?}");
    let stream = run(sent(&batches, Compression::Off));
    let error = run(Incoming::new(&stream[..], JOB, 70_000, true, Arc::default()).announced());
    assert!(matches!(error, Err(Error::TooLarge { limit: 70_000, .. })), "{error:?}");
}

#[test]
fn frames_that_do_not_belong_here_are_refused() {
    let one = [batch(vec![string("key", "value")])];
    let plain = run(sent(&one, Compression::Off));
    let header = Header::decode(plain[..HEADER_SIZE].try_into().unwrap()).unwrap();
    let with = |header: Header| [&header.encode()[..], &plain[HEADER_SIZE..]].concat();
    let ends_with = |stream: &[u8]| run(received(stream)).1.unwrap_err();
    assert!(matches!(ends_with(&with(Header { job: 8, ..header })), Error::Job { found: 8, expected: JOB }));
    assert!(matches!(ends_with(&with(Header { sequence: 2, ..header })), Error::Order { found: 2, expected: 1 }));
    let twice = [&plain[..], &plain].concat();
    assert!(matches!(ends_with(&twice), Error::Order { found: 1, expected: 2 }));
    let trailing = [&plain[..], b"more"].concat();
    assert!(matches!(ends_with(&trailing), Error::Truncated));
    // Its lengths and checksums are right, and what is in it is not.
    assert!(matches!(ends_with(&with(Header { is_compressed: true, ..header })), Error::Malformed { .. }));
    let most = FRAME_MAX as u32;
    let beyond = Header { raw: most, payload: most, rest: 1 << 30, ..header };
    assert!(matches!(ends_with(&with(beyond)), Error::TooLarge { .. }));
    let compressed = run(sent(&[batch(vec![string("key", "v".repeat(999))])], Compression::Zstd(1)));
    let error = run(Incoming::new(&compressed[..], JOB, LIMIT, false, Arc::default()).announced());
    assert!(matches!(error, Err(Error::Unexpected { .. })), "{error:?}");
}

const JOB: u64 = 7;
const LIMIT: u64 = 64 << 20;
