// SPDX-License-Identifier: Apache-2.0
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use replication::{Slot, SlotSet};

use super::{Hooks, HooksOptions};
use crate::Result;
use crate::routing::{Owner, Readiness, RoutingControl, Standing};

/// Writes a script. Another process does, for a file that this one holds open for writing cannot be executed, and a
/// child that another test forks at this moment would hold it too.
fn script(dir: &Path, name: &str, text: &str) {
    let mut shell = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod +x \"$0\""])
        .arg(dir.join(name))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{text}\n").as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
}

/// A directory in which every needed hook notes its call in the file `calls`.
fn usual(dir: &Path) {
    for name in ["raise", "switch", "lower"] {
        script(dir, name, "echo \"$SLOTMOVER_HOOK $SLOTMOVER_SLOTS\" >> \"$(dirname \"$0\")/calls\"");
    }
}

fn open(dir: &Path) -> Result<Arc<Hooks>> {
    Hooks::open(HooksOptions {
        dir: dir.to_owned(),
        source: "10.0.0.1:9221".to_owned(),
        target: "10.0.0.2:9221".to_owned(),
        job: "job-7".to_owned(),
        timeout: Duration::from_secs(20),
        max_lock: Some(Duration::from_millis(200)),
    })
}

/// The same with little patience.
fn open_hasty(dir: &Path) -> Hooks {
    let hooks = open(dir).unwrap();
    let options = HooksOptions { timeout: Duration::from_millis(300), ..hooks.options.clone() };
    Hooks { options, state: Default::default() }
}

fn calls(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn slots() -> SlotSet {
    "1,5-9".parse().unwrap()
}

#[tokio::test]
async fn three_hooks_are_enough() {
    let dir = tempfile::tempdir().unwrap();
    usual(dir.path());
    let hooks = open(dir.path()).unwrap();
    let slots = slots();
    hooks.prepare(&slots).await.unwrap();
    assert_eq!(hooks.preconditions(&slots).await.unwrap(), Readiness::Ready);
    assert!(matches!(hooks.holds(&slots).await.unwrap(), Standing::Broken(_)));
    hooks.raise(&slots).await.unwrap();
    assert_eq!(hooks.holds(&slots).await.unwrap(), Standing::Holds);
    hooks.lower(&slots).await.unwrap();
    assert!(matches!(hooks.holds(&slots).await.unwrap(), Standing::Broken(_)));
    assert_eq!(hooks.owner(Slot::new(5)).await.unwrap(), Owner::Source);
    hooks.raise(&slots).await.unwrap();
    hooks.switch(&slots).await.unwrap();
    assert_eq!(hooks.owner(Slot::new(5)).await.unwrap(), Owner::Target);
    assert_eq!(hooks.owner(Slot::new(4)).await.unwrap(), Owner::Source);
    hooks.finish().await.unwrap();
    hooks.failed(&slots, "no hook to tell").await.unwrap();
    assert_eq!(calls(dir.path()), ["raise 1,5-9", "lower 1,5-9", "raise 1,5-9", "switch 1,5-9"]);
}

#[tokio::test]
async fn a_hook_is_told_what_it_is_about() {
    let dir = tempfile::tempdir().unwrap();
    usual(dir.path());
    let say = "echo \"$SLOTMOVER_HOOK|$SLOTMOVER_JOB|$SLOTMOVER_SLOTS|$SLOTMOVER_SOURCE|$SLOTMOVER_TARGET|\
               $SLOTMOVER_DEADLINE_MS|$SLOTMOVER_REASON\" >> \"$(dirname \"$0\")/calls\"";
    for name in ["raise", "lower", "after-switch", "on-failure"] {
        script(dir.path(), name, say);
    }
    let hooks = open(dir.path()).unwrap();
    hooks.raise(&slots()).await.unwrap();
    hooks.lower(&slots()).await.unwrap();
    hooks.failed(&slots(), "it rained").await.unwrap();
    let both = "10.0.0.1:9221|10.0.0.2:9221";
    let expected = [
        format!("raise|job-7|1,5-9|{both}|200|"),
        format!("lower|job-7|1,5-9|{both}|20000|"),
        format!("on-failure|job-7|1,5-9|{both}|20000|it rained"),
    ];
    assert_eq!(calls(dir.path()), expected);
}

#[tokio::test]
async fn a_failing_hook_is_an_error_with_its_last_words() {
    let dir = tempfile::tempdir().unwrap();
    usual(dir.path());
    for name in ["before-raise", "raise", "switch", "lower", "owner", "on-failure"] {
        script(dir.path(), name, "echo first; echo 'the proxy is on fire'; echo; exit 3");
    }
    let (hooks, slots) = (open(dir.path()).unwrap(), slots());
    let outcomes = [
        ("before-raise", hooks.preconditions(&slots).await.map(drop)),
        ("raise", hooks.raise(&slots).await),
        ("switch", hooks.switch(&slots).await),
        ("lower", hooks.lower(&slots).await),
        ("owner", hooks.owner(Slot::new(1)).await.map(drop)),
        ("on-failure", hooks.failed(&slots, "").await),
    ];
    for (name, outcome) in outcomes {
        let error = outcome.unwrap_err().to_string();
        let ending = format!("/{name} ended with exit status: 3: the proxy is on fire");
        assert!(error.ends_with(&ending), "{error}");
    }
    // Without a switch nothing is at the target, and nothing was told that it is.
    std::fs::remove_file(dir.path().join("owner")).unwrap();
    assert_eq!(hooks.owner(Slot::new(1)).await.unwrap(), Owner::Source);
}

#[tokio::test]
async fn a_hook_may_ask_for_patience_or_say_that_the_fence_broke() {
    let dir = tempfile::tempdir().unwrap();
    usual(dir.path());
    script(dir.path(), "before-raise", "echo 'a backup runs' >&2; exit 75");
    script(dir.path(), "holds", "echo 'proxy 2 came back'; exit 1");
    let (hooks, slots) = (open(dir.path()).unwrap(), slots());
    match hooks.preconditions(&slots).await.unwrap() {
        Readiness::NotYet(why) => assert!(why.ends_with("exit status: 75: a backup runs"), "{why}"),
        Readiness::Ready => panic!("it is not ready"),
    }
    hooks.raise(&slots).await.unwrap();
    match hooks.holds(&slots).await.unwrap() {
        Standing::Broken(why) => assert!(why.contains("proxy 2 came back"), "{why}"),
        Standing::Holds => panic!("it does not hold"),
    }
}

#[tokio::test]
async fn the_owner_is_who_the_hook_names() {
    let dir = tempfile::tempdir().unwrap();
    usual(dir.path());
    let hooks = open(dir.path()).unwrap();
    let names = [
        ("echo source", Some(Owner::Source)),
        ("echo asking; echo target", Some(Owner::Target)),
        ("echo group-9", Some(Owner::Other("group-9".to_owned()))),
        ("true", None),
    ];
    for (text, owner) in names {
        script(dir.path(), "owner", text);
        assert_eq!(hooks.owner(Slot::new(1)).await.ok(), owner, "{text}");
    }
}

#[tokio::test]
async fn a_hook_that_hangs_is_killed_with_what_it_started() {
    let dir = tempfile::tempdir().unwrap();
    usual(dir.path());
    for name in ["before-raise", "raise", "holds", "switch", "lower", "owner", "on-failure"] {
        script(dir.path(), name, "(sleep 2; touch \"$(dirname \"$0\")/survived\") & wait");
    }
    let (hooks, slots) = (open_hasty(dir.path()), slots());
    let begin = Instant::now();
    let outcomes = [
        hooks.preconditions(&slots).await.map(drop),
        hooks.raise(&slots).await,
        hooks.holds(&slots).await.map(drop),
        hooks.switch(&slots).await,
        hooks.lower(&slots).await,
        hooks.owner(Slot::new(1)).await.map(drop),
        hooks.failed(&slots, "").await,
    ];
    for outcome in outcomes {
        let error = outcome.unwrap_err().to_string();
        assert!(error.ends_with("was killed, for it took longer than 300ms"), "{error}");
    }
    // As the cutover does when its cap runs out.
    let patient = open(dir.path()).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), patient.raise(&slots)).await.is_err());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!dir.path().join("survived").exists(), "something survived for {:?}", begin.elapsed());
}

#[tokio::test]
async fn what_a_hook_leaves_running_does_not_hold_us() {
    let dir = tempfile::tempdir().unwrap();
    usual(dir.path());
    script(dir.path(), "raise", "sleep 5 & exit 0");
    let begin = Instant::now();
    open(dir.path()).unwrap().raise(&slots()).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5), "it waited for what the hook left behind");
}

#[tokio::test]
async fn after_a_switch_is_told_once_and_may_not_undo_it() {
    let dir = tempfile::tempdir().unwrap();
    usual(dir.path());
    script(dir.path(), "after-switch", "echo after >> \"$(dirname \"$0\")/calls\"; echo 'no mail server'; exit 1");
    let (hooks, slots) = (open(dir.path()).unwrap(), slots());
    hooks.switch(&slots).await.unwrap();
    hooks.switch(&slots).await.unwrap();
    assert_eq!(hooks.owner(Slot::new(1)).await.unwrap(), Owner::Target);
    let error = hooks.finish().await.unwrap_err().to_string();
    assert!(error.contains("/after-switch ended with exit status: 1: no mail server"), "{error}");
    hooks.finish().await.unwrap();
    assert_eq!(calls(dir.path()).iter().filter(|call| *call == "after").count(), 1);
}

#[test]
fn a_hook_that_cannot_run_is_refused_before_anything_moves() {
    let refused = |dir: &Path, parts: [&str; 2]| {
        let error = open(dir).err().expect("it was accepted").to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let dir = tempfile::tempdir().unwrap();
    refused(&dir.path().join("nowhere"), ["/nowhere/raise cannot be used", "No such file"]);
    for missing in ["raise", "switch", "lower"] {
        usual(dir.path());
        std::fs::remove_file(dir.path().join(missing)).unwrap();
        refused(dir.path(), [&format!("/{missing} cannot be used"), "No such file"]);
    }
    usual(dir.path());
    std::fs::write(dir.path().join("holds"), "no program").unwrap();
    refused(dir.path(), ["/holds cannot be executed", "chmod +x"]);
    std::fs::remove_file(dir.path().join("holds")).unwrap();
    std::fs::create_dir(dir.path().join("owner")).unwrap();
    refused(dir.path(), ["/owner cannot be executed", "chmod +x"]);
}
