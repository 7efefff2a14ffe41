// SPDX-License-Identifier: Apache-2.0
//! Strangers who would take the program's memory, or the turns of those who may send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::program::Program;
use crate::harness::{CommandLine, RedisServer, Source, assert_same, contents};

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_neither_memory_nor_turns() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::start(&dir.path().join("source")).await;
    let target = RedisServer::start();
    let mut program = Program::start(dir.path(), &target).await;
    let before = program.process.resident_max();

    // Far more than are greeted at a time; half of them say just enough to be waited for.
    let mut silent = Vec::new();
    for number in 0..SILENT {
        let mut stranger = TcpStream::connect(program.addr).await.unwrap();
        // One that is turned away already may not take it.
        let _ = stranger.write_all(&b"SLMV"[..number % 2 * 4]).await;
        silent.push(stranger);
    }
    for kind in 0..=8 {
        for length in [0, 1, 4 << 10, 1 << 20, u32::MAX] {
            shout(program.addr, &header(kind, length)).await;
        }
    }
    let grown = program.process.resident_max() - before;
    assert!(grown < STRANGERS_MAX, "strangers cost {grown} bytes");
    assert_eq!(target.client().number("DBSIZE"), 0);

    // And one of ours comes through while they all hold on.
    let (receiver, file) = (program.addr.to_string(), program.token_file());
    let command = CommandLine::of_move(source.addr(), target.addr(), "0-1023");
    command.args(&["--receiver", &receiver, "--token-file", &file]).run().assert_done();
    assert_same(source.contents(), &contents(&mut target.client()));
    program.process.assert_running();
    drop(silent);
}

/// A header with good checksums that announces `length` bytes in every way there is.
fn header(kind: u8, length: u32) -> Vec<u8> {
    let mut header = [&b"SLMV\x02"[..], &[kind, kind & 1, 0]].concat();
    header.extend_from_slice(&[0; 16]);
    for number in [length, length, length, 0] {
        header.extend_from_slice(&number.to_le_bytes());
    }
    let checksum = crc32fast::hash(&header);
    header.extend_from_slice(&checksum.to_le_bytes());
    header
}

/// Says this and then noise, until nobody listens.
async fn shout(addr: SocketAddr, head: &[u8]) {
    let mut stranger = TcpStream::connect(addr).await.unwrap();
    let noise = vec![0xaa; NOISE];
    for bytes in [head, &noise] {
        if stranger.write_all(bytes).await.is_err() {
            return;
        }
    }
    // Its end, or that it cut us off.
    let _ = stranger.shutdown().await;
    let _ = stranger.read_to_end(&mut Vec::new()).await;
}

const SILENT: usize = 300;
const NOISE: usize = 1 << 20;

/// What all strangers together may cost: a few buffers for each that is greeted.
const STRANGERS_MAX: u64 = 32 << 20;
