// SPDX-License-Identifier: Apache-2.0
//! Servers that die, are emptied or have no more room in the middle of a move.

use crate::harness::{
    Client, CommandLine, Outcome, RedisServer, Source, assert_same, contents, left_behind, restart, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_dies_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let mut target = RedisServer::start();
    let running = slow_move(&source, &target).await;
    target.kill();
    let outcome = running.join().unwrap();
    outcome.assert_failed(&["the target", &target.addr().to_string()]);
    outcome.cancel(&[]).assert_failed(&["the target"]);
    outcome.cancel(&["--leave-target"]).assert_done();
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_room_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::with(&["--maxmemory", "100kb", "--maxmemory-policy", "noeviction"]);
    let outcome = CommandLine::of_move(source.addr(), target.addr(), "0-1023").run();
    outcome.assert_failed(&["the target", &target.addr().to_string(), "maxmemory"]);
    outcome.cancel(&[]).assert_done();
    source.assert_untouched();
    assert_eq!(target.client().number("DBSIZE"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_turns_into_a_replica_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let running = slow_move(&source, &target).await;
    target.client().run("REPLICAOF 127.0.0.1 1");
    let outcome = running.join().unwrap();
    outcome.assert_failed(&["the target", &target.addr().to_string(), "READONLY"]);
    target.client().run("REPLICAOF NO ONE");
    outcome.cancel(&[]).assert_done();
    source.assert_untouched();
    assert_eq!(target.client().number("DBSIZE"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_dies_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let (addr, before) = (source.addr().to_string(), source.contents().clone());
    let target = RedisServer::start();
    let running = slow_move(&source, &target).await;
    drop(source);
    let outcome = running.join().unwrap();
    outcome.assert_failed(&["the source", &addr]);
    outcome.cancel(&[]).assert_failed(&["the source", &addr]);
    assert_eq!(left_behind(dir.path()), [""; 0].map(std::path::PathBuf::from));
    let again = restart(dir.path()).await;
    assert_same(&before, &contents(&mut Client::connect(again.addr())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_of_the_source_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let running = slow_move(&source, &target).await;
    source.client().run("FLUSHDB");
    source.client().run("SET after flush");
    let outcome = running.join().unwrap();
    outcome.assert_done();
    let left = contents(&mut source.client());
    assert_eq!(left.len(), 1);
    assert_same(&left, &contents(&mut target.client()));
    source.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_the_target_that_lags_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let port = target.addr().port().to_string();
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &port, "--enable-debug-command", "local"]);
    let mut client = target.client();
    let info = |client: &mut Client| match client.run("INFO replication") {
        redis::Value::BulkString(text) => String::from_utf8(text).unwrap(),
        other => panic!("{other:?}"),
    };
    until("the replica follows", || info(&mut client).contains("state=online")).await;
    // It answers nobody for longer than the copy takes.
    let mut sleeper = replica.client();
    let sleeping = std::thread::spawn(move || sleeper.run("DEBUG SLEEP 6"));
    let outcome = CommandLine::of_move(source.addr(), target.addr(), "0-1023").args(&["--json"]).run();
    outcome.assert_done();
    assert!(sleeping.is_finished(), "the slots were switched while the replica slept");
    sleeping.join().unwrap();
    assert_same(source.contents(), &contents(&mut replica.client()));
    source.assert_untouched();
}

/// A move that has begun to copy and has seconds left to do so.
async fn slow_move(source: &Source, target: &RedisServer) -> std::thread::JoinHandle<Outcome> {
    let command =
        CommandLine::of_move(source.addr(), target.addr(), "0-1023").args(&["--rate", "40KiB", "--retry-for", "0s"]);
    let running = command.start();
    let mut client = target.client();
    until("the copy begins", || client.number("DBSIZE") > 0).await;
    running
}
