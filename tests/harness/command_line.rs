// SPDX-License-Identifier: Apache-2.0
//! The program itself, run to its end.

use std::net::SocketAddr;
use std::sync::Arc;

use assert_cmd::Command;
use serde_json::Value as Json;
use tempfile::TempDir;

use super::HANG;

/// A run of `slotmover` that may be prepared further.
pub(crate) struct CommandLine {
    command: Command,
    state: Arc<TempDir>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    state: Arc<TempDir>,
}

impl CommandLine {
    /// With a state directory of its own.
    pub(crate) fn new(args: &[&str]) -> Self {
        Self::with_state(Arc::new(tempfile::tempdir().unwrap()), args)
    }

    fn with_state(state: Arc<TempDir>, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slotmover"));
        command.args(args).timeout(HANG);
        for name in ["SLOTMOVER_LOG", "SLOTMOVER_SOURCE_PASSWORD", "SLOTMOVER_TARGET_PASSWORD", "SLOTMOVER_TOKEN"] {
            command.env_remove(name);
        }
        command.env("XDG_STATE_HOME", state.path());
        Self { command, state }
    }

    /// A move of these slots without a question.
    pub(crate) fn of_move(source: SocketAddr, target: SocketAddr, slots: &str) -> Self {
        Self::unattended(source, target, slots).args(&["--yes"])
    }

    /// A move that asks, and leaves the keys at the source.
    pub(crate) fn unattended(source: SocketAddr, target: SocketAddr, slots: &str) -> Self {
        let (source, target) = (source.to_string(), target.to_string());
        Self::new(&["move", "--source", &source, "--target", &target, "--slots", slots, "--cleanup", "keep"])
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn stdin(mut self, text: &'static str) -> Self {
        self.command.write_stdin(text);
        self
    }

    /// Runs it to its end, which must come.
    pub(crate) fn run(mut self) -> Outcome {
        let output = self.command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        let code = output.status.code().unwrap_or_else(|| panic!("it hung for {HANG:?} or crashed: {stderr}"));
        Outcome { code, stdout, stderr, state: self.state }
    }

    /// Runs it aside, so that the test can do something meanwhile.
    pub(crate) fn start(self) -> std::thread::JoinHandle<Outcome> {
        std::thread::spawn(|| self.run())
    }
}

/// Takes back every job that was stopped.
pub(crate) fn take_back(command: impl Fn(&[&str]) -> CommandLine) {
    for job in stopped_jobs(&command) {
        command(&["cancel", &job]).run().assert_done();
    }
}

fn stopped_jobs(command: impl Fn(&[&str]) -> CommandLine) -> Vec<String> {
    let jobs = command(&["jobs", "--json"]).run().json();
    let stopped = jobs.as_array().unwrap().iter().filter(|job| job["state"] == "stopped");
    stopped.map(|job| job["job"].as_str().unwrap().to_owned()).collect()
}

impl Outcome {
    /// Another run with the same state directory.
    pub(crate) fn then(&self, args: &[&str]) -> CommandLine {
        CommandLine::with_state(Arc::clone(&self.state), args)
    }

    /// The only job that its state directory knows of.
    pub(crate) fn job(&self) -> String {
        let jobs = self.then(&["jobs", "--json"]).run();
        jobs.assert_done();
        let jobs = jobs.json();
        let [job] = &jobs.as_array().unwrap()[..] else { panic!("not one job but {jobs}") };
        job["job"].as_str().unwrap().to_owned()
    }

    /// The jobs that were stopped.
    pub(crate) fn stopped_jobs(&self) -> Vec<String> {
        stopped_jobs(|words| self.then(words))
    }

    /// Takes back what it has left, if anything: a job that has done nothing leaves none.
    pub(crate) fn take_back(&self) {
        take_back(|words| self.then(words));
    }

    /// Takes its job back.
    pub(crate) fn cancel(&self, more: &[&str]) -> Self {
        let job = self.job();
        self.then(&["cancel", &job]).args(more).run()
    }

    /// It has done what it was asked for.
    pub(crate) fn assert_done(&self) {
        assert_eq!(self.code, 0, "{}", self.stderr);
    }

    /// It has failed with an error that names all of `parts`, and did not panic.
    pub(crate) fn assert_failed(&self, parts: &[&str]) {
        assert_eq!(self.code, 1, "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        let errors: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("slotmover: ")).collect();
        let [error] = errors[..] else { panic!("it says not one error but {errors:?}: {}", self.stderr) };
        for part in parts {
            assert!(error.contains(part), "it does not name `{part}`: {error}");
        }
        assert!(self.stderr.contains("\nwhat helps: "), "{}", self.stderr);
    }

    /// The last line of the standard output as a JSON object.
    pub(crate) fn json(&self) -> Json {
        let last = self.stdout.lines().last().unwrap_or_else(|| panic!("no output: {}", self.stderr));
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}"))
    }
}
