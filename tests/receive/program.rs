// SPDX-License-Identifier: Apache-2.0
//! `slotmover receive` and `slotmover move --receiver`, as an operator has them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::harness::{CommandLine, Process, RedisServer, Source, TOKEN, assert_same, contents, free_addr, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_move_goes_through_the_program_and_both_say_how_much() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(&dir.path().join("source")).await;
    let target = RedisServer::start();
    let mut program = Program::start(dir.path(), &target).await;
    let (receiver, file) = (program.addr.to_string(), program.token_file());
    let command = CommandLine::of_move(source.addr(), target.addr(), "0-1023");
    let outcome = command.args(&["--receiver", &receiver, "--token-file", &file, "--json"]).run();
    outcome.assert_done();
    assert_same(source.contents(), &contents(&mut target.client()));
    program.process.signal("-TERM");
    let log = program.end().await;
    let (wire, raw) = (&outcome.json()["wire_bytes"], &outcome.json()["raw_bytes"]);
    for part in
        [format!("{wire} bytes ("), format!("{raw} bytes ("), "5 connections were welcome, 0 were refused".to_owned()]
    {
        assert!(log.contains(&part), "{part}: {log}");
    }
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_killed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(&dir.path().join("source")).await;
    let target = RedisServer::start();
    let mut program = Program::start(dir.path(), &target).await;
    let (receiver, file) = (program.addr.to_string(), program.token_file());
    let command =
        CommandLine::of_move(source.addr(), target.addr(), "0-1023").env("SLOTMOVER_TOKEN", "not this one, the file's");
    let args = [
        "--receiver",
        &receiver,
        "--token-file",
        &file,
        "--rate",
        "40KiB",
        "--compression",
        "off",
        "--retry-for",
        "0s",
    ];
    let running = command.args(&args).start();
    let mut client = target.client();
    until("the copy begins", || client.number("DBSIZE") > 0).await;
    program.process.kill();
    let outcome = running.join().unwrap();
    outcome.assert_failed(&["to the receiver", &receiver]);
    outcome.take_back();
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_there_yet_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (log, missing) = (dir.path().join("log"), free_addr().to_string());
    let args = ["receive", "--listen", "127.0.0.1:0", "--target", &missing].map(str::to_owned);
    let mut process = Process::start(Path::new(env!("CARGO_BIN_EXE_slotmover")), &log, &args);
    until("it says so", || fs::read_to_string(&log).unwrap().contains("; trying again in 1s")).await;
    process.signal("-TERM");
    assert_eq!(process.end().await, Some(0));
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains(&format!("no connection to the target at {missing}")), "{said}");
    assert!(!said.contains("receiving on"), "{said}");
}

#[test]
fn what_cannot_be_received_is_refused() {
    let target = RedisServer::start();
    let addr = target.addr().to_string();
    let all = ["receive", "--listen", "0.0.0.0:0", "--target", &addr];
    let of = |more: &[&str]| CommandLine::new(&[&all[..], more].concat());
    of(&[]).run().assert_failed(&["the receiver at 0.0.0.0:0", "--token-file"]);
    of(&[]).env("SLOTMOVER_TOKEN", TOKEN).run().assert_failed(&["in the clear", "--tls-cert", "--insecure"]);
    let short = of(&["--insecure"]).env("SLOTMOVER_TOKEN", "short").run();
    assert!(short.code == 1 && short.stderr.contains("16 bytes or more"), "{short:?}");
    for wrong in [&["--tls-cert", "a"][..], &["--tls-key", "a"], &["--memory", "1MB"], &["--rate", "none"]] {
        assert_eq!(of(wrong).run().code, 2, "{wrong:?}");
    }
    let alone = ["move", "--source", "h:1", "--target", "h:2", "--slots", "1", "--token-file", "t"];
    assert_eq!(CommandLine::new(&alone).run().code, 2);
}

/// A running `slotmover receive`.
pub(super) struct Program {
    pub(super) process: Process,
    pub(super) addr: SocketAddr,
    log: PathBuf,
    token: PathBuf,
}

impl Program {
    pub(super) async fn start(dir: &Path, target: &RedisServer) -> Self {
        let (log, token) = (dir.join("log"), dir.join("token"));
        fs::write(&token, format!("{TOKEN}\n")).unwrap();
        let (file, target) = (token.to_str().unwrap(), target.addr().to_string());
        let args = ["receive", "--listen", "127.0.0.1:0", "--target", &target, "--token-file", file].map(str::to_owned);
        let mut process = Process::start(Path::new(env!("CARGO_BIN_EXE_slotmover")), &log, &args);
        let end = format!(" for the Redis at {target}\n");
        let head = |text: &str| text.split_once("receiving on ")?.1.split_once(&end)?.0.parse().ok();
        let mut addr = None;
        until("it listens", || {
            process.assert_running();
            addr = head(&fs::read_to_string(&log).unwrap());
            addr.is_some()
        })
        .await;
        Self { process, addr: addr.unwrap(), log, token }
    }

    pub(super) fn token_file(&self) -> String {
        self.token.to_str().unwrap().to_owned()
    }

    /// Waits for its end, which must be a good one, and gives all that it said.
    async fn end(&mut self) -> String {
        assert_eq!(self.process.end().await, Some(0));
        fs::read_to_string(&self.log).unwrap()
    }
}
