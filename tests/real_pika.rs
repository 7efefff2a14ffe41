// SPDX-License-Identifier: Apache-2.0
//! What only a real Pika does, where PIKA_BIN names one: dumps with a write-ahead log, replicas that apply what we write,
//! logins.

use std::sync::Arc;

use mover::endpoint::{Endpoint, Password};
use mover::job::Report;
use mover::{Error, Job, JobOptions, Side};
use redis::Value as Reply;
use replication::{SlotCount, SlotSet};

use crate::harness::{
    Client, PikaServer, RedisServer, Switchboard, assert_same, contents, copy_tree, endpoint, fixtures, left_behind,
    until,
};

#[tokio::test(flavor = "multi_thread")]
async fn instances_with_a_single_write_move() {
    let Some(program) = PikaServer::program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = PikaServer::start(&program, dir.path()).await;
    // Their dumps hold what was written in a write-ahead log.
    for name in ["one", "two", "four"] {
        source.client().run(&format!("SET {name} value"));
    }
    let target = RedisServer::start();
    let report = move_all(endpoint(Side::Source, source.addr()), endpoint(Side::Target, target.addr())).await.unwrap();
    assert_eq!((report.keys, report.verify.repaired), (3, 0), "{report:?}");
    assert_same(&contents(&mut source.client()), &contents(&mut target.client()));
    assert_eq!(left_behind(dir.path()), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_the_target_holds_the_same() {
    let Some(program) = PikaServer::program() else { return };
    let dir = tempfile::tempdir().unwrap();
    copy_tree(&fixtures().join("dump/20261122"), &dir.path().join("source/db"));
    let source = PikaServer::start(&program, &dir.path().join("source")).await;
    let target = PikaServer::start(&program, &dir.path().join("target")).await;
    let replica = PikaServer::start(&program, &dir.path().join("replica")).await;
    replica.client().run(&format!("SLAVEOF 127.0.0.1 {}", target.addr().port()));
    until("the replica is in step", || follows(&mut replica.client())).await;

    let ends = || (endpoint(Side::Source, source.addr()), endpoint(Side::Target, target.addr()));
    for (from, to) in [(&source, &replica), (&replica, &target)] {
        let refused = move_all(endpoint(Side::Source, from.addr()), endpoint(Side::Target, to.addr())).await;
        let fault = refused.unwrap_err().to_string();
        assert!(fault.contains("slave") && fault.contains(&replica.addr().to_string()), "{fault}");
    }
    let report = move_all(ends().0, ends().1).await.unwrap();
    assert!(report.keys > 500, "{report:?}");
    let (mut one, mut other) = (target.client(), replica.client());
    target.client().run("SET last written");
    until("the replica has it all", || other.run("GET last") == Reply::BulkString(b"written".to_vec())).await;
    target.client().run("DEL last");
    until("the replica has it all", || other.number("EXISTS last") == 0).await;
    assert_same(&contents(&mut source.client()), &contents(&mut one));
    assert_same(&contents(&mut one), &contents(&mut other));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_with_passwords_let_us_in() {
    let Some(program) = PikaServer::program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let settings = [("requirepass", "s3cret"), ("masterauth", "s3cret"), ("userpass", "us3r")];
    let source = PikaServer::with(&program, &dir.path().join("source"), &settings).await;
    let target = PikaServer::with(&program, &dir.path().join("target"), &settings).await;
    let client = |server: &PikaServer| Client::log_in(server.addr(), Some("s3cret"));
    client(&source).run("SET key value");
    let end = |side, server: &PikaServer, password: Option<&str>| {
        let password = password.map(Password::new);
        Endpoint { password, ..endpoint(side, server.addr()) }
    };
    for password in [None, Some("guessed"), Some("us3r")] {
        let refused = move_all(end(Side::Source, &source, password), end(Side::Target, &target, Some("s3cret"))).await;
        assert!(matches!(&refused, Err(Error::Login { side: Side::Source, .. })), "{password:?}: {refused:?}");
        let refused = move_all(end(Side::Source, &source, Some("s3cret")), end(Side::Target, &target, password)).await;
        assert!(matches!(&refused, Err(Error::Login { side: Side::Target, .. })), "{password:?}: {refused:?}");
    }
    let (from, to) = (end(Side::Source, &source, Some("s3cret")), end(Side::Target, &target, Some("s3cret")));
    move_all(from, to).await.unwrap();
    assert_eq!(client(&target).run("GET key"), Reply::BulkString(b"value".to_vec()));
}

async fn move_all(source: Endpoint, target: Endpoint) -> Result<Report, Error> {
    let mut options = JobOptions::new(SlotSet::all(SlotCount::CODIS));
    options.hyperloglog = mover::dialect::HyperLogLogPolicy::Raw;
    options.cutover.group = std::num::NonZeroUsize::MAX;
    options.cutover.max_lock = None;
    Job::new(source, target, options, Arc::new(Switchboard::default())).run().await
}

/// Whether a replica has got the dump of its master and goes on with the log.
fn follows(replica: &mut Client) -> bool {
    match replica.run("INFO replication") {
        Reply::BulkString(text) => String::from_utf8(text).unwrap().contains("master_link_status:up"),
        other => panic!("{other:?}"),
    }
}
