// SPDX-License-Identifier: Apache-2.0
//! A way to a server that seems to be on another machine: where it says that its files are, they are not.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) struct Far {
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Far {
    /// Before a server that has its files in `dir`, and is made to say that they are in `elsewhere`.
    pub(crate) async fn before(server: SocketAddr, dir: &Path, elsewhere: &Path) -> Self {
        let [dir, elsewhere] = [dir, elsewhere].map(|path| path.to_str().unwrap().to_owned());
        assert_eq!(dir.len(), elsewhere.len(), "its answers tell their lengths");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let accepting = tokio::spawn(accept(listener, server, dir, elsewhere));
        Self { addr, accepting }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, dir: String, elsewhere: String) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(server).await else { continue };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        tokio::spawn(async move {
            // Either end may be gone.
            let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
            let _ = to_server.shutdown().await;
        });
        let (dir, elsewhere) = (dir.clone(), elsewhere.clone());
        tokio::spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                let said = &mut buffer[..length];
                // An answer about files is small, and comes whole.
                while let Some(at) = said.windows(dir.len()).position(|bytes| bytes == dir.as_bytes()) {
                    said[at..at + dir.len()].copy_from_slice(elsewhere.as_bytes());
                }
                if to_client.write_all(said).await.is_err() {
                    break;
                }
            }
            let _ = to_client.shutdown().await;
        });
    }
}
