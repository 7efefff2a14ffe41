// SPDX-License-Identifier: Apache-2.0
//! A move that cannot go well is refused before anything is done: with the reason, and with the source as it was.

use std::fs;
use std::net::SocketAddr;

use mover::sandbox::node::NodeConfig;

use crate::harness::{CommandLine, RedisServer, Source, Stub, contents, free_addr};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named_with_its_side() {
    let dir = tempfile::tempdir().unwrap();
    let config = NodeConfig { password: Some("secret".to_owned()), ..NodeConfig::new(dir.path()) };
    let source = Source::with(config).await;
    let target = RedisServer::with(&["--requirepass", "hidden"]);
    let tried = [
        // A Pika without a userpass lets everybody in, as a user with fewer rights.
        (Some("wrong-one"), Some("hidden"), "source", source.addr()),
        (None, Some("hidden"), "source", source.addr()),
        (Some("secret"), None, "target", target.addr()),
        (Some("secret"), Some("wrong-one"), "target", target.addr()),
    ];
    for (ours, theirs, side, addr) in tried {
        let mut command = CommandLine::of_move(source.addr(), target.addr(), "0-1023");
        let passwords = [("SLOTMOVER_SOURCE_PASSWORD", ours), ("SLOTMOVER_TARGET_PASSWORD", theirs)];
        for (name, password) in passwords {
            command = command.env(name, password.unwrap_or_default());
        }
        let outcome = command.run();
        outcome.assert_failed(&[side, &addr.to_string(), "check the password"]);
        assert!(!outcome.stderr.contains("wrong-one"), "a password does not belong in a message: {}", outcome.stderr);
    }
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_not_there_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let nowhere = free_addr();
    let outcome = CommandLine::of_move(source.addr(), nowhere, "1").run();
    outcome.assert_failed(&["no connection to the target", &nowhere.to_string()]);
    let outcome = CommandLine::of_move(nowhere, source.addr(), "1").run();
    outcome.assert_failed(&["no connection to the source", &nowhere.to_string()]);
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_are_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let refused = |target: SocketAddr, parts: &[&str]| {
        let outcome = CommandLine::of_move(source.addr(), target, "0-1023").run();
        outcome.assert_failed(&[&["the target", &*target.to_string()], parts].concat());
    };
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &free_addr().port().to_string()]);
    refused(replica.addr(), &["its role is slave, not master"]);
    let old = Stub::with_info("# Server\r\nredis_version:5.0.14\r\nrole:master\r\n");
    refused(old.addr(), &["Redis 5.0.14", "use a Redis 6 or newer"]);
    let other_pika = Stub::with_info("# Server\r\npika_version:3.5.6\r\nrole:master\r\n");
    refused(other_pika.addr(), &["Pika 3.5.6"]);
    let evicting = RedisServer::with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    refused(evicting.addr(), &["allkeys-lru", "CONFIG SET maxmemory-policy noeviction"]);
    let neither = Stub::with_info("# Server\r\nname:other\r\n");
    refused(neither.addr(), &["use a Redis 6 or newer or a Pika 4.0"]);
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_holds_keys_of_the_slots_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    target.client().run("SET foo theirs");
    let outcome = CommandLine::of_move(source.addr(), target.addr(), "0-1023").run();
    outcome.assert_failed(&["the target", &target.addr().to_string(), "already holds keys", "`foo`", "--replace"]);
    assert_eq!(contents(&mut target.client()).len(), 1, "nothing was written there");
    source.assert_untouched();
}

/// With `--replace` the keys of the slots are deleted first: here that would be all that there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_not_its_own_target_by_any_name() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    for host in ["127.0.0.1", "localhost", "127.1"] {
        let (from, to) = (source.addr().to_string(), format!("{host}:{}", source.addr().port()));
        let args = ["move", "--source", &from, "--target", &to, "--slots", "0-1023", "--yes", "--replace"];
        CommandLine::new(&args).run().assert_failed(&["the target", &to, "it is the source"]);
        source.assert_untouched();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_are_not_fit_are_refused() {
    let target = RedisServer::start();
    let refused = |source: SocketAddr, parts: &[&str]| {
        let outcome = CommandLine::of_move(source, target.addr(), "1").run();
        outcome.assert_failed(&[&["the source", &*source.to_string()], parts].concat());
    };
    let redis = RedisServer::start();
    refused(redis.addr(), &["it is no Pika"]);
    let replica = Stub::with_info("# Server\r\npika_version:4.0.0\r\nrole:slave\r\n");
    refused(replica.addr(), &["its role is slave, not master", "the log runs ahead of the data"]);
    let older = Stub::with_info("# Server\r\npika_version:3.5.6\r\nrole:master\r\n");
    refused(older.addr(), &["3.5.6", "another layout"]);
    let newer = Stub::with_info("# Server\r\npika_version:5.0.0\r\nrole:master\r\n");
    refused(newer.addr(), &["5.0.0 is not known"]);
    let raft = Stub::with_info("# Server\r\npika_version:4.0.2\r\nrole:master\r\nraft_group_id:1\r\n");
    refused(raft.addr(), &["RAFT.CLUSTER", "use a build without Raft"]);
    let nonsense = Stub::with_info("# Server\r\npika_version:4.0.0\r\nrole:master\r\n");
    refused(nonsense.addr(), &["CONFIG GET"]);
    assert_eq!(target.client().number("DBSIZE"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_do_not_agree_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let refused = |slots: &str, more: &[&str], parts: &[&str]| {
        let outcome = CommandLine::of_move(source.addr(), target.addr(), slots).args(more).run();
        outcome.assert_failed(&[&["the source", &*source.addr().to_string()], parts].concat());
    };
    refused("1", &["--slot-count", "512"], &["it has 1024 slots, not 512"]);
    refused("1,1024", &[], &["none of the number 1024"]);
    refused("1", &["--database", "1"], &["DB index"]);
    source.assert_untouched();
    source.client().run("CONFIG SET write-binlog no");
    refused("1", &[], &["write-binlog is off", "CONFIG SET write-binlog yes"]);
    source.client().run("CONFIG SET write-binlog yes");
    source.assert_untouched();
    assert_eq!(target.client().number("DBSIZE"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_directories_that_cannot_be_used_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(&dir.path().join("node")).await;
    let target = RedisServer::start();
    let move_in = |work_dir: &std::path::Path| {
        let more = ["--work-dir", work_dir.to_str().unwrap()];
        CommandLine::of_move(source.addr(), target.addr(), "1").args(&more).run()
    };
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let outcome = move_in(&file);
    outcome.assert_failed(&["cannot create", file.to_str().unwrap()]);
    outcome.take_back();
    // Even the administrator cannot write there.
    let kernel = std::path::Path::new("/proc/sys");
    let outcome = move_in(kernel);
    outcome.assert_failed(&["cannot create /proc/sys/slotmover-"]);
    outcome.take_back();
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn hyperloglogs_are_refused_on_a_redis_unless_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    source.client().run("PFADD visitors a b c");
    let before = contents(&mut source.client());
    let target = RedisServer::start();
    let outcome = CommandLine::of_move(source.addr(), target.addr(), "0-1023").run();
    outcome.assert_failed(&["hyperloglog `visitors`", "--hyperloglog raw"]);
    outcome.take_back();
    source.assert_tidy();
    crate::harness::assert_same(&before, &contents(&mut source.client()));
}
