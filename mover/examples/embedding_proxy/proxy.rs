// SPDX-License-Identifier: Apache-2.0
//! The proxy: it takes clients on and sends each request to the node that serves its slot.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use mover::SlotCount;
use mover::routing::Owner;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::resp;
use crate::table::Table;

/// A running proxy. It ends with the process.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    pub(crate) table: Arc<Table>,
}

/// A client, with connections of its own to both nodes.
struct Session {
    table: Arc<Table>,
    source: Node,
    target: Node,
}

struct Node {
    addr: SocketAddr,
    stream: Option<TcpStream>,
}

impl Proxy {
    /// Listens on the loopback address, every slot at the source.
    pub(crate) async fn start(source: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let table = Arc::new(Table::new(SlotCount::CODIS));
        let shared = Arc::clone(&table);
        tokio::spawn(async move {
            if let Err(error) = accept(listener, shared, source, target).await {
                eprintln!("the proxy takes no more clients: {error}");
            }
        });
        Ok(Self { addr, table })
    }
}

async fn accept(listener: TcpListener, table: Arc<Table>, source: SocketAddr, target: SocketAddr) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        let node = |addr| Node { addr, stream: None };
        let session = Session { table: Arc::clone(&table), source: node(source), target: node(target) };
        // How it ends is its client's affair.
        tokio::spawn(session.serve(client));
    }
}

impl Session {
    /// One request after the other, until the client goes away. Nobody drops this before it ends: a request that is on
    /// its way keeps its slot from being fenced until the node has answered, even when its client is gone.
    async fn serve(mut self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut buffer = BytesMut::new();
        while let Some(request) = resp::read(&mut client, &mut buffer).await? {
            let reply = match self.answer(request).await {
                Ok(reply) => reply,
                Err(why) => BytesMut::from(&*format!("-ERR {why}\r\n")),
            };
            client.write_all(&reply).await?;
        }
        Ok(())
    }

    async fn answer(&mut self, request: BytesMut) -> Result<BytesMut, String> {
        let words = resp::words(request.clone()).map_err(|error| error.to_string())?;
        let name = words.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
        let key = match &words[..] {
            [_] if name == b"PING" => return Ok(BytesMut::from("+PONG\r\n")),
            [_, key] if ONE_OR_MORE_KEYS.contains(&&*name.escape_ascii().to_string()) => key,
            [_, key, ..] if ONE_KEY.split(' ').any(|known| known.as_bytes() == name) => key,
            // A fence is only as good as what the proxy knows of a request.
            _ => return Err(format!("'{}' is not allowed here", name.escape_ascii())),
        };
        let slot = SlotCount::CODIS.slot_of(key);
        let (_guard, owner) = self.table.enter(slot).await.map_err(|error| error.to_string())?;
        let node = match owner {
            Owner::Target => &mut self.target,
            _ => &mut self.source,
        };
        node.ask(&request).await.map_err(|error| format!("node {}: {error}", node.addr))
    }
}

impl Node {
    /// The node's answer. After an error the connection is not used again.
    async fn ask(&mut self, request: &[u8]) -> io::Result<BytesMut> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.addr).await?,
        };
        stream.set_nodelay(true)?;
        stream.write_all(request).await?;
        let reply = resp::read(&mut stream, &mut BytesMut::new()).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.stream = Some(stream);
        Ok(reply)
    }
}

/// Commands whose every word is a key: allowed with one.
const ONE_OR_MORE_KEYS: [&str; 5] = ["DEL", "EXISTS", "MGET", "PFCOUNT", "UNLINK"];

/// Some commands whose only key is their first word.
const ONE_KEY: &str = "APPEND EXPIRE GEOADD GET GETRANGE HDEL HGET HGETALL HINCRBY HLEN HMGET HMSET HSCAN HSET INCR \
                       INCRBY LLEN LPOP LPUSH LRANGE LSET LTRIM PERSIST PFADD PTTL RPOP RPUSH SADD SCARD SET SETBIT \
                       SETEX SETNX SETRANGE SISMEMBER SMEMBERS SREM SSCAN STRLEN TTL TYPE XADD XDEL XLEN XRANGE XTRIM \
                       ZADD ZCARD ZINCRBY ZPOPMAX ZPOPMIN ZRANGE ZREM ZSCAN ZSCORE";
