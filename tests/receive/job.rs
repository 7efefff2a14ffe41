// SPDX-License-Identifier: Apache-2.0
//! What arrives, and what the sender is told when something does not.

use mover::wire::Compression;
use mover::{ByteSize, Error, Side};

use super::moved;
use crate::harness::{Bender, Receiving, RedisServer, Source, assert_same, contents, sender_options};

#[tokio::test(flavor = "multi_thread")]
async fn all_arrives_and_both_ends_count_the_same() {
    for (compression, is_smaller) in
        [(Compression::Auto, true), (Compression::Zstd(3), true), (Compression::Off, false)]
    {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::start(dir.path()).await;
        let target = RedisServer::start();
        let receiving = Receiving::start(target.addr(), |_| ()).await;
        let mut options = receiving.options();
        options.compression = compression;
        let report = moved(&source, target.addr(), options, |_| ()).await.unwrap();
        assert_same(source.contents(), &contents(&mut target.client()));
        let status = receiving.status();
        assert_eq!(report.wire_bytes, Some(status.wire_bytes()), "{compression}: {status}");
        assert_eq!(report.raw_bytes, Some(status.raw_bytes()), "{compression}: {status}");
        assert!(status.commands() >= report.keys && status.batches() > 0, "{compression}: {status}");
        assert_eq!(status.raw_bytes() > 2 * status.wire_bytes(), is_smaller, "{compression}: {status}");
        // One to look, and four lanes.
        assert_eq!((status.senders(), status.refused()), (5, 0));
        receiving.stop().await;
        source.assert_untouched();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_send_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    let (one, other) = tokio::join!(Source::start(&one), Source::start(&other));
    let target = RedisServer::start();
    let receiving = Receiving::start(target.addr(), |_| ()).await;
    let (first, second) = tokio::join!(
        moved(&one, target.addr(), receiving.options(), |options| options.slots = "0-511".parse().unwrap()),
        moved(&other, target.addr(), receiving.options(), |options| options.slots = "512-1023".parse().unwrap()),
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_same(one.contents(), &contents(&mut target.client()));
    let sent = first.wire_bytes.unwrap() + second.wire_bytes.unwrap();
    assert_eq!(sent, receiving.status().wire_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_changes_on_its_way_ends_the_move_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let receiving = Receiving::start(target.addr(), |_| ()).await;
    let way = Bender::before(receiving.addr(), 9000).await;
    let mut options = sender_options(way.addr());
    options.compression = Compression::Off;
    match moved(&source, target.addr(), options, |_| ()).await {
        Err(Error::Lost { side: Side::Receiver, address, fault }) => {
            assert_eq!(address, way.addr().to_string());
            assert!(fault.contains("damaged on its way"), "{fault}");
        }
        other => panic!("{other:?}"),
    }
    assert!(way.has_bent());
    // What did arrive is as it was sent.
    let arrived = contents(&mut target.client());
    let expected = source.contents().iter().filter(|(key, _)| arrived.contains_key(*key));
    assert_same(&expected.map(|(key, entry)| (key.clone(), entry.clone())).collect(), &arrived);
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_refuses_is_an_error_of_the_target() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::with(&["--maxmemory", "1150kb", "--maxmemory-policy", "noeviction"]);
    let receiving = Receiving::start(target.addr(), |_| ()).await;
    match moved(&source, target.addr(), receiving.options(), |_| ()).await {
        Err(Error::Reply { side: Side::Target, address, reply, .. }) => {
            assert!(reply.contains("OOM"), "{reply}");
            let behind = format!("{} (behind the receiver at {})", target.addr(), receiving.addr());
            assert_eq!(address, behind);
        }
        other => panic!("{other:?}"),
    }
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_receiver_has_no_memory_for_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    source.client().call([b"SET".to_vec(), b"huge".to_vec(), vec![b'x'; 500_000]]).unwrap();
    let target = RedisServer::start();
    let receiving = Receiving::start(target.addr(), |options| options.memory = ByteSize::mb(1)).await;
    match moved(&source, target.addr(), receiving.options(), |_| ()).await {
        Err(Error::Unmovable(unmovable)) => {
            assert_eq!(unmovable.key, "huge");
            assert!(unmovable.why.contains("a third of the receiver's `--memory`"), "{unmovable}");
        }
        other => panic!("{other:?}"),
    }
    source.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_of_another_target_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let (target, other) = (RedisServer::start(), RedisServer::start());
    let receiving = Receiving::start(other.addr(), |_| ()).await;
    match moved(&source, target.addr(), receiving.options(), |_| ()).await {
        Err(Error::Unfit { side: Side::Receiver, what, .. }) => {
            assert!(what.contains(&other.addr().to_string()) && what.contains(&target.addr().to_string()), "{what}");
        }
        other => panic!("{other:?}"),
    }
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_died_is_named_by_its_receiver() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let (target, mut other) = (RedisServer::start(), RedisServer::start());
    let receiving = Receiving::start(other.addr(), |_| ()).await;
    other.kill();
    match moved(&source, target.addr(), receiving.options(), |_| ()).await {
        Err(Error::Connect { side: Side::Target, address, .. }) => {
            assert_eq!(address, format!("{} (behind the receiver at {})", other.addr(), receiving.addr()));
        }
        other => panic!("{other:?}"),
    }
    source.assert_untouched();
}
