// SPDX-License-Identifier: Apache-2.0
//! A receiver within the test, and a way to it on which bytes change.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mover::receiver::{Receiver, ReceiverOptions, Status};
use mover::sink::ReceiverOptions as SenderOptions;
use mover::wire::{Compression, Token};
use mover::{ByteSize, Side};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{HANG, endpoint};

pub(crate) struct Receiving {
    addr: SocketAddr,
    status: Arc<Status>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Receiving {
    /// One that writes to `target` and knows the usual token.
    pub(crate) async fn start(target: SocketAddr, change: impl FnOnce(&mut ReceiverOptions)) -> Self {
        let mut options = receiver_options(target);
        change(&mut options);
        let receiver = Receiver::bind(options).await.unwrap();
        receiver.wait_for_target(|error, _| panic!("{error}")).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let (addr, status) = (receiver.addr(), receiver.status());
        // It also ends when nobody is left to stop it.
        let running = tokio::spawn(receiver.run(async { drop(stopped.await) }));
        Self { addr, status, stop, running }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    /// What a sender is told to send through it.
    pub(crate) fn options(&self) -> SenderOptions {
        sender_options(self.addr)
    }

    /// Tells it to end, and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(HANG, self.running).await.unwrap().unwrap();
    }
}

/// What a receiver is told that writes to `target`.
pub(crate) fn receiver_options(target: SocketAddr) -> ReceiverOptions {
    ReceiverOptions {
        listen: "127.0.0.1:0".to_owned(),
        target: endpoint(Side::Target, target),
        token: Some(token(TOKEN)),
        tls: None,
        insecure: false,
        memory: ByteSize::mb(64),
        limit: mover::flow::Limit::new(mover::flow::Speed::default()),
    }
}

pub(crate) fn sender_options(addr: SocketAddr) -> SenderOptions {
    SenderOptions {
        endpoint: endpoint(Side::Receiver, addr),
        token: Some(token(TOKEN)),
        tls: None,
        compression: Compression::Auto,
    }
}

pub(crate) fn token(text: &str) -> Token {
    Token::new(text).unwrap()
}

/// The token of all tests.
pub(crate) const TOKEN: &str = "the token of these tests";

/// A way to a server on which one byte is changed, in the first connection that comes so far.
pub(crate) struct Bender {
    addr: SocketAddr,
    bent: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

impl Bender {
    /// The byte at `position` of what a client sends.
    pub(crate) async fn before(server: SocketAddr, position: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (addr, bent) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let accepting = tokio::spawn(accept(listener, server, position, Arc::clone(&bent)));
        Self { addr, bent, accepting }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Whether it has changed a byte.
    pub(crate) fn has_bent(&self) -> bool {
        self.bent.load(Ordering::SeqCst)
    }
}

impl Drop for Bender {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, position: usize, bent: Arc<AtomicBool>) {
    while let Ok((client, _)) = listener.accept().await {
        let server = TcpStream::connect(server).await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        let bent = Arc::clone(&bent);
        tokio::spawn(async move {
            let (mut buffer, mut passed) = (vec![0; 16 << 10], 0);
            while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                let is_here = (passed..passed + length).contains(&position);
                if is_here && !bent.swap(true, Ordering::SeqCst) {
                    buffer[position - passed] ^= 1;
                }
                passed += length;
                if to_server.write_all(&buffer[..length]).await.is_err() {
                    break;
                }
            }
        });
    }
}
