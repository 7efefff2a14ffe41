// SPDX-License-Identifier: Apache-2.0
//! A node to move from, with keys of all types, and the proof that a failed move left it as it was.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mover::sandbox::node::{Node, NodeConfig};

use super::contents::{Contents, assert_same, contents};
use super::{Client, HANG};

pub(crate) struct Source {
    pub(crate) node: Node,
    pub(crate) dir: PathBuf,
    password: Option<String>,
    settings: [String; SETTINGS.len()],
    contents: Contents,
}

impl Source {
    /// A node in `dir` with a few hundred keys.
    pub(crate) async fn start(dir: &Path) -> Self {
        Self::with(NodeConfig::new(dir)).await
    }

    pub(crate) async fn with(config: NodeConfig) -> Self {
        let (dir, password) = (config.dir.clone(), config.password.clone());
        let node = Node::start(config).await.unwrap();
        let mut client = Client::log_in(node.addr(), password.as_deref());
        fill(&mut client);
        let settings = SETTINGS.map(|name| client.setting(name));
        let contents = contents(&mut client);
        assert_eq!(contents.len(), KEYS);
        Self { node, dir, password, settings, contents }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.node.addr()
    }

    pub(crate) fn client(&self) -> Client {
        Client::log_in(self.addr(), self.password.as_deref())
    }

    /// What it held at the start.
    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Its binlog.
    pub(crate) fn log_dir(&self) -> PathBuf {
        self.dir.join("log/log_db0")
    }

    /// Takes a dump and waits for it, so that everything is in files; gives the dump's directory.
    pub(crate) fn save(&self) -> PathBuf {
        self.client().run("BGSAVE");
        let begin = std::time::Instant::now();
        loop {
            let days = fs::read_dir(self.dir.join("dump")).into_iter().flatten();
            let dump = days.map(|day| day.unwrap().path().join("db0")).find(|dump| dump.join("info").exists());
            if let Some(dump) = dump {
                return dump;
            }
            assert!(begin.elapsed() < HANG, "no dump");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Its settings are as before, nothing of ours is in its directories, and its data is what it was.
    pub(crate) fn assert_untouched(&self) {
        self.assert_tidy();
        assert_same(&self.contents, &contents(&mut self.client()));
    }

    /// The same but for the data.
    pub(crate) fn assert_tidy(&self) {
        let mut client = self.client();
        assert_eq!(SETTINGS.map(|name| client.setting(name)), self.settings);
        assert_eq!(left_behind(&self.dir), Vec::<PathBuf>::new());
    }
}

/// Starts a node again where another one was killed, as soon as that one has let go of its files.
pub(crate) async fn restart(dir: &Path) -> Node {
    let begin = std::time::Instant::now();
    loop {
        match Node::start(NodeConfig::new(dir)).await {
            Ok(node) => return node,
            Err(error) => assert!(begin.elapsed() < HANG, "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Directories and files of ours below `dir`.
pub(crate) fn left_behind(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("slotmover-") {
            found.push(path);
        } else if path.is_dir() {
            found.extend(left_behind(&path));
        }
    }
    found
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_tree(&path, &copy),
            false => drop(fs::copy(&path, &copy).unwrap()),
        }
    }
}

fn fill(client: &mut Client) {
    let value = "v".repeat(1000);
    for number in 0..GROUPS {
        client.run(&format!("SET string:{number} {value}"));
        client.run(&format!("SETEX mortal:{number} 100000 {value}"));
        client.run(&format!("HMSET hash:{number} a 1 b {number}"));
        client.run(&format!("RPUSH list:{number} a b c"));
        client.run(&format!("SADD set:{number} a b {number}"));
        client.run(&format!("ZADD zset:{number} 1 a -inf b"));
        client.run(&format!("XADD stream:{number} 1-1 field value"));
    }
}

const GROUPS: usize = 60;
const KEYS: usize = GROUPS * 7;

/// The settings that a move changes for its time.
const SETTINGS: [&str; 3] = ["expire-logs-nums", "dump-prefix", "write-binlog"];
