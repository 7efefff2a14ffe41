// SPDX-License-Identifier: Apache-2.0
//! Commands under other names, and entries of the log that say nothing to us.

use std::path::Path;

use replication::Command;
use replication::binlog::{UnixSeconds, Writer};

use crate::harness::{
    CommandLine, NodeProcess, Outcome, PikaServer, RedisServer, Source, assert_same, contents, until,
};

/// A renamed FLUSHDB leaves such an entry: what was copied before must be gone, also where nothing is compared.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_names_no_key_costs_a_new_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = NodeProcess::start(dir.path());
    let mut client = source.client();
    let value = "v".repeat(1000);
    (0..200).for_each(|number| drop(client.run(&format!("SET key:{number} {value}"))));
    let target = RedisServer::start();
    let more = ["--rate", "40KiB", "--retry-for", "30s", "--verify", "off", "--json"];
    let running = CommandLine::of_move(source.addr(), target.addr(), "0-1023").args(&more).start();
    until("the copy begins", || target.client().number("DBSIZE") > 0).await;
    client.run("CONFIG SET write-binlog no");
    client.run("FLUSHDB");
    source.kill();
    append(&dir.path().join("log/log_db0"), "360flushdb");
    source.restart();
    client = source.client();
    client.run("SET after flush");
    let outcome = running.join().unwrap();
    outcome.assert_done();
    assert!(outcome.stderr.contains("a new checkpoint is taken"), "{}", outcome.stderr);
    let left = contents(&mut client);
    assert_eq!(left.len(), 1);
    assert_same(&left, &contents(&mut target.client()));
    let report = outcome.json();
    // The numbers of keys begin with the new checkpoint, which has the new key or not.
    let counts = |name: &str| report["counts"][name].as_u64();
    let sum = counts("before").zip(counts("created")).map(|(before, created)| before + created);
    assert_eq!((sum, counts("deleted")), (Some(1), Some(0)), "{report}");
    assert_eq!(report["unknown_commands"], 1);
    assert_eq!((&report["unknown"][0]["name"], &report["unknown"][0]["count"]), (&"360flushdb".into(), &1.into()));
    assert!(report["source"].as_str().unwrap().starts_with("Pika 4.0.0"), "{report}");
}

/// A Redis whose administrator has renamed what a move sends and asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_may_know_its_commands_by_other_names() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let renamed = [("HMSET", "hm"), ("SCAN", "sc"), ("PTTL", "pt"), ("INFO", "in"), ("UNLINK", "ul"), ("MGET", "mg")];
    let server: Vec<&str> = renamed.iter().flat_map(|(name, new)| ["--rename-command", *name, *new]).collect();
    let target = RedisServer::with(&server);
    let refused = CommandLine::of_move(source.addr(), target.addr(), "0-1023").run();
    refused.assert_failed(&[
        "the target",
        &target.addr().to_string(),
        "it does not know INFO",
        "--target-rename INFO=",
    ]);
    let ours: Vec<String> =
        renamed.iter().flat_map(|(name, new)| ["--target-rename".to_owned(), format!("{name}={new}")]).collect();
    let ours: Vec<&str> = ours.iter().map(String::as_str).collect();
    let refused = CommandLine::of_move(source.addr(), target.addr(), "0-1023").args(&ours[..ours.len() - 2]).run();
    refused.assert_failed(&["the target", "it does not know MGET", "--target-rename MGET="]);
    source.assert_untouched();
    let outcome = CommandLine::of_move(source.addr(), target.addr(), "0-1023").args(&ours).args(&["--json"]).run();
    outcome.assert_done();
    let report = outcome.json();
    assert_eq!((&report["verify"]["mismatches"], &report["verify"]["repaired"]), (&0.into(), &0.into()), "{report}");
    assert_eq!(report["verify"]["keys"], source.contents().len());
    source.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn renames_that_leave_a_meaning_open_are_wrong_arguments() {
    let addr = "127.0.0.1:1".parse().unwrap();
    for (rename, reason) in [("DEL", "NAME=NEWNAME"), ("DEL=SET", "another command"), ("A=x,A=y", "two renames")] {
        let args: Vec<&str> = rename.split(',').flat_map(|rename| ["--rename", rename]).collect();
        let outcome = CommandLine::of_move(addr, addr, "1").args(&args).run();
        assert_eq!(outcome.code, 2, "{rename}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(reason), "{rename}: {}", outcome.stderr);
    }
}

/// Where PIKA_BIN names a real Pika: without `--rename` its flush costs a new checkpoint, with it it is followed.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_pika_may_know_its_commands_by_other_names() {
    let Some(program) = PikaServer::program() else { return };
    for is_told in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let settings = [
            ("rename-command", "FLUSHDB 360flushdb"),
            ("rename-command", "CONFIG cfg"),
            ("rename-command", "BGSAVE save-it"),
            ("rename-command", "HMSET hm"),
        ];
        let source = PikaServer::with(&program, &dir.path().join("source"), &settings).await;
        let target = PikaServer::with(&program, &dir.path().join("target"), &settings).await;
        let value = "v".repeat(1000);
        (0..200).for_each(|number| drop(source.client().run(&format!("SET key:{number} {value}"))));
        let refused = CommandLine::of_move(source.addr(), target.addr(), "0-1023").run();
        refused.assert_failed(&["the source", "it does not know BGSAVE", "--rename BGSAVE=NEWNAME"]);
        let mut args = ["CONFIG=cfg", "BGSAVE=save-it", "HMSET=hm"].map(str::to_owned).to_vec();
        args.extend(is_told.then(|| "FLUSHDB=360flushdb".to_owned()));
        let args: Vec<&str> = args.iter().flat_map(|rename| ["--rename", rename]).collect();
        let outcome = flushed_move(&source, &target, &args).await;
        assert_eq!(outcome.stderr.contains("a new checkpoint is taken"), !is_told, "{}", outcome.stderr);
        assert_eq!(outcome.json()["unknown_commands"], u64::from(!is_told));
        let left = contents(&mut source.client());
        assert_eq!(left.len(), 2);
        assert_same(&left, &contents(&mut target.client()));
    }
}

/// A move in the middle of which the source is emptied under the other name of FLUSHDB.
async fn flushed_move(source: &PikaServer, target: &PikaServer, args: &[&str]) -> Outcome {
    let more = ["--rate", "40KiB", "--verify", "off", "--json"];
    let running = CommandLine::of_move(source.addr(), target.addr(), "0-1023").args(args).args(&more).start();
    let keys: Vec<String> = (0..200).map(|number| format!("key:{number}")).collect();
    let any = format!("EXISTS {}", keys.join(" "));
    until("the copy begins", || target.client().number(&any) > 0).await;
    source.client().run("360flushdb");
    source.client().run("hm hash field value");
    source.client().run("SET after flush");
    let outcome = running.join().unwrap();
    outcome.assert_done();
    outcome
}

/// Writes an entry at the end of a log whose server is not running.
fn append(log: &Path, command: &str) {
    let mut writer = Writer::open(log, 100 << 20).unwrap();
    writer.append(&Command::new(command.split(' ').map(str::to_owned)), UnixSeconds::now()).unwrap();
    writer.close().unwrap();
}
