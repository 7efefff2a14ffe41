// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use replication::{Command, CommandError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A server without data that answers GET with its own address, and can keep the answer for a key back.
#[derive(Debug)]
pub(super) struct Witness {
    addr: SocketAddr,
    keys: watch::Sender<Keys>,
    /// Ends with the witness.
    _accepting: JoinSet<()>,
}

#[derive(Default, Debug)]
struct Keys {
    held: BTreeSet<Bytes>,
    arrived: BTreeSet<Bytes>,
}

impl Witness {
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let keys = watch::Sender::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, addr, keys.clone()));
        Ok(Self { addr, keys, _accepting: accepting })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on a request for this key is not answered. Returns what releases it, which may be done at any time.
    pub(super) fn hold(&self, key: &Bytes) -> impl FnOnce() + Send + 'static {
        self.keys.send_modify(|keys| {
            keys.held.insert(key.clone());
        });
        let (held, key) = (self.keys.clone(), key.clone());
        move || {
            held.send_modify(|keys| {
                keys.held.remove(&key);
            });
        }
    }

    /// Waits until a request for this key is here.
    pub(super) async fn arrived(&self, key: &Bytes) {
        // The sender is ours, so there is always one.
        let _ = self.keys.subscribe().wait_for(|keys| keys.arrived.contains(key)).await;
    }
}

async fn accept(listener: TcpListener, name: SocketAddr, keys: watch::Sender<Keys>) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(sessions.spawn(serve(stream, name, keys.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "a witness cannot accept a connection");
                    tokio::task::yield_now().await;
                }
            },
            Some(ended) = sessions.join_next() => {
                if let Ok(Err(error)) = ended {
                    tracing::debug!(%error, "a witness lost a connection");
                }
            }
        }
    }
}

/// Answers one connection, in the order of the requests: an answer that is kept back keeps those behind it back.
async fn serve(mut stream: TcpStream, name: SocketAddr, keys: watch::Sender<Keys>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let name = name.to_string();
    let mut buffer = BytesMut::new();
    while stream.read_buf(&mut buffer).await? > 0 {
        loop {
            let input = buffer.clone().freeze();
            let (command, length) = match Command::parse(&input) {
                Ok(parsed) => parsed,
                Err(CommandError::Incomplete) => break,
                Err(error) => return Err(io::Error::other(error)),
            };
            let _ = buffer.split_to(length);
            if let Some(key) = command.key() {
                keys.send_modify(|keys| {
                    keys.arrived.insert(key.clone());
                });
                // It fails only without a sender, and we have one.
                let _ = keys.subscribe().wait_for(|keys| !keys.held.contains(key)).await;
            }
            let answer = match command.name().to_ascii_uppercase().as_slice() {
                b"GET" => bulk(&name),
                b"INFO" => bulk(INFO),
                // For proxies that log in, choose a database or look whether it is alive.
                _ => "+OK\r\n".to_owned(),
            };
            stream.write_all(answer.as_bytes()).await?;
        }
    }
    Ok(())
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// Enough for a dashboard to take it for a node that is well.
const INFO: &str = "redis_version:7.0.0\r\nrole:master\r\n";
