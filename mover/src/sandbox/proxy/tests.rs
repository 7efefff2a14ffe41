// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;
use std::time::{Duration, Instant};

use replication::{Slot, SlotCount, SlotSet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::*;
use crate::routing::{Owner, Standing};
use crate::sandbox::redis_server::{RedisServer, free_addr};

const SOON: Duration = Duration::from_millis(100);

struct Cluster {
    source: RedisServer,
    target: RedisServer,
    proxy: Proxy,
}

impl Cluster {
    async fn start() -> Self {
        let (source, target) = (RedisServer::start(), RedisServer::start());
        let proxy = Proxy::start(ProxyConfig::new(source.addr(), target.addr())).await.expect("a free port");
        Self { source, target, proxy }
    }

    async fn client(&self) -> Client {
        Client { stream: TcpStream::connect(self.proxy.addr()).await.expect("the proxy listens") }
    }
}

struct Client {
    stream: TcpStream,
}

impl Client {
    /// Sends commands, one a line, at once.
    async fn send(&mut self, lines: &str) {
        let mut output = bytes::BytesMut::new();
        for line in lines.lines() {
            replication::Command::new(line.split_whitespace().map(str::to_owned)).encode(&mut output);
        }
        self.stream.write_all(&output).await.expect("the proxy reads");
    }

    /// Reads exactly these bytes.
    async fn expect(&mut self, text: &str) {
        let mut input = vec![0; text.len()];
        let read = timeout(Duration::from_secs(5), self.stream.read_exact(&mut input)).await;
        read.expect("a reply in time").expect("the proxy writes");
        assert_eq!(input.escape_ascii().to_string(), text.escape_default().to_string());
    }

    async fn expect_nothing(&mut self) {
        let mut byte = [0];
        assert!(timeout(SOON, self.stream.read(&mut byte)).await.is_err(), "an answer came through the fence");
    }
}

fn slots(keys: &[&str]) -> SlotSet {
    keys.iter().map(|key| SlotCount::CODIS.slot_of(key.as_bytes())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_splits_and_refuses() {
    let cluster = Cluster::start().await;
    let control = cluster.proxy.control();
    control.switch(&slots(&["b"])).await.expect("the slot exists");
    let mut client = cluster.client().await;
    client.send("PING\nMSET a 1 b 2 c 3\nMGET a b x c\nEXISTS a b x\nDEL a b x").await;
    client.expect("+PONG\r\n+OK\r\n*4\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n$1\r\n3\r\n:2\r\n:2\r\n").await;
    client.send("SET b 5\nGET c\nFLUSHALL\nLPUSH c x\nQUIT").await;
    client.expect("+OK\r\n$1\r\n3\r\n-ERR command 'FLUSHALL' is not allowed\r\n").await;
    client.expect("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n+OK\r\n").await;
    assert_eq!(client.stream.read(&mut [0]).await.expect("an orderly end"), 0);
    assert_eq!(cluster.target.run("GET b"), redis::Value::BulkString(b"5".to_vec()));
    assert_eq!(cluster.source.run("EXISTS b"), redis::Value::Int(0));
    assert_eq!(control.owner(SlotCount::CODIS.slot_of(b"b")).await.expect("it exists"), Owner::Target);
    let back = cluster.proxy.control_back();
    assert_eq!(back.owner(SlotCount::CODIS.slot_of(b"b")).await.expect("it exists"), Owner::Source);
    assert_eq!(cluster.proxy.stats().failures, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_ends_the_session_with_a_reason() {
    let cluster = Cluster::start().await;
    let mut client = cluster.client().await;
    client.stream.write_all(b"*1\r\n$4\r\nPING\r\nGET x\r\n").await.expect("the proxy reads");
    client.expect("+PONG\r\n-ERR protocol error").await;
    let mut rest = Vec::new();
    client.stream.read_to_end(&mut rest).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_holds_its_slots_and_no_others() {
    let cluster = Cluster::start().await;
    let control = cluster.proxy.control();
    let fenced = slots(&["a"]);
    control.raise(&fenced).await.expect("nothing is on its way");
    control.raise(&fenced).await.expect("twice is fine");
    assert_eq!(control.holds(&fenced).await.expect("the slot exists"), Standing::Holds);
    let (mut waiting, mut free) = (cluster.client().await, cluster.client().await);
    waiting.send("SET c 1\nSET a 1\nINCR a\nGET c\nINCR a").await;
    waiting.expect("+OK\r\n").await;
    waiting.expect_nothing().await;
    free.send("MGET c x\nPING").await;
    free.expect("*2\r\n$1\r\n1\r\n$-1\r\n+PONG\r\n").await;
    assert_eq!(cluster.source.run("EXISTS a"), redis::Value::Int(0));

    control.switch(&fenced).await.expect("the slot exists");
    waiting.expect("+OK\r\n:2\r\n$1\r\n1\r\n:3\r\n").await;
    assert_eq!(cluster.target.run("GET a"), redis::Value::BulkString(b"3".to_vec()));
    assert_eq!(cluster.source.run("EXISTS a"), redis::Value::Int(0));
    assert_ne!(control.holds(&fenced).await.expect("the slot exists"), Standing::Holds);
    control.lower(&fenced).await.expect("lowering what is not raised is fine");
    assert_eq!(cluster.proxy.stats().waits, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raising_waits_for_what_the_node_still_does() {
    let cluster = Cluster::start().await;
    let mut client = cluster.client().await;
    client.send("SET a 1").await;
    client.expect("+OK\r\n").await;
    let sleeper = std::thread::scope(|scope| {
        let sleeping = scope.spawn(|| cluster.source.run("DEBUG SLEEP 0.4"));
        std::thread::sleep(Duration::from_millis(100));
        // From here on the node answers nobody for 300 ms.
        let start = Instant::now();
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                client.send("INCR a").await;
                sleep(Duration::from_millis(50)).await;
                let control = cluster.proxy.control();
                assert!(timeout(SOON, control.raise(&slots(&["a"]))).await.is_err(), "a command is on its way");
                assert_ne!(control.holds(&slots(&["a"])).await.expect("the slot exists"), Standing::Holds);
                control.raise(&slots(&["a"])).await.expect("the node answers in the end");
                client.expect(":2\r\n").await;
                control.lower(&slots(&["a"])).await.expect("the slot exists");
            });
        });
        assert!(start.elapsed() > Duration::from_millis(200));
        sleeping.join()
    });
    sleeper.expect("the server slept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_node_is_an_error_until_it_is_back() {
    let source = RedisServer::start();
    let missing = free_addr();
    let proxy = Proxy::start(ProxyConfig::new(source.addr(), missing)).await.expect("a free port");
    proxy.control().switch(&slots(&["a"])).await.expect("the slot exists");
    let mut client = Client { stream: TcpStream::connect(proxy.addr()).await.expect("the proxy listens") };
    client.send("SET a 1\nSET c 1").await;
    client.expect(&format!("-ERR node {missing} cannot be reached, nothing was sent: Connection refused")).await;
    client.expect(" (os error 111)\r\n+OK\r\n").await;
    assert_eq!(proxy.stats().failures, 1);

    let target = RedisServer::start_at(missing);
    client.send("SET a 1").await;
    client.expect("+OK\r\n").await;
    proxy.control().raise(&slots(&["a"])).await.expect("the failed request is not on its way");
    drop(target);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_request_is_told_and_not_sent_again() {
    let cluster = Cluster::start().await;
    let mut client = cluster.client().await;
    client.send("INCR a").await;
    client.expect(":1\r\n").await;
    std::thread::scope(|scope| {
        scope.spawn(|| cluster.source.run("CLIENT PAUSE 300 WRITE"));
    });
    client.send("INCR a").await;
    sleep(SOON).await;
    cluster.source.run("CLIENT KILL TYPE normal SKIPME yes");
    client.expect(&format!("-ERR connection to node {} ended before the reply", cluster.source.addr())).await;
    sleep(Duration::from_millis(400)).await;
    assert_eq!(cluster.source.run("GET a"), redis::Value::BulkString(b"1".to_vec()));
    assert_eq!(cluster.proxy.stats().failures, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_slot_at_once() {
    let cluster = Cluster::start().await;
    let control = cluster.proxy.control();
    let all = SlotSet::all(SlotCount::CODIS);
    let mut clients = Vec::new();
    control.raise(&all).await.expect("nothing is on its way");
    for number in 0..50 {
        let mut client = cluster.client().await;
        client.send(&format!("SET key:{number} 1\nDEL key:{number} other:{number}")).await;
        clients.push(client);
    }
    sleep(SOON).await;
    assert_eq!(cluster.proxy.stats().to_source, 0);
    control.switch(&all).await.expect("they exist");
    for client in &mut clients {
        client.expect("+OK\r\n:1\r\n").await;
    }
    assert_eq!((cluster.proxy.stats().to_source, cluster.proxy.stats().to_target), (0, 150));
}

#[tokio::test]
async fn a_stopped_proxy_gives_no_fence() {
    let addr = free_addr();
    let proxy = Proxy::start(ProxyConfig::new(addr, addr)).await.expect("a free port");
    let control = proxy.control();
    assert!(control.raise(&[Slot::new(1024)].into_iter().collect()).await.is_err(), "there is no such slot");
    let other = Arc::clone(&control);
    proxy.stop().await;
    assert!(other.raise(&SlotSet::new()).await.is_err());
}
