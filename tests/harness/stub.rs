// SPDX-License-Identifier: Apache-2.0
//! A server that says what it is told to, for what no real server at hand would say.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// A stub on a free loopback port. Its threads end with the test process.
pub(crate) struct Stub {
    addr: SocketAddr,
}

impl Stub {
    /// Answers every INFO with `info`, lets everybody in as `default`, knows RAFT.CLUSTER where `info` tells of raft, and
    /// answers everything else with `OK`.
    pub(crate) fn with_info(info: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let info: Arc<str> = info.into();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let info = Arc::clone(&info);
                std::thread::spawn(move || serve(&stream.unwrap(), &info));
            }
        });
        Self { addr }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Until the client hangs up, in whichever way.
fn serve(stream: &TcpStream, info: &str) -> Option<()> {
    let mut input = BufReader::new(stream);
    let mut output = stream;
    loop {
        let command = command(&mut input)?;
        match &*command[0].to_ascii_lowercase() {
            "info" => write!(output, "${}\r\n{info}\r\n", info.len()).ok()?,
            "raft.cluster" if !info.contains("raft") => {
                write!(output, "-ERR unknown command \"raft.cluster\"\r\n").ok()?;
            }
            "acl" => write!(output, "$7\r\ndefault\r\n").ok()?,
            _ => write!(output, "+OK\r\n").ok()?,
        }
    }
}

fn command(input: &mut impl BufRead) -> Option<Vec<String>> {
    let count = number(input)?;
    let mut args = Vec::with_capacity(count);
    for _ in 0..count {
        let mut arg = vec![0; number(input)? + 2];
        input.read_exact(&mut arg).ok()?;
        arg.truncate(arg.len() - 2);
        args.push(String::from_utf8_lossy(&arg).into_owned());
    }
    Some(args)
}

/// What stands behind the sigil of a line.
fn number(input: &mut impl BufRead) -> Option<usize> {
    let mut line = String::new();
    input.read_line(&mut line).ok()?;
    line.get(1..)?.trim_end().parse().ok()
}
