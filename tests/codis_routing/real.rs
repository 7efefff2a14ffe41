// SPDX-License-Identifier: Apache-2.0
//! The same against real ones: a `codis-dashboard` and two `codis-proxy` in the directory that CODIS_BIN_DIR names.
//! Without it there is nothing to test, and these tests say so and pass.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mover::Error;
use mover::endpoint::Password;
use mover::routing::{Codis, CodisOptions, Owner, Readiness, RoutingControl, Standing};
use replication::{Slot, SlotSet};
use tempfile::TempDir;

use super::steps::{self, STEP};
use super::world::{SlowNode, Waiting, call, key_of, order};
use crate::harness::{HANG, free_addr};

#[tokio::test(flavor = "multi_thread")]
async fn a_real_codis_is_fenced_switched_and_lowered() {
    let Some(real) = Real::start().await else { return };
    let (slots, routing) = (slots(), &real.routing);
    routing.prepare(&slots).await.unwrap();
    for _ in 0..5 {
        steps::raise(&real.routing, &slots).await;
        let client = Waiting::get(real.clients[0], &key_of(Slot::new(500)));
        assert_eq!(real.owner().await, Owner::Source);
        steps::lower(&real.routing, &slots).await;
        assert_eq!(client.answer(), "+OK");
    }
    steps::raise(&real.routing, &slots).await;
    let client = Waiting::get(real.clients[1], &key_of(Slot::new(500)));
    steps::switch(&real.routing, &slots).await;
    assert_eq!(client.answer(), "+OK");
    assert_eq!(real.owner().await, Owner::Target);
    steps::lower(&real.routing, &slots).await;
    assert_eq!(real.owner().await, Owner::Target);
    routing.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_proxy_may_hang_at_each_step() {
    let Some(real) = Real::start().await else { return };
    let (slots, routing) = (slots(), &real.routing);
    steps::raise(&real.routing, &slots).await;
    real.signal(PROXY, "-STOP");
    assert!(matches!(routing.holds(&slots).await, Ok(Standing::Broken(_))));
    routing.lower(&slots).await.unwrap_err();
    real.signal(PROXY, "-CONT");
    steps::lower(&real.routing, &slots).await;

    steps::ready(&real.routing, &slots).await;
    real.signal(PROXY, "-STOP");
    routing.raise(&slots).await.unwrap_err();
    routing.lower(&slots).await.unwrap_err();
    assert!(matches!(routing.preconditions(&slots).await, Ok(Readiness::NotYet(_))));
    real.signal(PROXY, "-CONT");
    steps::lower(&real.routing, &slots).await;
    let client = Waiting::get(real.clients[1], &key_of(Slot::new(500)));
    assert_eq!(client.answer(), "+OK", "a lock has landed late and was not taken off");

    steps::raise(&real.routing, &slots).await;
    real.signal(PROXY, "-STOP");
    let begin = Instant::now();
    steps::switch(&real.routing, &slots).await;
    assert!(begin.elapsed() < Duration::from_secs(30), "the dashboard stands still for a minute");
    real.signal(PROXY, "-CONT");
    real.until_owner(Owner::Target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_dashboard_may_hang_or_die_at_each_step() {
    let Some(mut real) = Real::start().await else { return };
    let slots = slots();
    steps::raise(&real.routing, &slots).await;
    real.signal(DASHBOARD, "-STOP");
    steps::lower(&real.routing, &slots).await;
    let client = Waiting::get(real.clients[0], &key_of(Slot::new(500)));
    assert_eq!(client.answer(), "+OK", "it was lowered by hand");
    real.signal(DASHBOARD, "-CONT");

    steps::raise(&real.routing, &slots).await;
    steps::holds(&real.routing, &slots).await;
    real.signal(DASHBOARD, "-KILL");
    real.routing.switch(&slots).await.unwrap_err();
    let client = Waiting::get(real.clients[0], &key_of(Slot::new(500)));
    assert_eq!(client.answer(), "+OK", "clients were sent on to the target by hand");
    real.start_dashboard().await;
    steps::switch(&real.routing, &slots).await;
    assert_eq!(real.owner().await, Owner::Target);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_proxy_that_restarts_breaks_the_fence() {
    let Some(mut real) = Real::start().await else { return };
    let slots = slots();
    steps::raise(&real.routing, &slots).await;
    real.signal(PROXY, "-KILL");
    real.start_proxy(1).await;
    let begin = Instant::now();
    while matches!(real.routing.holds(&slots).await, Ok(Standing::Holds)) {
        assert!(begin.elapsed() < HANG, "a fence cannot survive its proxy");
    }
    steps::lower(&real.routing, &slots).await;
    steps::raise(&real.routing, &slots).await;
    steps::switch(&real.routing, &slots).await;
    assert_eq!(real.owner().await, Owner::Target);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_whose_switch_a_real_dashboard_refuses_go_on_at_the_source() {
    let Some(real) = Real::start().await else { return };
    let slots = slots();
    steps::raise(&real.routing, &slots).await;
    order(real.dashboard, "group/del", &format!("/2/{}", real.target), "");
    order(real.dashboard, "group/remove", "/2", "");
    let fault = real.routing.switch(&slots).await.unwrap_err();
    assert!(matches!(&fault, Error::NotSwitched { what } if what.contains("group-[2] doesn't exist")), "{fault:?}");
    steps::lower(&real.routing, &slots).await;
    let client = Waiting::get(real.clients[1], &key_of(Slot::new(500)));
    assert_eq!(client.answer(), "+OK");
    assert_eq!(real.owner().await, Owner::Source);
}

/// A dashboard and two proxies before two nodes that answer everything with `OK`.
struct Real {
    programs: PathBuf,
    directory: TempDir,
    dashboard: SocketAddr,
    admins: [SocketAddr; 2],
    clients: [SocketAddr; 2],
    children: [Option<Process>; 3],
    target: String,
    routing: Codis,
}

const DASHBOARD: usize = 0;
/// The second one.
const PROXY: usize = 2;

impl Real {
    async fn start() -> Option<Self> {
        let Some(programs) = std::env::var_os("CODIS_BIN_DIR").map(PathBuf::from) else {
            println!("CODIS_BIN_DIR names no directory with codis-dashboard and codis-proxy: nothing is tested");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let (dashboard, admins, clients) = (free_addr(), [free_addr(), free_addr()], [free_addr(), free_addr()]);
        let nodes = [SlowNode::start(), SlowNode::start()];
        nodes.iter().for_each(SlowNode::answer);
        let mut children = [None, None, None];
        children[DASHBOARD] = Some(start_dashboard(&programs, directory.path(), dashboard).await);
        for (group, node) in (1..).zip(&nodes) {
            order(dashboard, "group/create", &format!("/{group}"), "");
            order(dashboard, "group/add", &format!("/{group}/{}", node.addr()), "");
        }
        for proxy in 0..2 {
            let addrs = (admins[proxy], clients[proxy]);
            children[1 + proxy] = Some(start_proxy(&programs, directory.path(), dashboard, proxy, addrs));
            until_listens(admins[proxy]).await;
        }
        let mappings: Vec<_> = (0..1024).map(|id| format!(r#"{{"id":{id},"group_id":1}}"#)).collect();
        order(dashboard, "slots/assign", "", &format!("[{}]", mappings.join(",")));
        let [source, target] = nodes.map(|node| node.addr().to_string());
        let mut options = CodisOptions::new(dashboard.to_string(), source, target.clone());
        options.product_auth = Password::new("");
        let routing = Codis::connect(options).await.unwrap();
        let real = Self { programs, directory, dashboard, admins, clients, children, target, routing };
        real.until_two_proxies().await;
        Some(real)
    }

    async fn start_dashboard(&mut self) {
        self.children[DASHBOARD] = None;
        let started = start_dashboard(&self.programs, self.directory.path(), self.dashboard).await;
        self.children[DASHBOARD] = Some(started);
    }

    async fn start_proxy(&mut self, proxy: usize) {
        self.children[1 + proxy] = None;
        let addrs = (self.admins[proxy], self.clients[proxy]);
        let started = start_proxy(&self.programs, self.directory.path(), self.dashboard, proxy, addrs);
        self.children[1 + proxy] = Some(started);
        until_listens(self.admins[proxy]).await;
    }

    async fn until_two_proxies(&self) {
        let begin = Instant::now();
        let listed = || call(self.dashboard, "GET", "/topom/stats", "").matches("\"admin_addr\"").count();
        while listed() < 2 {
            assert!(begin.elapsed() < HANG, "the proxies do not register");
            tokio::time::sleep(STEP).await;
        }
    }

    fn signal(&self, child: usize, signal: &str) {
        let pid = self.children[child].as_ref().unwrap().0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    async fn owner(&self) -> Owner {
        self.routing.owner(Slot::new(500)).await.unwrap()
    }

    async fn until_owner(&self, wanted: Owner) {
        let begin = Instant::now();
        while !self.routing.owner(Slot::new(500)).await.is_ok_and(|owner| owner == wanted) {
            assert!(begin.elapsed() < HANG, "the owner never becomes {wanted:?}");
            tokio::time::sleep(STEP).await;
        }
    }
}

/// A program that ends with the test.
struct Process(Child);

impl Process {
    fn start(program: &Path, log: &Path, arguments: &[String]) -> Self {
        let log = File::create(log).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self(command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display())))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended cannot be killed again.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn start_dashboard(programs: &Path, directory: &Path, addr: SocketAddr) -> Process {
    let coordinator = directory.join("coordinator");
    fs::create_dir_all(&coordinator).unwrap();
    let config = directory.join("dashboard.toml");
    let text = format!(
        "coordinator_name = \"filesystem\"\ncoordinator_addr = \"{}\"\nproduct_name = \"demo\"\nproduct_auth = \"\"\n\
         admin_addr = \"{addr}\"\nmax_slot_num = 1024\nmigration_method = \"semi-async\"\n",
        coordinator.display()
    );
    fs::write(&config, text).unwrap();
    // What a dashboard that was killed has left would keep the next one from starting.
    let lock = coordinator.join("data/codis3/demo/topom");
    if lock.exists() {
        fs::remove_file(lock).unwrap();
    }
    let arguments = ["--ncpu=1".to_owned(), format!("--config={}", config.display()), format!("--host-admin={addr}")];
    let started = Process::start(&programs.join("codis-dashboard"), &directory.join("dashboard.log"), &arguments);
    until_listens(addr).await;
    started
}

fn start_proxy(
    programs: &Path,
    directory: &Path,
    dashboard: SocketAddr,
    proxy: usize,
    (admin, client): (SocketAddr, SocketAddr),
) -> Process {
    let config = directory.join(format!("proxy-{proxy}.toml"));
    let text = format!(
        "product_name = \"demo\"\nproduct_auth = \"\"\nsession_auth = \"\"\nadmin_addr = \"{admin}\"\n\
         proto_type = \"tcp4\"\nproxy_addr = \"{client}\"\nmax_slot_num = 1024\nproxy_max_clients = 100\n\
         backend_number_databases = 1\nproxy_heap_placeholder = \"1mb\"\nproxy_max_offheap_size = \"16mb\"\n"
    );
    fs::write(&config, text).unwrap();
    let arguments = [
        "--ncpu=1".to_owned(),
        "--max-ncpu=1".to_owned(),
        format!("--config={}", config.display()),
        format!("--dashboard={dashboard}"),
        format!("--host-admin={admin}"),
        format!("--host-proxy={client}"),
    ];
    Process::start(&programs.join("codis-proxy"), &directory.join(format!("proxy-{proxy}.log")), &arguments)
}

async fn until_listens(addr: SocketAddr) {
    let begin = Instant::now();
    while std::net::TcpStream::connect(addr).is_err() {
        assert!(begin.elapsed() < HANG, "nobody listens at {addr}");
        tokio::time::sleep(STEP).await;
    }
}

fn slots() -> SlotSet {
    "500,510-512".parse().unwrap()
}
