// SPDX-License-Identifier: Apache-2.0
//! Clients and nodes for [`routing::conformance`](crate::routing::conformance), where both speak RESP: all that is missing
//! is what stands between them.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use mover::routing::conformance;
//! use mover::sandbox::proxy::{Proxy, ProxyConfig};
//! use mover::sandbox::rig::Nodes;
//!
//! let nodes = Nodes::start().await?;
//! let proxy = Proxy::start(ProxyConfig::new(nodes.source(), nodes.target())).await?;
//! let rig = nodes.rig(proxy.control(), [proxy.addr()]);
//! conformance::check(&rig).await?;
//! # Ok(())
//! # }
//! ```

mod witness;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use replication::{Command, Slot, SlotCount, SlotSet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::witness::Witness;
use crate::BoxFuture;
use crate::routing::conformance::{Answer, Held, Rig, SLOTS};
use crate::routing::{Owner, RoutingControl};
use crate::sandbox::load::tag_for_slot;
use crate::sandbox::reply::{Measure, Reply};

/// Two nodes without data: to a GET they answer with their address, whatever the key. They end when they are dropped.
#[derive(Debug)]
pub struct Nodes {
    source: Witness,
    target: Witness,
}

impl Nodes {
    /// Starts both on free ports of the loopback address.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start() -> io::Result<Self> {
        Ok(Self { source: Witness::start().await?, target: Witness::start().await? })
    }

    /// Where the source listens.
    pub fn source(&self) -> SocketAddr {
        self.source.addr()
    }

    /// Where the target listens.
    pub fn target(&self) -> SocketAddr {
        self.target.addr()
    }

    /// The other way round, for a control that moves back.
    pub fn swapped(self) -> Self {
        Self { source: self.target, target: self.source }
    }

    /// The rig for this control and the places where clients connect, with slots of Codis.
    pub fn rig(self, control: Arc<dyn RoutingControl>, entrances: impl IntoIterator<Item = SocketAddr>) -> RespRig {
        let slots = (0..).map(Slot::new).take(SLOTS).collect();
        let entrances = entrances.into_iter().collect();
        RespRig { nodes: self, control, entrances, slots, unknown: None, breaker: None, requests: AtomicU64::new(0) }
    }
}

/// A [`Rig`] for layers that pass GET on: clients connect to it, [`Nodes`] stand behind it.
pub struct RespRig {
    nodes: Nodes,
    control: Arc<dyn RoutingControl>,
    entrances: Vec<SocketAddr>,
    slots: SlotSet,
    unknown: Option<Slot>,
    breaker: Option<Breaker>,
    requests: AtomicU64,
}

type Breaker = Box<dyn Fn(SlotSet) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

impl RespRig {
    /// The slots to use, instead of the first ones; at least [`SLOTS`].
    pub fn with_slots(self, slots: SlotSet) -> Self {
        Self { slots, ..self }
    }

    /// A slot that the layer knows it does not have.
    pub fn with_unknown_slot(self, slot: Slot) -> Self {
        Self { unknown: Some(slot), ..self }
    }

    /// How a fence is broken behind the back of the control.
    pub fn with_accident<F>(self, accident: impl Fn(SlotSet) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { breaker: Some(Box::new(move |slots| Box::pin(accident(slots)))), ..self }
    }

    /// A key of this slot that nobody has used.
    fn key(&self, slot: Slot) -> Bytes {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        Bytes::from(format!("{{{}}}:{number}", tag_for_slot(slot, SlotCount::CODIS)))
    }

    fn send(&self, key: Bytes, entrance: usize) -> Answer {
        let (source, target, entrance) = (self.nodes.source(), self.nodes.target(), self.entrances[entrance]);
        Box::pin(async move {
            let name = get(entrance, key).await?;
            match name {
                name if name == source.to_string() => Ok(Owner::Source),
                name if name == target.to_string() => Ok(Owner::Target),
                name => Ok(Owner::Other(name)),
            }
        })
    }
}

impl Rig for RespRig {
    fn control(&self) -> &dyn RoutingControl {
        &*self.control
    }

    fn slots(&self) -> SlotSet {
        self.slots.clone()
    }

    fn unknown_slot(&self) -> Option<Slot> {
        self.unknown
    }

    fn entrances(&self) -> usize {
        self.entrances.len()
    }

    fn request(&self, slot: Slot, entrance: usize) -> Answer {
        self.send(self.key(slot), entrance)
    }

    fn hold(&self, slot: Slot, entrance: usize) -> BoxFuture<'_, Result<Held, String>> {
        Box::pin(async move {
            let key = self.key(slot);
            let release = self.nodes.source.hold(&key);
            let mut answer = tokio::spawn(self.send(key.clone(), entrance));
            tokio::select! {
                () = self.nodes.source.arrived(&key) => {}
                ended = &mut answer => {
                    return Err(format!("a request that was to be held ended before it was at the source: {ended:?}"));
                }
            }
            let answer = async { answer.await.map_err(|error| error.to_string())? };
            Ok(Held::new(release, Box::pin(answer)))
        })
    }

    fn break_fence<'a>(&'a self, slots: &'a SlotSet) -> Option<BoxFuture<'a, Result<(), String>>> {
        self.breaker.as_ref().map(|accident| accident(slots.clone()) as _)
    }
}

/// What a GET of this key is answered with, on a connection of its own.
async fn get(addr: SocketAddr, key: Bytes) -> Result<String, String> {
    match ask(addr, key).await {
        Ok(Reply::Bulk(Some(text))) => Ok(text.escape_ascii().to_string()),
        Ok(Reply::Error(why)) => Err(why.escape_ascii().to_string()),
        Ok(other) => Err(format!("{addr} answered GET with {other:?}")),
        Err(error) => Err(format!("{addr}: {error}")),
    }
}

async fn ask(addr: SocketAddr, key: Bytes) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let mut output = BytesMut::new();
    Command::new([Bytes::from("GET"), key]).encode(&mut output);
    stream.write_all(&output).await?;
    let (mut input, mut measure) = (BytesMut::new(), Measure::new());
    loop {
        if let Some(length) = measure.advance(&input).map_err(io::Error::other)? {
            return Reply::decode(&input.split_to(length).freeze()).map_err(io::Error::other);
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
