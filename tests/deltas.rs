// SPDX-License-Identifier: Apache-2.0
//! Big collections that never rest move, and what travels is what changed in them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mover::batch::{Batch, Steps, Write};
use mover::dialect::{Dialect, HyperLogLogPolicy};
use mover::job::{Phase, Report};
use mover::sandbox::node::{Node, NodeConfig};
use mover::sink::{Sink, Target};
use mover::source::{Known, Reread, Wanted};
use mover::{Job, JobOptions, Side};
use redis::Value as Reply;
use replication::binlog::Tail;
use replication::{BinlogOffset, Change, Effect, Extent, ListEnd, ListStep, Renames, SlotCount, SlotSet};
use snapshot::{Checkpoint, Kind, Piece, ScanRequest};

use crate::harness::{
    Client, Expected, RedisServer, Switchboard, Value, assert_same, contents, endpoint, fixtures, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn big_collections_that_never_rest_arrive_at_a_redis() {
    let target = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    assert_arrives(dir.path(), target.addr()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn big_collections_that_never_rest_arrive_at_a_pika() {
    let dir = tempfile::tempdir().unwrap();
    let target = Node::start(NodeConfig::new(dir.path().join("target"))).await.unwrap();
    assert_arrives(&dir.path().join("source"), target.addr()).await;
}

async fn assert_arrives(dir: &Path, target: SocketAddr) {
    let source = Node::start(NodeConfig::new(dir)).await.unwrap();
    fill(&mut Client::connect(source.addr()));
    let writers = Writers::start(source.addr(), 1);
    let written = Arc::clone(&writers.written);
    let enough = || written.load(Ordering::SeqCst) > 2500;
    // Their last commands are over, too: one that came behind the switch would be a late write.
    let report = run(source.addr(), target, enough, || writers.join()).await;
    assert!(report.changes > 1000, "{report:?}");
    // The stream is read whole when it is trimmed first: a checkpoint does not tell from which entry on that is.
    assert!(report.whole_rereads <= 1, "{report:?}");
    assert_eq!(report.verify.repaired, 0, "{report:?}");
    assert_same(&contents(&mut Client::connect(source.addr())), &contents(&mut Client::connect(target)));
}

/// Moves everything. The cutover waits until the writers have written enough and were stopped.
async fn run(source: SocketAddr, target: SocketAddr, enough: impl Fn() -> bool, stop: impl FnOnce()) -> Report {
    let mut options = JobOptions::new(SlotSet::all(SlotCount::CODIS));
    options.cutover.group = std::num::NonZeroUsize::MAX;
    options.cutover.max_lock = None;
    let ends = (endpoint(Side::Source, source), endpoint(Side::Target, target));
    let job = Job::new(ends.0, ends.1, options, Arc::new(Switchboard::default()));
    let (control, progress) = (job.control(), job.progress());
    control.postpone_cutover(true);
    let running = tokio::spawn(job.run());
    until("the cutover", || progress.status().phase == Phase::Cutover || running.is_finished()).await;
    until("enough was written", || enough() || running.is_finished()).await;
    stop();
    tokio::time::sleep(Duration::from_millis(50)).await;
    control.postpone_cutover(false);
    running.await.unwrap().unwrap()
}

/// Clients that change big keys, and some small ones, all the time.
struct Writers {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(addr: SocketAddr, seed: u64) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..2)
            .map(|thread| {
                let (stop, written) = (Arc::clone(&stop), Arc::clone(&written));
                std::thread::spawn(move || write(addr, seed * 2 + thread, &stop, &written))
            })
            .collect();
        Self { stop, written, threads }
    }

    fn join(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn write(addr: SocketAddr, seed: u64, stop: &AtomicBool, written: &AtomicU64) {
    let (mut client, mut random) = (Client::connect(addr), seed);
    while !stop.load(Ordering::SeqCst) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (pick, number) = ((random >> 33) % 20, (random >> 40) % BIG);
        let command = match pick {
            0 => format!("LPUSH queue {number} {pick}"),
            1 => "RPOP queue".to_owned(),
            2 => "lpop queue 2".to_owned(),
            3 => format!("RPUSH queue {number}"),
            4 => format!("LPUSH capped {number}"),
            5 => "LTRIM capped 0 99".to_owned(),
            6 => format!("LSET edited {number} new"),
            7 => format!("LINSERT edited BEFORE {number} inserted"),
            8 => "LREM edited -1 inserted".to_owned(),
            9 => format!("RPOPLPUSH queue {}", if number % 2 == 0 { "queue" } else { "edited" }),
            10 => "LTRIM edited 0 19999".to_owned(),
            11 => format!("ZADD delayed {} {number}", (random >> 20) % BIG),
            12 => "ZPOPMIN delayed 2".to_owned(),
            13 => "ZPOPMAX delayed".to_owned(),
            14 => format!("ZREMRANGEBYRANK delayed 0 {}", number % 3),
            15 => format!("ZREMRANGEBYSCORE same 0 {}", number % 10),
            16 => format!("ZADD same {} {}", 5 + number % 3, number),
            17 => format!("XADD stream MAXLEN {BIG} * field {number}"),
            18 => format!("HSET hash {number} {random}"),
            _ => format!("ZINCRBY delayed 1 {number}"),
        };
        client.run(&command);
        written.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn fill(client: &mut Client) {
    let numbers: Vec<String> = (0..BIG).map(|number| number.to_string()).collect();
    for chunk in numbers.chunks(1000) {
        let all = chunk.join(" ");
        let pairs = |one: &str| chunk.iter().map(|number| format!("{one} {number}")).collect::<Vec<_>>().join(" ");
        let own = chunk.iter().map(|number| format!("{number} {number}")).collect::<Vec<_>>().join(" ");
        client.run(&format!("RPUSH queue {all}"));
        client.run(&format!("RPUSH edited {all}"));
        client.run(&format!("HMSET hash {own}"));
        client.run(&format!("ZADD delayed {own}"));
        client.run(&format!("ZADD same {}", pairs("7")));
        for number in chunk {
            client.run(&format!("XADD stream {}-1 field {number}", number.parse::<u64>().unwrap() + 1));
        }
    }
    client.run("ZADD delayed -inf least");
    client.run(&format!("RPUSH capped {}", numbers[..100].join(" ")));
}

const BIG: u64 = 10_000;

/// What a log says of lists, done at a real server as a move does it, gives what the source has: with the dump and the log
/// of a real Pika.
#[tokio::test(flavor = "multi_thread")]
async fn the_steps_of_a_real_log_lead_to_what_the_real_server_had() {
    let server = RedisServer::start();
    let checkpoint = Checkpoint::open(fixtures().join("dump/20261122/db0"), SlotCount::CODIS, None).unwrap();
    let mut batch = Batch::default();
    let request = ScanRequest::new(SlotSet::all(SlotCount::CODIS));
    for instance in 0..checkpoint.instances() {
        let scanned = checkpoint.scan(instance, &request, |piece| {
            if piece.body.kind() == Kind::List && piece.expire_at.is_none() {
                batch.push(Write::Piece(piece));
            }
            std::ops::ControlFlow::Continue(())
        });
        scanned.unwrap();
    }
    let inexact = push_steps(&fixtures().join("log/log_db0"), checkpoint.info().offset, &mut batch);
    apply(&server, batch).await;
    let held = contents(&mut server.client());
    let mut compared = 0;
    for key in Expected::after().keys {
        let name = key.name();
        let Some(Value::List(elements)) = key.value().filter(|_| !inexact.contains_key(&name) && key.pttl == -1) else {
            continue;
        };
        assert_eq!(held.get(&name).map(|entry| &entry.value), Some(&Value::List(elements)), "{}", name.escape_ascii());
        compared += 1;
    }
    assert!(compared > 10, "{compared} lists");
}

/// The same with what a node of ours does and logs, for random commands, those that change nothing or fail among them.
#[tokio::test(flavor = "multi_thread")]
async fn the_steps_of_a_log_lead_to_what_the_node_has() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(NodeConfig::new(dir.path())).await.unwrap();
    let mut client = Client::connect(node.addr());
    let mut random = 7_u64;
    for _ in 0..4000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = |shift: u32, below: u64| (random >> shift) % below;
        let (key, element) = (format!("list:{}", at(33, 3)), ["a", "b", "c"][at(37, 3) as usize]);
        let place = at(43, 9) as i64 - 4;
        let command = match at(50, 12) {
            0 => format!("LPUSH {key} {element} x"),
            1 => format!("RPUSH {key} {element}"),
            2 => format!("LPUSHX {key} {element}"),
            3 => format!("RPUSHX {key} y {element}"),
            4 => format!("LPOP {key}"),
            5 => format!("rpop {key} {}", 1 + at(43, 3)),
            6 => format!("LSET {key} {place} z"),
            7 => format!("LINSERT {key} {} {element} i", ["BEFORE", "after"][at(43, 2) as usize]),
            8 => format!("LREM {key} {place} {element}"),
            9 => format!("LTRIM {key} {} {place}", at(47, 7) as i64 - 3),
            10 => format!("RPOPLPUSH {key} list:{}", at(43, 3)),
            _ => format!("LTRIM {key} 0 9"),
        };
        // What fails changes nothing and is not logged.
        let _ = client.call(command.split(' '));
    }
    let mut batch = Batch::default();
    let inexact = push_steps(&dir.path().join("log/log_db0"), BinlogOffset::new(0, 0), &mut batch);
    assert_eq!(inexact.len(), 0, "{inexact:?}");
    let server = RedisServer::start();
    apply(&server, batch).await;
    assert_same(&contents(&mut client), &contents(&mut server.client()));
}

/// All steps behind `from`, and the keys of which other things are logged there.
fn push_steps(log: &Path, from: BinlogOffset, batch: &mut Batch) -> BTreeMap<Vec<u8>, Extent> {
    let mut tail = Tail::open(log, from).unwrap();
    let mut inexact = BTreeMap::new();
    while let Some(item) = tail.next().unwrap() {
        let Effect::Changes(changes) = Effect::of_item(&item, &Renames::default()) else { continue };
        for change in changes {
            match change {
                Change::Key { key, extent: Extent::Steps(steps) } => batch.push(Write::Steps(Steps { key, steps })),
                Change::Key { key, extent } => drop(inexact.insert(key.to_vec(), extent)),
                Change::All | Change::Anything => panic!("nothing is flushed"),
            }
        }
    }
    inexact
}

async fn apply(server: &RedisServer, batch: Batch) {
    let end = endpoint(Side::Target, server.addr());
    let target = Target::connect(&end, SlotCount::CODIS, HyperLogLogPolicy::Refuse).await.unwrap();
    let sink: Box<dyn Sink> = Box::new(target.sink().await.unwrap());
    let (mut outlet, mut answers) = sink.split();
    // A step that does not fit its list is an error here, and of a list that is left out it may be one.
    for write in batch.writes() {
        let mut one = Batch::default();
        one.push(write.clone());
        outlet.send(&one).await.unwrap();
        if let Err(error) = answers.next().await {
            assert!(matches!(write, Write::Steps(_)), "{error}");
        }
    }
}

/// A list that comes into being after the checkpoint is read whole at first, and not for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_comes_later_becomes_one_of_steps() {
    let dir = tempfile::tempdir().unwrap();
    let source = Node::start(NodeConfig::new(dir.path())).await.unwrap();
    let mut client = Client::connect(source.addr());
    client.run("SET one key");
    let target = RedisServer::start();
    let mut options = JobOptions::new(SlotSet::all(SlotCount::CODIS));
    options.cutover.group = std::num::NonZeroUsize::MAX;
    let ends = (endpoint(Side::Source, source.addr()), endpoint(Side::Target, target.addr()));
    let job = Job::new(ends.0, ends.1, options, Arc::new(Switchboard::default()));
    let (control, progress) = (job.control(), job.progress());
    control.postpone_cutover(true);
    let running = tokio::spawn(job.run());
    until("the cutover", || progress.status().phase == Phase::Cutover).await;
    for number in 0..400_i64 {
        client.run(&format!("LPUSH later {number}"));
        if number < 10 || number % 20 == 0 {
            let mut there = target.client();
            until("it arrives", || there.run("LLEN later") == Reply::Int(number + 1)).await;
        }
    }
    control.postpone_cutover(false);
    let report = running.await.unwrap().unwrap();
    assert_eq!(report.whole_rereads, 0, "it was exact before it was big: {report:?}");
    assert_same(&contents(&mut client), &contents(&mut target.client()));
}

/// Huge elements and a huge string, beside small ones: all arrive, in pages of few elements.
#[tokio::test(flavor = "multi_thread")]
async fn huge_elements_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let source = Node::start(NodeConfig::new(dir.path())).await.unwrap();
    let target = RedisServer::start();
    let mut client = Client::connect(source.addr());
    let huge = vec![b'v'; 1 << 20];
    let set = |client: &mut Client, args: &[&[u8]]| drop(client.call(args).unwrap());
    for number in 0..24 {
        let name = number.to_string();
        set(&mut client, &[b"HSET", b"hash", name.as_bytes(), &huge]);
        set(&mut client, &[b"RPUSH", b"list", &huge[number..]]);
        set(&mut client, &[b"SADD", b"set", &huge[number..]]);
    }
    let string: Vec<u8> = (0..9_000_000_u32).flat_map(|number| number.to_le_bytes()).take(9_000_001).collect();
    set(&mut client, &[b"SET", b"string", &string]);
    let mut options = JobOptions::new(SlotSet::all(SlotCount::CODIS));
    options.cutover.group = std::num::NonZeroUsize::MAX;
    let ends = (endpoint(Side::Source, source.addr()), endpoint(Side::Target, target.addr()));
    let job = Job::new(ends.0, ends.1, options, Arc::new(Switchboard::default()));
    let (control, progress) = (job.control(), job.progress());
    control.postpone_cutover(true);
    let running = tokio::spawn(job.run());
    until("the cutover", || progress.status().phase == Phase::Cutover || running.is_finished()).await;
    // Now all of it is read again.
    for key in ["hash", "list", "set", "string"] {
        client.run(&format!("EXPIRE {key} 1000"));
        client.run(&format!("PERSIST {key}"));
    }
    set(&mut client, &[b"SETRANGE", b"string", b"8000000", b"changed"]);
    control.postpone_cutover(false);
    running.await.unwrap().unwrap();
    assert_same(&contents(&mut client), &contents(&mut target.client()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_turns_into_something_else_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let source = Node::start(NodeConfig::new(dir.path())).await.unwrap();
    let target = RedisServer::start();
    let mut client = Client::connect(source.addr());
    for number in 0..40 {
        client.run(&format!("RPUSH list:{number} a b c"));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicU64::new(0));
    let (addr, stopped, counted) = (source.addr(), Arc::clone(&stop), Arc::clone(&rounds));
    let writer = std::thread::spawn(move || {
        let mut client = Client::connect(addr);
        let mut round = 0_u64;
        while !stopped.load(Ordering::SeqCst) {
            for number in 0..40 {
                let words = match (number + round) % 7 {
                    0 => format!("DEL list:{number}"),
                    1 => format!("HSET list:{number} field value"),
                    2 => format!("SET list:{number} value"),
                    3 => format!("EXPIRE list:{number} 1000"),
                    4 => format!("SADD list:{number} a"),
                    _ => format!("LPUSH list:{number} {round}"),
                };
                // Whatever does not fit the type is refused.
                let _ = client.call(words.split(' '));
            }
            round += 1;
            counted.store(round, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let enough = || rounds.load(Ordering::SeqCst) > 60;
    run(source.addr(), target.addr(), enough, || stop.store(true, Ordering::SeqCst)).await;
    writer.join().unwrap();
    assert_same(&contents(&mut client), &contents(&mut target.client()));
}

/// What the log says of a string is a hint. Whatever has become of it since, it is read as without one.
#[tokio::test(flavor = "multi_thread")]
async fn a_string_is_read_as_it_is_and_not_as_it_was_logged() {
    let dir = tempfile::tempdir().unwrap();
    let source = Node::start(NodeConfig::new(dir.path())).await.unwrap();
    let mut client = Client::connect(source.addr());
    client.run("SET plain value");
    client.call(["SET", "empty", ""]).unwrap();
    client.run("SET expires value EX 100000");
    client.run("INCRBY number 9000000000000000000");
    client.call([&b"SET"[..], b"long", &vec![b'l'; 3 << 20]]).unwrap();
    client.call([&b"SET"[..], b"like registers", &vec![0; 1 << 17]]).unwrap();
    client.run("PFADD registers a b");
    client.run("HSET hash field value");
    client.run("XADD stream 1-1 field value");
    let keys = ["plain", "empty", "expires", "number", "long", "like registers", "registers", "hash", "stream", "none"];
    let connection = endpoint(Side::Source, source.addr()).connect().await.unwrap();
    let known = Arc::new(Known::new());
    let mut reread = Reread::new(connection, Dialect::Pika, Arc::clone(&known));
    let whole = read(&mut reread, keys.map(Wanted::whole).into()).await;
    assert_eq!(whole.len(), keys.len());
    for length in [0, 4, 5, 24, 1 << 17, 1 << 20, usize::MAX] {
        let logged = |key: &'static str| Wanted { key: key.into(), extent: Extent::Value { length } };
        // A list by that name ended unseen: it expired, or its end came in the same round.
        keys.iter().for_each(|key| known.learn_exact(&(*key).into()));
        assert_eq!(read(&mut reread, keys.map(logged).into()).await, whole, "{length}");
        let step = ListStep::Pop { end: ListEnd::Head, count: 1, may_be_served: false };
        assert!(!keys.iter().any(|key| known.may_step(&(*key).into(), &step)), "{length}");
    }
}

/// What each key turns into: its pieces, the expiry coarsely.
async fn read(reread: &mut Reread, wanted: Vec<Wanted>) -> BTreeMap<Vec<u8>, String> {
    let mut reading = reread.read(wanted);
    let mut found = BTreeMap::<Vec<u8>, String>::new();
    while let Some(writes) = reading.next().await.unwrap() {
        for mut write in writes {
            if let Write::Piece(Piece { expire_at: Some(at), .. }) = &mut write {
                at.0 /= 10_000_000;
            }
            found.entry(write.key().to_vec()).or_default().push_str(&format!("{write:?}"));
        }
    }
    let (again, unsettled) = reading.finish();
    assert!(again.is_empty() && unsettled.is_empty(), "{again:?} {unsettled:?}");
    found
}
