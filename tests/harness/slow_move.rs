// SPDX-License-Identifier: Apache-2.0
//! A move that takes its time until something on a disk stops it, and that goes on once that is over.

use std::path::{Path, PathBuf};

use mover::sandbox::node::NodeConfig;

use super::{Agent, CommandLine, Hooked, Outcome, assert_same, contents, until};

pub(crate) struct SlowMove {
    pub(crate) hooked: Hooked,
}

impl SlowMove {
    pub(crate) async fn start() -> Self {
        Self::with(|dir| NodeConfig::new(dir)).await
    }

    /// With a source that is set up by `config`, which is given its directory.
    pub(crate) async fn with(config: impl FnOnce(&Path) -> NodeConfig) -> Self {
        Self { hooked: Hooked::with(config).await }
    }

    /// A move that has begun to copy and would go on with that for a quarter of a minute.
    pub(crate) async fn agent(&self) -> Agent {
        self.hooked.set("limits", "rate = 8KiB\n");
        let agent = self.hooked.agent(&["--limits-file", &self.hooked.path("limits")]);
        let mut client = self.hooked.target.client();
        until("the copy begins", || client.number("DBSIZE") > 0).await;
        agent
    }

    /// From now on nothing makes it slow.
    pub(crate) fn hurry(&self) {
        self.hooked.set("limits", "rate = none\n");
    }

    /// Another command with the same state directory.
    pub(crate) fn run(&self, words: &[&str]) -> Outcome {
        CommandLine::new(words).args(&["--state-dir", &self.hooked.path("state")]).run()
    }

    /// The only job.
    pub(crate) fn job(&self) -> String {
        let jobs = self.run(&["jobs", "--json"]).json();
        let [job] = &jobs.as_array().unwrap()[..] else { panic!("not one job but {jobs}") };
        job["job"].as_str().unwrap().to_owned()
    }

    pub(crate) fn journal(&self) -> PathBuf {
        Path::new(&self.hooked.path("state")).join(format!("job-{}.journal", self.job()))
    }

    pub(crate) fn resume(&self) -> Outcome {
        self.run(&["resume", &self.job()])
    }

    /// It ended with an error that names all of these, and with nothing switched.
    pub(crate) fn assert_stopped(&self, agent: &Agent, parts: &[&str]) {
        let errors = agent.errors();
        assert!(!errors.contains("panicked") && errors.contains("\nwhat helps: "), "{errors}");
        let error = errors.lines().find(|line| line.starts_with("slotmover: "));
        let error = error.unwrap_or_else(|| panic!("it names no error: {errors}"));
        for part in parts {
            assert!(error.contains(part), "it does not name `{part}`: {error}");
        }
        self.assert_not_switched();
    }

    /// No client was held, and all are served by the source.
    pub(crate) fn assert_not_switched(&self) {
        let calls = (self.hooked.count("raise"), self.hooked.count("switch"), self.hooked.journals());
        assert_eq!((calls, &*self.hooked.owner()), ((0, 0, 0), "source"));
    }

    /// What was stopped goes on where it was, and both sides are equal at its end.
    pub(crate) fn assert_goes_on(&self) {
        self.hurry();
        // Routing by hooks leaves the keys at the source.
        let before = contents(&mut self.hooked.source.client());
        self.resume().assert_done();
        assert_eq!((self.hooked.count("switch"), &*self.hooked.owner()), (1, "target"));
        assert_same(&before, &contents(&mut self.hooked.target.client()));
        assert_same(&before, &contents(&mut self.hooked.source.client()));
        self.hooked.source.assert_tidy();
    }
}
