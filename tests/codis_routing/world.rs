// SPDX-License-Identifier: Apache-2.0
//! A Codis of two groups and two proxies, and a routing that moves slots from the first to the second.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mover::endpoint::Password;
use mover::routing::{Codis, CodisOptions, Owner, Readiness, RoutingControl};
use mover::sandbox::codis::{self, CodisConfig, Intervals};
use replication::{Slot, SlotCount, SlotSet};
use tokio::sync::watch;

use super::steps::{self, STEP};
use crate::harness::{HANG, Stub, order};

pub(super) struct World {
    pub(super) codis: codis::Codis,
    pub(super) routing: Codis,
    options: CodisOptions,
    pub(super) slots: SlotSet,
    pub(super) source: SocketAddr,
    pub(super) target: SocketAddr,
}

impl World {
    pub(super) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut CodisConfig)) -> Self {
        Self::from_source(Stub::with_info("role:master\r\n").addr(), change).await
    }

    /// One whose source is at `source`.
    pub(super) async fn from_source(source: SocketAddr, change: impl FnOnce(&mut CodisConfig)) -> Self {
        let target = Stub::with_info("role:master\r\n").addr();
        let mut config = CodisConfig::pair(source, target);
        config.product_auth = "s3cret".to_owned();
        config.intervals = Intervals::brisk();
        change(&mut config);
        let product_auth = config.product_auth.clone();
        let codis = codis::Codis::start(config).await.unwrap();
        let options = options(&codis, &product_auth, source, target);
        let routing = Codis::connect(options.clone()).await.unwrap();
        Self { codis, routing, options, slots: "500,510-512".parse().unwrap(), source, target }
    }

    /// Another agent, or the same one after a crash.
    pub(super) async fn another(&self) -> Codis {
        Codis::connect(self.options.clone()).await.unwrap()
    }

    /// Waits until a fence may be raised.
    pub(super) async fn ready(&self) {
        steps::ready(&self.routing, &self.slots).await;
    }

    /// Waits until no fence may be raised for a reason that says `what`.
    pub(super) async fn not_ready(&self, what: &str) {
        let begin = Instant::now();
        loop {
            let readiness = self.routing.preconditions(&self.slots).await.unwrap();
            match &readiness {
                Readiness::NotYet(why) if why.contains(what) => return,
                _ => assert!(begin.elapsed() < HANG, "{readiness:?} never says {what}"),
            }
            tokio::time::sleep(STEP).await;
        }
    }

    pub(super) async fn raise(&self) {
        steps::raise(&self.routing, &self.slots).await;
        assert_eq!(self.locks(), self.codis.admin_addrs().len() * self.slots.len());
    }

    pub(super) async fn holds(&self) {
        steps::holds(&self.routing, &self.slots).await;
    }

    pub(super) async fn broken(&self, what: &str) {
        steps::broken(&self.routing, &self.slots, what).await;
    }

    pub(super) async fn lower(&self) {
        steps::lower(&self.routing, &self.slots).await;
    }

    pub(super) async fn switch(&self) {
        steps::switch(&self.routing, &self.slots).await;
    }

    pub(super) async fn owner(&self) -> Owner {
        self.routing.owner(self.first()).await.unwrap()
    }

    /// The address of a proxy's API, as it stands in messages.
    pub(super) fn admin(&self, proxy: usize) -> String {
        self.codis.admin_addrs()[proxy].to_string()
    }

    pub(super) fn first(&self) -> Slot {
        self.slots.iter().next().unwrap()
    }

    /// A key of the first slot.
    pub(super) fn key(&self) -> String {
        key_of(self.first())
    }

    /// How many locks there are at all proxies.
    pub(super) fn locks(&self) -> usize {
        self.codis.locks().len()
    }

    /// Where a proxy that runs sends each of the slots; none when it is locked.
    pub(super) fn routes(&self, proxy: usize) -> Vec<Option<String>> {
        let record = |slot| self.codis.slot_record(proxy, slot).unwrap();
        self.slots.iter().map(|slot| (!record(slot).locked).then(|| record(slot).backend_addr)).collect()
    }

    /// Whether a proxy sends clients of all slots to `node`.
    pub(super) fn is_at(&self, proxy: usize, node: SocketAddr) -> bool {
        self.routes(proxy).iter().all(|route| *route == Some(node.to_string()))
    }

    /// That the proxies hold exactly what the dashboard fills in for slots that nobody moves.
    pub(super) fn assert_untouched(&self) {
        for proxy in 0..2 {
            for slot in self.slots.iter() {
                let record = self.codis.slot_record(proxy, slot).unwrap();
                assert_eq!((record.locked, &*record.backend_addr), (false, &*self.source.to_string()), "{record:?}");
                assert_eq!((record.backend_addr_group_id, record.forward_method), (1, 1), "{record:?}");
            }
        }
    }

    /// What an operator sends to the dashboard.
    pub(super) fn order(&self, what: &str, arguments: &str) {
        let url = self.codis.dashboard_url();
        let dashboard = url.strip_prefix("http://").unwrap().parse().unwrap();
        order(dashboard, what, arguments, "");
    }
}

/// A key of a slot.
pub(super) fn key_of(slot: Slot) -> String {
    let keys = (0..).map(|number| format!("key:{number}"));
    keys.into_iter().find(|key| SlotCount::CODIS.slot_of(key.as_bytes()) == slot).unwrap()
}

fn options(codis: &codis::Codis, product_auth: &str, source: SocketAddr, target: SocketAddr) -> CodisOptions {
    let mut options = CodisOptions::new(codis.dashboard_url(), source.to_string(), target.to_string());
    options.product_auth = Password::new(product_auth);
    options
}

/// A node that answers no GET while it is slow.
pub(super) struct SlowNode {
    addr: SocketAddr,
    is_slow: Arc<watch::Sender<bool>>,
}

impl SlowNode {
    /// A slow one.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let is_slow = Arc::new(watch::Sender::new(true));
        let slow = Arc::clone(&is_slow);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, slow) = (stream.unwrap(), slow.subscribe());
                std::thread::spawn(move || Self::serve(&stream, &slow));
            }
        });
        Self { addr, is_slow }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers what it was asked, and is slow no more.
    pub(super) fn answer(&self) {
        self.is_slow.send_replace(false);
    }

    /// Until the client hangs up. Every command ends with a line of its last word.
    fn serve(mut stream: &TcpStream, slow: &watch::Receiver<bool>) {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            let answer = match &*line {
                "INFO" => "$13\r\nrole:master\r\n\r\n",
                "SLOTSINFO" => "*0\r\n",
                "PING" => "+PONG\r\n",
                _ if line.starts_with("key:") => {
                    while *slow.borrow() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    "+OK\r\n"
                }
                _ => continue,
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// A client of a proxy that waits for its answers.
pub(super) struct Waiting(BufReader<TcpStream>);

impl Waiting {
    /// Sends a GET of `key` through the proxy, and does not wait for the answer.
    pub(super) fn get(proxy: SocketAddr, key: &str) -> Self {
        let mut stream = TcpStream::connect(proxy).unwrap();
        write!(stream, "*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).unwrap();
        Self(BufReader::new(stream))
    }

    /// The answer, when there is one before a test would hang.
    pub(super) fn answer(mut self) -> String {
        self.0.get_ref().set_read_timeout(Some(HANG)).unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}
