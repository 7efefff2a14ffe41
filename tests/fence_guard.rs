// SPDX-License-Identifier: Apache-2.0
//! What becomes of a fence whose processes are stopped or killed. The hooks keep their state in files, so whether
//! clients are held is whether a file exists.

use std::time::Duration;

use crate::harness::{Hooked, assert_same, contents, signal, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_nothing_happens_to_leaves_nothing_behind() {
    let scene = Hooked::start().await;
    let mut agent = scene.agent(LONG_LOCK);
    assert_eq!(agent.end().await, Some(0), "{}", agent.errors());
    assert_eq!(scene.calls(), ["raise 0-1023", "holds 0-1023", "switch 0-1023"]);
    assert_eq!((scene.owner().as_str(), scene.has("fenced")), ("target", false));
    assert_eq!((scene.journals(), scene.guards()), (0, vec![]));
    assert_same(scene.source.contents(), &contents(&mut scene.target.client()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_behind_its_fence_is_lowered_by_the_guard() {
    let scene = Hooked::start().await;
    let mut agent = fenced_agent(&scene, LONG_LOCK).await;
    agent.kill();
    until("the fence is lowered", || !scene.has("fenced")).await;
    // The hook of the agent that died goes on and raises the fence late.
    scene.set("fenced", "");
    scene.unset("pause-raise");
    until("the late fence is lowered", || !scene.has("fenced")).await;
    until("the guard has tidied up", || scene.journals() == 0 && scene.guards().is_empty()).await;
    assert_eq!((scene.owner().as_str(), scene.count("switch")), ("source", 0));
    let said = agent.errors();
    assert!(said.contains(&format!("the agent (pid {}) is gone: lowering the fence", agent.pid())), "{said}");
    assert!(said.contains("lowered the fence of slots 0-1023: their clients go on at the source"), "{said}");
    assert_same(scene.source.contents(), &contents(&mut scene.source.client()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_stopped_behind_its_fence_is_lowered_and_tries_again_when_it_wakes() {
    let scene = Hooked::start().await;
    let mut agent = fenced_agent(&scene, &["--max-lock", "1s"]).await;
    agent.signal("STOP");
    until("the fence is lowered", || !scene.has("fenced")).await;
    assert_eq!(scene.guards().len(), 1);
    scene.set("fenced", "");
    until("a late fence is lowered", || !scene.has("fenced")).await;
    assert_eq!((scene.owner().as_str(), scene.count("switch")), ("source", 0));
    scene.unset("pause-raise");
    agent.signal("CONT");
    assert_eq!(agent.end().await, Some(0), "{}", agent.errors());
    assert_eq!((scene.owner().as_str(), scene.journals()), ("target", 0));
    assert!(scene.count("raise") >= 2, "{:?}", scene.calls());
    let said = agent.errors();
    assert!(said.contains("has not gone on in time"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_after_it_had_leave_is_switched_by_the_guard() {
    let scene = Hooked::start().await;
    half_switched(&scene);
    let mut agent = scene.agent(LONG_LOCK);
    until("the switch was sent", || scene.has("once")).await;
    assert_eq!((scene.owner().as_str(), scene.has("fenced")), ("source", true));
    agent.kill();
    until("the guard has switched and tidied up", || scene.owner() == "target" && scene.journals() == 0).await;
    assert_eq!((scene.count("lower"), scene.has("fenced")), (0, false));
    let said = agent.errors();
    assert!(said.contains("switched slots 0-1023: their clients go on at the target"), "{said}");
    assert_same(scene.source.contents(), &contents(&mut scene.target.client()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_stopped_after_it_had_leave_finds_its_slots_switched() {
    let scene = Hooked::start().await;
    half_switched(&scene);
    let mut agent = scene.agent(&["--max-lock", "2s", "--hook-timeout", "5s"]);
    until("the switch was sent", || scene.has("once")).await;
    agent.signal("STOP");
    until("the guard has switched", || scene.owner() == "target").await;
    agent.signal("CONT");
    assert_eq!(agent.end().await, Some(0), "{}", agent.errors());
    assert_eq!((scene.count("lower"), scene.has("fenced"), scene.journals()), (0, false, 0));
    assert_same(scene.source.contents(), &contents(&mut scene.target.client()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_move_lowers_what_agent_and_guard_left() {
    let scene = Hooked::start().await;
    let mut agent = fenced_agent(&scene, LONG_LOCK).await;
    kill_guard(&scene);
    agent.kill();
    scene.unset("pause-raise");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(scene.has("fenced") && scene.journals() == 1, "somebody lowered it who should be dead");
    let outcome = scene.command().args(&["--replace"]).args(LONG_LOCK).run();
    outcome.assert_done();
    let expected =
        "and its guard died while slots 0-1023 were fenced: lowered the fence, their clients go on at the source";
    assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
    let calls: Vec<_> = scene.calls().into_iter().filter(|call| !call.starts_with("holds")).collect();
    assert_eq!(calls, ["raise 0-1023", "lower 0-1023", "raise 0-1023", "switch 0-1023"]);
    assert_eq!((scene.owner().as_str(), scene.journals()), ("target", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_move_waits_for_the_guard_of_a_dead_one() {
    let scene = Hooked::start().await;
    let mut agent = fenced_agent(&scene, LONG_LOCK).await;
    agent.kill();
    scene.unset("pause-raise");
    scene.command().args(&["--replace"]).args(LONG_LOCK).run().assert_done();
    let calls: Vec<_> = scene.calls().into_iter().filter(|call| !call.starts_with("holds")).collect();
    let (guard, next) = calls.split_at(calls.len() - 2);
    assert_eq!(next, ["raise 0-1023", "switch 0-1023"]);
    assert_eq!((&*guard[0], guard[1..].iter().all(|call| call == "lower 0-1023")), ("raise 0-1023", true), "{calls:?}");
    assert_eq!((guard.len(), scene.journals()), (4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn fence_lower_completes_what_agent_and_guard_began_to_switch() {
    let scene = Hooked::start().await;
    half_switched(&scene);
    let mut agent = scene.agent(LONG_LOCK);
    until("the switch was sent", || scene.has("once")).await;
    kill_guard(&scene);
    agent.kill();
    let outcome = scene.fence_lower();
    outcome.assert_done();
    assert!(outcome.stderr.contains("completed it, their clients go on at the target"), "{}", outcome.stderr);
    assert_eq!((scene.owner().as_str(), scene.has("fenced"), scene.journals()), ("target", false, 0));
    assert_eq!(scene.count("lower"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fence_lower_leaves_a_living_move_alone() {
    let scene = Hooked::start().await;
    let mut agent = fenced_agent(&scene, LONG_LOCK).await;
    let outcome = scene.fence_lower();
    outcome.assert_done();
    let named = format!("process {} lives and fences slots 0-1023", agent.pid());
    assert!(outcome.stderr.contains(&named), "{}", outcome.stderr);
    assert!(scene.has("fenced"));
    // Nor does another move of these slots begin.
    scene.command().run().assert_failed(&["slot 0 of", "which is at work (phase cutover)"]);
    scene.unset("pause-raise");
    assert_eq!(agent.end().await, Some(0), "{}", agent.errors());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_killed_before_a_fence_is_started_anew() {
    let scene = Hooked::start().await;
    scene.set("postponed", "");
    let flag = scene.path("postponed");
    let mut agent = scene.agent(&["--max-lock", "20s", "--postpone-cutover", &flag]);
    until("it is about to raise", || agent.errors().contains("cutover: ")).await;
    kill_guard(&scene);
    scene.unset("postponed");
    assert_eq!(agent.end().await, Some(0), "{}", agent.errors());
    assert!(agent.errors().contains("the fence guard died, starting another one"), "{}", agent.errors());
    assert_eq!((scene.owner().as_str(), scene.journals()), ("target", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_killed_behind_a_fence_lets_no_switch_pass() {
    let scene = Hooked::start().await;
    let mut agent = fenced_agent(&scene, LONG_LOCK).await;
    kill_guard(&scene);
    scene.unset("pause-raise");
    assert_eq!(agent.end().await, Some(0), "{}", agent.errors());
    let calls: Vec<_> = scene.calls().into_iter().filter(|call| !call.starts_with("holds")).collect();
    assert_eq!(calls, ["raise 0-1023", "lower 0-1023", "raise 0-1023", "switch 0-1023"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_told_to_go_lowers_first() {
    let scene = Hooked::start().await;
    let mut agent = fenced_agent(&scene, LONG_LOCK).await;
    for name in ["INT", "HUP"] {
        signal(scene.guards()[0], name);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(scene.has("fenced"), "it does not listen to the terminal");
    signal(scene.guards()[0], "TERM");
    until("the fence is lowered", || !scene.has("fenced")).await;
    until("the guard has gone", || scene.guards().is_empty()).await;
    scene.unset("pause-raise");
    assert_eq!(agent.end().await, Some(0), "{}", agent.errors());
    assert_eq!(scene.owner(), "target");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_cannot_be_written_stops_the_move_before_it_begins() {
    let scene = Hooked::start().await;
    scene.set("state", "this is no directory");
    scene.command().run().assert_failed(&["state directory", "/state"]);
    assert_eq!(scene.calls(), [""; 0]);
    assert!(contents(&mut scene.target.client()).is_empty());
    scene.source.assert_untouched();
}

/// An agent that waits in its first raise, its clients held.
async fn fenced_agent(scene: &Hooked, more: &[&str]) -> crate::harness::Agent {
    scene.set("pause-raise", "");
    let agent = scene.agent(more);
    until("the fence is up", || scene.has("fenced")).await;
    agent
}

/// The first switch does nothing and hangs, as one whose request was lost.
fn half_switched(scene: &Hooked) {
    scene.hook("switch", "if mkdir once 2>/dev/null; then sleep 20; exit 1; fi; echo target > owner; rm -f fenced");
}

fn kill_guard(scene: &Hooked) {
    let guards = scene.guards();
    let [guard] = guards[..] else { panic!("there are guards {guards:?}") };
    signal(guard, "KILL");
    while scene.guards().contains(&guard) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// No deadline comes in between.
const LONG_LOCK: &[&str] = &["--max-lock", "20s", "--hook-timeout", "60s"];
