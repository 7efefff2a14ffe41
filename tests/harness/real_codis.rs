// SPDX-License-Identifier: Apache-2.0
//! A real Codis on loopback ports, where CODIS_BIN_DIR names the directory of its programs.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{HANG, Process, call, free_addr, order};

/// A dashboard and some proxies before groups of one node each; all slots in group 1.
pub(crate) struct RealCodis {
    programs: Programs,
    admins: Vec<SocketAddr>,
    clients: Vec<SocketAddr>,
    dashboard: Process,
    proxies: Vec<Process>,
}

/// How its parts are started.
struct Programs {
    programs: PathBuf,
    directory: TempDir,
    /// What the configurations of all parts have in common.
    product: String,
    dashboard: SocketAddr,
}

impl RealCodis {
    /// The directory of the programs; without one there is nothing to test, which is said.
    pub(crate) fn programs() -> Option<PathBuf> {
        let programs = std::env::var_os("CODIS_BIN_DIR").map(PathBuf::from);
        if programs.is_none() {
            println!("CODIS_BIN_DIR names no directory with codis-dashboard and codis-proxy: nothing is tested");
        }
        programs
    }

    /// Starts one with two proxies and a group for each of the nodes, whose password is `product_auth`.
    pub(crate) async fn start(programs: PathBuf, nodes: &[SocketAddr], product_auth: &str) -> Self {
        let product = format!("product_name = \"demo\"\nproduct_auth = \"{product_auth}\"\n");
        let directory = tempfile::tempdir().unwrap();
        let programs = Programs { programs, directory, product, dashboard: free_addr() };
        let dashboard = programs.start_dashboard().await;
        for (group, node) in (1..).zip(nodes) {
            order(programs.dashboard, "group/create", &format!("/{group}"), "");
            order(programs.dashboard, "group/add", &format!("/{group}/{node}"), "");
        }
        let (admins, clients) = (0..PROXIES).map(|_| (free_addr(), free_addr())).unzip();
        let mut codis = Self { programs, admins, clients, dashboard, proxies: Vec::new() };
        for proxy in 0..PROXIES {
            let started = codis.launch_proxy(proxy).await;
            codis.proxies.push(started);
        }
        let mappings: Vec<_> = (0..1024).map(|id| format!(r#"{{"id":{id},"group_id":1}}"#)).collect();
        order(codis.dashboard_addr(), "slots/assign", "", &format!("[{}]", mappings.join(",")));
        codis.until_registered().await;
        codis
    }

    /// Where the dashboard listens.
    pub(crate) fn dashboard_addr(&self) -> SocketAddr {
        self.programs.dashboard
    }

    /// Where clients connect, one address for each proxy.
    pub(crate) fn proxy_addrs(&self) -> &[SocketAddr] {
        &self.clients
    }

    pub(crate) fn signal_dashboard(&self, signal: &str) {
        self.dashboard.signal(signal);
    }

    pub(crate) fn signal_proxy(&self, proxy: usize, signal: &str) {
        self.proxies[proxy].signal(signal);
    }

    pub(crate) fn kill_dashboard(&mut self) {
        self.dashboard.kill();
    }

    pub(crate) fn kill_proxy(&mut self, proxy: usize) {
        self.proxies[proxy].kill();
    }

    /// Starts the dashboard again after it was killed.
    pub(crate) async fn start_dashboard(&mut self) {
        self.dashboard = self.programs.start_dashboard().await;
    }

    /// Starts a proxy again after it was killed. It comes to the dashboard by itself.
    pub(crate) async fn start_proxy(&mut self, proxy: usize) {
        self.proxies[proxy] = self.launch_proxy(proxy).await;
    }

    /// The group and the server of each slot as the dashboard has them.
    pub(crate) fn mappings(&self) -> Vec<SlotRecord> {
        records(self.dashboard_addr(), "/topom/slots")
    }

    /// How a proxy serves each slot.
    pub(crate) fn records(&self, proxy: usize) -> Vec<SlotRecord> {
        records(self.admins[proxy], "/proxy/slots")
    }

    /// No slot is locked anywhere, and all proxies send clients where the dashboard says.
    pub(crate) fn assert_no_fence(&self) {
        let mappings = self.mappings();
        for proxy in 0..self.admins.len() {
            for (mapping, record) in mappings.iter().zip(self.records(proxy)) {
                assert!(!record.locked, "proxy {proxy}: {record:?}");
                assert_eq!(mapping.backend_addr, record.backend_addr, "proxy {proxy}: {record:?}");
            }
        }
    }

    async fn launch_proxy(&self, proxy: usize) -> Process {
        self.programs.start_proxy(proxy, self.admins[proxy], self.clients[proxy]).await
    }

    async fn until_registered(&self) {
        let begin = Instant::now();
        let listed = || call(self.dashboard_addr(), "GET", "/topom/stats", "").matches("\"admin_addr\"").count();
        while listed() < self.admins.len() {
            assert!(begin.elapsed() < HANG, "the proxies do not register");
            tokio::time::sleep(STEP).await;
        }
    }
}

impl Programs {
    async fn start_dashboard(&self) -> Process {
        let (coordinator, addr) = (self.directory.path().join("coordinator"), self.dashboard);
        fs::create_dir_all(&coordinator).unwrap();
        let config = format!(
            "{}coordinator_name = \"filesystem\"\ncoordinator_addr = \"{}\"\nadmin_addr = \"{addr}\"\n\
             max_slot_num = 1024\nmigration_method = \"semi-async\"\n",
            self.product,
            coordinator.display()
        );
        // Without --remove-lock, what one that was killed has left would keep the next one from starting.
        let mut arguments = vec!["--ncpu=1".to_owned(), format!("--host-admin={addr}")];
        if coordinator.join("data/codis3/demo/topom").exists() {
            arguments.push("--remove-lock".to_owned());
        }
        self.start("codis-dashboard", "dashboard", &config, arguments, addr).await
    }

    async fn start_proxy(&self, number: usize, admin: SocketAddr, client: SocketAddr) -> Process {
        let config = format!(
            "{}session_auth = \"\"\nadmin_addr = \"{admin}\"\nproto_type = \"tcp4\"\nproxy_addr = \"{client}\"\n\
             max_slot_num = 1024\nproxy_max_clients = 100\nbackend_number_databases = 1\n\
             proxy_heap_placeholder = \"1mb\"\nproxy_max_offheap_size = \"16mb\"\n",
            self.product
        );
        let dashboard = self.dashboard;
        let arguments = ["--ncpu=1", "--max-ncpu=1"].map(str::to_owned).into_iter().chain([
            format!("--dashboard={dashboard}"),
            format!("--host-admin={admin}"),
            format!("--host-proxy={client}"),
        ]);
        self.start("codis-proxy", &format!("proxy-{number}"), &config, arguments.collect(), admin).await
    }

    /// Starts one of them and waits until it listens.
    async fn start(
        &self,
        program: &str,
        name: &str,
        config: &str,
        mut arguments: Vec<String>,
        addr: SocketAddr,
    ) -> Process {
        let file = |suffix| self.directory.path().join(format!("{name}.{suffix}"));
        fs::write(file("toml"), config).unwrap();
        arguments.push(format!("--config={}", file("toml").display()));
        let mut process = Process::start(&self.programs.join(program), &file("log"), &arguments);
        let begin = Instant::now();
        while TcpStream::connect(addr).is_err() {
            process.assert_running();
            assert!(begin.elapsed() < HANG, "no {program} listens at {addr}");
            tokio::time::sleep(STEP).await;
        }
        process
    }
}

/// What Codis says of a slot.
#[derive(serde::Deserialize, PartialEq, Debug)]
pub(crate) struct SlotRecord {
    pub(crate) id: u16,
    #[serde(default)]
    pub(crate) locked: bool,
    #[serde(default)]
    pub(crate) backend_addr: String,
}

fn records(server: SocketAddr, path: &str) -> Vec<SlotRecord> {
    let answer = call(server, "GET", path, "");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    // More than a few records come in chunks.
    let body: String = match head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        true => body.split("\r\n").skip(1).step_by(2).collect(),
        false => body.to_owned(),
    };
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body:.300}"))
}

const PROXIES: usize = 2;
const STEP: Duration = Duration::from_millis(10);
