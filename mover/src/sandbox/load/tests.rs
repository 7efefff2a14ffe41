// SPDX-License-Identifier: Apache-2.0
use std::time::Duration;

use replication::{Slot, SlotCount, SlotSet};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::routing::Standing;
use crate::sandbox::node::{Node, NodeConfig};
use crate::sandbox::proxy::{Proxy, ProxyConfig};
use crate::sandbox::redis_server::RedisServer;

/// How long the loads of these tests run; `LOAD_SECONDS` makes it longer.
fn length() -> Duration {
    let seconds = std::env::var("LOAD_SECONDS").ok().map(|text| text.parse().expect("LOAD_SECONDS is a number"));
    Duration::from_secs(seconds.unwrap_or(2))
}

/// Keys of four writers with four tags: ordinary ones, big ones, and a counter.
const KEYS: u64 = 4 * (4 * 20 + 4) + 1;

/// One hot tag and three others.
fn tags() -> Vec<Tag> {
    let mut tags = Tag::of_slots([5, 6, 700, 1023].map(Slot::new), SlotCount::CODIS);
    tags[0].hot = true;
    tags
}

fn hot() -> SlotSet {
    [Slot::new(5)].into_iter().collect()
}

fn config(addr: SocketAddr, seed: u64) -> LoadConfig {
    LoadConfig { seed, hyperloglogs: true, nodes: vec![addr], ..LoadConfig::new(addr, tags()) }
}

/// The same through a proxy before these nodes.
fn between(proxy: &Proxy, nodes: [&RedisServer; 2], seed: u64) -> LoadConfig {
    LoadConfig { nodes: nodes.map(RedisServer::addr).to_vec(), ..config(proxy.addr(), seed) }
}

async fn cluster() -> (RedisServer, RedisServer, Proxy) {
    let (source, target) = (RedisServer::start(), RedisServer::start());
    let proxy = Proxy::start(ProxyConfig::new(source.addr(), target.addr())).await.expect("a free port");
    (source, target, proxy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_node_is_found_right() {
    let server = RedisServer::start();
    for seed in 1..=3 {
        let load = Load::start(config(server.addr(), seed)).await.expect("the server answers");
        sleep(length()).await;
        // On a busy machine few commands are sent, and the rare ones come late.
        let all_sent = async {
            while !never_sent(&load.report()).is_empty() {
                sleep(length() / 20).await;
            }
        };
        // What is missing then is told below.
        let _ = timeout(length() * 30, all_sent).await;
        let report = load.stop().await;
        println!("{report}\n{:?}", report.operations);
        assert!(report.is_clean(), "{report}");
        assert!(report.requests > 1000, "{report}");
        assert_eq!(report.keys_checked, KEYS);
        assert_eq!(never_sent(&report), [""; 0]);
    }
}

/// Commands of the load that are not among those that were sent.
fn never_sent(report: &Report) -> Vec<&'static str> {
    let commands = "APPEND DEL EXPIRE GET HDEL HGET HGETALL HINCRBY HLEN HMSET HSET INCR INCRBY LLEN LPOP LPUSH \
                    LRANGE LSET LTRIM PERSIST PFADD PFCOUNT PTTL RPOP RPUSH SADD SCARD SET SETBIT SETRANGE \
                    SISMEMBER SMEMBERS SREM STRLEN XADD XDEL XLEN XRANGE ZADD ZCARD ZINCRBY ZRANGE ZREM ZSCORE \
                    GEOADD HSCAN SETNX SSCAN UNLINK XTRIM ZPOPMAX ZPOPMIN ZSCAN";
    commands.split_whitespace().filter(|&name| !report.operations.contains_key(name)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storms_of_fences_cost_time_and_nothing_else() {
    let (source, target, proxy) = cluster().await;
    let control = proxy.control();
    let load = Load::start(between(&proxy, [&source, &target], 11)).await.expect("the proxy answers");
    let end = Instant::now() + length();
    let mut fences = 0;
    while Instant::now() < end {
        let slots = if fences % 8 == 0 { SlotSet::all(SlotCount::CODIS) } else { hot() };
        if fences % 3 == 0 {
            // A caller that gives up leaves what it has raised; the next call takes over from there.
            let _ = timeout(Duration::from_micros(50), control.raise(&slots)).await;
        }
        control.raise(&slots).await.expect("the node answers");
        assert_eq!(control.holds(&slots).await.expect("they exist"), Standing::Holds);
        sleep(Duration::from_millis(fences % 5 * 5)).await;
        control.lower(&slots).await.expect("they exist");
        sleep(Duration::from_millis(2)).await;
        fences += 1;
    }
    let report = load.stop().await;
    println!("{fences} fences, {:?}\n{report}", proxy.stats());
    assert!(report.is_clean(), "{report}");
    assert!(proxy.stats().waits > fences, "the fences were in nobody's way");
    assert!(report.latency.max >= Duration::from_millis(15), "the fences were in nobody's way: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_move_is_not_noticed() {
    let (source, target, proxy) = cluster().await;
    let load = Load::start(between(&proxy, [&source, &target], 21)).await.expect("the proxy answers");
    let (there, back) = (proxy.control(), proxy.control_back());
    for round in 0..4 {
        sleep(length() / 4).await;
        let (control, from, to) = if round % 2 == 0 { (&there, &source, &target) } else { (&back, &target, &source) };
        // Writes pile up at the node, so that a fence which does not wait for them would lose some.
        from.run("CLIENT PAUSE 30 WRITE");
        sleep(Duration::from_millis(5)).await;
        control.raise(&hot()).await.expect("the node answers");
        from.move_keys(to, &format!("{{{}}}*", tags()[0].name));
        control.switch(&hot()).await.expect("the slot exists");
    }
    let middle = load.check_all().await;
    assert_eq!(middle.keys_checked, KEYS, "{middle}");
    let report = load.stop().await;
    println!("{report}");
    assert!(report.is_clean(), "{report}");
    assert!(proxy.stats().to_target > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_without_its_data_is_noticed() {
    let (source, target, proxy) = cluster().await;
    let load = Load::start(between(&proxy, [&source, &target], 31)).await.expect("the proxy answers");
    sleep(Duration::from_millis(300)).await;
    proxy.control().raise(&hot()).await.expect("the node answers");
    proxy.control().switch(&hot()).await.expect("the slot exists");
    sleep(Duration::from_millis(300)).await;
    let report = load.stop().await;
    println!("{report}");
    assert!(report.wrong_values > 20, "{report}");
    // LSET is the one command that a missing key makes fail.
    assert!(report.error_examples.iter().all(|text| text.starts_with("LSET ")), "{report}");
    assert_eq!(report.examples.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_changed_value_is_noticed() {
    let server = RedisServer::start();
    let slow = LoadConfig { pace: Some(200), writers: 1, ..config(server.addr(), 41) };
    let name = format!("{{{}}}:load:41:0:big", tags()[0].name);
    for change in [
        format!("HSET {name}:hash f1999 other"),
        format!("HDEL {name}:hash f1999"),
        format!("LSET {name}:list 1000 other"),
        format!("ZINCRBY {name}:zset 0.5 m1000"),
        format!("ZADD {name}:zset 1 unknown"),
        format!("DEL {name}:zset"),
        format!("EXPIRE {name}:hash 100"),
        format!("INCR {{{}}}:load:41:counter", tags()[0].name),
    ] {
        let load = Load::start(slow.clone()).await.expect("the server answers");
        server.run(&change);
        let report = load.stop().await;
        assert_eq!(report.errors, 0, "{change}: {report}");
        assert!((1..=2).contains(&report.wrong_values), "{change}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connections_are_errors_and_not_wrong_values() {
    let server = RedisServer::start();
    let quick = LoadConfig { settle: Duration::from_millis(50), ..config(server.addr(), 51) };
    let load = Load::start(quick).await.expect("the server answers");
    for _ in 0..20 {
        sleep(length() / 20).await;
        server.run("CLIENT KILL TYPE normal SKIPME yes");
    }
    let report = load.stop().await;
    println!("{report}");
    assert!(report.errors >= 20, "{report}");
    assert_eq!((report.wrong_values, report.keys_unchecked), (0, 0), "{report}");
    assert_eq!(report.error_examples.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paced_load_keeps_its_pace() {
    let server = RedisServer::start();
    let paced = LoadConfig { pace: Some(500), big_elements: 0, ..config(server.addr(), 61) };
    let load = Load::start(paced).await.expect("the server answers");
    let before = load.report().requests;
    sleep(Duration::from_secs(2)).await;
    let sent = load.report().requests - before;
    assert!((800..1300).contains(&sent), "{sent} requests in two seconds");
    let json = serde_json::to_value(load.stop().await).expect("a report has a JSON form");
    assert!(json["latency"]["p99_us"].as_u64().is_some_and(|time| time > 0), "{json}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_is_the_same_every_time() {
    let (first, second, proxy) = cluster().await;
    proxy.control().switch(&SlotSet::all(SlotCount::CODIS)).await.expect("they exist");
    let config = FillConfig { hyperloglogs: true, ..FillConfig::new(tags(), 20_000) };
    let report = fill(first.addr(), config.clone()).await.expect("the server takes everything");
    println!("{report:?}");
    assert_eq!(report.keys, 20_004);
    assert_eq!(first.run("DBSIZE"), redis::Value::Int(20_004));
    assert_eq!(report.types.len(), 8, "{report:?}");
    assert!((50..60).contains(&(report.types["string"] / 200)), "{report:?}");
    fill(proxy.addr(), FillConfig { connections: 3, ..config }).await.expect("the server takes everything");
    assert_eq!(first.run("DEBUG DIGEST"), second.run("DEBUG DIGEST"));
}

/// A node with the cache of a Pika. Its plain reads are wrong after many writes, and the load is not misled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_cache_is_found_right_when_its_cache_is_out_of_the_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(NodeConfig::new(dir.path())).await.expect("a node");
    let pika = |seed| LoadConfig { commands: CommandSet::Pika, ..config(node.addr(), seed) };
    let load = Load::start(pika(91)).await.expect("the node answers");
    sleep(length() / 2).await;
    let middle = load.check_all().await;
    assert_eq!(middle.keys_checked, KEYS, "{middle}");
    assert_eq!(cache_model(node.addr()).await, "1", "the cache is as it was");
    sleep(length() / 2).await;
    let report = load.stop().await;
    println!("{report}\n{:?}", report.operations);
    assert!(report.is_clean() && report.keys_checked == KEYS, "{report}");
    assert_eq!(cache_model(node.addr()).await, "0", "nothing is cached any more");
    for name in "MSETNX PFADD PKPATTERNMATCHDEL RPOPLPUSH SETNX UNLINK".split(' ') {
        assert!(report.operations.contains_key(name), "never sent: {name}");
    }
}

/// What a load cannot know it counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_only_a_cache_tells_of_stay_unchecked() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(NodeConfig::new(dir.path())).await.expect("a node");
    let report = Load::run_for(LoadConfig { nodes: Vec::new(), ..config(node.addr(), 92) }, length()).await;
    let report = report.expect("the node answers");
    assert_eq!((report.wrong_values, report.errors), (0, 0), "{report}");
    assert!(report.keys_unchecked > 0 && report.keys_unchecked < report.keys_checked, "{report}");
    assert_eq!(report.keys_checked + report.keys_unchecked, KEYS, "{report}");
}

/// A write that went by the model is found although the cache still tells of the time before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_value_is_noticed_behind_a_cache() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(NodeConfig::new(dir.path())).await.expect("a node");
    let slow = LoadConfig { pace: Some(200), writers: 1, ..config(node.addr(), 93) };
    let name = format!("{{{}}}:load:93:0:big", tags()[0].name);
    for words in [["ZPOPMAX", "zset"], ["UNLINK", "hash"], ["UNLINK", "list"]] {
        let load = Load::start(slow.clone()).await.expect("the node answers");
        let mut client = Connection::open(node.addr(), None).await.expect("the node answers");
        let key = format!("{name}:{}", words[1]);
        client.call(&[words[0].as_bytes(), key.as_bytes()], HANG).await.expect("it is done");
        let report = load.stop().await;
        assert!(report.errors == 0 && (1..=2).contains(&report.wrong_values), "{words:?}: {report}");
    }
}

async fn cache_model(addr: SocketAddr) -> String {
    let mut client = Connection::open(addr, None).await.expect("the node answers");
    let reply = client.call(&[b"CONFIG", b"GET", b"cache-model"], HANG).await.expect("it has the setting");
    match reply {
        Reply::Array(Some(parts)) => match &parts[..] {
            [_, Reply::Bulk(Some(model))] => model.escape_ascii().to_string(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

const HANG: Duration = Duration::from_secs(30);

/// Both proxies must be told of a move: clients go through either of them from one command to the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_goes_through_all_of_its_addresses() {
    let (source, target, first) = cluster().await;
    let second = Proxy::start(ProxyConfig::new(source.addr(), target.addr())).await.expect("a free port");
    let both = LoadConfig {
        seed: 81,
        nodes: vec![source.addr(), target.addr()],
        ..LoadConfig::new(vec![first.addr(), second.addr()], tags())
    };
    let report = Load::run_for(both.clone(), length()).await.expect("the proxies answer");
    assert!(report.is_clean(), "{report}");
    for proxy in [&first, &second] {
        let requests = proxy.stats().requests;
        assert!(requests > report.requests / 4, "{requests} of {}", report.requests);
    }
    let load = Load::start(LoadConfig { seed: 82, settle: Duration::from_millis(50), ..both }).await.expect("as above");
    second.stop().await;
    sleep(length() / 4).await;
    let report = load.stop().await;
    assert!(report.errors > 0, "{report}");
    assert_eq!((report.wrong_values, report.keys_unchecked), (0, 0), "the other address serves them all: {report}");
}

#[tokio::test]
async fn refuses_what_makes_no_sense() {
    let addr = crate::sandbox::redis_server::free_addr();
    let empty = Load::start(LoadConfig::new(addr, Vec::new())).await;
    assert!(matches!(empty, Err(LoadError::Config { .. })));
    assert!(matches!(Load::start(LoadConfig::new(Vec::new(), tags())).await, Err(LoadError::Config { .. })));
    assert!(matches!(Load::start(LoadConfig::new(addr, tags())).await, Err(LoadError::Connection { .. })));
    assert!(matches!(fill(addr, FillConfig::new(tags(), 1)).await, Err(LoadError::Connection { .. })));
}

/// A measurement for the log: `cargo test --release -p mover -- --ignored --nocapture throughput`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures this machine"]
async fn throughput() {
    let (source, _target, proxy) = cluster().await;
    for (name, addr) in [("directly", source.addr()), ("through the proxy", proxy.addr())] {
        for writers in [1, 8, 32] {
            let config = LoadConfig { writers, ..config(addr, 71) };
            let load = Load::start(config).await.expect("the node answers");
            let before = load.report();
            sleep(length()).await;
            let after = load.report();
            let rate = (after.requests - before.requests) as f64 / length().as_secs_f64();
            println!("{name}, {writers} writers: {rate:.0} requests/s, {:?}", after.latency);
            assert!(load.stop().await.is_clean());
        }
    }
}
