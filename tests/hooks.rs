// SPDX-License-Identifier: Apache-2.0
//! Whole moves that are routed by the operator's programs: what they are told, and what becomes of one that fails or
//! hangs at each point.

use crate::harness::{Hooked, Outcome, assert_same, contents};

#[tokio::test(flavor = "multi_thread")]
async fn each_hook_is_called_at_its_point() {
    let scene = Hooked::start().await;
    for name in ["before-raise", "after-switch", "on-failure"] {
        scene.hook(name, "true");
    }
    let outcome = scene.in_groups(512).args(PATIENT).run();
    outcome.assert_done();
    let mut calls = scene.calls();
    // It runs aside.
    calls.retain(|call| !call.starts_with("after-switch"));
    let group = |slots: &str| ["before-raise", "raise", "holds", "switch"].map(|name| format!("{name} {slots}"));
    assert_eq!(calls, [group("0-511"), group("512-1023")].concat());
    assert_eq!((scene.count("after-switch"), scene.count("on-failure")), (2, 0));
    assert_same(scene.source.contents(), &contents(&mut scene.target.client()));
    scene.source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_at_each_point_before_the_switch_leaves_the_slots_at_the_source() {
    let scene = Hooked::start().await;
    let points = [
        ("before-raise", "echo 'closed on Sundays'; exit 1", "", "closed on Sundays"),
        ("raise", "touch fenced; echo 'proxy 2 is away'; exit 1", "touch fenced", "proxy 2 is away"),
        ("holds", "echo 'proxy 2 was restarted'; exit 1", "test -e fenced", "proxy 2 was restarted"),
    ];
    for (name, broken, sound, says) in points {
        scene.hook(name, broken);
        scene.hook("on-failure", "echo \"$SLOTMOVER_REASON\" > reason");
        let outcome = stopped(&scene, &["--max-lock", "10s"]);
        outcome.assert_failed(&[says]);
        let reason = std::fs::read_to_string(scene.path("reason")).unwrap();
        assert!(reason.contains(says), "{reason}");
        scene.hook(name, sound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_hangs_before_the_switch_is_killed_and_the_fence_lowered() {
    let scene = Hooked::start().await;
    for name in ["before-raise", "raise", "holds"] {
        scene.set(&format!("pause-{name}"), "");
        scene.hook("before-raise", "pause");
        // The hook's own limit is shorter than the fence's at first, then longer.
        stopped(&scene, &["--max-lock", "10s", "--hook-timeout", "1s"])
            .assert_failed(&[&format!("/{name} was killed")]);
        if name != "before-raise" {
            stopped(&scene, &["--max-lock", "1s"]).assert_failed(&["did not fit its cap in 1 attempts"]);
        }
        scene.unset(&format!("pause-{name}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_fails_or_hangs_is_sent_again() {
    let scene = Hooked::start().await;
    let text = "if mkdir failed 2>/dev/null; then exit 1; fi; if mkdir hung 2>/dev/null; then sleep 30; fi; \
                echo target > owner; rm -f fenced";
    scene.hook("switch", text);
    let outcome = scene.command().args(&["--max-lock", "20s", "--hook-timeout", "3s"]).run();
    outcome.assert_done();
    assert_eq!((scene.owner().as_str(), scene.count("switch"), scene.count("lower")), ("target", 3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_that_fails_or_hangs_is_done_again() {
    let scene = Hooked::start().await;
    scene.hook("holds", "if mkdir broke 2>/dev/null; then exit 1; fi; test -e fenced");
    let text =
        "if mkdir failed 2>/dev/null; then exit 1; fi; if mkdir hung 2>/dev/null; then sleep 30; fi; rm -f fenced";
    scene.hook("lower", text);
    let outcome = scene.command().args(&["--max-lock", "20s", "--hook-timeout", "3s"]).run();
    outcome.assert_done();
    assert_eq!((scene.owner().as_str(), scene.count("switch"), scene.count("lower")), ("target", 1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn not_yet_is_waited_for() {
    let scene = Hooked::start().await;
    scene.hook("before-raise", "if mkdir asked 2>/dev/null; then echo 'a backup runs'; exit 75; fi");
    scene.command().args(PATIENT).run().assert_done();
    assert_eq!((scene.count("before-raise"), scene.count("raise")), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_after_switch_that_fails_is_told_and_undoes_nothing() {
    let scene = Hooked::start().await;
    scene.hook("after-switch", "echo 'no mail server'; exit 1");
    let outcome = scene.command().args(PATIENT).run();
    outcome.assert_failed(&["after-switch", "no mail server"]);
    assert_eq!((scene.owner().as_str(), scene.has("fenced")), ("target", false));
    assert_same(scene.source.contents(), &contents(&mut scene.target.client()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_owner_there_is_no_way_back() {
    let scene = Hooked::start().await;
    scene.unset("hooks/owner");
    let refused = scene.command().args(&["--reverse-window", "1m"]).run();
    assert!(refused.code == 2 && refused.stderr.contains("needs a hook `owner`"), "{refused:?}");
    assert_eq!((scene.calls().len(), scene.target.client().number("DBSIZE")), (0, 0));
    scene.command().run().assert_done();
    scene.source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_that_cannot_run_are_refused_before_anything_is_copied() {
    let scene = Hooked::start().await;
    std::fs::remove_file(scene.path("hooks/lower")).unwrap();
    scene.command().run().assert_failed(&["hooks/lower", "cannot be used"]);
    std::fs::write(scene.path("hooks/lower"), "no program").unwrap();
    scene.command().run().assert_failed(&["hooks/lower", "cannot be executed"]);
    assert!(contents(&mut scene.target.client()).is_empty());
    scene.source.assert_untouched();
}

/// A move that is tried once; the slots are at the source after it and nobody is held.
fn stopped(scene: &Hooked, more: &[&str]) -> Outcome {
    let switches = scene.count("switch");
    let outcome = scene.command().args(&["--replace", "--cutover-retries", "0"]).args(more).run();
    assert_eq!((scene.owner().as_str(), scene.has("fenced")), ("source", false));
    assert_eq!((scene.count("switch"), scene.journals()), (switches, 0));
    scene.take_back();
    scene.source.assert_untouched();
    outcome
}

const PATIENT: &[&str] = &["--max-lock", "20s"];
