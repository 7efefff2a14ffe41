// SPDX-License-Identifier: Apache-2.0
//! Who is not taken, and what it costs.

use std::time::Duration;

use mover::receiver::Receiver;
use mover::{Error, Side};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::moved;
use crate::harness::{Receiving, RedisServer, Source, assert_same, contents, receiver_options, token, until};

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_the_token_moves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let receiving = Receiving::start(target.addr(), |_| ()).await;
    for wrong in [Some(token("another token of theirs")), None] {
        let mut options = receiving.options();
        options.token = wrong;
        match moved(&source, target.addr(), options, |_| ()).await {
            Err(Error::Login { side: Side::Receiver, address, fault }) => {
                assert_eq!(address, receiving.addr().to_string());
                assert!(fault.contains("token"), "{fault}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((receiving.status().senders(), receiving.status().refused()), (0, 2));
    assert_eq!(target.client().number("DBSIZE"), 0);
    source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_silence_harm_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let receiving = Receiving::start(target.addr(), |_| ()).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(receiving.addr()).await.unwrap());
    }
    // A frame that says it is huge, an old version, another protocol, noise.
    let huge = [&b"SLMV\x02\x02\0\0"[..], &[0xff; 36]].concat();
    let old = [&b"SLMV\0\x02\0\0"[..], &[0; 36]].concat();
    let request = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n*1\r\n$8\r\nFLUSHALL\r\n".to_vec();
    let garbage = [huge, old.clone(), request, vec![0xaa; 1 << 20]];
    for bytes in &garbage {
        let mut stranger = TcpStream::connect(receiving.addr()).await.unwrap();
        // It need not read all of it.
        let _ = stranger.write_all(bytes).await;
        let mut said = Vec::new();
        let _ = stranger.read_to_end(&mut said).await;
        assert!(said.len() < 4096);
        let is_told = String::from_utf8_lossy(&said).contains("\"Version\":{\"versions\":[2,2]}");
        assert!(*bytes != old || is_told, "{}", said.escape_ascii());
    }
    until("all of it is refused", || receiving.status().refused() >= garbage.len() as u64).await;
    assert_eq!((receiving.status().senders(), receiving.status().batches()), (0, 0));
    moved(&source, target.addr(), receiving.options(), |_| ()).await.unwrap();
    assert_same(source.contents(), &contents(&mut target.client()));
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens_to_everybody() {
    let target = RedisServer::start();
    let exposed = |token, insecure| {
        let mut options = receiver_options(target.addr());
        options.listen = "0.0.0.0:0".to_owned();
        (options.token, options.insecure) = (token, insecure);
        Receiver::bind(options)
    };
    let some = || Some(token("a token that is long enough"));
    for (token, insecure, part) in
        [(None, false, "--token-file"), (None, true, "--token-file"), (some(), false, "--tls-cert")]
    {
        match exposed(token, insecure).await {
            Err(Error::Unfit { side: Side::Receiver, help, .. }) => assert!(help.contains(part), "{help}"),
            other => panic!("{other:?}"),
        }
    }
    drop(exposed(some(), true).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_told_to_end_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(dir.path()).await;
    let target = RedisServer::start();
    let receiving = Receiving::start(target.addr(), |_| ()).await;
    let options = receiving.options();
    let mut client = target.client();
    let running = moved(&source, target.addr(), options, |options| options.rate = Some("40KiB".parse().unwrap()));
    let ending = async {
        until("the copy begins", || client.number("DBSIZE") > 0).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        receiving.stop().await;
    };
    match tokio::join!(running, ending).0 {
        Err(Error::Lost { side: Side::Receiver, fault, .. }) => assert!(fault.contains("told to end"), "{fault}"),
        other => panic!("{other:?}"),
    }
    source.assert_untouched();
}
