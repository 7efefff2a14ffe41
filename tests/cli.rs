// SPDX-License-Identifier: Apache-2.0
//! The program as an operator or a script meets it.

use std::fs;

use mover::sandbox::node::NodeConfig;
use serde_json::{Value as Json, json};

use crate::harness::{CommandLine, RedisServer, Source, assert_same, contents};

#[test]
fn help_tells_what_each_command_does() {
    let told: [(&[&str], &[&str]); 14] = [
        (
            &["--help"],
            &["oves slots of a live Pika node", "move", "demo", "inspect", "Exit codes: 0 done and verified"],
        ),
        (&["move", "--help"], &["--source <HOST:PORT>", "--slots <SLOTS>", "--routing", "SLOTMOVER_SOURCE_PASSWORD"]),
        (&["move", "--help"], &["--rate <RATE>", "--replace", "--hyperloglog", "--work-dir", "--max-lock", "--json"]),
        (&["move", "--help"], &["--command-rate <N>", "--kind <KIND>", "--limits-file <FILE>", "gentle"]),
        (&["move", "--help"], &["--verify <MODE>", "sample=N", "[default: full]"]),
        (
            &["verify", "--help"],
            &["--slots <SLOTS>", "--mode <MODE>", "--recheck-for <TIME>", "Exit codes: 0 both sides"],
        ),
        (&["move", "--help"], &["--dashboard <URL>", "--product-auth-file", "--source-group", "--target-group"]),
        (&["move", "--help"], &["--hooks <DIR>", "--hook-timeout <TIME>", "before-raise", "--state-dir <DIR>"]),
        (&["move", "--help"], &["--cutover-group", "--cutover-retries", "--postpone-cutover", "[default: 200ms]"]),
        (&["move", "--help"], &["--receiver <HOST:PORT>", "--receiver-ca", "--compression <HOW>", "SLOTMOVER_TOKEN"]),
        (&["receive", "--help"], &["--listen <ADDRESS:PORT>", "--tls-client-ca", "--insecure", "SLOTMOVER_TOKEN"]),
        (&["fence-lower", "--help"], &["clients hang", "--state-dir <DIR>"]),
        (&["demo", "--help"], &["under load", "--keys", "--slots", "--writers", "--seed"]),
        (&["inspect", "--help"], &["Shows what a checkpoint or a binlog holds"]),
    ];
    for (args, parts) in told {
        let outcome = CommandLine::new(args).run();
        outcome.assert_done();
        for part in parts {
            assert!(outcome.stdout.contains(part), "{args:?} does not tell of `{part}`: {}", outcome.stdout);
        }
    }
    let version = CommandLine::new(&["--version"]).run();
    assert_eq!(version.stdout, format!("slotmover {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_arguments_end_with_two() {
    let complete = ["move", "--source", "h:1", "--target", "h:2", "--slots", "1"];
    let together: [&[&str]; 10] = [
        &["--max-lock", "200ms"],
        &["--max-lock", "200", "--yes"],
        &["--max-lock", "0s", "--yes"],
        &["--dashboard", "d:1"],
        &["--hooks", "d"],
        &["--routing", "codis"],
        &["--routing", "hooks"],
        &["--routing", "codis", "--dashboard", "d:1", "--yes"],
        &["--routing", "hooks", "--hooks", "d", "--source-group", "1"],
        &["--routing", "hooks", "--hooks", "d", "--cutover-group", "0"],
    ];
    let together = together.map(|more| [&complete[..], more].concat());
    let wrong: [&[&str]; 19] = [
        &[],
        &["nonsense"],
        &["move"],
        &["move", "--source", "h:1", "--target", "h:2", "--slots", "5-1"],
        &["move", "--source", "h:1", "--target", "h:2", "--slots", ""],
        &["move", "--source", "h:1", "--target", "h:2", "--slots", "1", "--rate", "fast"],
        &["move", "--source", "h:1", "--target", "h:2", "--slots", "1", "--command-rate", "0"],
        &["move", "--source", "h:1", "--target", "h:2", "--slots", "1", "--kind", "cruel"],
        &["move", "--source", "h:1", "--target", "h:2", "--slots", "1", "--lanes", "0"],
        &["move", "--source", "h:1", "--target", "h:2", "--slots", "1", "--hyperloglog", "lose"],
        &["move", "--source", "h:1", "--target", "h:2", "--slots", "1", "--verify", "sample=0"],
        &["verify"],
        &["verify", "--source", "h:1", "--target", "h:2"],
        &["verify", "--source", "h:1", "--target", "h:2", "--slots", "9-3"],
        &["verify", "--source", "h:1", "--target", "h:2", "--slots", "1", "--mode", "off"],
        &["verify", "--source", "h:1", "--target", "h:2", "--slots", "1", "--mode", "sample=0"],
        &["verify", "--source", "h:1", "--target", "h:2", "--slots", "1", "--recheck-for", "5"],
        &["verify", "--source", "h:1", "--target", "h:2", "--slots", "1", "--memory", "1MB"],
        &["demo", "--slots", "0"],
    ];
    for args in wrong.into_iter().chain(together.iter().map(Vec::as_slice)) {
        let outcome = CommandLine::new(args).run();
        assert_eq!(outcome.code, 2, "{args:?}: {outcome:?}");
        assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{outcome:?}");
    }
    for address in ["nowhere", ":6379", "host:", "host:x"] {
        let args = ["move", "--source", address, "--target", "h:2", "--slots", "1", "--yes"];
        let outcome = CommandLine::new(&args).run();
        assert_ne!(outcome.code, 0);
        assert!(outcome.stderr.contains(&format!("`{address}` is no address of the source")), "{}", outcome.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_ends_with_one_json_object() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let command = CommandLine::unattended(source.addr(), target.addr(), "0-511,512-1023");
    let outcome = command.args(&["--routing", "manual", "--yes", "--json"]).run();
    outcome.assert_done();
    assert_eq!(outcome.stdout.lines().count(), 1, "{}", outcome.stdout);
    let report = outcome.json();
    assert_eq!(report["slots"], 1024);
    assert_eq!(report["keys"], source.contents().len());
    assert!(report["bytes"].as_u64().unwrap() > 100_000, "{report}");
    assert!(report["copy_seconds"].as_f64().unwrap() > 0.0, "{report}");
    assert_eq!(report["changes"], 0);
    let keys = source.contents().len();
    let counts = json!({ "before": keys, "created": 0, "deleted": 0, "expired": null, "after": null });
    assert_eq!((&report["counts"], &report["cleaned"]), (&counts, &Json::Null), "its keys stay at the source");
    let fence = &report["fence_ms"];
    assert!(fence["p50"].as_f64().unwrap() <= fence["max"].as_f64().unwrap(), "{report}");
    let verify = &report["verify"];
    assert_eq!((&verify["mismatches"], &verify["extra"]), (&0.into(), &0.into()), "{report}");
    assert!(verify["keys"].as_u64().unwrap() >= source.contents().len() as u64, "{report}");
    assert_same(source.contents(), &contents(&mut target.client()));
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_come_from_the_environment_or_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let config = NodeConfig { password: Some("s1".to_owned()), ..NodeConfig::new(dir.path().join("node")) };
    let source = Source::with(config).await;
    let target = RedisServer::with(&["--requirepass", "t2"]);
    let by_environment = CommandLine::of_move(source.addr(), target.addr(), "0-1023")
        .env("SLOTMOVER_SOURCE_PASSWORD", "s1")
        .env("SLOTMOVER_TARGET_PASSWORD", "t2");
    by_environment.run().assert_done();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let (ours, theirs) = (file("source", "s1\n"), file("target", "t2\r\n"));
    // A file counts before the environment.
    let by_file = CommandLine::of_move(source.addr(), target.addr(), "0-1023")
        .args(&["--source-password-file", &ours, "--target-password-file", &theirs, "--replace"])
        .env("SLOTMOVER_SOURCE_PASSWORD", "wrong");
    by_file.run().assert_done();
    let missing = dir.path().join("missing").into_os_string().into_string().unwrap();
    let outcome = CommandLine::of_move(source.addr(), target.addr(), "1").args(&["--source-password-file", &missing]);
    let outcome = outcome.run();
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains(&format!("cannot read the password file {missing}")), "{}", outcome.stderr);
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_asked_twice() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let (from, to) = (source.addr().to_string(), RedisServer::start());
    let answered = |answers| {
        let command = CommandLine::unattended(source.addr(), to.addr(), "0-1023").args(&["--replace"]);
        command.stdin(answers).run()
    };
    let no = answered("no\n");
    no.assert_failed(&["the operator answered `no`, nothing was switched"]);
    no.take_back();
    let silent = answered("");
    silent.assert_failed(&["nobody answered", "nothing was switched", "--yes"]);
    silent.take_back();
    let stopped_late = answered("\nno\n");
    stopped_late.assert_failed(&["the operator answered `no`"]);
    stopped_late.take_back();
    assert!(stopped_late.stderr.contains(&format!("go on at {from}")), "{}", stopped_late.stderr);
    let done = answered("\nyes\n");
    done.assert_done();
    let (stop, send) = (format!("sent to {from}"), format!("Send the clients of slots 0-1023 to {}", to.addr()));
    assert!(done.stderr.find(&stop).unwrap() < done.stderr.find(&send).unwrap(), "{}", done.stderr);
    assert!(done.stdout.contains("0 differ, 0 only at the target"), "{}", done.stdout);
    assert_same(source.contents(), &contents(&mut to.client()));
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_the_way_are_replaced_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    // A key of another slot stays.
    target.client().run("SET foo theirs");
    target.client().run("SADD string:1 theirs");
    CommandLine::of_move(source.addr(), target.addr(), "0-288,290-1023").args(&["--replace"]).run().assert_done();
    let mut arrived = contents(&mut target.client());
    assert!(arrived.remove(&b"foo"[..]).is_some());
    let is_left_out = |key: &[u8]| replication::SlotCount::CODIS.slot_of(key) == replication::Slot::new(289);
    let moved = source.contents().iter().filter(|(key, _)| !is_left_out(key));
    assert_same(&moved.map(|(key, entry)| (key.clone(), entry.clone())).collect(), &arrived);
    source.assert_untouched();
}

#[test]
fn the_demo_is_clean_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let args = ["demo", "--keys", "3000", "--slots", "4", "--seconds", "1", "--dir", place];
    let outcome = CommandLine::new(&args).run();
    outcome.assert_done();
    assert!(outcome.stdout.contains("\nSUCCESS: "), "{}", outcome.stdout);
    let report = CommandLine::new(&[&args[..], &["--json"]].concat()).run().json();
    assert_eq!((&report["slots"], &report["client"]["wrong_values"]), (&4.into(), &0.into()), "{report}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "it leaves nothing behind");
}
