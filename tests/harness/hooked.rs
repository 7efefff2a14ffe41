// SPDX-License-Identifier: Apache-2.0
//! A move whose clients are held and redirected by hooks that keep their state in files, and signals to its processes.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mover::sandbox::node::NodeConfig;

use super::command_line::take_back;
use super::{CommandLine, HANG, Outcome, RedisServer, Source};

/// A source, a target, and hooks between them. `owner` holds who owns the slots, `fenced` exists while clients are held,
/// `calls` has a line for each call. A hook waits while a file `pause-<its name>` exists.
pub(crate) struct Hooked {
    pub(crate) source: Source,
    pub(crate) target: RedisServer,
    dir: tempfile::TempDir,
}

/// A running move.
pub(crate) struct Agent {
    process: Child,
    errors: PathBuf,
}

impl Hooked {
    pub(crate) async fn start() -> Self {
        Self::with(|dir| NodeConfig::new(dir)).await
    }

    /// The same with a source that is set up by `config`, which is given its directory.
    pub(crate) async fn with(config: impl FnOnce(&Path) -> NodeConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("hooks")).unwrap();
        let source = Source::with(config(&dir.path().join("source"))).await;
        let scene = Self { source, target: RedisServer::start(), dir };
        scene.set("owner", "source");
        scene.hook("raise", "touch fenced; pause");
        scene.hook("holds", "pause; test -e fenced");
        scene.hook("switch", "pause; echo target > owner; rm -f fenced");
        scene.hook("lower", "pause; rm -f fenced");
        scene.hook("owner", "cat owner");
        scene
    }

    /// Writes a hook anew. Another process does, for a file that this one holds open for writing cannot be executed.
    pub(crate) fn hook(&self, name: &str, text: &str) {
        let head = format!(
            "#!/bin/sh\ncd '{}'\npause() {{ while [ -e pause-$SLOTMOVER_HOOK ]; do sleep 0.02; done; }}\n\
             [ {name} = owner ] || echo \"$SLOTMOVER_HOOK $SLOTMOVER_SLOTS\" >> calls\n",
            self.dir.path().display()
        );
        let mut shell = Command::new("sh")
            .args(["-c", "cat > \"$0.new\" && chmod +x \"$0.new\" && mv \"$0.new\" \"$0\""])
            .arg(self.dir.path().join("hooks").join(name))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(format!("{head}{text}\n").as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
    }

    pub(crate) fn set(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    pub(crate) fn unset(&self, name: &str) {
        fs::remove_file(self.dir.path().join(name)).unwrap();
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.dir.path().join(name).exists()
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).into_os_string().into_string().unwrap()
    }

    pub(crate) fn owner(&self) -> String {
        fs::read_to_string(self.dir.path().join("owner")).unwrap().trim().to_owned()
    }

    /// What the hooks were called for.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// How often a hook was called.
    pub(crate) fn count(&self, hook: &str) -> usize {
        self.calls().iter().filter(|call| call.split(' ').next() == Some(hook)).count()
    }

    /// Fence journals that nobody has settled yet.
    pub(crate) fn journals(&self) -> usize {
        fence_journals(&self.dir.path().join("state"))
    }

    /// A move of all slots under one fence.
    pub(crate) fn command(&self) -> CommandLine {
        self.in_groups(1024)
    }

    /// A move of all slots, so many under one fence.
    pub(crate) fn in_groups(&self, slots: u16) -> CommandLine {
        let arguments = arguments(self.source.addr(), self.target.addr(), self.dir.path(), slots);
        CommandLine::new(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The same, as a process that can be sent signals.
    pub(crate) fn agent(&self, more: &[&str]) -> Agent {
        let mut words = arguments(self.source.addr(), self.target.addr(), self.dir.path(), 1024);
        words.extend(more.iter().map(|&word| word.to_owned()));
        Agent::start(&words, self.dir.path().join("stderr"))
    }

    pub(crate) fn fence_lower(&self) -> Outcome {
        CommandLine::new(&["fence-lower", "--state-dir", &self.path("state")]).run()
    }

    /// Takes back what was stopped.
    pub(crate) fn take_back(&self) {
        let state = self.path("state");
        take_back(|words| CommandLine::new(words).args(&["--state-dir", &state]));
    }

    /// The guards of this scene's moves.
    pub(crate) fn guards(&self) -> Vec<u32> {
        guards(&self.path("state"))
    }
}

impl Agent {
    /// Starts `slotmover`, which writes what it says to a file.
    pub(crate) fn start(words: &[String], errors: PathBuf) -> Self {
        Self::with_accident(words, errors, None)
    }

    /// The same, with a signal at an entry of its journal, as in `kill before 17`. A file that may not grow is an error to
    /// it, not a signal: see [`limit_files`](Self::limit_files).
    pub(crate) fn with_accident(words: &[String], errors: PathBuf, accident: Option<&str>) -> Self {
        let process = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_slotmover")])
            .args(words)
            .env_remove("SLOTMOVER_LOG")
            .envs(accident.map(|accident| ("SLOTMOVER_TEST_ACCIDENT", accident)))
            .stdout(Stdio::null())
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        Self { process, errors }
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.process.id(), name);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// From now on no file that it writes may become longer than so many bytes, as if the disk was full.
    pub(crate) fn limit_files(&self, bytes: u64) {
        let (pid, limit) = (format!("--pid={}", self.pid()), format!("--fsize={bytes}"));
        assert!(Command::new("prlimit").args([&pid, &limit]).status().unwrap().success(), "no {limit} for {pid}");
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Whether it has ended by now.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    /// Its exit code, which must come.
    pub(crate) async fn end(&mut self) -> Option<i32> {
        let begin = std::time::Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            assert!(begin.elapsed() < HANG, "it does not end: {}", self.errors());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Whether a signal has made it stand still.
    pub(crate) fn is_stopped(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && line.contains('T'))
    }

    /// Its exit code if it has ended, `None` once it is stopped by a signal.
    pub(crate) async fn end_or_stop(&mut self) -> Option<Option<i32>> {
        let begin = std::time::Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return Some(status.code());
            }
            if self.is_stopped() {
                return None;
            }
            assert!(begin.elapsed() < HANG, "it neither ends nor stops: {}", self.errors());
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// What it, and its guard, have said.
    pub(crate) fn errors(&self) -> String {
        fs::read_to_string(&self.errors).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It has ended, unless the test failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How many fence journals lie in this state directory.
pub(crate) fn fence_journals(state: &Path) -> usize {
    let names = fs::read_dir(state).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("fence-")).count()
}

/// The guards of the moves with this state directory. What a guard has just forked is called as it is until it becomes the
/// hook that it was forked for, and is not one.
pub(crate) fn guards(state: &str) -> Vec<u32> {
    let mut found = HashMap::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let Some(pid) = entry.unwrap().file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while we look.
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if line.contains("fence-guard") && line.contains(state) {
            found.insert(pid, parent(pid));
        }
    }
    let guards = found.iter().filter(|(_, parent)| parent.is_none_or(|parent| !found.contains_key(&parent)));
    guards.map(|(&pid, _)| pid).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

/// Sends a signal to a process that this test has started.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "no {name} to {pid}");
}

fn arguments(source: SocketAddr, target: SocketAddr, dir: &Path, group: u16) -> Vec<String> {
    let path = |name| dir.join(name).into_os_string().into_string().unwrap();
    let (source, target, hooks, state) = (source.to_string(), target.to_string(), path("hooks"), path("state"));
    let group = group.to_string();
    let words = ["move", "--source", &source, "--target", &target, "--slots", "0-1023"];
    let routing = [
        "--cutover-group",
        &group,
        "--routing",
        "hooks",
        "--hooks",
        &hooks,
        "--state-dir",
        &state,
        "--cleanup",
        "keep",
    ];
    words.into_iter().chain(routing).map(str::to_owned).collect()
}
