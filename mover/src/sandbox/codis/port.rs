// SPDX-License-Identifier: Apache-2.0
//! A loopback port that stays ours while its server is dead.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port that nobody else is given. Connections to it are refused while nobody listens.
#[derive(Debug)]
pub(super) struct Port {
    addr: SocketAddr,
    /// Bound and not listening: whoever listens at the same address does so beside it.
    _socket: TcpSocket,
}

impl Port {
    /// A free one.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn take() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self { addr: socket.local_addr()?, _socket: socket })
    }

    /// Where it is.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn a_server_can_come_and_go() {
        let port = Port::take().expect("a free port");
        for _ in 0..3 {
            assert!(TcpStream::connect(port.addr()).await.is_err(), "nobody listens");
            let listener = TcpListener::bind(port.addr()).await.expect("it is ours");
            let client = TcpStream::connect(port.addr()).await.expect("someone listens");
            drop(listener.accept().await.expect("a client"));
            drop((client, listener));
        }
    }
}
