// SPDX-License-Identifier: Apache-2.0
//! A way to a server that can be shut for a while: what is in it waits, as behind a command that takes long.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) struct Valve {
    addr: SocketAddr,
    open: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Valve {
    /// An open way to `server`.
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (addr, open) = (listener.local_addr().unwrap(), watch::Sender::new(true));
        let accepting = tokio::spawn(accept(listener, server, open.clone()));
        Self { addr, open, accepting }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Opens and shuts it: when it is shut requests still pass, replies do not.
    pub(crate) fn handle(&self) -> watch::Sender<bool> {
        self.open.clone()
    }
}

impl Drop for Valve {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, open: watch::Sender<bool>) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(server).await else { continue };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::spawn(pass(from_client, to_server, watch::Sender::new(true).subscribe()));
        tokio::spawn(pass(from_server, to_client, open.subscribe()));
    }
}

/// Passes bytes on until one end is closed, and then closes the other one.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut open: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        // Without its valve a way stays as it was last.
        let _ = open.wait_for(|open| *open).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    // The other end may be gone already.
    let _ = to.shutdown().await;
}
