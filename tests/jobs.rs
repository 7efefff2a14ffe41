// SPDX-License-Identifier: Apache-2.0
//! Jobs as an operator handles them: listed, held, gone on with, taken back; and journals that cannot be trusted.

use std::fs;
use std::path::PathBuf;

use serde_json::Value as Json;

use crate::harness::{Agent, CommandLine, Hooked, Outcome, assert_same, contents, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_killed_is_listed_and_gone_on_with() {
    let scene = Scene::start().await;
    let mut agent = scene.slow_agent().await;
    let job = scene.only_job();
    assert_eq!((&job["state"], &job["phase"], &job["slot_count"]), (&"at work".into(), &"copy".into(), &1024.into()));
    agent.kill();
    assert_eq!(scene.only_job()["state"], "stopped");
    // Another move of some of the slots would be in its way.
    let name = job["job"].as_str().unwrap();
    let (source, target) = (scene.hooked.source.addr().to_string(), scene.hooked.target.addr().to_string());
    let other = ["move", "--source", &source, "--target", &target, "--slots", "7", "--yes"];
    scene.run(&other).assert_failed(&["slot 7 of", name, "was stopped", "slotmover resume", "slotmover cancel"]);
    // So would one that goes on from where they are to come.
    let onward = ["move", "--source", &target, "--target", "127.0.0.1:1", "--slots", "7", "--yes"];
    scene.run(&onward).assert_failed(&["slot 7 of", name, "was stopped"]);
    scene.run(&["resume", name]).assert_done();
    assert_eq!((scene.only_job()["state"].clone(), scene.hooked.owner()), ("done".into(), "target".to_owned()));
    assert_same(scene.hooked.source.contents(), &contents(&mut scene.hooked.target.client()));
    scene.hooked.source.assert_untouched();
    let again = scene.run(&["resume", name]);
    assert!(again.code == 1 && again.stderr.contains("is done"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_move_goes_on_with_what_was_stopped() {
    let scene = Scene::start().await;
    let mut agent = scene.slow_agent().await;
    agent.signal("TERM");
    assert_eq!(agent.end().await, Some(3), "{}", agent.errors());
    let name = scene.only_job()["job"].as_str().unwrap().to_owned();
    for part in ["stopping at the next safe point", &format!("`slotmover resume {name}`"), "slotmover cancel"] {
        assert!(agent.errors().contains(part), "{part}: {}", agent.errors());
    }
    let outcome = scene.hooked.command().run();
    outcome.assert_done();
    assert!(outcome.stderr.contains(&format!("going on with job {name}")), "{}", outcome.stderr);
    assert_eq!(scene.only_job()["state"], "done");
    assert_same(scene.hooked.source.contents(), &contents(&mut scene.hooked.target.client()));
    scene.hooked.source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_at_work_is_held_and_let_go_on_and_taken_back() {
    let scene = Scene::start().await;
    let mut agent = scene.slow_agent().await;
    let name = scene.only_job()["job"].as_str().unwrap().to_owned();
    scene.run(&["pause", &name]).assert_done();
    let mut target = scene.hooked.target.client();
    // What was on its way lands.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let held = target.number("DBSIZE");
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(target.number("DBSIZE"), held);
    scene.run(&["resume", &name]).assert_done();
    until("it goes on", || target.number("DBSIZE") > held).await;
    scene.run(&["cancel", &name]).assert_done();
    assert_eq!(agent.end().await, Some(3), "{}", agent.errors());
    assert_eq!((target.number("DBSIZE"), scene.only_job()["state"].clone()), (0, "cancelled".into()));
    scene.hooked.source.assert_untouched();
    assert_eq!(scene.hooked.count("raise"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_killed_is_taken_back() {
    let scene = Scene::start().await;
    let mut agent = scene.slow_agent().await;
    agent.kill();
    let name = scene.only_job()["job"].as_str().unwrap().to_owned();
    scene.run(&["cancel", &name]).assert_done();
    assert_eq!(
        (scene.hooked.target.client().number("DBSIZE"), scene.only_job()["state"].clone()),
        (0, "cancelled".into())
    );
    scene.hooked.source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_the_journal_stops_everything_before_it_begins() {
    let scene = Scene::start().await;
    let mut agent = scene.slow_agent().await;
    agent.kill();
    let name = scene.only_job()["job"].as_str().unwrap().to_owned();
    let path = scene.journal(&name);
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    fs::write(&path, &flipped).unwrap();
    let keys = scene.hooked.target.client().number("DBSIZE");
    for words in [&["resume", &*name][..], &["cancel", &name]] {
        scene.run(words).assert_failed(&["the journal", path.to_str().unwrap(), "cannot be trusted: line "]);
    }
    let listed = scene.run(&["jobs"]);
    assert!(listed.code == 1 && listed.stderr.contains("cannot be trusted"), "{listed:?}");
    scene.hooked.command().run().assert_failed(&["cannot be trusted"]);
    assert_eq!(scene.hooked.target.client().number("DBSIZE"), keys);
    // A write that a crash of the machine has cut short is another matter.
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    scene.run(&["resume", &name]).assert_done();
    assert_same(scene.hooked.source.contents(), &contents(&mut scene.hooked.target.client()));
    scene.hooked.source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_are_not_there_are_named() {
    let outcome = CommandLine::new(&["jobs"]).run();
    outcome.assert_done();
    assert!(outcome.stdout.contains("no jobs in "), "{outcome:?}");
    for verb in ["resume", "pause", "cancel"] {
        let outcome = CommandLine::new(&[verb, "nothing"]).run();
        assert!(outcome.code == 1 && outcome.stderr.contains("there is no job `nothing`"), "{outcome:?}");
    }
}

/// A move by hooks whose agent may die.
struct Scene {
    hooked: Hooked,
}

impl Scene {
    async fn start() -> Self {
        Self { hooked: Hooked::start().await }
    }

    /// An agent that has copied a little and has seconds left to do so.
    async fn slow_agent(&self) -> Agent {
        let agent = self.hooked.agent(&["--rate", "40KiB"]);
        let mut client = self.hooked.target.client();
        until("the copy begins", || client.number("DBSIZE") > 20).await;
        agent
    }

    /// Another command with the same state directory.
    fn run(&self, words: &[&str]) -> Outcome {
        CommandLine::new(words).args(&["--state-dir", &self.hooked.path("state")]).run()
    }

    fn only_job(&self) -> Json {
        let jobs = self.run(&["jobs", "--json"]).json();
        let [job] = &jobs.as_array().unwrap()[..] else { panic!("not one job but {jobs}") };
        job.clone()
    }

    fn journal(&self, job: &str) -> PathBuf {
        PathBuf::from(self.hooked.path("state")).join(format!("job-{job}.journal"))
    }
}
