// SPDX-License-Identifier: Apache-2.0
//! A way to a server on which the network does what networks do.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) struct Way {
    addr: SocketAddr,
    weather: watch::Sender<Weather>,
    accepting: JoinHandle<()>,
}

/// What becomes of bytes, in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Weather {
    Fair,
    /// Every connection is closed, and new ones are at once.
    Cut,
    /// Nothing passes, and nothing is lost: it comes later.
    Stall,
    /// Little passes.
    Slow,
    /// One byte of what the server answers is another one, then the connection is closed.
    Garbage,
    /// What is sent vanishes, and nobody is told.
    HalfOpen,
}

impl Way {
    /// A way to `server`, in fair weather.
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (addr, weather) = (listener.local_addr().unwrap(), watch::Sender::new(Weather::Fair));
        let accepting = tokio::spawn(accept(listener, server, weather.clone()));
        Self { addr, weather, accepting }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Has bad weather for a while.
    pub(crate) async fn have(&self, weather: Weather, length: Duration) {
        self.weather.send_replace(weather);
        tokio::time::sleep(length).await;
        // What has vanished on a way is missed there for ever.
        if weather == Weather::HalfOpen {
            self.weather.send_replace(Weather::Cut);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.weather.send_replace(Weather::Fair);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, weather: watch::Sender<Weather>) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(server).await else { continue };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let (there, back) = (weather.subscribe(), weather.subscribe());
        tokio::spawn(async move {
            // Both ends go when either does.
            tokio::select! {
                () = pass(from_client, to_server, there, false) => {}
                () = pass(from_server, to_client, back, true) => {}
            }
        });
    }
}

/// Passes bytes on, as the weather is.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut weather: watch::Receiver<Weather>, is_answer: bool) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = tokio::select! {
            // Without its way a connection stays as it was last.
            Ok(_) = weather.wait_for(|weather| *weather == Weather::Cut) => return,
            read = from.read(&mut buffer) => match read {
                Ok(length @ 1..) => length,
                Ok(0) | Err(_) => return,
            },
        };
        let now = *weather.borrow();
        match now {
            Weather::Fair => {}
            Weather::Cut => return,
            Weather::Stall => drop(weather.wait_for(|weather| *weather != Weather::Stall).await),
            Weather::Slow => tokio::time::sleep(Duration::from_micros(length as u64 * 20)).await,
            Weather::Garbage if is_answer => {
                buffer[length / 2] ^= 0x40;
                // Its reader may be gone already.
                let _ = to.write_all(&buffer[..length]).await;
                return;
            }
            Weather::Garbage => {}
            Weather::HalfOpen => continue,
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
