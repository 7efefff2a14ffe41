// SPDX-License-Identifier: Apache-2.0
//! A small cluster with what its tests need: a caller of its APIs and a client of its proxies.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use replication::{Command, Slot};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::sandbox::codis::{Codis, CodisConfig, Intervals, xauth};
use crate::sandbox::redis_server::RedisServer;

/// Two groups of one server each and two proxies.
pub(super) struct Rig {
    pub(super) source: RedisServer,
    pub(super) target: RedisServer,
    pub(super) codis: Codis,
}

impl Rig {
    pub(super) async fn start() -> Self {
        Self::with(|config| config).await
    }

    pub(super) async fn with(change: impl FnOnce(CodisConfig) -> CodisConfig) -> Self {
        let (source, target) = (RedisServer::start(), RedisServer::start());
        let config = CodisConfig {
            push_time_max: Duration::from_secs(10),
            intervals: Intervals::brisk(),
            copy_time: Duration::from_millis(100),
            ..CodisConfig::pair(source.addr(), target.addr())
        };
        let codis = Codis::start(change(config)).await.expect("free ports");
        Self { source, target, codis }
    }

    /// Calls the dashboard; `X` in the path stands for the digest.
    pub(super) async fn topom(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        topom(&self.codis, method, path, body).await
    }

    /// Calls a proxy's API; `X` in the path stands for the digest.
    pub(super) async fn proxy(&self, index: usize, method: &str, path: &str, body: Value) -> (u16, Value) {
        proxy(&self.codis, index, method, path, body).await
    }

    /// Fills one slot of a proxy.
    pub(super) async fn fill(&self, index: usize, record: Value) -> (u16, Value) {
        self.proxy(index, "PUT", "/api/proxy/fillslots/X", json!([record])).await
    }

    /// What a proxy says about a slot.
    pub(super) async fn slot(&self, index: usize, slot: u16) -> Value {
        let (status, slots) = self.proxy(index, "GET", "/proxy/slots", Value::Null).await;
        assert_eq!(status, 200);
        slots[usize::from(slot)].clone()
    }

    /// Locks a slot at a proxy and sees to it that it is locked.
    pub(super) async fn lock(&self, index: usize, slot: u16) {
        let record = self.lock_for_a_moment(index, slot).await;
        assert_eq!(self.slot(index, slot).await, record);
    }

    /// Locks a slot at a proxy with its whole record, which it returns. A push may come at any time.
    pub(super) async fn lock_for_a_moment(&self, index: usize, slot: u16) -> Value {
        let mut record = self.slot(index, slot).await;
        record["locked"] = json!(true);
        assert_eq!(self.fill(index, record.clone()).await, ok());
        record
    }

    pub(super) async fn assign(&self, slot: u16, group: i64) -> (u16, Value) {
        self.topom("PUT", "/api/topom/slots/assign/X", json!([{ "id": slot, "group_id": group }])).await
    }

    pub(super) async fn stats(&self) -> Value {
        self.topom("GET", "/topom/stats", Value::Null).await.1
    }

    /// A client of a proxy.
    pub(super) async fn client(&self, index: usize) -> Client {
        Client { stream: TcpStream::connect(self.codis.proxy_addrs()[index]).await.expect("it listens") }
    }

    /// Waits until something is so.
    pub(super) async fn until(&self, what: &str, is_so: impl AsyncFn(&Codis) -> bool) {
        let start = Instant::now();
        while !is_so(&self.codis).await {
            assert!(start.elapsed() < PATIENCE, "in vain: {what}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(super) async fn topom(codis: &Codis, method: &str, path: &str, body: Value) -> (u16, Value) {
    let addr = codis.dashboard_url().trim_start_matches("http://").parse().expect("an address");
    let path = path.replace('X', &xauth::dashboard("demo"));
    json_call(addr, method, &path, body).await
}

pub(super) async fn proxy(codis: &Codis, index: usize, method: &str, path: &str, body: Value) -> (u16, Value) {
    let addr = codis.admin_addrs()[index];
    let token = codis.cluster.server(index).expect("it runs").model.token.clone();
    let auth = &codis.cluster.config.product_auth;
    json_call(addr, method, &path.replace('X', &xauth::proxy("demo", auth, &token)), body).await
}

async fn json_call(addr: SocketAddr, method: &str, path: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, text) = http(addr, method, path, &body).await.expect("an answer");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A request as bytes, and the answer as its status and its text.
pub(super) async fn http(addr: SocketAddr, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(addr).await.ok()?;
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{request}{body}").as_bytes()).await.ok()?;
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer in time").ok()?;
    let (head, text) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, text.to_owned()))
}

/// What calls without a result answer.
pub(super) fn ok() -> (u16, Value) {
    (200, json!("OK"))
}

/// What a call that failed answers.
pub(super) fn fault(cause: &str) -> (u16, Value) {
    (800, json!({ "Cause": cause, "Stack": null }))
}

/// A key of this slot.
pub(super) fn key(slot: u16) -> String {
    let tag = crate::sandbox::load::tag_for_slot(Slot::new(slot), replication::SlotCount::CODIS);
    format!("{{{tag}}}:key")
}

pub(super) struct Client {
    stream: TcpStream,
}

impl Client {
    pub(super) async fn send(&mut self, line: &str) {
        let mut output = BytesMut::new();
        Command::new(line.split_whitespace().map(str::to_owned)).encode(&mut output);
        self.stream.write_all(&output).await.expect("the proxy reads");
    }

    /// One reply that comes in one piece, or nothing where the connection has ended.
    pub(super) async fn receive(&mut self) -> String {
        let mut input = vec![0; 4096];
        let length = timeout(PATIENCE, self.stream.read(&mut input)).await.expect("a reply in time").unwrap_or(0);
        String::from_utf8_lossy(&input[..length]).trim_end().to_owned()
    }

    pub(super) async fn ask(&mut self, line: &str) -> String {
        self.send(line).await;
        self.receive().await
    }

    pub(super) async fn hears_nothing(&mut self) {
        let mut byte = [0];
        let read = timeout(Duration::from_millis(100), self.stream.peek(&mut byte)).await;
        assert!(read.is_err(), "an answer came: {read:?}");
    }
}

/// How long anything may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
